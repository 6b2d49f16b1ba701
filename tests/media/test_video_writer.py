"""Films are written whole: times, sizes, colours, and what is left when something goes wrong."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from film_cases import Pixels, number_of, painted
from full_disk import full_disk
from masklet.errors import MissingExtraError, OutputError, VideoError
from masklet.media.film_writer import FilmWriter
from masklet.media.video import open_video

ENDINGS = ("mp4", "mov", "mkv", "webm")
TIMES_S = [0.0, 0.04, 0.0801, 0.5, 0.51, 2.0]  # uneven


def read(path: Path) -> tuple[list[int], list[float], list[Pixels]]:
    with open_video(path) as video:
        frames = list(video.frames())
        assert video.damage is None
    pixels = [frame.pixels for frame in frames]
    return [number_of(one) for one in pixels], [frame.time_s for frame in frames], pixels


@pytest.mark.parametrize("ending", ENDINGS)
def test_frames_come_back_at_their_times(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "new" / f"film.{ending}"
    with FilmWriter(path) as film:
        for number, time_s in enumerate(TIMES_S):
            film.write(painted(number), time_s + 7)  # a part of a longer film
        assert not path.exists()
    numbers, times_s, pixels = read(path)
    assert numbers == list(range(len(TIMES_S)))
    assert np.allclose(times_s, TIMES_S, atol=1e-5 if ending in ("mp4", "mov") else 0.0006)
    assert np.abs(pixels[3].astype(int) - painted(3)).mean() < 6
    assert [item.name for item in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("rate", [24.0, 25.0, 30.0, 30000 / 1001, 7.5])
def test_a_rate_is_kept_exactly(tmp_path: Path, rate: float) -> None:
    with FilmWriter(tmp_path / "film.mp4", rate=rate) as film:
        for number in range(5):
            film.write(painted(number))
    assert read(tmp_path / "film.mp4")[1] == pytest.approx([number / rate for number in range(5)], abs=1e-12)
    with open_video(tmp_path / "film.mp4") as video:
        assert video.facts.rate == pytest.approx(rate)
        assert video.facts.duration_s == pytest.approx(5 / rate, abs=1e-3)
        assert video.facts.frame_count == 5


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("size_wh", [(51, 33), (52, 33), (51, 34)])
def test_an_odd_side_gets_one_pixel_more(tmp_path: Path, ending: str, size_wh: tuple[int, int]) -> None:
    path = tmp_path / f"film.{ending}"
    with FilmWriter(path) as film:
        film.write(painted(5, size_wh)[:, ::-1][:, ::-1])  # strides that are not plain
    pixels = read(path)[2][0]
    width, height = size_wh
    assert pixels.shape == (height + height % 2, width + width % 2, 3)
    assert np.abs(pixels[:height, :width].astype(int) - painted(5, size_wh)).mean() < 6


def test_a_film_is_what_players_expect(tmp_path: Path) -> None:
    with FilmWriter(tmp_path / "film.mp4") as film:
        for number in range(70):
            film.write(painted(number))
    with av.open(str(tmp_path / "film.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.colorspace, stream.color_range) == (1, 1)
        assert stream.start_time == 0
        packets = [packet for packet in container.demux(stream) if packet.size]
        keys = [number for number, packet in enumerate(packets) if packet.is_keyframe]
        assert all(after - before <= 60 for before, after in itertools.pairwise([*keys, len(packets)]))
        assert all(packet.duration for packet in packets)


def test_colours(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    colours = [(200, 30, 40), (30, 200, 60), (20, 40, 220), (240, 240, 10), (0, 0, 0), (255, 255, 255)]
    for colour in colours:
        with FilmWriter(path, quality=5) as film:
            film.write(np.broadcast_to(np.array(colour, np.uint8), (16, 24, 3)))
        with open_video(path) as video:
            assert np.abs(video.frame(0).pixels.astype(int) - colour).max() <= 3


def without_encoders(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """A build of the library that lacks these."""
    there = av.codec.Codec

    def find(name: str, mode: str) -> av.codec.Codec:
        if name in names:
            raise av.codec.codec.UnknownCodecError(name)
        return there(name, mode)

    monkeypatch.setattr(av.codec, "Codec", find)


@pytest.mark.parametrize(
    ("ending", "best", "codec"),
    [("mp4", "libx264", "mpeg4"), ("mkv", "libx264", "mpeg4"), ("webm", "libvpx-vp9", "vp8")],
)
def test_builds_without_the_best_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, best: str, codec: str
) -> None:
    path = tmp_path / f"film.{ending}"
    with FilmWriter(path) as film:
        assert film.encoder == best
    without_encoders(monkeypatch, best)
    with FilmWriter(path) as film:
        for number, time_s in enumerate(TIMES_S):
            film.write(painted(number), time_s)
    numbers, times_s, pixels = read(path)
    assert numbers == list(range(len(TIMES_S)))
    assert np.allclose(times_s, TIMES_S, atol=0.0006)
    assert np.abs(pixels[3].astype(int) - painted(3)).mean() < 8
    with open_video(path) as video:
        assert video.facts.codec == codec
    without_encoders(monkeypatch, best, film.encoder)
    with pytest.raises(OutputError, match=f"expected an encoder for .* [(]{best} or {film.encoder}[)]"):
        FilmWriter(path)


@pytest.mark.parametrize("ending", ["mp4", "webm"])
@pytest.mark.parametrize("is_best_there", [True, False])
def test_quality_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, is_best_there: bool) -> None:
    if not is_best_there:
        without_encoders(monkeypatch, "libx264", "libvpx-vp9")
    sizes = []
    for quality in (0, 20, 51):
        with FilmWriter(tmp_path / f"film.{ending}", quality=quality) as film:
            for number in range(3):
                film.write(painted(number))
        sizes.append((tmp_path / f"film.{ending}").stat().st_size)
    assert sizes[0] > sizes[1] > sizes[2]


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_an_interrupted_film_holds_the_frames_so_far(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"an older film")
    with pytest.raises(KeyboardInterrupt), FilmWriter(path) as film:
        for number in range(5):
            film.write(painted(number))
            assert path.read_bytes() == b"an older film"
        raise KeyboardInterrupt
    assert read(path)[0] == [0, 1, 2, 3, 4]
    assert os.listdir(tmp_path) == ["film.mp4"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_a_killed_program_leaves_can_be_played(tmp_path: Path, ending: str) -> None:
    with FilmWriter(tmp_path / f"film.{ending}") as film:
        for number in range(200):
            film.write(painted(number))
        (aside,) = tmp_path.iterdir()
        assert aside.name.startswith(f".film.{ending}.")
        (tmp_path / f"left.{ending}").write_bytes(aside.read_bytes())
    with open_video(tmp_path / f"left.{ending}") as video:
        numbers = [number_of(frame.pixels) for frame in video.frames()]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= 60


def test_without_frames_there_is_no_film(tmp_path: Path) -> None:
    with FilmWriter(tmp_path / "new" / "film.mp4") as film:
        pass
    film.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="it was closed"):
        film.write(painted(0))


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_full_disk(tmp_path: Path, ending: str) -> None:
    rng = np.random.default_rng(1)
    with (
        full_disk(60_000),
        pytest.raises(OutputError, match=r"the film cannot be written .*; nothing was left there"),
        FilmWriter(tmp_path / f"film.{ending}", quality=0) as film,
    ):
        for _ in range(20):
            film.write(rng.integers(0, 256, (64, 96, 3), dtype=np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match=r"film\.mp4: the film cannot be written"):
        FilmWriter(tmp_path / "file" / "film.mp4").write(painted(0))
    (tmp_path / "film.mp4").mkdir()
    with (
        pytest.raises(OutputError, match=r"film\.mp4: the film cannot be written"),
        FilmWriter(tmp_path / "film.mp4") as film,
    ):
        film.write(painted(0))
    assert sorted(os.listdir(tmp_path)) == ["file", "film.mp4"]


@pytest.mark.parametrize(
    ("frame", "time_s", "expected"),
    [
        (painted(1)[:, :-2], 1.0, r"frame 1: expected the shape \(32, 48, 3\) of the first, got \(32, 46, 3\)"),
        (painted(1), 0.0, "time_s: expected a time after that of the frame before"),
        (painted(1), 0.000001, "time_s: expected a time after"),
        (painted(1), float("nan"), "time_s: expected seconds"),
        (painted(1).astype(np.float32), 1.0, "must be .* uint8"),
        (painted(1)[..., 0], 1.0, "must be .* uint8"),
        (painted(1)[:0], 1.0, "must be .* uint8"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused_and_the_film_goes_on(
    tmp_path: Path, frame: Any, time_s: float, expected: str
) -> None:
    with FilmWriter(tmp_path / "film.mp4") as film:
        film.write(painted(0), 0.0)
        with pytest.raises(VideoError, match=expected):
            film.write(frame, time_s)
        film.write(painted(2), 2.0)
    assert read(tmp_path / "film.mp4")[:2] == ([0, 2], [0.0, 2.0])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("film.avi", {}),
        ("film", {}),
        ("film.mp4", {"rate": 0}),
        ("film.mp4", {"rate": 1e-9}),
        ("film.mp4", {"quality": 52}),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    with pytest.raises(VideoError, match="expected"):
        FilmWriter(tmp_path / name, **options)


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"masklet\[video\]"):
        FilmWriter(tmp_path / "film.mp4")
