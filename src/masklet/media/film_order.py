"""Numbers and times for frames as they come out of a decoder; plain numbers, no decoder.

Stamps are time stamps in units of the film's time base. Pictures are stored in another order than shown where some are
drawn upon later ones, but when a frame comes out, every picture that is shown before it has gone in.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from fractions import Fraction

NUDGE_S = Fraction(1, 1000)
"""Seconds between frames that have one time stamp."""

_REWIND_S = 1  # a stamp that lies back farther than this is that of another beginning, not a disorder


class FrameNumbers:
    """Numbers frames by the stored pictures that are shown before them, whether those came out or not."""

    def __init__(self) -> None:
        self._expected: list[tuple[int, int]] = []  # ascending: which beginning, stamp; a few are waiting at most
        self._beginning = 0
        self._last_dts: int | None = None
        self._last = -1

    def expect(self, stamp: int | None, dts: int | None) -> None:
        """A picture goes into the decoder.

        Args:
            stamp: when it is shown, None if that is not known.
            dts: when it is to be decoded; it falls where one film that was put behind another begins.
        """
        if dts is not None:
            if self._last_dts is not None and dts < self._last_dts:
                self._beginning += 1
            self._last_dts = dts
        if stamp is not None:
            insort(self._expected, (self._beginning, stamp))

    def number(self, stamp: int | None) -> int:
        """The number of the frame that comes out with this stamp, 0 for the first one that does."""
        passed = 0 if stamp is None else self._passed(stamp)
        self._last += 1 if self._last < 0 else passed + 1  # what lies before the first can never be seen
        return self._last

    def _passed(self, stamp: int) -> int:
        """How many pictures before this one did not come out; forgets them and this one."""
        place = next((place for place, (_, expected) in enumerate(self._expected) if expected == stamp), None)
        if place is not None:
            del self._expected[: place + 1]
            return place
        if not self._expected:
            return 0
        beginning, _ = self._expected[0]  # the decoder gave the frame a stamp of its own
        place = bisect_left(self._expected, (beginning, stamp))
        del self._expected[:place]
        return place


class FrameTimes:
    """Gives each frame a time after that of the frame before, also where films were put together."""

    def __init__(self, unit: Fraction, step: Fraction) -> None:
        """Begins with the next frame.

        Args:
            unit: seconds per unit of a stamp.
            step: seconds from the last frame of one film to the first of the next.
        """
        self._unit = unit
        self._step = step
        self._origin: int | None = None
        self._shift = Fraction(0)
        self._last: Fraction | None = None

    def time(self, stamp: int) -> Fraction:
        """Seconds after the first frame for the frame with this stamp."""
        self._origin = stamp if self._origin is None else self._origin
        time = (stamp - self._origin) * self._unit + self._shift
        if self._last is not None and time <= self._last:
            if self._last - time > _REWIND_S:
                self._shift += self._last + self._step - time
                time = self._last + self._step
            else:
                time = self._last + NUDGE_S
        self._last = time
        return time
