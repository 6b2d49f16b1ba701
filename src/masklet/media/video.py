"""Opens whatever moves: a film, a folder of frames, pictures in memory, a pipe, a camera."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from masklet.errors import VideoError
from masklet.media.film import Film
from masklet.media.film_stream import open_camera, open_pipe, open_raw_pipe
from masklet.media.find_images import IMAGE_SUFFIXES
from masklet.media.frame_folder import FrameSequence, open_frame_folder
from masklet.media.images import ImageSource, Pixels
from masklet.media.video_source import DEFAULT_RATE, VideoSource

VideoInput = str | Path | Sequence[ImageSource] | Pixels | VideoSource
"""What `open_video` takes."""

_MOVING_SUFFIXES = frozenset({".gif"})  # pictures that are films too


def open_video(source: VideoInput, *, rate: float | None = None) -> VideoSource:
    """Opens a video; to be closed, or used as a context manager.

    Args:
        source: one of
            a path of a film: MP4, MOV, MKV, WebM, AVI, GIF and whatever else PyAV reads; needs the extra `video`;
            a path of a folder: its pictures in natural order, frame2 before frame10;
            a path of a single picture: a film of one frame;
            "-": a film from standard input, read once: MJPEG, MKV, Y4M ...; needs the extra `video`;
            "raw:640x480": pictures of that width and height from standard input, read once, as plain RGB bytes in
            rows from the top, one picture behind the other; needs the extra `video`;
            "camera:0": a camera; needs the extra `video`;
            a list of pictures (paths, PIL images, arrays), or one (F, H, W, 3) uint8 array in RGB order;
            a source that is open already: itself.
        rate: frames a second, 0.001 to 1000, of a folder, list, picture or raw pictures, which have no times of their
            own; None for 30.

    Raises:
        MissingExtraError: PyAV is needed and not installed.
        VideoError: what is named is missing, empty, no video or cannot be read; or `rate` is given for what has times
            of its own.
    """
    if isinstance(source, str | Path):
        return _open_named(str(source), rate)
    if isinstance(source, VideoSource):
        _check_no_rate(rate, source.facts.name)
        return source
    if isinstance(source, np.ndarray) and source.ndim != 4:
        raise VideoError(f"a video as an array must be (F, H, W, 3) uint8 in RGB order, got shape {source.shape}")
    if not isinstance(source, Sequence | np.ndarray):
        raise _other_type(type(source))
    return FrameSequence(source, name="video", rate=_or_default(rate))


def _other_type(kind: type) -> VideoError:
    return VideoError(
        "a video must be a path, '-', 'camera:0', a list of pictures or an (F, H, W, 3) array, "
        f"got {kind.__module__}.{kind.__qualname__}"
    )


def _open_named(text: str, rate: float | None) -> VideoSource:
    if text.startswith("raw:"):
        size_hw = _raw_size_hw(text)
        return open_raw_pipe(_stdin(text), text, size_hw=size_hw, rate=_or_default(rate))
    path = Path(os.path.expanduser(text))
    if os.path.isdir(path):
        return open_frame_folder(path, rate=_or_default(rate))
    if path.suffix.lower() in IMAGE_SUFFIXES - _MOVING_SUFFIXES:
        return FrameSequence([path], name=text, rate=_or_default(rate))
    _check_no_rate(rate, text)
    if text == "-":
        return open_pipe(_stdin(text), "stdin")
    if text.startswith("camera:"):
        return open_camera(text)
    return Film(path)


def _stdin(text: str) -> int:
    try:
        return sys.stdin.fileno()
    except (AttributeError, OSError) as error:  # a program without a terminal, a notebook
        raise VideoError(f"{text}: expected a film from standard input, this program has none") from error


def _raw_size_hw(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"raw:([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", text)
    if match is None:
        raise VideoError(f"{text}: expected raw:WIDTHxHEIGHT, for example raw:640x480")
    return int(match[2]), int(match[1])


def _or_default(rate: float | None) -> float:
    return DEFAULT_RATE if rate is None else rate


def _check_no_rate(rate: float | None, name: str) -> None:
    if rate is not None:
        raise VideoError(f"rate: expected none for {name}, which has times of its own, got {rate:g}; leave it out")
