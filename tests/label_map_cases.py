"""Label maps of followed objects: example E of spec/evaluation.md 7.6, as arrays and as files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Labels = npt.NDArray[np.uint8]


def labels(objects: Mapping[int, Mapping[int, tuple[int, int, int, int]]], frames: int = 5) -> Labels:
    """Label maps of filled xywh boxes by object and frame."""
    maps = np.zeros((frames, 60, 80), dtype=np.uint8)
    for number, boxes in objects.items():
        for frame, (x, y, width, height) in boxes.items():
            maps[frame, y : y + height, x : x + width] = number
    return maps


A, B, C = (5, 5, 20, 20), (8, 5, 20, 20), (10, 5, 20, 20)
TRUE = labels({1: {0: A, 1: B, 2: C, 4: C}, 2: {2: (50, 30, 10, 10), 3: (52, 30, 10, 10)}})
PREDICTED = labels(
    {1: {0: A, 1: (8, 5, 20, 16), 2: (14, 5, 20, 20), 3: (14, 5, 6, 6)}, 2: {3: (52, 31, 10, 10)}},
)


def write_maps(folder: Path, maps: Labels, *, palette: bool = False) -> Path:
    """Files 00000.png, 00001.png ... in a folder that is made."""
    folder.mkdir(parents=True)
    for frame, one in enumerate(maps):
        image = Image.fromarray(one)
        if palette:
            image = image.convert("P")
            image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
            image.putdata(one.ravel().tolist())
        image.save(folder / f"{frame:05d}.png")
    return folder
