"""The legs of a pass through a video."""

from __future__ import annotations

import pytest

from masklet.inference.video_pass import Direction, Leg, legs_of


@pytest.mark.parametrize(
    ("direction", "steps", "expected"),
    [
        ("forward", 3, (Leg(range(5, 9), False),)),
        ("backward", 3, (Leg(range(4, 1, -1), True),)),
        ("both", None, (Leg(range(5, 10), False), Leg(range(4, -1, -1), True))),
    ],
)
def test_legs(direction: Direction, steps: int | None, expected: tuple[Leg, ...]) -> None:
    """Spec/video.md 9.1, 9.4: the way back begins before the first frame."""
    assert legs_of(direction, 5, steps, frame_count=10, alone=None) == expected
    some = legs_of(direction, 5, steps, frame_count=10, alone=frozenset({7}))
    assert {leg.alone for leg in some} == {frozenset({7})}


def test_what_is_left_of_a_leg() -> None:
    assert Leg(range(5, 9), False).after(6) == Leg(range(7, 9), False)
    assert Leg(range(4, 1, -1), True, alone=frozenset({7})).after(4) == Leg(range(3, 1, -1), True, frozenset({7}))
    assert not Leg(range(5, 9), False).after(8).order
    assert not Leg(range(0), False).after(3).order  # of a pipe, which nobody has counted
