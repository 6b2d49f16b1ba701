"""Films that pass by once: a pipe, a camera. They are read forward only."""

from __future__ import annotations

import itertools
import os
import select
import stat
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from masklet.errors import VideoError
from masklet.media.film import film_facts, finished_frame, first_frame
from masklet.media.film_container import check_frame_size, open_container, open_device, open_raw
from masklet.media.film_decoder import FilmDecoder
from masklet.media.span import Span
from masklet.media.video_source import Frame, VideoSource, check_rate

if TYPE_CHECKING:
    from collections.abc import Callable

    from av.container import InputContainer


class FilmStream(VideoSource):
    """A film that passes by once, read with PyAV; one reader, once.

    A frame of a stream without time stamps (MJPEG, bare H.264) is at index / rate seconds, at 25 frames a second where
    it tells no rate.
    """

    can_seek = False

    def __init__(self, open_it: Callable[[], InputContainer], name: str, interrupt: Callable[[], None]) -> None:
        """Waits for the first frame and decodes it.

        Args:
            open_it: opens the container; called once.
            name: what results call this film.
            interrupt: makes a read that waits for the source return soon.

        Raises:
            MissingExtraError: PyAV is not installed.
            VideoError: no film comes, none with pictures or none that can be decoded.
        """
        self._name = name
        self._wake = interrupt
        self._decoder = FilmDecoder(open_it, name)
        self._decoded = self._decoder.from_start()
        try:
            self._first = first_frame(self._decoded, self._decoder, name)
        except BaseException:
            self._decoder.close()
            raise
        super().__init__(film_facts(self._decoder, self._first, name))
        self._is_taken = False
        self._is_ended = False

    def close(self) -> None:
        """Ends the reader and closes the pipe or camera. May be called again."""
        self._interrupt()
        super().close()
        self._decoded.close()
        self._decoder.close()

    def _interrupt(self) -> None:
        self._is_ended = True
        self._wake()

    def _forward(self, span: Span) -> Generator[Frame, None, None]:
        if self._is_taken:
            raise self._refusal()
        self._is_taken = True
        return self._frames(span)

    def _frames(self, span: Span) -> Generator[Frame, None, None]:
        with closing(self._decoded):
            for frame in span.sift(itertools.chain([self._first], self._decoded)):
                self._see_damage()
                yield finished_frame(frame, self._name, self.facts.size_hw)
            self._see_damage()

    def _see_damage(self) -> None:
        if self._decoder.damage is not None and not self._is_ended:  # what we cut short is not damaged
            self._report_damage(self._decoder.damage)

    def _backward(self, indices: Sequence[int]) -> NoReturn:
        raise self._refusal()

    def _frame(self, index: int) -> NoReturn:
        raise self._refusal()

    def _times_s(self) -> NoReturn:
        raise self._refusal()

    def _count_frames(self) -> NoReturn:
        raise self._refusal()

    def _refusal(self) -> VideoError:
        return VideoError(
            f"{self._name}: a pipe or camera passes by once: it cannot be read again or backward, counted, or asked "
            "for single frames; save it as a film first"
        )


def open_pipe(descriptor: int, name: str) -> FilmStream:
    """A film that comes through a pipe: anything PyAV reads without going back, for example MJPEG, MKV or MPEG-TS.

    An MP4 must have its index in front (`-movflags +faststart` or `+frag_keyframe`).

    Args:
        descriptor: number of the open file to read from; stays open.
        name: what results call this film.

    Raises:
        MissingExtraError: PyAV is not installed.
        VideoError: nothing comes, or no film.
    """
    pipe = _Pipe(descriptor)
    try:
        return _open_pipe(pipe, name, lambda: open_container(pipe, name))
    except VideoError as error:
        if pipe.begins_as_mp4:
            raise VideoError(
                f"{error}. An MP4 or MOV in a pipe must have its index in front: give the file itself, or write it "
                "with -movflags +faststart"
            ) from error
        raise


