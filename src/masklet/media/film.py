"""A film in a file: any frame, exactly, forward and backward."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from masklet.errors import VideoError
from masklet.media.film_container import open_container, stated_duration_s
from masklet.media.film_decoder import DecodedFrame, FilmDecoder
from masklet.media.film_index import FilmIndex, index_of_packets
from masklet.media.film_pixels import to_rgb
from masklet.media.readable_file import check_file
from masklet.media.span import Span
from masklet.media.video_source import Frame, VideoFacts, VideoSource, other_size

if TYPE_CHECKING:
    from av.container import InputContainer

# Frames that are kept while reading backward, in the codec's own format: 1.4 MB each at 1280 x 720.
_KEPT_BYTES = 256 * 2**20
_MOST_KEPT = 64  # more would only delay the first frame


class Film(VideoSource):
    """A film in a file, read with PyAV.

    Going anywhere but to the first frame reads the file through once, without decoding, to find the place of every
    frame. A film without time stamps (a bare H.264 stream), or one whose time stamps begin anew in the middle, is
    decoded for that, and for each jump, from its start.
    """

    can_seek = True

    def __init__(self, path: Path) -> None:
        """Opens a film and decodes its first frame.

        Raises:
            MissingExtraError: PyAV is not installed.
            VideoError: the file is missing, empty, no film, has no pictures or none that can be decoded, or they are
                too large.
        """
        self._path = path
        self._name = str(path)
        check_file(path, "a film, a folder of frames or '-' for standard input", VideoError)
        self._cursor = self._decoder()
        self._cursor_frames = self._cursor.from_start()
        try:
            first = first_frame(self._cursor_frames, self._cursor, self._name)
        except BaseException:
            self._cursor.close()
            raise
        super().__init__(film_facts(self._cursor, first, self._name))
        self._origin = first.stamp
        self._next = 1  # the number from which `_cursor_frames` goes on
        self._cursor_lock = threading.Lock()
        self._index: FilmIndex | None = None
        self._index_lock = threading.Lock()

    def close(self) -> None:
        """Ends all readers and closes the file. May be called again."""
        super().close()
        with self._cursor_lock:
            self._cursor_frames.close()
            self._cursor.close()

    def _decoder(self) -> FilmDecoder:
        return FilmDecoder(self._container, self._name)

    def _container(self) -> InputContainer:
        return open_container(self._path, self._name)

    def _places(self) -> FilmIndex:
        """Where each frame stands; found once."""
        with self._index_lock:
            if self._index is None:
                with closing(self._decoder()) as decoder:
                    self._index = index_of_packets(decoder.packets(), self._origin, decoder.unit)
                    if self._index is None:
                        self._index = _index_by_decoding(decoder)
                    self._see_damage(decoder)
            return self._index

    def _times_s(self) -> Sequence[float]:
        return self._places().times_s.tolist()

    def _count_frames(self) -> int:
        return len(self._places().times_s)

    def _forward(self, span: Span) -> Generator[Frame, None, None]:
        with closing(self._decoder()) as decoder:
            if span.start == 0:
                frames = decoder.from_start()
            else:
                frames = decoder.from_frame(self._indices(span)[0], self._places())
            for frame in span.sift(frames):
                self._see_damage(decoder)
                yield self._finished(frame)
            self._see_damage(decoder)

    def _backward(self, indices: Sequence[int]) -> Generator[Frame, None, None]:
        """Decodes forward from a key frame, keeps what fits, gives it backward, and again for what lies before."""
        height, width = self.facts.size_hw
        room = max(2, min(_MOST_KEPT, _KEPT_BYTES // (height * width * 3 // 2)))
        places, wanted = self._places(), set(indices)
        left = len(indices)
        with closing(self._decoder()) as decoder:
            while left:
                last = indices[left - 1]
                start = _start_of_part(places, last, room)
                kept: deque[DecodedFrame] = deque(maxlen=room)
                for frame in decoder.from_frame(start, places):
                    if frame.index in wanted and frame.index <= last:
                        kept.append(frame)
                    if frame.index >= last:
                        break
                self._see_damage(decoder)
                left = bisect_left(indices, kept[0].index if kept else start)
                while kept:
                    yield self._finished(kept.pop())

    def _frame(self, index: int) -> Frame:
        places = self._places()
        with self._cursor_lock:
            self._check_open()  # another thread may have closed it meanwhile
            # On from where the last call stopped, unless a key frame is nearer.
            if index < self._next or places.keys[places.key_before(index)] > self._next:
                self._cursor_frames = self._cursor.from_frame(index, places)
            frame = next((frame for frame in self._cursor_frames if frame.index >= index), None)
            self._see_damage(self._cursor)
            self._next = len(places.times_s) if frame is None else frame.index + 1
        if frame is None or frame.index != index:
            raise VideoError(f"{self._name}: frame {index} cannot be decoded, the film is damaged there")
        return self._finished(frame)

    def _finished(self, frame: DecodedFrame) -> Frame:
        return finished_frame(frame, self._name, self.facts.size_hw)

    def _see_damage(self, decoder: FilmDecoder) -> None:
        if decoder.damage is not None:
            self._report_damage(decoder.damage)


def film_facts(decoder: FilmDecoder, first: DecodedFrame, name: str) -> VideoFacts:
    """What the container states and the first frame shows."""
    height, width = to_rgb(first.picture).shape[:2]
    aspect = float(decoder.stream.sample_aspect_ratio or 1)
    is_turned = (height, width) != (first.picture.height, first.picture.width)
    return VideoFacts(
        name=name,
        size_hw=(height, width),
        rate=None if decoder.rate is None else float(decoder.rate),
        frame_count=decoder.stream.frames or None,
        duration_s=stated_duration_s(decoder.container, decoder.stream),
        codec=decoder.stream.codec_context.name,
        pixel_aspect=1 / aspect if is_turned else aspect,
    )


def first_frame(frames: Generator[DecodedFrame, None, None], decoder: FilmDecoder, name: str) -> DecodedFrame:
    """The first of the frames.

    Raises:
        VideoError: there is none.
    """
    frame = next(frames, None)
    if frame is None:
        why = f" ({decoder.damage})" if decoder.damage else ""
        raise VideoError(f"{name}: expected a film with at least one sound frame, found none{why}; is the file whole?")
    return frame


def finished_frame(frame: DecodedFrame, name: str, size_hw: tuple[int, int]) -> Frame:
    """A decoded frame as RGB.

    Raises:
        VideoError: it has another size than the first.
    """
    height, width = size_hw
    stored = (frame.picture.height, frame.picture.width)
    if stored not in (size_hw, (width, height)):  # before memory for it is taken
        raise other_size(name, frame.index, stored, size_hw)
    pixels = to_rgb(frame.picture)
    if pixels.shape[:2] != size_hw:
        raise other_size(name, frame.index, (pixels.shape[0], pixels.shape[1]), size_hw)
    return Frame(index=frame.index, time_s=frame.time_s, pixels=pixels)


def _index_by_decoding(decoder: FilmDecoder) -> FilmIndex:
    times: dict[int, float] = {frame.index: frame.time_s for frame in decoder.from_start()}
    numbers = np.arange(max(times, default=-1) + 1)
    times_s = np.interp(numbers, list(times), list(times.values())) if times else np.zeros(0)
    return FilmIndex(times_s=times_s, stamps=None, keys=[0], key_stamps=[0])


def _start_of_part(places: FilmIndex, last: int, room: int) -> int:
    """From where to decode so that `last` comes out: whole groups of pictures as far as they fit, at least one."""
    key = places.key_before(last)
    while key > 0 and places.keys[key - 1] > last - room:
        key -= 1
    return places.keys[key]
