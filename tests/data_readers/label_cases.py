"""Files of labels for the tests: pictures on disk, COCO documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE_HW = (31, 47)


def save_picture(path: Path, size_hw: tuple[int, int] = SIZE_HW, *, orientation: int | None = None) -> Path:
    """A picture whose rows are stored with this size; EXIF data says to turn it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size_hw[::-1], (40, 90, 160))
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path


def save_mask(
    path: Path, values: list[tuple[int, tuple[int, int, int, int]]], size_hw: tuple[int, int] = SIZE_HW
) -> Path:
    """A mask file of rectangles x0, y0, x1, y1 with values; 16 bit if a value needs it."""
    pixels = np.zeros(size_hw, dtype=np.uint16 if any(value > 255 for value, _ in values) else np.uint8)
    for value, (x0, y0, x1, y1) in values:
        pixels[y0:y1, x0:x1] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def rectangle(x0: float, y0: float, x1: float, y1: float) -> list[float]:
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def coco_document() -> dict[str, Any]:
    """Two pictures of different sizes, three categories of which one has no instance; ids out of order."""
    corners = rectangle(5, 2, 15, 14)
    return {
        "images": [
            {"id": 7, "file_name": "b.jpg", "height": 31, "width": 47},
            {"id": 3, "file_name": "sub/a.jpg", "height": 20, "width": 55},
        ],
        "annotations": [
            {
                "id": 50,
                "image_id": 3,
                "category_id": 9,
                "bbox": [5, 2, 10, 12],
                "segmentation": [corners],
            },
            {"id": 51, "image_id": 7, "category_id": 2, "bbox": [1.5, 2.5, 20, 10]},
            {"id": 52, "image_id": 3, "category_id": 2, "bbox": [0, 0, 55, 20], "iscrowd": 1},
            {"id": 53, "image_id": 3, "category_id": 9, "bbox": [30, 1, 4, 6]},
        ],
        "categories": [{"id": 9, "name": "red apple"}, {"id": 2, "name": "Dog"}, {"id": 4, "name": "tram"}],
    }


def save_json(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path
