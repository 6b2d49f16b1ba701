"""Writes clips as a video data set: frames, exact masks, and phrases with their masklets, in SA-Co/VEval's layout.

    out/
      frames/000000/00000.jpg ...   one folder for each clip
      annotations.json              videos, annotations (RLE masks per frame), categories (phrases), video_np_pairs

A masklet is listed once for each phrase that it answers. Additions: the `kind` of a video, its difficulty, and the
`instance` of an annotation, which tells that two of them are the same sprite.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from masklet.errors import InputError
from masklet.ops.masks import encode_rle, rle_areas, rle_boxes
from masklet.synthetic.clips import Clip
from masklet.synthetic.data_folder import ending_of, made_of, new_folder, save_image, write_document
from masklet.synthetic.phrases import Question
from masklet.synthetic.sprites import SpriteSheet, default_sheet
from masklet.synthetic.world import Split, make_clip


def write_clips(
    out: Path,
    *,
    count: int,
    frames: int,
    size_hw: tuple[int, int],
    seed: int,
    split: Split,
    questions: int = 2,
    image_format: str = "jpeg",
    sheet: SpriteSheet | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> None:
    """Makes the data set of clips `seed` ... `seed + count - 1`.

    Args:
        out: folder to make; it must not exist, or be empty.
        count: number of clips, 0 or more.
        frames: of each clip, 1 or more.
        size_hw: height and width of each, pixels.
        seed: first clip number, 0 or more.
        split: `world.TRAIN` or `world.EVALUATION`.
        questions: phrases asked of each clip.
        image_format: "jpeg" or "png" (exact pixels).
        sheet: sprites; None takes the installed font's.
        on_progress: called with the number of finished clips after each.

    Raises:
        InputError: a number or format that makes no sense.
        OutputError: the folder is in use or cannot be written.
        DataError: the font is missing.
    """
    if count < 0 or seed < 0 or questions < 0 or frames < 1:
        raise InputError(
            f"expected 1 frame or more, and count, seed and questions of 0 or more, got {frames}, {count}, {seed} and "
            f"{questions}"
        )
    ending = ending_of(image_format)
    chosen = default_sheet() if sheet is None else sheet
    document: dict[str, Any] = {
        "info": made_of("clips", chosen, split, seed),
        "videos": [],
        "annotations": [],
        "categories": [],
        "video_np_pairs": [],
    }
    category_ids: dict[str, int] = {}
    with new_folder(out) as aside:
        for video_idx in range(count):
            clip, asked = make_clip(split, seed + video_idx, size_hw, frames, questions=questions, sheet=chosen)
            folder = f"frames/{video_idx:06d}"
            names = [f"{folder}/{frame:05d}{ending}" for frame in range(frames)]
            (aside / folder).mkdir(parents=True)
            for name, picture in zip(names, clip.frames, strict=True):
                save_image(picture, aside / name)
            video: dict[str, Any] = {
                "id": video_idx + 1,
                "video_name": folder,
                "file_names": names,
                "height": size_hw[0],
                "width": size_hw[1],
                "length": frames,
                "kind": clip.kind,
                "seed": seed + video_idx,
            }
            document["videos"].append(video)
            _add_answers(document, video["id"], clip, asked, category_ids)
            if on_progress is not None:
                on_progress(video_idx + 1)
        document["categories"] = [{"id": number, "name": phrase} for phrase, number in category_ids.items()]
        write_document(document, aside)


def _add_answers(
    document: dict[str, Any], video_id: int, clip: Clip, asked: list[Question], category_ids: dict[str, int]
) -> None:
    followed = [_masklet(clip, idx) for idx in range(len(clip.instances))]
    for question in asked:
        category_id = category_ids.setdefault(question.phrase, len(category_ids) + 1)
        pair = {"video_id": video_id, "category_id": category_id}
        document["video_np_pairs"].append({**pair, "num_masklets": len(question.instances)})
        for instance_idx in question.instances:
            record = {"id": len(document["annotations"]) + 1, **pair, "instance": instance_idx, "iscrowd": 0}
            document["annotations"].append({**record, **followed[instance_idx]})


def _masklet(clip: Clip, instance_idx: int) -> dict[str, list[Any]]:
    """Mask, box (xywh) and area on every frame, null where the instance is not seen."""
    segmentations: list[Any] = []
    boxes: list[Any] = []
    areas: list[int | None] = []
    for mask in clip.masks(instance_idx):
        if not mask.any():
            segmentations.append(None)
            boxes.append(None)
            areas.append(None)
            continue
        rle = encode_rle(mask)
        left, top, right, bottom = (int(edge) for edge in rle_boxes([rle])[0])
        segmentations.append(rle)
        boxes.append([left, top, right - left, bottom - top])
        areas.append(int(rle_areas([rle])[0]))
    return {"segmentations": segmentations, "bboxes": boxes, "areas": areas}
