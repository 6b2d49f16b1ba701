"""What every film, folder of frames, pipe and camera gives: frames in order, where it can also backward and any one."""

from __future__ import annotations

import logging
import threading
import weakref
from abc import abstractmethod
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import NoReturn

from masklet.errors import VideoError
from masklet.media.closed_at_end import ClosedAtEnd
from masklet.media.images import Pixels
from masklet.media.read_ahead import ReadAhead
from masklet.media.span import Span

_log = logging.getLogger(__name__)

READ_AHEAD = 8
"""Frames that wait decoded while the reader works: 22 MB at 1280 x 720."""

DEFAULT_RATE = 30.0
"""Frames a second of pictures that have no times of their own."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a film.

    Attributes:
        index: its number in the whole source, 0 first, whatever part of it was asked for. A frame that could not be
            decoded leaves a gap.
        time_s: seconds after the first frame of the source, by the source's own time stamps.
        pixels: (H, W, 3) uint8, RGB, turned as a viewer shows it; the caller's own array.
    """

    index: int
    time_s: float
    pixels: Pixels


FrameReader = ReadAhead[Frame]
"""An iterator of frames that reads ahead; can be closed and used in a `with` block."""


@dataclass(frozen=True, kw_only=True)
class VideoFacts:
    """What is known of a source when it is opened.

    Attributes:
        name: the path as given, "stdin" or "camera:0".
        size_hw: (H, W) of every frame, pixels, turned as a viewer shows them.
        rate: frames a second on average, None if the source does not tell.
        frame_count: how many frames the source says it has, None if it does not tell. Meant for progress bars:
            `VideoSource.count_frames` counts.
        duration_s: how long the source says it is, seconds, None if it does not tell.
        codec: how frames are stored, for example "h264"; "pictures" for a folder.
        pixel_aspect: width of a pixel over its height on the screen. Frames are given as they are stored, one value
            for one pixel: a viewer would make them wider by this factor if it is not 1.
    """

    name: str
    size_hw: tuple[int, int]
    rate: float | None
    frame_count: int | None
    duration_s: float | None
    codec: str
    pixel_aspect: float = 1.0


class VideoSource(ClosedAtEnd):
    """Frames of one size, in order of time. Use it as a context manager, or close it.

    Any number of readers may be open, each at its own place, and used from any thread; of a source that cannot seek
    (a pipe, a camera) only one reader, once.
    """

    can_seek: bool
    """Whether `frame`, `times_s`, `count_frames`, reading backward and reading again work."""

    def __init__(self, facts: VideoFacts) -> None:
        self.facts = facts
        self._damage: str | None = None
        self._readers: weakref.WeakSet[FrameReader] = weakref.WeakSet()
        self._is_closed = False
        self._readers_lock = threading.Lock()
        self._first_damage = threading.Lock()  # taken for good by whoever finds it

    @property
    def damage(self) -> str | None:
        """What was found broken first, one line; None if nothing so far. It is logged as a warning when it is found."""
        return self._damage

    def frames(self, span: Span | None = None, *, backward: bool = False, ahead: int = READ_AHEAD) -> FrameReader:
        """The frames of a span, decoded ahead on a thread.

        Frames that cannot be decoded are left out, and where the film is cut it ends: `damage` then tells, and a
        warning was logged. Nothing that is sound is lost.

        Args:
            span: which frames, None for all.
            backward: from the last frame of the span to the first, the same frames as forward.
            ahead: how many decoded frames may wait, 1 or more.

        Raises:
            VideoError: here or from the iterator: the source was closed, the span has no frame in it, a frame has
                another size than the first, a picture of a folder cannot be read, or a pipe or camera is to be read
                backward or twice.
        """
        self._check_open()
        if ahead < 1:
            raise VideoError(f"ahead: expected 1 or more frames, got {ahead}")
        span = span or Span()
        items = self._backward(self._indices(span)) if backward else self._forward(span)
        reader = ReadAhead(self._at_least_one(items, span), depth=ahead, interrupt=self._interrupt)
        with self._readers_lock:
            self._readers.add(reader)
        return reader

    def frame(self, index: int) -> Frame:
        """The frame of a number, exactly as `frames` gives it.

        Raises:
            VideoError: there is no such frame, it cannot be decoded, or this source cannot seek.
        """
        count = self.count_frames()
        if not 0 <= index < count:
            raise VideoError(f"{self.facts.name}: expected a frame from 0 to {count - 1}, got {index}")
        return self._frame(index)

    def times_s(self) -> Sequence[float]:
        """The time of every frame, seconds after the first, ascending; a film is read through once, not decoded.

        Raises:
            VideoError: this source cannot seek.
        """
        self._check_open()
        return self._times_s()

    def count_frames(self) -> int:
        """How many frames there are; a film is read through once for it, not decoded.

        Raises:
            VideoError: this source cannot seek.
        """
        self._check_open()
        return self._count_frames()

    def close(self) -> None:
        """Ends all readers and closes the files. May be called again.

        A reader that had more to give raises a VideoError when it is asked.
        """
        with self._readers_lock:
            self._is_closed = True
            readers = list(self._readers)
        for reader in readers:
            reader.close(self._closed_error())

    @abstractmethod
    def _forward(self, span: Span) -> Generator[Frame, None, None]:
        """The frames of a span; runs on the reader's thread."""

    @abstractmethod
    def _backward(self, indices: Sequence[int]) -> Generator[Frame, None, None]:
        """The frames of these ascending numbers, last first; runs on the reader's thread."""

    @abstractmethod
    def _frame(self, index: int) -> Frame: ...

    @abstractmethod
    def _times_s(self) -> Sequence[float]: ...

    @abstractmethod
    def _count_frames(self) -> int: ...

    def _interrupt(self) -> None:
        """Makes a reader that waits for its source return soon; most sources never wait for anybody."""

    def _indices(self, span: Span) -> list[int]:
        return span.indices(self.times_s()) or self._fail_empty(span)

    def _at_least_one(self, items: Generator[Frame, None, None], span: Span) -> Generator[Frame, None, None]:
        """Passes the frames on; none at all is an error."""
        is_empty = True
        with closing(items):
            for frame in items:
                is_empty = False
                yield frame
        if is_empty:
            self._fail_empty(span)

    def _fail_empty(self, span: Span) -> NoReturn:
        raise VideoError(f"{self.facts.name}: expected frames {span}, there are none; give a start inside the video")

    def _report_damage(self, what: str) -> None:
        if self._first_damage.acquire(blocking=False):
            self._damage = f"{self.facts.name}: {what}"
            _log.warning("%s", self._damage)

    def _check_open(self) -> None:
        if self._is_closed:
            raise self._closed_error()

    def _closed_error(self) -> VideoError:
        return VideoError(f"{self.facts.name}: expected an open video, it was closed; open it again")


def check_rate(rate: float) -> None:
    """Refuses a rate, frames a second, that cannot be.

    Raises:
        VideoError: it is not from 0.001 to 1000.
    """
    if not 0.001 <= rate <= 1000:
        raise VideoError(f"rate: expected 0.001 to 1000 frames a second, got {rate:g}")


def other_size(name: str, index: int, size_hw: tuple[int, int], expected_hw: tuple[int, int]) -> VideoError:
    """The error for a frame whose size is not that of the first."""
    return VideoError(
        f"{name}: frame {index}: expected {expected_hw[1]} x {expected_hw[0]} pixels as the frames before, "
        f"got {size_hw[1]} x {size_hw[0]}; cut the film there or scale it to one size"
    )
