"""What is known of one object on a picture, and many such prompts as the tracker's network reads them.

Unusual: objects go through the network together only if they have equally many points. Padding is no way out: a point
that is none (label -1) is a token of its own that the network has learnt to read, and it changes the answer
(spec/tracker.md 3.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from masklet.errors import PromptError
from masklet.inference.places import check_inside, clipped_box
from masklet.ops.coordinates import ImageCoordinates
from masklet.ops.masks import BoolArray
from masklet.ops.resize import resized
from masklet.types import PointPrompts, checked_box, finite_numbers

_CORNERS = (2, 3)  # labels of a box's top left and bottom right corner
_INSIDE = 10.0  # logit of the inside of a mask that is given as pixels, and less of the outside (spec/tracker.md 4.6)


@dataclass(frozen=True, init=False, eq=False)
class ObjectPrompt:
    """What is known of one object: clicks, a box, a mask or an earlier answer, alone or together.

    Whether it fits a picture shows when it is used: boxes are clipped there, with a warning.

    Attributes:
        points: P places (x, y) in pixels of the picture.
        labels: P numbers, 1 for a point on the object, 0 for one that is not.
        box: left, top, right, bottom in pixels of the picture; or None.
        mask: (H, W) bool of the picture's size; or None.
        logits: (h, w) float32 of the whole picture at any size, positive on the object; or None.
        name: what results call the object.
    """

    points: tuple[tuple[float, float], ...]
    labels: tuple[int, ...]
    box: tuple[float, float, float, float] | None
    mask: BoolArray | None
    logits: npt.NDArray[np.float32] | None
    name: str

    def __init__(
        self,
        *,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        logits: ArrayLike | None = None,
        name: str = "object",
    ) -> None:
        """Checks what is given.

        Args:
            points: P places (x, y) in pixels of the picture.
            labels: P numbers, 1 for a point on the object, 0 for one that is not; None: all are on it.
            box: left, top, right, bottom in pixels of the picture.
            mask: (H, W) of the picture's size, true or above 0 on the object.
            logits: (h, w) or (1, h, w): one of the `low_res_logits` of an earlier answer, to be refined.
            name: what results call the object.

        Raises:
            PromptError: nothing is given, both a mask and logits are, or something cannot be used.
        """
        places = _points(points)
        kept: dict[str, Any] = {
            "points": places,
            "labels": _labels(labels, len(places)),
            "box": None if box is None else checked_box(box, "a box", instead="points"),
            "mask": None if mask is None else _mask(mask),
            "logits": None if logits is None else _logits(logits),
            "name": name,
        }
        if not places and box is None and mask is None and logits is None:
            raise PromptError(
                "expected points, a box, a mask or logits of an object, got none of them; show the object"
            )
        if mask is not None and logits is not None:
            raise PromptError("expected a mask or logits of an object, got both; give the one that is to be refined")
        if not isinstance(name, str) or not name.strip():
            raise PromptError(f"the name of an object must be text, got {name!r}")
        for attribute, value in kept.items():
            object.__setattr__(self, attribute, value)

    @property
    def kind(self) -> tuple[int, bool]:
        """What must be equal in a batch: how many points, corners of a box counted, and whether there is a mask."""
        return len(self.points) + 2 * (self.box is not None), self.mask is not None or self.logits is not None

    @property
    def ambiguous(self) -> bool:
        """A single click: it may mean a part or the whole. A box or more clicks do not (spec/tracker.md 4.5)."""
        return self.kind == (1, False)


@dataclass(frozen=True, kw_only=True)
class PromptBatch:
    """Some of the objects on a picture, as the tracker reads them.

    Attributes:
        object_idx: which of the objects these are, ascending.
        points: corners of the box first, then points, in pixels of the square input; None where the masks are all.
        mask_logits: (O, 4h, 4w), or None.
    """

    object_idx: tuple[int, ...]
    points: PointPrompts | None
    mask_logits: Tensor | None

    def part(self, rows: slice) -> Self:
        """Those at `rows`."""
        points = self.points
        return type(self)(
            object_idx=self.object_idx[rows],
            points=None if points is None else PointPrompts(xy_px=points.xy_px[rows], labels=points.labels[rows]),
            mask_logits=None if self.mask_logits is None else self.mask_logits[rows],
        )


def batch_prompts(
    prompts: Sequence[ObjectPrompt],
    image_size_hw: tuple[int, int],
    *,
    input_size_hw: tuple[int, int],
    mask_size_hw: tuple[int, int],
    device: torch.device | str | None = None,
) -> list[PromptBatch]:
    """Objects on one picture in batches of equal kind; every object is in one of them.

    Args:
        prompts: of any kinds.
        image_size_hw: of the picture, pixels.
        input_size_hw: of the square that the network sees, pixels.
        mask_size_hw: of the network's masks.
        device: of the result.

    Raises:
        PromptError: a point or a whole box outside the picture, a mask of another size.
    """
    coordinates = ImageCoordinates(height=image_size_hw[0], width=image_size_hw[1])
    groups: dict[tuple[int, bool], list[int]] = {}
    for index, prompt in enumerate(prompts):
        groups.setdefault(prompt.kind, []).append(index)
    size_xy = torch.tensor([input_size_hw[1], input_size_hw[0]], dtype=torch.float64)
    batches = []
    for (points, masked), object_idx in groups.items():
        mine = [prompts[index] for index in object_idx]
        # In float64 until they are pixels of the square: float32 would already round pixels of large pictures.
        places = torch.tensor([_places(prompt, coordinates) for prompt in mine], dtype=torch.float64)
        xy_px = coordinates.points_to_norm(places.reshape(len(mine), points, 2)) * size_xy
        labels = torch.tensor([_labels_of_places(prompt) for prompt in mine], dtype=torch.int64)
        masks = [_mask_logits(prompt, image_size_hw, mask_size_hw) for prompt in mine] if masked else []
        batches.append(
            PromptBatch(
                object_idx=tuple(object_idx),
                points=PointPrompts(xy_px=xy_px.float().to(device), labels=labels.to(device)) if points else None,
                mask_logits=torch.cat(masks).to(device) if masked else None,
            )
        )
    return batches


def _places(prompt: ObjectPrompt, coordinates: ImageCoordinates) -> list[tuple[float, float]]:
    corners = []
    if prompt.box is not None:
        x0, y0, x1, y1 = clipped_box(prompt.box, coordinates, "a box")
        corners = [(x0, y0), (x1, y1)]
    return corners + [check_inside(point, coordinates, "a point") for point in prompt.points]


def _labels_of_places(prompt: ObjectPrompt) -> list[int]:
    return [*(_CORNERS if prompt.box is not None else ()), *prompt.labels]


def _mask_logits(prompt: ObjectPrompt, image_size_hw: tuple[int, int], mask_size_hw: tuple[int, int]) -> Tensor:
    """(1, 4h, 4w)."""
    if prompt.logits is not None:
        return resized(torch.from_numpy(prompt.logits)[None], mask_size_hw)
    assert prompt.mask is not None
    if prompt.mask.shape != image_size_hw:
        raise PromptError(
            f"a mask must have the picture's size (H, W) = {image_size_hw}, got {prompt.mask.shape}; resize it, or "
            "give an earlier answer's low_res_logits as `logits`"
        )
    return resized(torch.from_numpy(prompt.mask)[None], mask_size_hw) * (2 * _INSIDE) - _INSIDE


# --- what a caller gives ----------------------------------------------------------------------------------------------


def _points(points: ArrayLike | None) -> tuple[tuple[float, float], ...]:
    if points is None:
        return ()
    wanted = "points must be a list of (x, y) in pixels"
    if not isinstance(points, Iterable):
        raise PromptError(f"{wanted}, got {points!r}")
    each = list(points)
    if each and np.ndim(each[0]) == 0:
        raise PromptError(f"{wanted}, got {points!r}; put a single one in a list")
    pairs = [finite_numbers(point, ("x", "y"), "a point") for point in each]
    return tuple((x, y) for x, y in pairs)


def _labels(labels: ArrayLike | None, points: int) -> tuple[int, ...]:
    if labels is None:
        return (1,) * points
    each: list[Any] = list(labels) if isinstance(labels, Iterable) else [labels]
    if len(each) != points:
        raise PromptError(f"labels must be one for each point, got {len(each)} for {points} points: {labels!r}")
    for label in each:
        if label not in (0, 1):
            raise PromptError(f"a label must be 1 (on the object) or 0 (not on it), got {label!r}")
    return tuple(int(label) for label in each)


def _mask(mask: ArrayLike) -> BoolArray:
    pixels = np.asarray(mask)
    if pixels.ndim != 2:
        raise PromptError(f"a mask must be (H, W) of the picture's size, got shape {pixels.shape}")
    inside: BoolArray = pixels > 0
    if not inside.any():
        raise PromptError(f"a mask must have a pixel set, got an empty one of shape {pixels.shape}")
    return inside


def _logits(logits: ArrayLike) -> npt.NDArray[np.float32]:
    numbers = np.array(logits, dtype=np.float32)
    if numbers.ndim == 3 and len(numbers) == 1:
        numbers = numbers[0]
    if numbers.ndim != 2 or not numbers.size:
        raise PromptError(
            "logits must be (h, w), one of the low_res_logits of an earlier answer, "
            f"got shape {numbers.shape}; choose one of them"
        )
    if not np.isfinite(numbers).all():
        raise PromptError("logits must be finite numbers, got some that are not")
    return numbers
