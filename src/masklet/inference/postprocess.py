"""Detections back to the size of the picture: boxes in its pixels, mask logits to run-length codes without its pixels.

The rule (spec/image-model.md 10.2): logits are stretched to the picture bilinearly (half-pixel centres, no antialias)
and a pixel is inside where the stretched logit is above 0, that is, its probability above 0.5.

Unusual: no stretched mask is ever made. Between two source rows a bilinear surface is linear along a column, so a
column enters or leaves the mask at most once there, at a place that a division gives. Logits are therefore stretched
along x only; along y only the crossings are computed, and they are the runs of the code. Time and memory follow
source rows x picture columns rather than pixels, and only columns and rows near positive logits are looked at. All in
float64: where float32 would leave the sign of a logit open, this is the sign of the exact value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from masklet.inference.frame_result import FrameResult
from masklet.media.images import ImageSource
from masklet.ops.coordinates import ImageCoordinates
from masklet.ops.masks import Rle, rle_of_boundaries
from masklet.types import Detections

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# Logits stretched at a time, such that the block and its companions stay in a processor's second-level cache.
_BLOCK = 1 << 16

# Infinite logits would become NaN when they are interpolated; these are as good, and differences stay finite.
_LARGEST = 1e30


def frame_result(
    detections: Detections,
    *,
    image: str,
    image_size_hw: tuple[int, int],
    concept: str,
    presence: float,
    model: str,
    source: ImageSource | None = None,
) -> FrameResult:
    """The detections of one prompt in pixels of the picture; arguments as the attributes of `FrameResult`.

    Raises:
        InputError: the model gave scores or boxes that are not finite.
    """
    coordinates = ImageCoordinates(height=image_size_hw[0], width=image_size_hw[1])
    # In float64, so that a box is the nearest float32 to what the model said.
    boxes_xyxy = coordinates.clip(coordinates.boxes_to_px(detections.boxes_cxcywh_norm.detach().cpu().double()))
    return FrameResult(
        image=image,
        image_size_hw=image_size_hw,
        concept=concept,
        presence=presence,
        model=model,
        scores=detections.scores.detach().cpu().numpy(),
        boxes_xyxy=boxes_xyxy.float().numpy(),
        mask_counts=tuple(rle["counts"] for rle in masks_to_rles(detections.mask_logits, image_size_hw)),
        source=source,
    )


def masks_to_rles(mask_logits: Tensor, image_size_hw: tuple[int, int]) -> list[Rle]:
    """Run-length codes, in the picture's size, of masks as the network gives them.

    Args:
        mask_logits: (N, h, w) of the whole picture stretched to this size, any float type, on any device; NaN counts
            as outside.
        image_size_hw: height and width of the picture.

    Returns:
        N codes of this size. One mask is worked on at a time.
    """
    if not len(mask_logits):
        return []
    size_hw = (mask_logits.shape[1], mask_logits.shape[2])
    stretch = Stretch.between(size_hw, image_size_hw)
    logits = mask_logits.detach().float().cpu().numpy()
    return [rle_of_boundaries(mask_boundaries(one, stretch), image_size_hw) for one in logits]


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Where the pixels of a picture lie among the logits of a mask; made once for all masks of a picture.

    Attributes:
        size_hw: of the mask.
        image_size_hw: of the picture.
        column: (W,) the logit column at or left of the centre of each picture column; ascending.
        weight: (W,) how far the centre lies towards the next logit column, 0..1.
        first_row: (h,) the first picture row whose centre is not above each logit row; ascending.
    """

    size_hw: tuple[int, int]
    image_size_hw: tuple[int, int]
    column: IntArray
    weight: FloatArray
    first_row: IntArray

    @classmethod
    def between(cls, size_hw: tuple[int, int], image_size_hw: tuple[int, int]) -> Stretch:
        """From masks of `size_hw` to pictures of `image_size_hw`; computed in whole numbers, hence exact."""
        (height, width), (image_height, image_width) = size_hw, image_size_hw
        # The centre of picture column x lies at logit column (x + 1/2) w / W - 1/2 = place / (2 W), but not below 0.
        place = np.maximum((2 * np.arange(image_width) + 1) * width - image_width, 0)
        column = place // (2 * image_width)
        weight = (place - column * 2 * image_width) / (2 * image_width)
        # The centre of picture row y lies at logit row r or below where 2 h y >= (2 r + 1) H - h. Rounded up.
        first_row = -((height - (2 * np.arange(height) + 1) * image_height) // (2 * height))
        return cls(size_hw=size_hw, image_size_hw=image_size_hw, column=column, weight=weight, first_row=first_row)


def mask_boundaries(logits: npt.NDArray[np.float32], stretch: Stretch) -> IntArray:
    """Where the runs of one mask start and end in the picture.

    Args:
        logits: (h, w).
        stretch: to the picture.

    Returns:
        (2K,) strictly ascending positions column * H + row: start, end, start ..., as `rle_of_boundaries` takes them.
    """
    inside = logits > 0
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return np.zeros(0, dtype=np.int64)
    # A stretched logit is an average of its neighbours: it can be positive only beside a positive one. One row of the
    # others is kept on each side, for the crossings.
    top, bottom = max(int(rows[0]) - 1, 0), min(int(rows[-1]) + 2, stretch.size_hw[0])
    left = int(np.searchsorted(stretch.column, columns[0] - 1))
    right = int(np.searchsorted(stretch.column, columns[-1], side="right"))
    if left == right:  # a picture so narrow that none of its columns is near the mask
        return np.zeros(0, dtype=np.int64)

    values = np.nan_to_num(logits.T[:, top:bottom].astype(np.float64), nan=-_LARGEST, posinf=_LARGEST, neginf=-_LARGEST)
    steps = np.diff(values, axis=0, append=values[-1:])  # to the next logit column
    width = max(1, _BLOCK // (bottom - top))
    blocks = [
        _block_boundaries(values, steps, top, np.arange(start, min(start + width, right)), stretch)
        for start in range(left, right, width)
    ]
    return _without_empty_runs(np.concatenate(blocks))


def _block_boundaries(
    values: FloatArray, steps: FloatArray, top: int, image_columns: IntArray, stretch: Stretch
) -> IntArray:
    """Ascending boundaries in some picture columns; runs of no pixel and of no gap are still among them.

    Args:
        values: (w, rows) logits, columns first.
        steps: (w, rows) differences to the next column.
        top: logit row of the first of the rows.
        image_columns: consecutive.
        stretch: to the picture.
    """
    height, image_height = stretch.size_hw[0], stretch.image_size_hw[0]
    source = stretch.column[image_columns]
    stretched = steps[source]  # (columns, rows)
    stretched *= stretch.weight[image_columns, None]
    stretched += values[source]

    # The rows' signs, with one more outside at each end: every change is a boundary, starts and ends in turns.
    inside = np.zeros((len(source), stretched.shape[1] + 2), dtype=np.bool_)
    np.greater(stretched, 0, out=inside[:, 1:-1])
    changes = np.flatnonzero(inside[:, 1:] != inside[:, :-1])
    columns, after = np.divmod(changes, inside.shape[1] - 1)  # `after`: index of the row after the change
    # Changes before the first and after the last row are the picture's edges: rows beyond were left out only where
    # they are outside.
    at_top, at_bottom = after == 0, after == stretched.shape[1]
    upper = stretched[columns, np.where(at_top, 0, after - 1)]
    lower = stretched[columns, np.where(at_bottom, after - 1, after)]
    drop = upper - lower
    fraction = np.divide(upper, drop, out=np.zeros_like(drop), where=drop != 0)  # of the way down, 0..1
    row = top + after - 1  # the logit row above the change

    # Zero lies at picture row (row + fraction + 1/2) H / h - 1/2; rows strictly on the positive side are inside.
    crossing = image_height * (2 * row + 1 + 2 * fraction) / (2 * height) - 0.5
    image_row = np.where(upper > 0, np.ceil(crossing), np.floor(crossing) + 1).astype(np.int64)
    # Rounding must not carry a crossing over the rows between which it was found.
    lowest = stretch.first_row[np.clip(row, 0, height - 1)]
    highest = stretch.first_row[np.clip(row + 1, 0, height - 1)]
    image_row = np.clip(image_row, lowest, highest)
    image_row[at_top] = 0
    image_row[at_bottom] = image_height
    return image_columns[columns] * image_height + image_row


def _without_empty_runs(boundaries: IntArray) -> IntArray:
    """Boundaries that fall on one place cancel in pairs: an empty run, or a gap of nothing between two runs."""
    if not (boundaries[1:] == boundaries[:-1]).any():
        return boundaries
    places, counts = np.unique(boundaries, return_counts=True)
    odd: IntArray = places[counts % 2 == 1]
    return odd
