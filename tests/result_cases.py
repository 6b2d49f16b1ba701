"""Results made by hand, for the tests of what is done with results."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from masklet.inference.frame_result import FrameResult
from masklet.media.images import ImageSource
from masklet.ops.masks import encode_rle

SIZE_HW = (30, 41)


def rectangle(x0: int, y0: int, x1: int, y1: int, size_hw: tuple[int, int] = SIZE_HW) -> npt.NDArray[np.bool_]:
    mask = np.zeros(size_hw, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


BOXES = [(3, 4, 20, 25), (15, 10, 41, 28), (0, 0, 2, 3)]
MASKS = np.stack([rectangle(*box) for box in BOXES])
SCORES = (0.9, 0.625, 0.5)


def make_result(
    masks: npt.NDArray[np.bool_] = MASKS,
    *,
    image: str = "photos/street.jpg",
    concept: str = "yellow school bus",
    source: ImageSource | None = None,
) -> FrameResult:
    """A result with these (N, H, W) masks; its boxes are a quarter of a pixel smaller on each side than BOXES."""
    count = len(masks)
    boxes = np.array(BOXES[:count], dtype=np.float32).reshape(-1, 4) + np.array([0.25, 0.25, -0.25, -0.25], np.float32)
    return FrameResult(
        image=image,
        image_size_hw=masks.shape[1:],
        concept=concept,
        presence=0.96875,
        model="test",
        scores=np.array(SCORES[:count], dtype=np.float32),
        boxes_xyxy=boxes,
        mask_counts=tuple(encode_rle(mask)["counts"] for mask in masks),
        source=source,
    )


def empty_result(**arguments: str) -> FrameResult:
    return make_result(np.zeros((0, *SIZE_HW), dtype=bool), **arguments)


def picture(size_hw: tuple[int, int] = SIZE_HW) -> npt.NDArray[np.uint8]:
    """(H, W, 3) noise of middle brightness."""
    return np.random.default_rng(0).integers(60, 190, (*size_hw, 3), dtype=np.uint8)
