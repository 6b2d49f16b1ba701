"""Clicks in the original's form: arrays of many shapes in, arrays of the picture's size out (spec/tracker.md 10).

Prompts are checked for what cannot be read, but not against the picture: a click may lie beside it, as in the original.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from masklet.compat.maps import stretched
from masklet.errors import PromptError
from masklet.inference.object_result import MaskCleanup
from masklet.model.tracker import Tracker
from masklet.types import PointPrompts, TrackerFeatures

FloatArray = npt.NDArray[np.float32]
Answer = tuple[FloatArray, FloatArray, FloatArray]
"""Masks (C, H, W), qualities (C,), logits (C, h, w) in the order of the network; N > 1 objects: N before each."""

Answers = tuple[list[FloatArray], list[FloatArray], list[FloatArray]]
"""The parts of one `Answer` for each picture."""

_LARGEST_LOGIT = 32.0
_LABELS = (-1, 0, 1, 2, 3)  # of `PointPrompts`


@dataclass(frozen=True, kw_only=True)
class ClickedPicture:
    """A picture as clicks need it.

    Attributes:
        features: of the one picture.
        size_hw: of it, pixels.
    """

    features: TrackerFeatures
    size_hw: tuple[int, int]


@dataclass(frozen=True)
class Prompt:
    """What a caller gave for the objects of one picture.

    Attributes:
        point_coords: (P, 2) or (N, P, 2) x, y.
        point_labels: (P,) or (N, P), 1 on the object, 0 not on it.
        box: (4,) or (N, 4) left, top, right, bottom.
        mask_input: (1, h, w) or (N, 1, h, w) logits of an earlier answer; one serves N objects.
    """

    point_coords: ArrayLike | None
    point_labels: ArrayLike | None
    box: ArrayLike | None
    mask_input: ArrayLike | None


@dataclass(frozen=True)
class Form:
    """What is wanted.

    Attributes:
        multimask_output: three candidates, not one mask.
        return_logits: masks as logits of the picture's size, not as 0 and 1.
        normalize_coords: coordinates are pixels of the picture; else fractions of it.
    """

    multimask_output: bool
    return_logits: bool
    normalize_coords: bool


@torch.no_grad()
def answer_clicks(
    tracker: Tracker, picture: ClickedPicture, prompt: Prompt, form: Form, cleanup: MaskCleanup
) -> Answer:
    """Masks of what is clicked; the logits among the answer are as they were before the clean-up, in -32..32.

    Raises:
        PromptError: shapes that do not fit, numbers that are not finite, an unknown label.
    """
    features = picture.features
    device = features.coarse.device
    side_y, side_x = tracker.input_size_hw(features)
    height, width = picture.size_hw if form.normalize_coords else (1, 1)
    points = _points(prompt)
    if points is not None:
        xy_px = points.xy_px * torch.tensor([side_x / width, side_y / height])
        points = PointPrompts(xy_px=xy_px.to(device), labels=points.labels.to(device))
    masks = None if prompt.mask_input is None else _mask_logits(prompt.mask_input, features.mask_size_hw).to(device)
    objects = len(points) if points is not None else 1 if masks is None else len(masks)
    if masks is not None and len(masks) not in (1, objects):
        raise PromptError(f"mask_input must be one mask, or one for each of {objects} objects, got {len(masks)}")
    found = tracker.candidates(features, points, mask_logits=masks, ambiguous=form.multimask_output)

    low = found.mask_logits.float()  # (N, C, h, w)
    full = stretched(cleanup.applied(low.flatten(0, 1)).unflatten(0, low.shape[:2]), picture.size_hw)
    shown = full if form.return_logits else (full > 0).float()
    parts = (shown, found.quality.float(), low.clamp(-_LARGEST_LOGIT, _LARGEST_LOGIT))
    shown_masks, quality, logits = ((part[0] if objects == 1 else part).cpu().numpy() for part in parts)
    return shown_masks, quality, logits


def answer_each(
    tracker: Tracker,
    pictures: Sequence[ClickedPicture],
    prompts: Sequence[Sequence[ArrayLike | None] | None],
    form: Form,
    cleanup: MaskCleanup,
) -> Answers:
    """The answers for several pictures.

    Args:
        tracker: answers.
        pictures: any number.
        prompts: for each attribute of `Prompt` None, or a list with an entry for each picture.
        form: of all answers.
        cleanup: of all masks.

    Raises:
        PromptError: a list of another length, and as `answer_clicks`.
    """
    for values in prompts:
        if values is not None and len(values) != len(pictures):
            raise PromptError(
                f"prompts must be lists with an entry for each of {len(pictures)} pictures, got {len(values)}"
            )
    each = zip(*([None] * len(pictures) if values is None else values for values in prompts), strict=True)
    found = [
        answer_clicks(tracker, picture, Prompt(*prompt), form, cleanup)
        for picture, prompt in zip(pictures, each, strict=True)
    ]
    masks, quality, logits = (list(part) for part in zip(*found, strict=True))
    return masks, quality, logits


def _points(prompt: Prompt) -> PointPrompts | None:
    """Corners of boxes, then points, of N objects, in the unit of the caller; None if there are neither."""
    if (prompt.point_coords is None) != (prompt.point_labels is None):
        raise PromptError("point_coords and point_labels go together, got only one of them")
    parts = []
    if prompt.box is not None:
        parts.append(PointPrompts.from_boxes(_numbers(prompt.box, "box", "(4,) or (N, 4)", (4,))))
    if prompt.point_coords is not None:
        places = _numbers(prompt.point_coords, "point_coords", "(P, 2) or (N, P, 2)", (None, 2))
        labels = _numbers(prompt.point_labels, "point_labels", "(P,) or (N, P)", (None,))
        if places.shape[:2] != labels.shape:
            raise PromptError(
                f"point_labels must be one for each point, got {tuple(labels.shape)} for points {tuple(places.shape)}"
            )
        unknown = sorted(set(labels.flatten().tolist()) - set(_LABELS))
        if unknown:
            raise PromptError(f"point_labels must be 1 (on the object) or 0 (not on it), got {unknown}")
        parts.append(PointPrompts(xy_px=places, labels=labels.long()))
    if len({len(part) for part in parts}) > 1:
        raise PromptError(f"box and point_coords must be of equally many objects, got {[len(part) for part in parts]}")
    return None if not parts else parts[0] if len(parts) == 1 else parts[0].followed_by(parts[1])


def _mask_logits(mask_input: ArrayLike, size_hw: tuple[int, int]) -> Tensor:
    """(N, h, w)."""
    height, width = size_hw
    wanted = f"(1, {height}, {width}) or (N, 1, {height}, {width})"
    return _numbers(mask_input, "mask_input", wanted, (1, height, width))[:, 0]


def _numbers(values: Any, name: str, wanted: str, shape: tuple[int | None, ...]) -> Tensor:
    """Finite float32 numbers with an axis of objects before `shape`, where None is any length."""
    try:
        given = (
            values.detach() if isinstance(values, Tensor) else torch.from_numpy(np.asarray(values, dtype=np.float32))
        )
    except (TypeError, ValueError) as error:
        raise PromptError(f"{name} must be numbers {wanted}, got {values!r}") from error
    numbers = given.float().cpu()
    if numbers.ndim == len(shape):
        numbers = numbers[None]
    fits = numbers.ndim == len(shape) + 1 and all(
        size in (None, found) for size, found in zip(shape, numbers.shape[1:], strict=True)
    )
    if not fits or not numbers.numel():
        raise PromptError(f"{name} must be {wanted}, got shape {tuple(given.shape)}")
    if not numbers.isfinite().all():
        raise PromptError(f"{name} must be finite numbers, got some that are not")
    return numbers
