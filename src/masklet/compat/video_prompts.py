"""Prompts on frames in the original's form, fractions of the frame, -> pixels of the frame. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from masklet.compat.refusals import RefusedError
from masklet.types import Exemplar


def exemplars_of(boxes: Any, labels: Any, size_hw: tuple[int, int]) -> tuple[Exemplar, ...]:
    """Boxes that show what is meant, and what is not.

    Args:
        boxes: (N, 4) or (4,) left, top, width, height, 0..1.
        labels: N, 1 for an example, 0 for a counter-example.
        size_hw: of the frame, pixels.

    Returns:
        Examples first: what is meant begins with one.

    Raises:
        RefusedError: boxes without labels or labels without boxes, not as many, no box, or numbers beyond 0..1.
        PromptError: a box without an area, an unknown label.
    """
    if boxes is None or labels is None:
        raise RefusedError(
            "bounding_boxes and bounding_box_labels go together, got only one of them; label 1 is an example"
        )
    rows = _fractions(boxes, "bounding_boxes", 4, "left, top, width, height")
    kinds = labels_of(labels)
    if len(kinds) != len(rows):
        raise RefusedError(f"every box has a label, got {len(rows)} bounding_boxes and {len(kinds)} labels")
    height, width = size_hw
    found = [
        Exemplar((x * width, y * height, (x + w) * width, (y + h) * height), positive=kind)
        for (x, y, w, h), kind in zip(rows.tolist(), kinds, strict=True)
    ]
    return tuple(sorted(found, key=lambda exemplar: not exemplar.positive))


def points_px(
    points: Any, size_hw: tuple[int, int], *, of_hw: tuple[int, int] | None = None
) -> list[tuple[float, float]]:
    """Clicks in pixels of the frame.

    Args:
        points: (P, 2) or (1, P, 2) x, y.
        size_hw: of the frame, pixels.
        of_hw: the points are pixels of a picture of this size; None: fractions.

    Raises:
        RefusedError: another shape, or fractions beyond 0..1.
    """
    height, width = size_hw
    if of_hw is None:
        rows = _fractions(points, "points", 2, "x, y")
    else:
        rows = _numbers(points, "points", 2) / np.array([of_hw[1], of_hw[0]])
    return [(x * width, y * height) for x, y in rows.tolist()]


def box_px(box: Any, size_hw: tuple[int, int], *, of_hw: tuple[int, int] | None = None) -> tuple[float, ...]:
    """A box around an object, left, top, right, bottom, in pixels of the frame.

    Args:
        box: (4,) or (1, 4).
        size_hw: of the frame, pixels.
        of_hw: the box is in pixels of a picture of this size; None: fractions.

    Raises:
        RefusedError: another shape, or fractions beyond 0..1.
    """
    corners = _numbers(box, "box", 4)
    if len(corners) != 1:
        raise RefusedError(f"box must be left, top, right, bottom of one object, got {len(corners)} boxes")
    return tuple(number for corner in points_px(corners.reshape(2, 2), size_hw, of_hw=of_hw) for number in corner)


def labels_of(labels: Any) -> list[Any]:
    """Labels of clicks or boxes, (P,) or (1, P), as a list."""
    plain = labels.cpu().numpy() if isinstance(labels, Tensor) else labels
    found: list[Any] = np.asarray(plain).reshape(-1).tolist()
    return found


def _fractions(values: Any, name: str, width: int, order: str) -> npt.NDArray[np.float64]:
    rows = _numbers(values, name, width)
    if not ((rows >= 0) & (rows <= 1)).all():  # also where a number is NaN
        raise RefusedError(
            f"{name} must be {order} as fractions 0..1 of the frame, got {rows.tolist()}; divide pixels by its width "
            "and height"
        )
    return rows


def _numbers(values: Any, name: str, width: int) -> npt.NDArray[np.float64]:
    """(N, width), N at least 1; one row may come without its axis, or all with one more."""
    plain = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
    try:
        found = np.asarray(plain, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise RefusedError(f"{name} must be rows of {width} numbers, got {values!r}") from error
    if not found.size or found.shape[-1] != width or found.size != np.prod(found.shape[-2:]):
        raise RefusedError(f"{name} must be of shape (N, {width}), N at least 1, got {found.shape}")
    return found.reshape(-1, width)
