"""The clean-up of clicked masks: which area is a hole at which size of a mask."""

from __future__ import annotations

import pytest
import torch

from masklet.inference.object_result import MaskCleanup


def with_parts(side: int, hole: tuple[int, int], sprinkle: tuple[int, int] = (0, 0)) -> torch.Tensor:
    """A mask whose right half is inside but for a hole, and whose left half is outside but for a sprinkle."""
    mask = torch.full((1, side, side), -4.0)
    mask[0, :, side // 2 :] = 4.0
    mask[0, 2 : 2 + hole[0], side // 2 + 2 : side // 2 + 2 + hole[1]] = -4.0
    mask[0, 2 : 2 + sprinkle[0], 2 : 2 + sprinkle[1]] = 4.0
    return mask


@pytest.mark.parametrize(
    ("side", "filled", "left"),
    [
        (288, (6, 6), (18, 18)),  # 36 and 324 pixels, as it was seen of the original (spec/tracker.md 13)
        (288, (16, 16), (2, 129)),  # 256 is the limit
        (96, (4, 7), (2, 15)),  # a ninth of it, 28, for the masks of a grid of 24 cells
        (24, (1, 2), (1, 3)),  # 1.78 pixels
    ],
)
def test_holes_are_shares_of_the_picture(side: int, filled: tuple[int, int], left: tuple[int, int]) -> None:
    whole = with_parts(side, (0, 0))
    result = MaskCleanup().applied(with_parts(side, filled))
    assert torch.equal(result > 0, whole > 0)
    assert result.max() == 10
    kept = with_parts(side, left)
    assert torch.equal(MaskCleanup().applied(kept), kept)


def test_sprinkles_are_left_unless_asked_for() -> None:
    mask = with_parts(96, (0, 0), (3, 3))
    assert torch.equal(MaskCleanup().applied(mask), mask)
    assert torch.equal(MaskCleanup(sprinkle_area=81).applied(mask) > 0, with_parts(96, (0, 0)) > 0)
    assert torch.equal(MaskCleanup(sprinkle_area=72).applied(mask), mask)


def test_what_lies_in_a_filled_hole_is_no_sprinkle() -> None:
    mask = with_parts(96, (4, 4))
    mask[0, 3, 52] = 4.0  # within the hole
    result = MaskCleanup(sprinkle_area=9).applied(mask)
    assert torch.equal(result > 0, with_parts(96, (0, 0)) > 0)
