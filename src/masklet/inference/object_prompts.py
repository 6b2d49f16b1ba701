"""What a user says of one object on one frame -> what the tracker takes (spec/tracker.md 9.2).

Clicks and boxes are in pixels of the video; a box counts as its two corners and comes first. Boxes are clipped to the
frame with a warning, points outside it are errors.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from masklet.errors import PromptError
from masklet.inference.places import check_inside, clipped_box
from masklet.ops.coordinates import ImageCoordinates
from masklet.types import PointPrompts, checked_box, finite_numbers

_log = logging.getLogger(__name__)

_LABELS = (0, 1)


@dataclass(frozen=True)
class Prompt:
    """What was said of one object on one frame.

    Attributes:
        points: (1, P) in pixels of the square input; None: its mask was given.
        by_user: a user said so, not a detector.
    """

    points: PointPrompts | None
    by_user: bool = True


def point_prompt(
    points_xy: Iterable[Sequence[float]] | Tensor | None,
    labels: Iterable[int] | Tensor | None,
    box_xyxy: Sequence[float] | Tensor | None,
    *,
    coordinates: ImageCoordinates,
    input_size_hw: tuple[int, int],
    device: torch.device | None = None,
) -> PointPrompts:
    """Clicks and a box on one object: (1, P), the box's corners first.

    Args:
        points_xy: P clicks x, y in pixels of the video; None: there are none.
        labels: 1 on the object, 0 not on it; as many as clicks.
        box_xyxy: around the object, pixels of the video; None: there is none.
        coordinates: of the video.
        input_size_hw: of the network's square input, pixels.
        device: of the result.

    Raises:
        PromptError: points without labels or labels without points, not as many, neither points nor a box, an unknown
            label, a number that is not finite, something outside the frame.
    """
    if (points_xy is None) != (labels is None):
        given, missing = ("points_xy", "labels") if labels is None else ("labels", "points_xy")
        raise PromptError(f"points_xy and labels go together, got {given} without {missing}; label 1 is on the object")
    box = [] if box_xyxy is None else _corners(box_xyxy, coordinates)
    points = [_place(point, coordinates) for point in _plain(points_xy)]
    known = [_label(label) for label in _plain(labels)]
    if len(points) != len(known):
        raise PromptError(f"every point has a label, got {len(points)} points and {len(known)} labels")
    if not points and not box:
        raise PromptError("a prompt must have at least one point or a box, got neither")
    height, width = input_size_hw
    # In float64 until they are fractions: float32 would already round pixels of large frames.
    places = coordinates.points_to_norm(torch.tensor([*box, *points], dtype=torch.float64))
    return PointPrompts(
        xy_px=(places * places.new_tensor([width, height])).float()[None].to(device),
        labels=torch.tensor([[2, 3] * (len(box) // 2) + known], dtype=torch.int64, device=device),
    )


def few(points: PointPrompts, most: int | None) -> PointPrompts:
    """At most so many points: of more the first and the last are kept, half of them each."""
    count = points.labels.shape[1]
    if most is None or count <= most:
        return points
    _log.warning("the tracker reads %d points of an object on a frame, got %d; using the first and last", most, count)
    half = most // 2
    return PointPrompts(
        xy_px=torch.cat((points.xy_px[:, :half], points.xy_px[:, -half:]), dim=1),
        labels=torch.cat((points.labels[:, :half], points.labels[:, -half:]), dim=1),
    )


def mask_prompt(mask: Any) -> Tensor:
    """A given mask as (H, W) float32 0..1, at its own size.

    Args:
        mask: (H, W) array or tensor: bool, 0 and 1, or 0..1.

    Raises:
        PromptError: not two axes, no pixels, or values beyond 0..1.
    """
    try:
        values = mask.float() if isinstance(mask, Tensor) else torch.from_numpy(np.asarray(mask, dtype=np.float32))
    except (TypeError, ValueError) as error:
        raise PromptError(f"a mask must be an array (H, W) of numbers 0..1, got {type(mask).__name__}") from error
    if values.ndim != 2 or not values.numel():
        raise PromptError(f"a mask must be (H, W) with at least one pixel, got shape {tuple(values.shape)}")
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # true for NaN as well
        raise PromptError(f"a mask must be bool or 0..1, got values from {low:g} to {high:g}; use mask > 0 for logits")
    return values


def _plain(values: Any) -> list[Any]:
    if values is None:
        return []
    try:
        return list(values.tolist() if isinstance(values, Tensor | np.ndarray) else values)
    except TypeError as error:
        raise PromptError(f"points and labels must be lists or arrays, got {values!r}") from error


def _place(point: Any, coordinates: ImageCoordinates) -> tuple[float, float]:
    x, y = finite_numbers(point, ("x", "y"), "a click")
    return check_inside((x, y), coordinates, "a click")


def _corners(box_xyxy: Any, coordinates: ImageCoordinates) -> list[tuple[float, float]]:
    box = checked_box(_plain(box_xyxy), "a box", instead="a click")
    x0, y0, x1, y1 = clipped_box(box, coordinates, "a box")
    return [(x0, y0), (x1, y1)]


def _label(label: Any) -> int:
    if label not in _LABELS:
        raise PromptError(f"a label must be 1 (on the object) or 0 (not on it), got {label!r}")
    return int(label)
