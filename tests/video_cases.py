"""Ground truth and predictions of videos, in the layout of files, made of boxes that are filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from masklet.ops.masks import BoolArray, encode_rle

HEIGHT, WIDTH = 20, 40

BoxXywh = Sequence[int]
Record = dict[str, Any]


def filled(box_xywh: BoxXywh, size_hw: tuple[int, int] = (HEIGHT, WIDTH)) -> BoolArray:
    mask = np.zeros(size_hw, dtype=np.bool_)
    x, y, width, height = box_xywh
    mask[y : y + height, x : x + width] = True
    return mask


def masklet(
    category_id: int,
    boxes_xywh: Mapping[int, BoxXywh],
    *,
    frames: int = 4,
    video_id: int = 1,
    score: float | None = None,
    **more: Any,
) -> Record:
    """One record; boxes by frame. With a score it is a prediction."""
    boxes = [list(boxes_xywh[frame]) if frame in boxes_xywh else None for frame in range(frames)]
    record: Record = {
        "video_id": video_id,
        "category_id": category_id,
        "segmentations": [box and encode_rle(filled(box)) for box in boxes],
        "bboxes": boxes,
        "areas": [box and box[2] * box[3] for box in boxes],
    }
    return record | ({} if score is None else {"score": score}) | more


def ground_truth(
    annotations: Sequence[Record], asked: Sequence[tuple[int, int]], *, frames: int = 4, videos: int = 1
) -> Record:
    """A file's content; `asked` are (video_id, category_id)."""
    annotated = [(record["video_id"], record["category_id"]) for record in annotations]
    categories = sorted({category for _, category in (*asked, *annotated)})
    return {
        "videos": [
            {
                "id": number,
                "video_name": f"video {number}",
                "file_names": [f"{number}/{frame}.jpg" for frame in range(frames)],
                "height": HEIGHT,
                "width": WIDTH,
                "length": frames,
            }
            for number in range(1, videos + 1)
        ],
        "categories": [{"id": category, "name": f"phrase {category}"} for category in categories],
        "annotations": [
            {"id": number, "iscrowd": 0, "noun_phrase": f"phrase {record['category_id']}"} | record
            for number, record in enumerate(annotations, start=1)
        ],
        "video_np_pairs": [
            {
                "id": number,
                "video_id": video,
                "category_id": category,
                "noun_phrase": f"phrase {category}",
                "num_masklets": annotated.count((video, category)),
            }
            for number, (video, category) in enumerate(asked, start=1)
        ],
    }


CAT, DOG, COW = 1, 2, 3
_A, _A_LOW, _B, _C = (0, 0, 10, 10), (0, 0, 10, 8), (20, 0, 10, 10), (5, 5, 5, 5)


def example_d() -> tuple[Record, list[Record]]:
    """Ground truth and predictions of spec/evaluation.md 7.5."""
    truth = ground_truth(
        [masklet(CAT, dict.fromkeys(range(4), _A)), masklet(CAT, {0: _B, 1: _B})],
        asked=[(1, CAT), (1, DOG), (1, COW)],
    )
    predictions = [
        masklet(CAT, {0: _A, 1: _A, 2: _A_LOW, 3: _A_LOW}, score=0.9),
        masklet(CAT, {0: _B}, score=0.8),
        masklet(CAT, {1: _B}, score=0.7),
        masklet(DOG, {0: _C}, score=0.6),
        masklet(COW, {0: _C}, score=0.4),
    ]
    return truth, predictions


def random_files(seed: int) -> tuple[Record, list[Record]]:
    """Some videos with masklets that come and go, predictions near them and elsewhere; all scores differ."""
    rng = np.random.default_rng(seed)
    videos, frames = int(rng.integers(1, 4)), int(rng.integers(1, 7))
    asked = [(video, category) for video in range(1, videos + 1) for category in (CAT, DOG, COW)]

    def boxes(near: Mapping[int, BoxXywh]) -> dict[int, BoxXywh]:
        x, y, width, height = rng.integers((0, 0, 3, 3), (22, 8, 14, 9)).tolist()
        made: dict[int, BoxXywh] = {}
        for frame in np.flatnonzero(rng.random(frames) < 0.75).tolist():
            left, top = rng.integers((x, y), (x + 4, y + 4)).tolist()
            if frame in near and rng.random() < 0.8:
                near_x, near_y, width, height = near[frame]
                left, top = rng.integers((near_x, near_y), (near_x + 3, near_y + 3)).tolist()
            made[frame] = (left, top, width, height)
        return made

    annotations, predictions = [], []
    for video, category in asked:
        for _ in range(int(rng.integers(0, 4)) if rng.random() < 0.7 else 0):
            true = boxes({})
            annotations.append(masklet(category, true, frames=frames, video_id=video))
            for _ in range(int(rng.integers(0, 3))):
                named = category if rng.random() < 0.8 else int(rng.integers(1, 4))
                predictions.append(masklet(named, boxes(true), frames=frames, video_id=video, score=rng.random()))
        if rng.random() < 0.4:
            predictions.append(masklet(category, boxes({}), frames=frames, video_id=video, score=rng.random()))
    return ground_truth(annotations, asked, frames=frames, videos=videos), predictions
