"""Masks as arrays and as run-length codes: conversions, areas, boxes, overlaps, removal of duplicates.

A run-length code (`Rle`) is COCO's compressed form, written and read by pycocotools: runs of 0 and 1 in turns, column
by column from the top left. Boxes of masks are xyxy in pixels with the far edge exclusive; an empty mask has the box
(0, 0, 0, 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from masklet.errors import InputError

BoolArray = npt.NDArray[np.bool_]

# Pixels per matrix product: counts up to 2^24 are exact in float32.
_PIXELS_AT_ONCE = 1 << 20


class Rle(TypedDict):
    """A mask as COCO's compressed run-length code.

    Attributes:
        size: [height, width] in pixels.
        counts: lengths of the runs, as COCO's string.
    """

    size: list[int]
    counts: str


# --- run-length codes -------------------------------------------------------------------------------------------------


def encode_rle(mask: BoolArray) -> Rle:
    """The run-length code of an (H, W) mask, bool or 0 and 1."""
    return _plain(coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8)))


def rle_of_boundaries(boundaries: npt.NDArray[np.int64], size_hw: tuple[int, int]) -> Rle:
    """The run-length code of the places where a mask changes.

    Args:
        boundaries: (2K,) strictly ascending positions column * height + row at which a run of ones starts, ends,
            starts ...; the last may be height * width.
        size_hw: height and width of the mask.
    """
    height, width = size_hw
    ends = np.concatenate((boundaries, [height * width]))
    counts = np.diff(ends, prepend=0)
    if len(counts) > 1 and counts[-1] == 0:
        counts = counts[:-1]  # no zeros follow; this is how COCO writes it
    return _plain(coco_mask.frPyObjects({"counts": counts, "size": [height, width]}, height, width))


def decode_rle(rle: Rle) -> BoolArray:
    """(H, W) bool; column by column in memory, as the code is."""
    pixels: BoolArray = coco_mask.decode(rle).view(np.bool_)
    return pixels


def decode_crop(rle: Rle) -> tuple[BoolArray, tuple[int, int, int, int]]:
    """The part of a mask inside its tight box, and that box: (h, w) bool, (x0, y0, x1, y1) pixels."""
    left, top, width, height = (int(value) for value in coco_mask.toBbox(rle))
    crop = decode_rle(rle)[top : top + height, left : left + width]
    return np.ascontiguousarray(crop), (left, top, left + width, top + height)


def decode_rles(rles: Sequence[Rle], size_hw: tuple[int, int]) -> BoolArray:
    """(N, H, W) bool of N codes of this size."""
    masks = np.zeros((len(rles), *size_hw), dtype=np.bool_)
    for mask, rle in zip(masks, rles, strict=True):
        # Only the tight box is turned from columns to rows, which is the slow part.
        crop, (x0, y0, x1, y1) = decode_crop(rle)
        mask[y0:y1, x0:x1] = crop
    return masks


def rle_areas(rles: Sequence[Rle]) -> npt.NDArray[np.int64]:
    """(N,) number of pixels of each mask."""
    if not rles:
        return np.zeros(0, dtype=np.int64)
    # pycocotools 2.0.11 counts the masks of one call in eight bits.
    parts = [coco_mask.area(list(rles[start : start + 255])) for start in range(0, len(rles), 255)]
    areas: npt.NDArray[np.int64] = np.concatenate(parts).astype(np.int64)
    return areas


def rle_boxes(rles: Sequence[Rle]) -> npt.NDArray[np.float32]:
    """(N, 4) tight boxes, xyxy."""
    if not rles:
        return np.zeros((0, 4), dtype=np.float32)
    boxes = np.asarray(coco_mask.toBbox(list(rles)), dtype=np.float32)  # xywh
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def rle_iou(rles: Sequence[Rle], others: Sequence[Rle]) -> npt.NDArray[np.float64]:
    """(N, K) intersection over union of each mask with each other, 0..1; 0 where both are empty.

    Raises:
        InputError: not all masks have the same size.
    """
    sizes = {tuple(rle["size"]) for rle in (*rles, *others)}
    if len(sizes) > 1:
        raise InputError(f"masks to compare must have one size, got {sorted(sizes)}; resize them first")
    if not rles or not others:
        return np.zeros((len(rles), len(others)))
    iou: npt.NDArray[np.float64] = coco_mask.iou(list(rles), list(others), [0] * len(others))
    return iou


def rles_apart(rles: Sequence[Rle], scores: npt.ArrayLike, groups: Sequence[int] | None = None) -> list[Rle]:
    """Masks that do not overlap: each pixel stays with the mask of the highest score, of equal ones with the first.

    Args:
        rles: O codes of one size.
        scores: (O,) any finite numbers.
        groups: O numbers; masks of different groups may overlap. None: all masks are of one group.

    Returns:
        O codes, some perhaps of empty masks. Two masks at most are unpacked at a time.
    """
    apart = list(rles)
    order = np.argsort(-np.asarray(scores), kind="stable")
    numbers = np.zeros(len(rles), dtype=np.int64) if groups is None else np.asarray(groups)
    for group in np.unique(numbers):
        members = [int(index) for index in order if numbers[index] == group]
        if len(members) < 2:
            continue
        taken = np.zeros(tuple(rles[members[0]]["size"]), dtype=np.bool_)
        for index in members:
            crop, (x0, y0, x1, y1) = decode_crop(rles[index])
            place = taken[y0:y1, x0:x1]
            if (crop & place).any():
                left = np.zeros_like(taken)
                left[y0:y1, x0:x1] = crop & ~place
                apart[index] = encode_rle(left)
            place |= crop
    return apart


def _plain(rle: dict[str, object]) -> Rle:
    """With counts as text, which JSON takes."""
    size, counts = rle["size"], rle["counts"]
    assert isinstance(size, list)
    assert isinstance(counts, bytes)
    return {"size": [int(size[0]), int(size[1])], "counts": counts.decode("ascii")}


# --- arrays -----------------------------------------------------------------------------------------------------------


def masks_to_boxes(masks: Tensor) -> Tensor:
    """(N, 4) float32 tight boxes, xyxy, of (N, H, W) bool masks."""
    count, height, width = masks.shape
    columns, rows = masks.any(1), masks.any(2)  # (N, W), (N, H)
    if not count or not height or not width:
        return torch.zeros(count, 4, device=masks.device)
    # The first True is the first largest value; the last one is the first of the reversed axis.
    x0, y0 = columns.byte().argmax(1), rows.byte().argmax(1)
    x1, y1 = width - columns.flip(1).byte().argmax(1), height - rows.flip(1).byte().argmax(1)
    boxes = torch.stack((x0, y0, x1, y1), dim=1)
    return torch.where(columns.any(1, keepdim=True), boxes, 0).float()


def mask_stability(mask_logits: Tensor, margin: float) -> Tensor:
    """How little masks change when their threshold moves: the smaller mask's share of the larger one.

    Args:
        mask_logits: (..., h, w).
        margin: logits by which the threshold of 0 moves up, and down.

    Returns:
        (...) float32 in 0..1; 1 where even the larger mask is empty.
    """
    smaller = (mask_logits > margin).flatten(-2).sum(-1).float()
    larger = (mask_logits > -margin).flatten(-2).sum(-1).float()
    return torch.where(larger > 0, smaller / larger.clamp(min=1), 1.0)


def mask_iou(masks: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of each mask with each other, by matrix products: exact counts, bounded memory.

    Args:
        masks: (N, H, W) bool.
        others: (K, H, W) bool.

    Returns:
        (N, K) float32 in 0..1; 0 where both are empty.
    """
    if masks.shape[1:] != others.shape[1:]:
        raise InputError(
            f"masks to compare must have one size, got {tuple(masks.shape)} and {tuple(others.shape)}; "
            "resize them first"
        )
    first, second = masks.flatten(1), others.flatten(1)
    shared = torch.zeros(len(first), len(second), dtype=torch.int64, device=masks.device)
    for start in range(0, first.shape[1], _PIXELS_AT_ONCE):
        pixels = slice(start, start + _PIXELS_AT_ONCE)
        shared += (first[:, pixels].float() @ second[:, pixels].float().T).to(torch.int64)
    either = first.sum(1)[:, None] + second.sum(1)[None] - shared
    return shared.float() / either.clamp(min=1).float()


def keep_distinct(iou: Tensor, threshold: float) -> Tensor:
    """Greedy removal of duplicates: who stays when everyone removes those after them that overlap too much.

    Args:
        iou: (N, N) overlaps of candidates, best first.
        threshold: an overlap strictly above it makes two candidates the same.

    Returns:
        (N,) bool, on the CPU.
    """
    duplicate = (iou > threshold).cpu().numpy()
    keep = np.ones(len(duplicate), dtype=np.bool_)
    for index in range(len(duplicate)):  # each step is one operation on a row
        if keep[index]:
            keep[index + 1 :] &= ~duplicate[index, index + 1 :]
    return torch.from_numpy(keep)
