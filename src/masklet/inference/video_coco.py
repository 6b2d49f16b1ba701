"""Objects followed through a video as a data set in the layout of YouTube-VIS (COCO for videos).

    videos        one; `length` frames, with their numbers in `frame_indices` and times in `times_s`
    categories    what was looked for, numbered from 1; then "object", if objects were clicked
    annotations   one for each object: segmentations, bboxes (x, y, width, height) and areas with an entry for each
                  frame, null where the object is not to be seen; `id` is the identity plus 1

Frames are those of the results: of a video of which every tenth frame was passed, every tenth.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from masklet.checkpoint.save import written_aside
from masklet.inference.frame_result import shortest
from masklet.inference.video_result import VideoResult
from masklet.ops.masks import Rle

UNNAMED = "object"
"""Category of objects that were clicked."""


@dataclass
class _Seen:
    """An object as it comes together: what is to be seen of it, by place of the frame."""

    concept: str
    score: float
    frames: dict[int, tuple[Rle, list[float], int]] = field(default_factory=dict)


def write_video_coco(results: Iterable[VideoResult], path: Path, *, concepts: Sequence[str]) -> None:
    """Writes the data set; the file is made object by object, so memory holds the run-length codes and no more.

    Args:
        results: frames of one video, ascending; taken one at a time.
        path: an existing file is replaced when the new one is whole.
        concepts: all that was looked for.

    Raises:
        OutputError: the file cannot be written.
    """
    video: dict[str, Any] = {"id": 1, "frame_indices": [], "times_s": []}
    seen: dict[int, _Seen] = {}
    for place, result in enumerate(results):
        height, width = result.image_size_hw
        video |= {"video_name": result.image, "height": height, "width": width}
        video["frame_indices"].append(result.frame_idx)
        video["times_s"].append(round(result.time_s, 6))
        rows = zip(
            *(result.object_ids.tolist(), result.concepts, map(shortest, result.scores)),
            *(result.rle(), result.boxes_xyxy.tolist(), result.areas.tolist()),
            strict=True,
        )
        for object_id, concept, score, rle, (x0, y0, x1, y1), area in rows:
            known = seen.setdefault(object_id, _Seen(concept, score))
            known.frames[place] = (rle, [x0, y0, x1 - x0, y1 - y0], area)
    names = list(dict.fromkeys((*concepts, *(one.concept or UNNAMED for one in seen.values()))))
    length = len(video["frame_indices"])
    video |= {"length": length, "file_names": [f"{index:06d}" for index in video["frame_indices"]]}
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    with written_aside(path) as aside, aside.open("w", encoding="utf-8") as file:
        file.write(f'{{"videos": {json.dumps([video])},\n"categories": {json.dumps(categories)},\n"annotations": [')
        for number, object_id in enumerate(sorted(seen)):
            one = seen.pop(object_id)
            category_id = names.index(one.concept or UNNAMED) + 1
            record = _annotation(object_id, one, category_id, length)
            file.write(f"{',' if number else ''}\n{json.dumps(record, allow_nan=False)}")
        file.write("\n]}\n")


def _annotation(object_id: int, seen: _Seen, category_id: int, length: int) -> dict[str, Any]:
    frames = [seen.frames.get(place) or (None, None, None) for place in range(length)]
    return {
        "id": object_id + 1,
        "video_id": 1,
        "category_id": category_id,
        "score": seen.score,
        "iscrowd": 0,
        "segmentations": [rle for rle, _, _ in frames],
        "bboxes": [box for _, box, _ in frames],
        "areas": [area for _, _, area in frames],
    }
