"""Tiny films made on the fly; the number of a frame can be read from its pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

SIZE_WH = (48, 32)
_BIT_WH = (6, 12)  # of a number's eight bits, side by side at the top


def painted(number: int, size_wh: tuple[int, int] = SIZE_WH) -> Pixels:
    """A frame: its number in black and white above something that moves. The right and lower margins differ."""
    width, height = size_wh
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    x, y = np.arange(width), np.arange(height)
    pixels[:] = np.stack(np.broadcast_arrays(40 + 3 * x[None], 200 - 4 * y[:, None], np.uint8(90)), axis=-1)
    left = 2 * number % (width - 10)
    pixels[_BIT_WH[1] + 2 : _BIT_WH[1] + 10, left : left + 10] = (220, 60, 30)
    for bit in range(8):
        level = 255 if number >> bit & 1 else 0
        pixels[: _BIT_WH[1], bit * _BIT_WH[0] : (bit + 1) * _BIT_WH[0]] = level
    return pixels


def number_of(pixels: Pixels) -> int:
    blocks = [pixels[3:-3][: _BIT_WH[1] - 6, bit * _BIT_WH[0] + 2 : (bit + 1) * _BIT_WH[0] - 2] for bit in range(8)]
    return sum(int(block.mean() > 127) << bit for bit, block in enumerate(blocks))


def write_film(
    path: Path,
    *,
    codec: str = "libx264",
    count: int = 30,
    size_wh: tuple[int, int] = SIZE_WH,
    frames: Iterable[Pixels] | None = None,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    container_format: str | None = None,
    stamps: Sequence[int] | None = None,
    unit: Fraction = Fraction(1, 25),
    rotation: tuple[float, bool] | None = None,
    pixel_aspect: Fraction | None = None,
    colorspace: int | None = None,
) -> Path:
    """A film of frames painted with their numbers; key frames at 0, 10, 20 ... with B-frames between them."""
    usual = {"g": "10", "bf": "2", "crf": "12", "sc_threshold": "0", "preset": "ultrafast"}
    if codec in ("mpeg4", "mpeg2video"):
        usual = {"g": "10", "bf": "0", "qmin": "2", "qmax": "3", "sc_threshold": "1000000000"}
    with av.open(str(path), "w", format=container_format, options=container or {}) as film:
        rate = 25 if unit >= Fraction(1, 60) else None
        stream: Any = film.add_stream(codec, rate=rate or 25, options=usual if options is None else options)
        stream.width, stream.height, stream.pix_fmt = *size_wh, pix_fmt
        stream.thread_count = 1
        stream.codec_context.time_base = unit
        if rotation is not None:
            stream.set_display_rotation(rotation[0], hflip=rotation[1])
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if colorspace is not None:
            stream.codec_context.colorspace = colorspace
        pictures = frames if frames is not None else (painted(number, size_wh) for number in range(count))
        for number, pixels in enumerate(pictures):
            picture = av.VideoFrame.from_ndarray(pixels).reformat(format=pix_fmt, dst_colorspace=colorspace, threads=1)
            picture.pts = number if stamps is None else stamps[number]
            picture.time_base = unit
            film.mux(stream.encode(picture))
        film.mux(stream.encode(None))
    return path


# Without assembly: for so small pictures x265's writes beyond its buffers on some processors ("corrupted size").
X265 = {
    "x265-params": "log-level=none:keyint=10:min-keyint=10:scenecut=0:bframes=2:pools=none:frame-threads=1:asm=none"
}

CONTAINERS: dict[str, dict[str, Any]] = {
    "mp4": {},
    "mov": {},
    "mkv": {},
    "webm": {
        "codec": "libvpx-vp9",
        "options": {"g": "10", "crf": "10", "b": "0", "deadline": "realtime", "cpu-used": "8"},
    },
    "avi": {"codec": "mpeg4"},
    "gif": {"codec": "gif", "pix_fmt": "rgb8", "options": {}},
    "ts": {},
    "mpg": {"codec": "mpeg2video"},
    "hevc.mkv": {"codec": "libx265", "pix_fmt": "yuv420p10le", "options": X265},
    "vp8.webm": {
        "codec": "libvpx",
        "options": {"g": "10", "crf": "10", "b": "2M", "auto-alt-ref": "1", "lag-in-frames": "8"},
    },
    "b.avi": {"codec": "mpeg4", "options": {"g": "10", "bf": "2", "qmin": "2", "qmax": "3"}},
    "h264.avi": {},
    "open.mkv": {
        "options": {
            "g": "10",
            "bf": "3",
            "crf": "12",
            "b_strategy": "0",
            "x264-params": "open-gop=1:scenecut=0:min-keyint=1",
        }
    },
    "refresh.mp4": {"options": {"g": "10", "crf": "12", "x264-params": "intra-refresh=1:scenecut=0"}},
    "mjpeg": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "options": {}},
    "h264": {},
    "fragmented.mp4": {"container": {"movflags": "frag_keyframe+empty_moov"}},
}
"""Containers and codecs with which a film can be read and sought; by the ending of its name."""
