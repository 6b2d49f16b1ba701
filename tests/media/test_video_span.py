"""Places and spans, in frames and in seconds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pytest

from masklet.errors import VideoError
from masklet.media.span import Place, Seconds, Span, parse_place

TIMES_S = [0.0, 0.04, 0.3, 0.31, 1.0, 1.7, 2.0, 2.04]  # uneven


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("120", 120),
        ("4.5s", Seconds(4.5)),
        ("0s", Seconds(0.0)),
        ("1:30", Seconds(90.0)),
        ("1:02:03.5", Seconds(3723.5)),
        ("0:00.25", Seconds(0.25)),
        ("2:05s", Seconds(125.0)),
    ],
)
def test_places_as_users_write_them(text: str, expected: Place) -> None:
    assert parse_place("--start", text) == expected
    assert type(parse_place("--start", text)) is type(expected)


@pytest.mark.parametrize(
    "text",
    ["", "x", "1.5", "-3", "-1s", "nans", "infs", "1:2:3:4", "1:", ":", "s", "1:x", "4 s x", "1:-5", "1_0", "9" * 5000],
)
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(VideoError, match=r"--start: expected"):
        parse_place("--start", text)


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (Span(), range(8)),
        (Span(start=2, end=5), (2, 3, 4)),
        (Span(start=6, every=9), (6,)),
        (Span(start=1, every=3), (1, 4, 7)),
        (Span(start=Seconds(0.31)), (3, 4, 5, 6, 7)),
        (Span(start=Seconds(0.3100000001)), (3, 4, 5, 6, 7)),
        (Span(end=Seconds(0.31)), (0, 1, 2)),
        (Span(start=Seconds(0.1), end=6), (2, 3, 4, 5)),
        (Span(start=Seconds(0.1), every=2), (2, 4, 6)),
        (Span(every=Seconds(0.5)), (0, 4, 5, 6)),
        (Span(every=Seconds(1)), (0, 4, 6)),
        (Span(start=1, every=Seconds(1)), (1, 5, 7)),
        (Span(every=Seconds(0.001)), range(8)),
        (Span(start=8), ()),
        (Span(start=Seconds(3)), ()),
        (Span(start=5, end=Seconds(1)), ()),
    ],
    ids=str,
)
def test_which_frames_are_meant(span: Span, expected: range) -> None:
    assert span.indices(TIMES_S) == list(expected)
    assert span.indices([]) == []


@dataclass(frozen=True)
class Stamped:
    index: int
    time_s: float


def film(taken: list[int], indices: Iterable[int] = range(len(TIMES_S))) -> Iterator[Stamped]:
    """Frames at their times; notes which were asked for."""
    for index in indices:
        taken.append(index)
        yield Stamped(index, TIMES_S[index])


def test_a_damaged_frame_does_not_shift_the_others() -> None:
    there = (0, 2, 3, 4, 5, 6, 7)
    assert [frame.index for frame in Span(start=1, every=3).sift(film([], there))] == [4, 7]


@pytest.mark.parametrize(
    ("end", "taken"), [(3, [0, 1, 2]), (Seconds(0.3), [0, 1, 2]), (None, range(len(TIMES_S))), (99, range(8))]
)
def test_nothing_beyond_the_end_is_asked_for(end: Place | None, taken: list[int]) -> None:
    asked: list[int] = []
    list(Span(end=end).sift(film(asked)))
    assert asked == list(taken)


@pytest.mark.parametrize(
    "options",
    [
        {"start": -1},
        {"start": Seconds(-0.1)},
        {"start": Seconds(math.nan)},
        {"end": Seconds(math.inf)},
        {"end": 0},
        {"start": 4, "end": 4},
        {"start": Seconds(4), "end": Seconds(3)},
        {"every": 0},
        {"every": Seconds(0)},
        {"every": True},
        {"start": 1.5},
        {"end": "3"},
    ],
    ids=str,
)
def test_spans_that_cannot_be(options: dict[str, Place]) -> None:
    with pytest.raises(VideoError, match=rf"{next(iter(options)) if len(options) == 1 else 'end'}: expected"):
        Span(**options)


def test_a_span_in_words() -> None:
    assert str(Span(start=3, end=Seconds(4.5), every=2)) == "from frame 3 to 4.5 s, every 2"
    assert str(Span()) == "from frame 0 to the end"