def open_raw_pipe(descriptor: int, name: str, *, size_hw: tuple[int, int], rate: float) -> FilmStream:
    """Pictures that come through a pipe as plain RGB bytes: rows from the top, one picture behind the other.

    Args:
        descriptor: number of the open file to read from; stays open.
        name: what results call this film.
        size_hw: (H, W) of each picture, pixels.
        rate: pictures a second, 0.001 to 1000.

    Raises:
        MissingExtraError: PyAV is not installed.
        VideoError: nothing comes, less than one picture, they are too large, or `rate` is out of range.
    """
    check_rate(rate)
    check_frame_size(size_hw[1], size_hw[0], name)
    pipe = _Pipe(descriptor)
    return _open_pipe(pipe, name, lambda: open_raw(pipe, name, size_hw=size_hw, rate=rate))


def _open_pipe(pipe: _Pipe, name: str, open_it: Callable[[], InputContainer]) -> FilmStream:
    try:
        stream = FilmStream(open_it, name, pipe.interrupt)
    except VideoError as error:
        if pipe.is_stopped:
            raise KeyboardInterrupt from error
        if not pipe.count:
            raise VideoError(f"{name}: expected a film, nothing came through the pipe") from error
        raise
    if pipe.is_stopped:
        stream.close()
        raise KeyboardInterrupt
    return stream


def open_camera(text: str) -> FilmStream:
    """The pictures of a camera from now on, as it gives them.

    Args:
        text: "camera:N" with the number N of the camera, 0 first.

    Raises:
        MissingExtraError: PyAV is not installed.
        VideoError: there is no such camera, or it cannot be opened.
    """
    number = text.removeprefix("camera:")
    options: dict[str, str] = {}
    if not (number.isascii() and number.isdigit()):
        raise VideoError(f"{text}: expected camera:N with a number, for example camera:0")
    if sys.platform == "darwin":
        device, kind = number, "avfoundation"
        options = {"framerate": "30"}  # its default is one that few cameras have
    elif sys.platform.startswith("linux"):
        device, kind = f"/dev/video{number}", "v4l2"
        if not Path(device).exists():
            there = ", ".join(f"camera:{path.name[5:]}" for path in sorted(Path("/dev").glob("video[0-9]*")))
            raise VideoError(f"{text}: expected a camera at {device}, there is none; cameras here: {there or 'none'}")
    else:
        raise VideoError(f"{text}: cameras can be read on Linux and macOS; send its pictures through a pipe")
    return FilmStream(lambda: open_device(device, kind, text, options), text, lambda: None)


class _Pipe:
    """Bytes of a pipe; a read that waits can be ended from another thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._wake_read, self._wake_write = os.pipe()
        self._is_ended = threading.Event()
        self._start = b""
        self.count = 0  # bytes that came
        self.is_stopped = False  # Ctrl-C came while reading

    @property
    def begins_as_mp4(self) -> bool:
        return self._start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free")

    def read(self, size: int, /) -> bytes:
        # Waiting for two files at once is not possible for pipes on Windows: there closing waits for the next bytes.
        try:
            if os.name != "nt":
                select.select([self._descriptor, self._wake_read], [], [])
            data = b"" if self._is_ended.is_set() else os.read(self._descriptor, size)
        except KeyboardInterrupt:  # the library would print it and go on reading
            self.is_stopped = True
            self.interrupt()
            return b""
        self._start = self._start or data[:8]
        self.count += len(data)
        return data

    # A file that was redirected to standard input can go back, which an MP4 with its index at the end needs.

    def seekable(self) -> bool:
        return stat.S_ISREG(os.fstat(self._descriptor).st_mode)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return os.lseek(self._descriptor, offset, whence)

    def tell(self) -> int:
        return os.lseek(self._descriptor, 0, os.SEEK_CUR)

    def interrupt(self) -> None:
        if not self._is_ended.is_set():
            self._is_ended.set()
            os.write(self._wake_write, b"x")

    def __del__(self) -> None:
        for descriptor in (self._wake_read, self._wake_write):
            os.close(descriptor)
