"""Files of (picture, phrase) pairs with rectangles, on the canvas of spec/evaluation.md 7: 40 wide, 20 high."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from masklet.ops.masks import encode_rle

WIDTH, HEIGHT = 40, 20

Xywh = tuple[float, float, float, float]


def rectangle(box: Xywh) -> Any:
    x, y, width, height = map(int, box)
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
    mask[y : y + height, x : x + width] = True
    return encode_rle(mask)


def truth(
    objects: Mapping[int, Sequence[Xywh]],
    *,
    crowds: Mapping[int, Sequence[Xywh]] | None = None,
    unmarked: Sequence[int] = (),
) -> dict[str, Any]:
    """Ground truth: boxes of the objects of each pair, whose masks they fill; `unmarked` pairs are not exhaustive."""
    images = [
        {"id": pair, "file_name": f"{pair}.jpg", "text_input": f"thing {pair}", "width": WIDTH, "height": HEIGHT}
        | {"queried_category": "7", "is_instance_exhaustive": int(pair not in unmarked), "is_pixel_exhaustive": 0}
        for pair in objects
    ]
    annotations = [
        {"image_id": pair, "category_id": 1, "bbox": list(box), "segmentation": rectangle(box), "iscrowd": crowd}
        for crowd, boxes_of in ((0, objects), (1, crowds or {}))
        for pair, boxes in boxes_of.items()
        for box in boxes
    ]
    for number, annotation in enumerate(annotations):
        annotation["id"] = number + 1
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}


def prediction(pair: int, box: Xywh, score: float, **more: Any) -> dict[str, Any]:
    found = {"image_id": pair, "category_id": 1, "bbox": list(box), "segmentation": rectangle(box), "score": score}
    return found | more


EXAMPLE_A = (
    truth({1: [(0, 0, 10, 10), (20, 0, 10, 10)], 2: [(5, 5, 10, 10)], 3: [], 4: [], 5: []}),
    [
        prediction(1, (0, 0, 10, 10), 0.9),
        prediction(1, (21, 0, 10, 10), 0.8),
        prediction(1, (0, 12, 6, 6), 0.5),
        prediction(1, (30, 12, 5, 5), 0.49),
        prediction(2, (5, 5, 10, 8), 0.7),
        prediction(3, (1, 1, 4, 4), 0.6),
        prediction(4, (1, 1, 4, 4), 0.3),
    ],
)
EXAMPLE_B = (
    truth(
        {1: [(0, 0, 12, 10), (8, 0, 12, 10)], 2: [(0, 0, 5, 5)], 3: [], 4: [(0, 0, 5, 5)]},
        crowds={2: [(20, 0, 18, 18)]},
        unmarked=[4],
    ),
    [
        prediction(1, (4, 0, 12, 10), 0.95),
        prediction(1, (0, 0, 9, 10), 0.60),
        prediction(2, (20, 0, 18, 18), 0.9),
        prediction(4, (9, 9, 5, 5), 0.9),
    ],
)
EXAMPLE_C = (
    (
        truth({1: [(0, 0, 10, 10)], 2: [(0, 0, 10, 10)], 3: [], 4: []}),
        truth({1: [(0, 0, 10, 10), (20, 0, 10, 10)], 2: [], 3: [(5, 5, 6, 6)], 4: []}),
        truth({1: [(0, 0, 10, 8)], 2: [(0, 0, 10, 5)], 3: [], 4: []}, unmarked=[4]),
    ),
    [
        prediction(1, (0, 0, 10, 9), 0.9),
        prediction(1, (20, 0, 10, 10), 0.8),
        prediction(2, (0, 0, 10, 6), 0.9),
    ],
)
