"""Holes, sprinkles and overlaps against plain loops over pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from masklet.ops.mask_cleanup import (
    cleaned,
    emptied,
    later_cut_earlier,
    sight_logits_of,
    strongest_only,
    without_holes,
    without_shrunk,
    without_sprinkles,
)

Bools = npt.NDArray[np.bool_]
EXAMPLES = settings(max_examples=60, derandomize=True, deadline=None)


def logits_of(*rows: str) -> Tensor:
    """One mask: `#` is inside."""
    return torch.tensor([[[3.0 if pixel == "#" else -3.0 for pixel in row] for row in rows]])


def rows_of(logits: Tensor) -> list[str]:
    return ["".join("#" if pixel > 0 else "." for pixel in row) for row in logits[0]]


def bar(length: int, logit: float, *, width: int = 16) -> Tensor:
    mask = torch.full((1, 3, width), -5.0)
    mask[0, 1, :length] = logit
    return mask


def areas(logits: Tensor) -> list[int]:
    found: list[int] = (logits > 0).flatten(1).sum(1).tolist()
    return found


# --- slow and obvious -------------------------------------------------------------------------------------------------


def parts(pixels: Bools) -> list[list[tuple[int, int]]]:
    left = {(int(y), int(x)) for y, x in np.argwhere(pixels)}
    found = []
    while left:
        part, edge = [], [left.pop()]
        while edge:
            y, x = edge.pop()
            part.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            edge.extend(near)
        found.append(part)
    return found


def slow_cleaned(logits: npt.NDArray[np.float32], area: int) -> npt.NDArray[np.float32]:
    result = logits.copy()
    for mask in result:
        for part in parts(mask <= 0):
            if len(part) <= area:
                for place in part:
                    mask[place] = 0.1
        limit = min(int((mask > 0).sum()) // 2, area)
        for part in parts(mask > 0):
            if len(part) <= limit:
                for place in part:
                    mask[place] = -0.1
    return result


def slow_winner(logits: npt.NDArray[np.float32], members: list[int], y: int, x: int) -> int:
    return max(members, key=lambda index: (logits[index, y, x], -index))


def grouped(groups: list[int]) -> list[list[int]]:
    return [[index for index, one in enumerate(groups) if one == group] for group in sorted(set(groups))]


@st.composite
def masks_and_groups(draw: st.DrawFn) -> tuple[npt.NDArray[np.float32], list[int]]:
    shape = (draw(st.integers(0, 5)), draw(st.integers(1, 5)), draw(st.integers(1, 4)))
    values = st.sampled_from([-11.0, -5.0, 0.0, 1.0, 5.0, 9.0])
    groups = draw(st.lists(st.integers(-1, 2), min_size=shape[0], max_size=shape[0]))
    return draw(arrays(np.float32, shape, elements=values)), groups


# --- holes and sprinkles ----------------------------------------------------------------------------------------------


def test_checked_cases_of_cleaning() -> None:
    """Spec/tracker.md 8.2 "cases checked", at 16 pixels."""
    hole = torch.full((1, 20, 21), -3.0)
    hole[0, 2:16, 3:17] = 3.0
    hole[0, 5:7, 6:8] = -3.0
    hole[0, 18, 20] = 3.0
    result = cleaned(hole, 16)
    assert torch.equal(result[0, 5:7, 6:8], torch.full((2, 2), 0.1))
    assert result[0, 18, 20] == torch.tensor(-0.1)
    assert torch.equal(result != hole, (result == torch.tensor(0.1)) | (result == torch.tensor(-0.1)))

    lone = torch.full((1, 20, 21), -3.0)
    lone[0, 4:6, 4:6] = 3.0
    assert cleaned(lone, 16) is lone  # a lone object of 4 pixels survives: at most half of it may go

    two = torch.full((1, 20, 21), -3.0)
    two[0, 4, 4] = two[0, 5, 5] = two[0, 12, 4] = two[0, 12, 5] = 3.0
    assert areas(cleaned(two, 16)) == [0]  # two equal parts: both go; the first is one part, by its corner


def test_the_border_is_not_exempt() -> None:
    """Spec/tracker.md 8.2, and 15.5: a hole in the corner is filled, a map of 4 x 4 without a pixel wholly."""
    corner = torch.full((1, 12, 13), 3.0)
    corner[0, :2, :2] = -3.0
    assert areas(cleaned(corner, 4)) == [12 * 13]
    assert torch.equal(cleaned(torch.full((2, 4, 4), -3.0), 16), torch.full((2, 4, 4), 0.1))
    assert areas(cleaned(torch.full((1, 4, 5), -3.0), 16)) == [0]


def test_a_filled_hole_may_join_what_would_be_cleared() -> None:
    """Spec/tracker.md 8.2: the second step looks at what the first has made."""
    apart = logits_of("........", ".##.#...", ".##.#...", "........")
    assert rows_of(cleaned(apart, 2)) == ["........", ".##.....", ".##.....", "........"]
    dot_in_a_hole = logits_of("#.###", "..###", "#####", "#####")
    assert rows_of(cleaned(dot_in_a_hole, 3)) == ["#####"] * 4
    assert rows_of(cleaned(dot_in_a_hole, 2)) == ["..###", "..###", "#####", "#####"]


@pytest.mark.parametrize("shape", [(0, 5, 6), (3, 0, 4)])
def test_cleaning_nothing(shape: tuple[int, int, int]) -> None:
    """Trap 23: without masks the original fails."""
    assert cleaned(torch.zeros(shape), 16).shape == shape
    mask = logits_of("#.#", "...")
    assert cleaned(mask, 0) is mask


@given(arrays(np.bool_, st.tuples(st.integers(0, 3), st.integers(1, 13), st.integers(1, 12))), st.integers(0, 5))
@EXAMPLES
def test_cleaning_by_flooding(inside: Bools, area: int) -> None:
    logits = np.where(inside, 2.0, -2.0).astype(np.float32)
    before = logits.copy()
    result = cleaned(torch.from_numpy(logits), area)
    assert np.array_equal(result.numpy(), slow_cleaned(logits, area))
    assert np.array_equal(logits, before)


@pytest.mark.parametrize("seed", range(4))
def test_small_objects_in_large_frames(seed: int) -> None:
    """Only the surroundings of an object are looked at; areas count as if it were the whole frame."""
    rng = np.random.default_rng(seed)
    logits = np.full((4, 41, 37), -2.0, dtype=np.float32)
    for mask in logits:
        y, x = rng.integers(0, 30, 2)
        mask[y : y + 14, x : x + 12] = np.where(rng.random((14, 12))[: 41 - y, : 37 - x] < 0.6, 2.0, -2.0)
        mask[rng.integers(41), rng.integers(37)] = 2.0
    logits[0, :, 20:] = 2.0  # columns of the outside remain at the left, and one beside the border
    logits[0, :, 36] = -2.0
    assert np.array_equal(cleaned(torch.from_numpy(logits), 4).numpy(), slow_cleaned(logits, 4))


def test_numbers_of_half_precision_stay_so() -> None:
    mask = logits_of("######.", "##.####", "#######").bfloat16()
    assert cleaned(mask, 1).dtype == torch.bfloat16
    assert areas(cleaned(mask, 1)) == [21]


def test_holes_of_clicked_masks() -> None:
    """Spec/tracker.md 10.3 at the size of the public model: 36 pixels are filled with 10, 324 are not."""
    mask = torch.full((1, 288, 288), -4.0)
    mask[0, 40:200, 30:250] = 4.0
    mask[0, 50:56, 40:46] = -4.0
    mask[0, 80:98, 60:78] = -4.0
    mask[0, 120:136, 100:116] = 0.0  # 256: the largest that is filled; a logit of 0 is outside
    mask[0, 250, 10] = 4.0
    result = without_holes(mask, 256)
    changed = torch.zeros_like(mask, dtype=torch.bool)
    changed[0, 50:56, 40:46] = changed[0, 120:136, 100:116] = True
    assert torch.equal(result, torch.where(changed, 10.0, mask))
    assert torch.equal(without_holes(mask, 255) != mask, changed & (mask < 0))
    assert without_holes(mask, 0) is mask


@given(arrays(np.bool_, st.tuples(st.integers(0, 3), st.integers(1, 13), st.integers(1, 12))), st.integers(0, 5))
@EXAMPLES
def test_holes_and_sprinkles_by_flooding(inside: Bools, area: int) -> None:
    """Each in one step; unlike `cleaned`, a mask of one small part goes as well."""
    logits = np.where(inside, 2.0, -2.0).astype(np.float32)
    filled, cleared = logits.copy(), logits.copy()
    for k, mask in enumerate(logits):
        for result, pixels, logit in ((filled, mask <= 0, 10.0), (cleared, mask > 0, -10.0)):
            for part in parts(pixels):
                if len(part) <= area:
                    result[k][tuple(np.array(part).T)] = logit
    assert np.array_equal(without_holes(torch.from_numpy(logits), area).numpy(), filled)
    assert np.array_equal(without_sprinkles(torch.from_numpy(logits), area).numpy(), cleared)


# --- overlaps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [6, 7, 8])
def test_shrunk_masks(length: int) -> None:
    """Spec/video.md 15.3 row 16: a share of exactly 0.3 stays; who stays keeps all pixels."""
    pair = torch.cat((bar(10, 1.0), bar(length, 5.0)))
    assert areas(without_shrunk(pair, 0.3)) == [0 if length == 8 else 10, length]
    assert areas(strongest_only(pair)) == [10 - length, length]


def test_equal_logits_go_to_the_first() -> None:
    """15.3 row 16, the tie."""
    pair = torch.cat((bar(10, 5.0), bar(9, 5.0)))
    result = without_shrunk(pair, 0.3)
    assert areas(result) == [10, 0]
    assert result[1].max() == -10
    assert areas(without_shrunk(pair, 0.3, groups=[0, 1])) == [10, 9]


def test_what_is_lost_is_not_raised() -> None:
    """8.3 and 8.4: the lesser of the logit and -10."""
    pair = torch.tensor([[[3.0, -20.0, 4.0]], [[5.0, 1.0, 2.0]]])
    assert strongest_only(pair).tolist() == [[[-10.0, -20.0, 4.0]], [[5.0, 1.0, -10.0]]]
    assert without_shrunk(pair, 1.0).tolist() == [[[-10.0, -20.0, -10.0]], [[-10.0, -10.0, -10.0]]]
    empty = torch.full((2, 1, 2), -3.0)
    assert without_shrunk(empty, 0.3).tolist() == [[[-10.0, -10.0]]] * 2
    assert torch.equal(without_shrunk(empty, 0.3, groups=[0, 1]), empty)  # 8.3, "B = 1: unchanged"


@given(masks_and_groups())
@EXAMPLES
def test_overlaps_pixel_by_pixel(drawn: tuple[npt.NDArray[np.float32], list[int]]) -> None:
    logits, groups = drawn
    strongest, shrunk, cut = logits.copy(), logits.copy(), logits > 0
    height, width = logits.shape[1:]
    for members in grouped(groups):
        won = dict.fromkeys(members, 0)
        for y in range(height):
            for x in range(width):
                winner = slow_winner(logits, members, y, x)
                won[winner] += bool(logits[winner, y, x] > 0)
                for index in members:
                    if index != winner:
                        strongest[index, y, x] = min(logits[index, y, x], -10)
                    cut[index, y, x] &= not any(logits[later, y, x] > 0 for later in members if later > index)
        for index in members if len(members) > 1 else []:
            if np.float32(won[index]) / np.float32(max((logits[index] > 0).sum(), 1)) < np.float32(0.3):
                shrunk[index] = np.minimum(logits[index], -10)
    masks = torch.from_numpy(logits)
    assert np.array_equal(strongest_only(masks, groups).numpy(), strongest)
    assert np.array_equal(without_shrunk(masks, 0.3, groups).numpy(), shrunk)
    assert np.array_equal(later_cut_earlier(masks > 0, groups).numpy(), cut)
    if len(set(groups)) == 1:
        assert np.array_equal(strongest_only(masks).numpy(), strongest)
        assert np.array_equal(without_shrunk(masks, 0.3).numpy(), shrunk)
        assert np.array_equal(later_cut_earlier(masks > 0).numpy(), cut)


def test_chosen_masks_are_emptied() -> None:
    """Spec/video.md 6.3: -10 everywhere, the rest untouched."""
    masks = torch.tensor([[[3.0, -20.0]], [[5.0, 1.0]]])
    assert emptied(masks, np.array([True, False])).tolist() == [[[-10.0, -10.0]], [[5.0, 1.0]]]
    assert emptied(masks, np.array([False, False])) is masks
    assert emptied(masks[:0], np.zeros(0, dtype=np.bool_)).shape == (0, 1, 2)


def test_being_in_sight_by_the_mask() -> None:
    """Spec/video.md 6.4."""
    masks = torch.tensor([[[0.0, -1.0]], [[0.1, -1.0]], [[5.0, 5.0]]])
    assert sight_logits_of(masks).tolist() == [-10.0, 10.0, 10.0]
    assert sight_logits_of(masks[:0]).shape == (0,)
