"""Opens a film's container and chooses its picture stream; the only place that loads PyAV.

Unusual: a container is opened by its content and only if it is one of the kinds below. The library would also take
lists of other files or of network addresses, and text.
"""

from __future__ import annotations

import os
import re
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

from masklet.errors import MissingExtraError, VideoError
from masklet.media.images import MAX_PIXELS

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

# By the library's names. "mov" is MP4 and 3GP too, "matroska" MKV and WebM, "mpeg" VOB, "..._pipe" pictures in a row.
_CONTAINERS = (
    "asf,av1,avi,dv,flv,gif,h263,h264,hevc,ivf,m4v,matroska,mjpeg,mov,mpeg,mpegts,mpegvideo,mpjpeg,mxf,nut,obu,ogg,rm,"
    "vvc,wtv,yuv4mpegpipe,bmp_pipe,jpeg_pipe,png_pipe,ppm_pipe,tiff_pipe,webp_pipe"
)


class ByteReader(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""


def load_av() -> ModuleType:
    """PyAV.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import av
    except ImportError:
        raise MissingExtraError("av", "video") from None
    return av


def open_container(source: Path | ByteReader, name: str) -> InputContainer:
    """Opens a file or a stream of bytes that holds a film.

    Args:
        source: what to read.
        name: what messages call it.

    Raises:
        MissingExtraError: PyAV is not installed.
        VideoError: it holds something else, or is damaged at its beginning.
    """
    av = load_av()
    # With its kind in front, a name with a colon in it is not taken for an address.
    file = f"file:{source}" if isinstance(source, Path) else source
    try:
        return av.open(file, "r", options={"format_whitelist": _CONTAINERS})
    except (av.FFmpegError, UnicodeError) as error:
        raise VideoError(
            f"{name}: expected a film (MP4, MOV, MKV, WebM, AVI, GIF ...), got something else or a damaged or cut one "
            f"({reason(error)}); convert it first"
        ) from error


def open_raw(source: ByteReader, name: str, *, size_hw: tuple[int, int], rate: float) -> InputContainer:
    """Opens a stream of RGB bytes without any header.

    Args:
        source: what to read.
        name: what messages call it.
        size_hw: (H, W) of each picture, pixels.
        rate: pictures a second, 0.001 to 1000.

    Raises:
        MissingExtraError: PyAV is not installed.
        VideoError: nothing can be read.
    """
    av = load_av()
    options = {"video_size": f"{size_hw[1]}x{size_hw[0]}", "pixel_format": "rgb24", "framerate": str(exact_rate(rate))}
    try:
        return av.open(source, "r", format="rawvideo", options=options)
    except av.FFmpegError as error:
        raise VideoError(f"{name}: expected raw pictures, they cannot be read ({reason(error)})") from error


def open_device(device: str, kind: str, name: str, options: dict[str, str]) -> InputContainer:
    """Opens a camera.

    Args:
        device: which one, in the words of the system.
        kind: the library's name for cameras of this system.
        name: what messages call it.
        options: for the camera, in the library's words.

    Raises:
        MissingExtraError: PyAV is not installed.
        VideoError: it cannot be opened.
    """
    av = load_av()
    try:
        return av.open(device, "r", format=kind, options=options)
    except (av.FFmpegError, ValueError) as error:
        raise VideoError(
            f"{name}: expected a camera at {device}, it cannot be opened ({reason(error)}); is it in use?"
        ) from error


def picture_stream(container: InputContainer, name: str) -> VideoStream:
    """The main picture stream of a container, cover pictures left out.

    Raises:
        VideoError: there is none, none that can be decoded, or its frames are too large.
    """
    cover = load_av().stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not streams:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise VideoError(f"{name}: expected a film with pictures, found no video stream in it, only {kinds}")
    best = container.streams.best("video")
    stream = next((stream for stream in streams if stream is best), streams[0])
    if stream.codec_context is None:
        raise VideoError(f"{name}: expected pictures that can be decoded, their codec is unknown; convert it first")
    check_frame_size(stream.width, stream.height, name)
    return stream


def check_frame_size(width: int, height: int, name: str) -> None:
    """Refuses frames that are too large, before memory for them is taken.

    Raises:
        VideoError: they have more pixels than a picture may have.
    """
    if width * height > MAX_PIXELS:
        raise VideoError(
            f"{name}: expected frames of at most {MAX_PIXELS / 1e6:g} megapixels, "
            f"got {width} x {height}; make them smaller"
        )


def codec_threads() -> int:
    """Threads of one decoder or encoder: more than a few bring little."""
    return min(4, os.cpu_count() or 1)


def exact_rate(rate: float) -> Fraction:
    """A rate as it is meant: 29.97002997 is 30000/1001; 0.001 to 1000 frames a second."""
    return Fraction(rate).limit_denominator(1001)


def stated_duration_s(container: InputContainer, stream: VideoStream) -> float | None:
    """How long a container says that its pictures are, seconds."""
    told = stream_end_s(stream)
    if told is None and stream.duration is not None and stream.time_base is not None:
        told = float(stream.duration * stream.time_base)
    if told is None and container.duration:
        told = float(container.duration / load_av().time_base)
    return told


def stream_end_s(stream: VideoStream) -> float | None:
    """When the last picture ends by the stream's own tag, as Matroska and WebM have it, seconds."""
    match = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    return match and int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])


def reason(error: Exception) -> str:
    """The cause in the library's words, without the numbers and the path around it."""
    return str(getattr(error, "strerror", None) or error)
