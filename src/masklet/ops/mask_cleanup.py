"""Masks of one frame made fit for use: holes and sprinkles removed, overlaps settled.

The rules are those of spec/tracker.md 8.2 to 8.4 and 10.3.

All functions are pure: (O, h, w) in, (O, h, w) of the same type out, their arguments unchanged (what comes out may be
what went in, where there was nothing to do). `groups` are numbers, one for each mask: masks of different groups do not
touch each other. Work and memory grow with the number of masks, not with that of pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from masklet.ops.masks import BoolArray

OUTSIDE = -10.0
"""The highest logit of a pixel that a mask has lost: outside for certain."""

INSIDE = 10.0
"""The logit of a pixel that a mask was given: inside for certain."""

_FILLED, _CLEARED = 0.1, -0.1  # logits of pixels whose side is changed: just across
_IN_SIGHT = 10.0
_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=np.int8)

Groups = Sequence[int] | npt.NDArray[np.int64]


def cleaned(mask_logits: Tensor, area: int) -> Tensor:
    """Masks without small holes and sprinkles (spec/tracker.md 8.2).

    First every connected part of the outside with at most `area` pixels is filled, also at the border; then every part
    of the inside is cleared that has at most `area` pixels and at most half of the pixels that are inside by then.
    Pixels that meet at a corner are connected. A mask of one part is never cleared; one of two equal small parts is
    cleared wholly.

    Args:
        mask_logits: (O, h, w) on any device; positive is inside.
        area: pixels; 0 changes nothing.
    """
    filled = _repainted(mask_logits, area, lambda inside: _small_parts(~inside, area), _FILLED)
    # A pixel that was filled may be cleared again.
    return _repainted(filled, area, lambda inside: _small_parts(inside, min(int(inside.sum()) // 2, area)), _CLEARED)


def without_holes(mask_logits: Tensor, area: int) -> Tensor:
    """Masks in which connected parts of the outside with at most `area` pixels are `INSIDE` (spec/tracker.md 10.3).

    Pixels that meet at a corner are connected, and parts at the border are no exception.

    Args:
        mask_logits: (O, h, w) on any device; positive is inside.
        area: pixels; 0 changes nothing.
    """
    return _repainted(mask_logits, area, lambda inside: _small_parts(~inside, area), INSIDE)


def without_sprinkles(mask_logits: Tensor, area: int) -> Tensor:
    """Masks in which connected parts of the inside with at most `area` pixels are `OUTSIDE`; else as `without_holes`.

    A mask that has no larger part is emptied.
    """
    return _repainted(mask_logits, area, lambda inside: _small_parts(inside, area), OUTSIDE)


def strongest_only(mask_logits: Tensor, groups: Groups | None = None) -> Tensor:
    """Each pixel for the mask with the largest logit there; the others lose it (spec/tracker.md 8.3).

    Args:
        mask_logits: (O, h, w).
        groups: O numbers; None: all masks are of one group.

    Returns:
        (O, h, w): what was lost is at most `OUTSIDE`. Of equal logits the first mask's wins.
    """
    result = mask_logits.clone()
    for members in _by_group(len(mask_logits), groups):
        _, strongest = _strongest(mask_logits, members)
        for mask_idx in members:
            result[mask_idx].masked_fill_((strongest != mask_idx) & (result[mask_idx] > OUTSIDE), OUTSIDE)
    return result


def without_shrunk(mask_logits: Tensor, share: float, groups: Groups | None = None) -> Tensor:
    """Masks that others leave too little of are emptied, the rest stays as it is, overlaps included (8.4).

    Args:
        mask_logits: (O, h, w).
        share: 0..1; a mask is emptied that wins less than this share of its pixels by the rule of `strongest_only`.
        groups: O numbers; None: all masks are of one group.

    Returns:
        (O, h, w): emptied masks are at most `OUTSIDE` everywhere, those without a pixel as well. A mask that is alone
        in its group stays as it is.
    """
    before = (mask_logits > 0).flatten(1).sum(1)
    after = torch.zeros_like(before)
    alone = torch.zeros_like(before, dtype=torch.bool)
    for members in _by_group(len(mask_logits), groups):
        if len(members) == 1:
            alone[members] = True
            continue
        largest, strongest = _strongest(mask_logits, members)
        after += torch.bincount(strongest[largest > 0], minlength=len(after))
    shrunk = (after.float() / before.clamp(min=1).float() < share) & ~alone
    if not shrunk.any():
        return mask_logits
    return torch.where(shrunk[:, None, None], mask_logits.clamp(max=OUTSIDE), mask_logits)


def emptied(mask_logits: Tensor, chosen: BoolArray) -> Tensor:
    """Masks of which those at (O,) `chosen` are `OUTSIDE` everywhere (spec/video.md 6.3)."""
    if not chosen.any():
        return mask_logits
    pixels = torch.from_numpy(chosen).to(mask_logits.device)[:, None, None]
    return mask_logits.masked_fill(pixels, OUTSIDE)


def later_cut_earlier(masks: Tensor, groups: Groups | None = None) -> Tensor:
    """Masks that do not overlap, since each loses what a later one covers (spec/tracker.md 9.2, step 3).

    Args:
        masks: (O, h, w) bool.
        groups: O numbers; None: all masks are of one group.
    """
    result = masks.clone()
    for members in _by_group(len(masks), groups):
        covered = torch.zeros_like(masks[0])
        for mask_idx in reversed(members):
            result[mask_idx] &= ~covered
            covered |= masks[mask_idx]
    return result


def sight_logits_of(mask_logits: Tensor) -> Tensor:
    """(O,) float32 what is remembered of objects being in sight, by their masks: 10 with a pixel inside, else -10.

    The tracker's own logits do not count (spec/video.md 6.4).
    """
    return (mask_logits > 0).flatten(1).any(1).float() * (2 * _IN_SIGHT) - _IN_SIGHT


def _repainted(mask_logits: Tensor, area: int, chosen: Callable[[BoolArray], BoolArray], logit: float) -> Tensor:
    """Masks with another logit where `chosen` says so of the inside; it looks at parts of at most `area` pixels."""
    if area <= 0 or not mask_logits.numel():
        return mask_logits
    inside = (mask_logits > 0).cpu().numpy()
    pixels = np.zeros_like(inside)
    for mask_idx, window in _windows(inside, area + 1):
        pixels[mask_idx][window] = chosen(inside[mask_idx][window])
    return (
        mask_logits.masked_fill(torch.from_numpy(pixels).to(mask_logits.device), logit) if pixels.any() else mask_logits
    )


def _windows(inside: BoolArray, margin: int) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """For each (O, h, w) mask the part in which small parts of in- and outside have their true size, if there is one.

    This is the box around the inside and `margin` pixels more: whatever reaches beyond has more than `margin` - 1
    pixels in it. Labelling is the slow part, and objects are smaller than pictures.
    """
    _, height, width = inside.shape
    used_rows, used_columns = np.logical_or.reduce(inside, axis=2), np.logical_or.reduce(inside, axis=1)
    for mask_idx in range(len(inside)):
        if used_rows[mask_idx].any():
            (top, bottom), (left, right) = (
                np.flatnonzero(used[mask_idx])[[0, -1]] for used in (used_rows, used_columns)
            )
            yield (
                mask_idx,
                (
                    slice(max(int(top) - margin, 0), int(bottom) + 1 + margin),
                    slice(max(int(left) - margin, 0), int(right) + 1 + margin),
                ),
            )
        elif height * width < margin:
            yield mask_idx, (slice(None), slice(None))


def _small_parts(pixels: BoolArray, area: int) -> BoolArray:
    """(h, w) the pixels in connected parts of at most `area` pixels."""
    labels, _ = ndimage.label(pixels, _EIGHT_NEIGHBOURS)
    small = np.bincount(labels.ravel()) <= area
    small[0] = False  # the label of what is not in `pixels`
    parts: BoolArray = small[labels]
    return parts


def _by_group(count: int, groups: Groups | None) -> Iterable[list[int]]:
    """The places of the masks of each group, ascending."""
    places: dict[int, list[int]] = {}
    for mask_idx, group in enumerate([0] * count if groups is None else groups):
        places.setdefault(int(group), []).append(mask_idx)
    return places.values()


def _strongest(mask_logits: Tensor, members: list[int]) -> tuple[Tensor, Tensor]:
    """The largest logit of each pixel among some of (O, h, w) masks, and the first of the masks that has it."""
    first, *others = members
    largest = mask_logits[first]
    strongest = torch.full(largest.shape, first, dtype=torch.int32, device=largest.device)
    # One mask after the other: torch takes many times longer for an argmax over the leading axis.
    for mask_idx in others:
        strongest.masked_fill_(mask_logits[mask_idx] > largest, mask_idx)
        largest = torch.maximum(largest, mask_logits[mask_idx])
    return largest, strongest
