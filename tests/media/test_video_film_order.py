"""Numbers and times of frames, on a few plain numbers."""

from __future__ import annotations

from fractions import Fraction

import pytest

from masklet.media.film_order import NUDGE_S, FrameNumbers, FrameTimes

# A picture goes in as (stamp, dts), a frame comes out as its stamp.
Event = tuple[int, int] | int


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([(0, 0), 0, (1, 1), 1, (2, 2), 2], [0, 1, 2]),
        ([(0, 0), (3, 1), (1, 2), 0, (2, 3), 1, (6, 4), 2, 3], [0, 1, 2, 3]),  # stored in another order
        ([(0, 0), 0, (1, 1), (2, 2), (3, 3), 3], [0, 3]),  # two that are damaged
        ([(-2, 0), (-1, 1), (0, 2), 0, (1, 3), 1], [0, 1]),  # before the first frame: never seen
        ([(5, 0), 5, (6, 1), 6, (5, 0), (6, 1), 5, 6], [0, 1, 2, 3]),  # the same film again
        ([(5, 0), (6, 1), (5, 0), 5, (6, 1), 6, 5, 6], [0, 1, 2, 3]),  # and the decoder lags behind
        ([(0, 0), 0, (10, 1), (20, 2), 11, 20], [0, 2, 3]),  # a stamp that no picture had
    ],
)
def test_frames_count_the_pictures_shown_before_them(events: list[Event], expected: list[int]) -> None:
    numbers, found = FrameNumbers(), []
    for event in events:
        if isinstance(event, tuple):
            numbers.expect(*event)
        else:
            found.append(numbers.number(event))
    assert found == expected


def test_frames_without_stamps_are_counted() -> None:
    numbers = FrameNumbers()
    for _ in range(3):
        numbers.expect(None, None)
    assert [numbers.number(None) for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([7, 8, 10], [0, Fraction(1, 10), Fraction(3, 10)]),
        ([7, 7, 7, 8], [0, NUDGE_S, 2 * NUDGE_S, Fraction(1, 10)]),
        ([7, 8, 40, 7, 8], [0, Fraction(1, 10), Fraction(33, 10), Fraction(35, 10), Fraction(36, 10)]),
    ],
)
def test_times_ascend(stamps: list[int], expected: list[Fraction]) -> None:
    times = FrameTimes(unit=Fraction(1, 10), step=Fraction(2, 10))
    assert [times.time(stamp) for stamp in stamps] == expected
