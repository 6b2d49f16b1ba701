"""A film of results: each frame at its time, whatever the times are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import pytest

from follow_cases import ask, clip, predictor
from masklet.errors import InputError
from masklet.inference.video_result import VideoResult
from masklet.render.overlay_film import OverlayFilm


@pytest.fixture(scope="module")
def results() -> list[VideoResult]:
    with predictor().open(clip(5)) as video:
        ask(video)
        return list(video.propagate())


def times(path: Path) -> list[float]:
    with av.open(str(path)) as film:
        return [float(frame.time or 0) for frame in film.decode(video=0)]


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ([0, 0.1, 0.15, 1, 1.5], [0, 0.1, 0.15, 1, 1.5]),
        ([2, 2.1, 2.2, 2.3, 2.4], [0, 0.1, 0.2, 0.3, 0.4]),  # a film begins with its first frame
        ([0, 0.5, 0.5, 0.4, 0.6], [0, 0.5, 0.5, 0.5, 0.6]),  # two at a time, as some films have them
    ],
)
def test_frames_are_at_their_times(
    results: list[VideoResult], given: list[float], written: list[float], tmp_path: Path
) -> None:
    film = OverlayFilm(tmp_path / "film.mp4", rate=None)
    for result, time_s in zip(results, given, strict=True):
        film.add(replace(result, time_s=time_s))
    film.close()
    film.close()
    found = times(tmp_path / "film.mp4")
    assert found == pytest.approx(written, abs=1e-4)  # a few of a film's units of time
    assert sorted(set(found)) == found


@pytest.mark.parametrize("rate", [None, 0.0, 25, 1e6])
def test_rates_that_a_film_cannot_have(results: list[VideoResult], rate: float | None, tmp_path: Path) -> None:
    film = OverlayFilm(tmp_path / "film.mp4", rate=rate)
    film.add(results[0])
    film.close()
    assert len(times(tmp_path / "film.mp4")) == 1


def test_without_a_frame_there_is_no_film(results: list[VideoResult], tmp_path: Path) -> None:
    film = OverlayFilm(tmp_path / "film.mp4", rate=25)
    with pytest.raises(InputError, match="the picture is not known"):
        film.add(replace(results[0], source=None))
    film.close()
    assert list(tmp_path.iterdir()) == []
