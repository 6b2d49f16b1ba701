"""Writes a film: H.264 in MP4, MOV or MKV, VP9 in WebM.

Unusual: an MP4 is written in fragments and becomes an ordinary one when it is closed, so that even what a killed
program leaves behind can be played.
"""

from __future__ import annotations

import contextlib
import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from masklet.errors import OutputError, VideoError
from masklet.media.closed_at_end import ClosedAtEnd
from masklet.media.film_container import codec_threads, exact_rate, load_av, reason
from masklet.media.film_encoders import FILM_KINDS, choose_encoder, encoder_options
from masklet.media.film_pixels import BT709, STUDIO_RANGE, to_picture
from masklet.media.images import Pixels
from masklet.media.video_source import check_rate

if TYPE_CHECKING:
    from av import Packet
    from av.container import OutputContainer
    from av.video.stream import VideoStream

UNIT = Fraction(1, 60_000)
"""Time stamps of a written film are multiples of this, seconds; Matroska and WebM round them to 1 ms.

Exact for 24, 25, 30, 50, 60, 29.97 and 59.94 frames a second. MPEG-4 allows no unit below 1/65535 s.
"""

_KEY_FRAME_EVERY = 60  # frames; the usual 250 makes going to a place in a player slow


class FilmWriter(ClosedAtEnd):
    """Writes frames to a film, in the order given; a context manager.

    The film is written beside its place under a name of its own and moved there when it is closed, also when the block
    ends with an error or an interrupt: then it holds the frames so far. Without a frame there is no film.
    """

    def __init__(self, path: str | Path, *, rate: float = 30.0, quality: int = 20) -> None:
        """Nothing is written before the first frame.

        Args:
            path: .mp4, .m4v, .mov, .mkv or .webm; a file that is there is replaced at the end.
            rate: frames a second, 0.001 to 1000, of frames without a time of their own.
            quality: 0 (best, large) to 51, the encoder's rate factor; 20 shows no loss.

        Raises:
            MissingExtraError: PyAV is not installed.
            VideoError: another ending, or a rate or quality out of range.
            OutputError: this build of PyAV has no encoder for this kind of film.
        """
        self._path = Path(path)
        kind = FILM_KINDS.get(self._path.suffix.lower())
        if kind is None:
            raise VideoError(f"{path}: expected a name that ends in {', '.join(FILM_KINDS)}, got {self._path.suffix!r}")
        check_rate(rate)
        if not 0 <= quality <= 51:
            raise VideoError(f"quality: expected 0 (best) to 51, got {quality}")
        self._av = load_av()
        self._kind = kind
        self._encoder = choose_encoder(kind)
        self._options = encoder_options(self._encoder, quality)
        self._rate = rate
        self._aside = self._path.with_name(f".{self._path.name}.{os.getpid()}.partial")
        self._container: OutputContainer | None = None
        self._is_closed = False
        self._count = 0
        self._shape: tuple[int, ...] = ()
        self._first_s = 0.0
        self._last_stamp = -1

    @property
    def encoder(self) -> str:
        """Its name in the library."""
        return self._encoder

    def write(self, pixels: Pixels, time_s: float | None = None) -> None:
        """Adds a frame.

        Args:
            pixels: (H, W, 3) uint8, RGB, of the size of the first frame. A side that is odd gets one row or column
                more, a copy of the last: no pixel moves.
            time_s: when it is shown, seconds, later than the frame before; the film begins with its first frame. None
                for one frame after the other at `rate`.

        Raises:
            VideoError: another shape, size or type, or a time that is not later.
            OutputError: the film cannot be written, or the disk is full; nothing is left of it.
        """
        if self._is_closed:
            raise OutputError(f"{self._path}: expected an open film, it was closed")
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise VideoError(f"a frame must be (H, W, 3) uint8 in RGB order, got {pixels.dtype} of {pixels.shape}")
        if self._count and pixels.shape != self._shape:
            raise VideoError(f"frame {self._count}: expected the shape {self._shape} of the first, got {pixels.shape}")
        stamp = self._stamp(time_s)
        picture = to_picture(pixels)
        picture.pts, picture.time_base = stamp, UNIT
        try:
            if self._container is None:
                self._shape = pixels.shape
                self._open(picture.width, picture.height)
            self._mux(self._stream.encode(picture))
        except (self._av.FFmpegError, OSError) as error:
            raise self._failed(error) from error
        self._last_stamp = stamp
        self._count += 1

    def close(self) -> None:
        """Finishes the film and moves it to its place. May be called again.

        Raises:
            OutputError: it cannot be written; nothing is left of it.
        """
        if self._is_closed or self._container is None:
            self._is_closed = True
            return
        try:
            self._mux(self._stream.encode(None))
            self._container.close()
            self._aside.replace(self._path)
        except (self._av.FFmpegError, OSError) as error:
            raise self._failed(error) from error
        self._is_closed = True

    def _stamp(self, time_s: float | None) -> int:
        if time_s is None:
            time_s = self._count / self._rate
        if not self._count:
            self._first_s = time_s
        if not np.isfinite(time_s):
            raise VideoError(f"time_s: expected seconds, got {time_s}")
        stamp = round((time_s - self._first_s) / UNIT)
        if stamp <= self._last_stamp:
            raise VideoError(
                f"time_s: expected a time after that of the frame before, "
                f"{self._first_s + float(self._last_stamp * UNIT):.6f} s, got {time_s:.6f} s"
            )
        return stamp

    def _open(self, width: int, height: int) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        options = {"flush_packets": "1"} | self._kind.fragments
        container: OutputContainer = self._av.open(
            f"file:{self._aside}", "w", format=self._kind.container, container_options=options
        )
        self._container = container
        rate = exact_rate(self._rate)
        stream = cast("VideoStream", container.add_stream(self._encoder, rate=rate, options=self._options))
        self._stream = stream
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.thread_count = codec_threads()
        context = stream.codec_context
        context.time_base = UNIT
        context.gop_size = _KEY_FRAME_EVERY
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = STUDIO_RANGE

    def _mux(self, packets: list[Packet[VideoStream]]) -> None:
        assert self._container is not None
        for packet in packets:
            packet.duration = packet.duration or round(1 / (self._rate * UNIT))  # else the last frame is never seen
            self._container.mux(packet)

    def _failed(self, error: Exception) -> OutputError:
        self._is_closed = True
        with contextlib.suppress(self._av.FFmpegError, OSError):  # says again what failed
            if self._container is not None:
                self._container.close()
        with contextlib.suppress(OSError):
            self._aside.unlink(missing_ok=True)
        return OutputError(f"{self._path}: the film cannot be written ({reason(error)}); nothing was left there")
