"""All objects of a picture without a prompt: a grid of clicks, of which the good and distinct masks stay.

Masks that are dropped are never brought to the picture's size, and of the others only the part around their inside is
kept while the grid is worked through. Two masks are compared only where their boxes and areas leave it open whether one
is a duplicate of the other: the comparisons grow with the number of masks, not with that of pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from masklet.errors import InputError
from masklet.inference.object_masks import decoded
from masklet.inference.object_prompt import PromptBatch
from masklet.model.tracker import OUT_OF_SIGHT, Tracker
from masklet.ops.masks import mask_stability, masks_to_boxes
from masklet.types import MaskCandidates, PointPrompts, TrackerFeatures

_STABILITY_MARGIN = 1.0  # logits


@dataclass(frozen=True, kw_only=True)
class EverythingRules:
    """What stays of a grid of clicks.

    Attributes:
        points_per_side: clicks along each side of the picture; its square is how many there are.
        min_quality: 0..1, predicted overlap must be above it.
        min_stability: 0..1, the least share of a mask that stays when its threshold moves by one logit up rather than
            down.
        nms_iou: 0..1, of two masks that overlap more than this the one of lower quality goes.

    Raises:
        InputError: no click, or a limit that is not in 0..1.
    """

    points_per_side: int = 32
    min_quality: float = 0.88
    min_stability: float = 0.95
    nms_iou: float = 0.7

    def __post_init__(self) -> None:
        if not isinstance(self.points_per_side, int) or self.points_per_side < 1:
            raise InputError(f"points_per_side must be a whole number of at least 1, got {self.points_per_side!r}")
        for name in ("min_quality", "min_stability", "nms_iou"):
            if not 0 <= getattr(self, name) <= 1:  # true for NaN as well
                raise InputError(f"{name} must be in 0..1, got {getattr(self, name)!r}")


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundMask:
    """One mask on a picture, cut out.

    Attributes:
        quality: 0..1.
        logits: (y1 - y0, x1 - x0) float32, the mask's inside and one pixel of the outside around it.
        window: x0, y0, x1, y1 where this lies in the whole mask.
        inside: the same part, bool.
        area: pixels of the inside.
    """

    quality: float
    logits: npt.NDArray[np.float32]
    window: tuple[int, int, int, int]
    inside: npt.NDArray[np.bool_]
    area: int

    def whole(self, size_hw: tuple[int, int]) -> Tensor:
        """(h, w) logits; what is known to be outside is as it is for an object that is out of sight."""
        x0, y0, x1, y1 = self.window
        logits = torch.full(size_hw, OUT_OF_SIGHT)
        logits[y0:y1, x0:x1] = torch.from_numpy(self.logits)
        return logits


def click_everywhere(
    tracker: Tracker, features: TrackerFeatures, rules: EverythingRules
) -> tuple[list[FoundMask], float]:
    """The masks that stay, best first, and the largest probability (0..1) that a click has of showing an object."""
    batch = click_grid(rules.points_per_side, tracker.input_size_hw(features), features.coarse.device)
    found: list[FoundMask] = []
    sights = []
    for _, candidates in decoded(tracker, features, batch, several=True):
        found += good_masks(candidates, rules)
        sights.append(candidates.sight_logits)
    found.sort(key=lambda one: -one.quality)
    return distinct_masks(found, rules.nms_iou), float(torch.cat(sights).max().sigmoid())


def click_grid(points_per_side: int, input_size_hw: tuple[int, int], device: torch.device) -> PromptBatch:
    """Clicks in the middle of `points_per_side` squared equal parts of the picture, row by row."""
    height, width = input_size_hw
    place = (torch.arange(points_per_side, device=device) + 0.5) / points_per_side
    y, x = torch.meshgrid(place * height, place * width, indexing="ij")
    xy_px = torch.stack((x, y), dim=-1).flatten(0, 1)[:, None]  # (O, 1, 2)
    labels = torch.ones_like(xy_px[..., 0], dtype=torch.int64)
    return PromptBatch(
        object_idx=tuple(range(len(xy_px))), points=PointPrompts(xy_px=xy_px, labels=labels), mask_logits=None
    )


def good_masks(candidates: MaskCandidates, rules: EverythingRules) -> Iterator[FoundMask]:
    """Those of enough quality and stability that have an inside; click by click."""
    chosen = candidates.quality > rules.min_quality
    logits, quality = candidates.mask_logits[chosen].float(), candidates.quality[chosen]
    stable = (mask_stability(logits, _STABILITY_MARGIN) >= rules.min_stability) & (logits > 0).flatten(1).any(1)
    logits, quality = logits[stable], quality[stable]
    boxes = masks_to_boxes(logits > 0).long().tolist()
    for mask, score, (left, top, right, bottom) in zip(logits, quality.tolist(), boxes, strict=True):
        x0, y0, x1, y1 = max(left - 1, 0), max(top - 1, 0), right + 1, bottom + 1
        part = mask[y0:y1, x0:x1].cpu().numpy().copy()  # a view would keep the masks of all clicks
        inside = part > 0
        window = (x0, y0, x0 + part.shape[1], y0 + part.shape[0])
        yield FoundMask(quality=score, logits=part, window=window, inside=inside, area=int(inside.sum()))


def distinct_masks(found: Iterable[FoundMask], iou: float) -> list[FoundMask]:
    """Those that do not overlap one that stays before them by more than `iou`; the order is kept.

    Args:
        found: best first.
        iou: 0..1, intersection over union.
    """
    kept: list[FoundMask] = []
    windows, areas = np.zeros((0, 4), dtype=np.int64), np.zeros(0, dtype=np.int64)
    for one in found:
        near = np.flatnonzero(_largest_iou(one, windows, areas) > iou)
        if any(_iou(one, kept[index]) > iou for index in near):
            continue
        kept.append(one)
        windows, areas = np.vstack((windows, one.window)), np.append(areas, one.area)
    return kept


def _largest_iou(
    one: FoundMask, windows: npt.NDArray[np.int64], areas: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """(N,) what the overlap with each of N masks can be at most, by their windows and areas."""
    sides = np.minimum(windows[:, 2:], one.window[2:]) - np.maximum(windows[:, :2], one.window[:2])
    shared = np.minimum(sides.clip(0).prod(1), np.minimum(areas, one.area))
    largest: npt.NDArray[np.float64] = shared / (areas + one.area - shared)
    return largest


def _iou(one: FoundMask, other: FoundMask) -> float:
    x0, y0 = (max(one.window[axis], other.window[axis]) for axis in (0, 1))
    x1, y1 = (min(one.window[axis], other.window[axis]) for axis in (2, 3))
    parts: Sequence[npt.NDArray[np.bool_]] = [
        mask.inside[y0 - mask.window[1] : y1 - mask.window[1], x0 - mask.window[0] : x1 - mask.window[0]]
        for mask in (one, other)
    ]
    shared = int((parts[0] & parts[1]).sum())
    return shared / (one.area + other.area - shared)
