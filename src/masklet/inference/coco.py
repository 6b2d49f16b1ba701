"""Results of many pictures as one COCO data set.

Works on documents (`FrameResult.to_dict`, or result.json files read again), so that a run that was interrupted and went
on writes the same file as one that was not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from masklet.checkpoint.save import written_aside

Document = Mapping[str, Any]


def coco_dataset(documents: Iterable[Document]) -> dict[str, Any]:
    """The COCO data set of some results.

    Pictures and concepts are numbered from 1 in the order in which they first come; annotations carry the score and
    the model's box (COCO's order x, y, width, height), and their masks as compressed run-length codes.

    Args:
        documents: as result.schema.json describes them; a picture comes once for each of its concepts.
    """
    images: dict[str, dict[str, Any]] = {}
    categories: dict[str, dict[str, Any]] = {}
    annotations: list[dict[str, Any]] = []
    for document in documents:
        name, concept = document["image"], document["concept"]
        width, height = document["size_wh"]
        image = images.setdefault(name, {"id": len(images) + 1, "file_name": name, "width": width, "height": height})
        category = categories.setdefault(concept, {"id": len(categories) + 1, "name": concept})
        for detection in document["detections"]:
            x0, y0, x1, y1 = detection["box_xyxy"]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": category["id"],
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": detection["area"],
                    "segmentation": dict(detection["mask"]),
                    "score": detection["score"],
                    "iscrowd": 0,
                }
            )
    return {"images": list(images.values()), "categories": list(categories.values()), "annotations": annotations}


def write_coco(documents: Iterable[Document], path: str | Path) -> None:
    """Writes `coco_dataset`, usually as annotations.json; an existing file is replaced when the new one is whole.

    Raises:
        OutputError: the file cannot be written.
    """
    with written_aside(Path(path)) as aside, aside.open("w", encoding="utf-8") as file:
        json.dump(coco_dataset(documents), file, allow_nan=False)
