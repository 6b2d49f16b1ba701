"""Which frames of a film are meant: from where, up to where, and how many are passed over.

A place is a frame number (`int`, 0 is the first) or a time (`Seconds` after the first frame). `start` is included and
`end` is not, as in `range`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from masklet.errors import VideoError

# A time stamp counts as reached when it is this near: it may have been written as a decimal fraction and rounded.
_NEAR_S = 1e-6

_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
_TIME = re.compile(r"(?=.*[:s])(?:(?:(\d{1,9}):)?(\d{1,9}):)?(\d{1,9}(?:\.\d+)?)s?", re.ASCII)


@dataclass(frozen=True)
class Seconds:
    """A time, or a length of time, in a film.

    Attributes:
        value: seconds, 0 or more.
    """

    value: float


Place = int | Seconds
"""A frame number, 0 first, or a time after the first frame."""


class Numbered(Protocol):
    """A frame, in whatever form."""

    @property
    def index(self) -> int:
        """Number in the film, 0 first."""

    @property
    def time_s(self) -> float:
        """Seconds after the first frame of the film."""


FrameT = TypeVar("FrameT", bound=Numbered)


@dataclass(frozen=True)
class _Stamped:
    index: int
    time_s: float


@dataclass(frozen=True, kw_only=True)
class Span:
    """Which frames of a film are meant; without arguments all of them.

    Attributes:
        start: the first frame; as a time, the first frame at that time or later.
        end: the first frame that is not meant any more; None for all that follow.
        every: a number n takes each n-th frame, counted from `start`. A time takes the frame at `start` and then the
            first one after each further multiple of it, whatever the film's rate; a film with fewer frames than that
            gives all of them.

    Raises:
        VideoError: a negative or infinite value, `every` of 0, an `end` that is not after `start`.
    """

    start: Place = 0
    end: Place | None = None
    every: Place = 1

    def __post_init__(self) -> None:
        for name, place in (("start", self.start), ("end", self.end), ("every", self.every)):
            if place is not None:
                _check(name, place)
        if _amount(self.every) == 0:
            raise VideoError("every: expected each n-th frame with n of 1 or more, or a time above 0, got 0")
        if self.end is not None and _is_empty(self.start, self.end):
            raise VideoError(f"end: expected a place after the start ({_text(self.start)}), got {_text(self.end)}")

    def __str__(self) -> str:
        """As a person would say it: from frame 3 to 4.5 s, every 2."""
        end = "the end" if self.end is None else _text(self.end)
        every = "" if self.every == 1 else f", every {_text(self.every).removeprefix('frame ')}"
        return f"from {_text(self.start)} to {end}{every}"

    def sift(self, frames: Iterable[FrameT]) -> Iterator[FrameT]:
        """Those of the frames that are meant; ends as soon as no more can come.

        Args:
            frames: of a film from its beginning or from any frame at or before the start, in order. Some may be
                missing: the numbers of the others do not shift.
        """
        first_idx = self.start if isinstance(self.start, int) else None
        first_s: float | None = None
        due_s = -math.inf
        for frame in frames:
            if self.end is not None and _reached(self.end, frame.index, frame.time_s):
                return
            if not _reached(self.start, frame.index, frame.time_s):
                continue
            first_idx = frame.index if first_idx is None else first_idx
            first_s = frame.time_s if first_s is None else first_s
            if isinstance(self.every, int):
                if (frame.index - first_idx) % self.every == 0:
                    yield frame
            elif frame.time_s >= due_s - _NEAR_S:
                passed = math.floor((frame.time_s - first_s + _NEAR_S) / self.every.value)
                due_s = first_s + (passed + 1) * self.every.value
                yield frame
            if frame.index + 1 == self.end:  # a pipe may be slow to bring the next one
                return

    def indices(self, times_s: Sequence[float]) -> list[int]:
        """The numbers of the frames meant, ascending; may be none.

        Args:
            times_s: the time of each frame of the film, seconds, ascending.
        """
        return [place.index for place in self.sift(_Stamped(index, time_s) for index, time_s in enumerate(times_s))]


def parse_place(name: str, text: str) -> Place:
    """A place as a user writes it: `120` is a frame, `4.5s`, `1:30` and `1:02:03.5` are times.

    Args:
        name: what the user calls it, for messages.
        text: what the user wrote.

    Raises:
        VideoError: it is none of these.
    """
    if _NUMBER.fullmatch(text):
        return int(text)
    time = _TIME.fullmatch(text)
    if time is None:
        raise VideoError(f"{name}: expected a frame number (120) or a time (4.5s, 1:30, 1:02:03.5), got {text!r}")
    hours, minutes, seconds = (float(part or 0) for part in time.groups())
    return Seconds(3600 * hours + 60 * minutes + seconds)


def _check(name: str, place: Place) -> None:
    if isinstance(place, bool) or not isinstance(place, int | Seconds):
        raise VideoError(f"{name}: expected a frame number (int) or Seconds(...), got {place!r}")
    if not 0 <= _amount(place) < math.inf:
        raise VideoError(f"{name}: expected 0 or more, got {_text(place)}")


def _amount(place: Place) -> float:
    return place.value if isinstance(place, Seconds) else place


def _is_empty(start: Place, end: Place) -> bool:
    """Whether it shows already, without the film's times."""
    return _amount(end) == 0 or (type(start) is type(end) and _amount(end) <= _amount(start))


def _reached(place: Place, index: int, time_s: float) -> bool:
    return time_s >= place.value - _NEAR_S if isinstance(place, Seconds) else index >= place


def _text(place: Place) -> str:
    return f"{place.value:g} s" if isinstance(place, Seconds) else f"frame {place}"
