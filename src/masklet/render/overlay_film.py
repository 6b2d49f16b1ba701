"""A film of a video with its objects drawn on it, each in a colour of its own that lasts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from masklet.inference.video_result import VideoResult
from masklet.media.film_writer import UNIT, FilmWriter
from masklet.media.video_source import DEFAULT_RATE

_RATES = (0.001, 1000.0)  # frames a second that a film may have


class OverlayFilm:
    """Writes results with their pixels as a film, which holds the frames so far whenever it is closed.

    Args:
        path: .mp4 or another ending that `FilmWriter` takes.
        rate: frames a second of the video, None if it does not tell; each frame has its own time.

    Raises:
        MissingExtraError: PyAV is not installed.
    """

    def __init__(self, path: Path, *, rate: float | None) -> None:
        self._writer = FilmWriter(path, rate=min(max(rate or DEFAULT_RATE, _RATES[0]), _RATES[1]))
        self._next_s = 0.0

    def add(self, result: VideoResult) -> None:
        """Draws a frame behind those before.

        Raises:
            OutputError: it cannot be written.
        """
        # Some films have two frames at one time, which no film can be written with.
        time_s = max(result.time_s, self._next_s)
        self._next_s = time_s + float(2 * UNIT)
        self._writer.write(np.asarray(result.overlay()), time_s)

    def close(self) -> None:
        """Finishes the film. May be called again."""
        self._writer.close()
