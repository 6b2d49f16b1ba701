"""Damaged, cut and foreign files: one clear line, and every sound frame."""

from __future__ import annotations

import functools
import itertools
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from film_cases import CONTAINERS, SIZE_WH, number_of, painted, write_film
from masklet.errors import VideoError
from masklet.media import film_container
from masklet.media.span import Span
from masklet.media.video import open_video

FRONT = {"movflags": "faststart"}  # the index of an MP4 before its pictures


def noisy(count: int) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """Frames that take some bytes each, so that a film can be cut at any of them."""
    rng = np.random.default_rng(5)
    frames = [painted(number) for number in range(count)]
    for frame in frames:
        frame[14:] = rng.integers(0, 256, frame[14:].shape)
    return frames


@functools.cache
def whole(ending: str) -> bytes:
    """A film of 40 frames."""
    settings = CONTAINERS[ending] | ({"container": FRONT} if ending in ("mp4", "mov") else {})
    with tempfile.TemporaryDirectory() as folder:
        return write_film(Path(folder) / f"film.{ending}", frames=noisy(40), **settings).read_bytes()


def shortened(path: Path, size: int) -> Path:
    path.write_bytes(path.read_bytes()[:size])
    return path


def numbers(path: Path, **options: Any) -> tuple[list[int], list[int], str | None]:
    """Numbers by the reader, by the pixels, and the damage found."""
    with open_video(path) as video:
        frames = list(video.frames(**options))
        return [frame.index for frame in frames], [number_of(frame.pixels) for frame in frames], video.damage


def assert_sound(indices: list[int], painted_numbers: list[int]) -> None:
    """Frames from the first one on; the last may stand behind others that are missing since they are stored later."""
    assert painted_numbers[:-3] == indices[:-3] == list(range(len(indices) - 3))
    for ascending in (indices, painted_numbers):
        assert all(before < after for before, after in itertools.pairwise(ascending))


# --- no film at all ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("missing.mp4", None, "there is no such file"),
        ("empty.mp4", b"", "the file is empty"),
        ("noise.mp4", bytes(np.random.default_rng(0).integers(0, 256, 4000, dtype=np.uint8)), "expected a film"),
        ("text.txt", b"hello\n" * 500, "expected a film"),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:1,\nhttp://192.0.2.1/film.ts\n", "expected a film"),
        ("list.ffconcat", b"ffconcat version 1.0\nfile 'film.mp4'\n", "expected a film"),
        ("zeros.avi", bytes(5000), "expected a film"),
    ],
)
def test_what_is_no_film(tmp_path: Path, name: str, content: bytes | None, expected: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VideoError, match=expected) as caught:
        open_video(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a\0b.mp4", "x" * 5000 + ".mp4"])
def test_a_path_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(VideoError):
        open_video(str(tmp_path / name))


def test_a_pipe_in_the_place_of_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "film.mp4")
    for path in (tmp_path / "film.mp4", Path("/dev/null")):
        with pytest.raises(VideoError, match=f"{path}: expected a film, .* or '-' for standard input, got no ordinary"):
            open_video(path)


def test_a_name_that_looks_like_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_film(tmp_path / "film.mp4", count=2).rename("concat:é %03d.mp4")
    assert numbers(Path("concat:é %03d.mp4")) == ([0, 1], [0, 1], None)


def test_sound_only(tmp_path: Path) -> None:
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        piece = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        piece.sample_rate = 8000
        container.mux(stream.encode(piece))
    with pytest.raises(VideoError, match="no video stream in it, only audio"):
        open_video(path)


@pytest.mark.parametrize("source", [3, None, object(), np.zeros((4, 4, 3), np.uint8)])
def test_no_video_at_all(source: Any) -> None:
    with pytest.raises(VideoError, match=r"a video (must be|as an array)"):
        open_video(source)


def test_frames_that_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film_container, "MAX_PIXELS", 1000)
    with pytest.raises(VideoError, match=r"at most 0\.001 megapixels, got 48 x 32"):
        open_video(write_film(tmp_path / "film.mp4", count=1))


# --- cut films --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "webm"])
@pytest.mark.parametrize("share", [0.4, 0.9])
def test_a_cut_film_gives_its_sound_frames(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, ending: str, share: float
) -> None:
    path = tmp_path / f"film.{ending}"
    path.write_bytes(whole(ending))
    assert numbers(path)[2] is None
    size = int(path.stat().st_size * share)
    with caplog.at_level(logging.WARNING, logger="masklet"):
        indices, painted_numbers, damage = numbers(shortened(path, size))
    assert_sound(indices, painted_numbers)
    assert 40 * share - 8 < len(indices) < 40
    assert damage is not None
    assert damage.startswith(str(path))
    assert [record.getMessage() for record in caplog.records] == [damage]
    backward, _, _ = numbers(path, backward=True)
    assert backward == indices[::-1]
    with open_video(path) as video:
        assert video.count_frames() == len(indices)
        assert video.frame(len(indices) - 1).index == len(indices) - 1
        assert video.damage == damage


def test_a_film_cut_between_two_pictures(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", frames=noisy(20), container=FRONT)
    with av.open(str(path)) as container:
        ends = [(packet.pos or 0) + packet.size for packet in container.demux(video=0) if packet.size]
    indices, painted_numbers, damage = numbers(shortened(path, ends[9]))
    assert_sound(indices, painted_numbers)
    assert damage is not None
    assert "cut short" in damage


def test_an_mp4_that_was_cut_before_its_index(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", frames=noisy(20))
    with pytest.raises(VideoError, match="a damaged or cut one"):
        open_video(shortened(path, path.stat().st_size // 2))


@pytest.mark.parametrize("ending", ["gif", "ts", "mjpeg", "avi"])
def test_a_cut_that_a_container_may_not_tell_of_loses_nothing(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"film.{ending}"
    path.write_bytes(whole(ending))
    indices, painted_numbers, _ = numbers(shortened(path, path.stat().st_size * 2 // 3))
    assert_sound(indices, painted_numbers)
    assert len(indices) > 10


def test_nothing_but_a_header(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mkv", frames=noisy(5))
    with av.open(str(path)) as container:
        first = next(packet.pos for packet in container.demux(video=0))
    with pytest.raises(VideoError, match=r"at least one sound frame|expected a film"):
        open_video(shortened(path, first or 0))


def test_a_damaged_picture_in_the_middle_leaves_a_gap(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_film(tmp_path / "film.mkv", codec="ffv1", options={"g": "1"}, frames=noisy(12))
    with av.open(str(path)) as container:
        position = [packet.pos for packet in container.demux(video=0)][5]
    data = bytearray(path.read_bytes())
    data[position + 20 : position + 400] = bytes(380)
    path.write_bytes(bytes(data))
    with caplog.at_level(logging.WARNING, logger="masklet"), open_video(path) as video:
        frames = list(video.frames())
        assert [frame.index for frame in frames] == [number_of(frame.pixels) for frame in frames]
        assert [frame.index for frame in frames] == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
        assert [frame.index for frame in video.frames(backward=True)] == [frame.index for frame in frames][::-1]
        assert [frame.index for frame in video.frames(Span(start=5))] == [6, 7, 8, 9, 10, 11]
        assert video.frame(6).time_s == pytest.approx(0.24)
        with pytest.raises(VideoError, match="frame 5 cannot be decoded"):
            video.frame(5)
        assert video.damage is not None
    assert len(caplog.records) == 1


# --- films that change ------------------------------------------------------------------------------------------------


def test_a_size_that_changes_midway_is_named(tmp_path: Path) -> None:
    first = write_film(tmp_path / "one.h264", count=4).read_bytes()
    second = write_film(tmp_path / "two.h264", count=4, size_wh=(64, 32)).read_bytes()
    path = tmp_path / "film.h264"
    path.write_bytes(first + second)
    with open_video(path) as video:
        reader = video.frames()
        assert [next(reader).index for _ in range(4)] == [0, 1, 2, 3]
        with pytest.raises(VideoError, match="frame 4: expected 48 x 32 pixels as the frames before, got 64 x 32"):
            next(reader)


def test_films_that_were_put_together(tmp_path: Path) -> None:
    """Time stamps begin anew in the middle."""
    path = tmp_path / "film.ts"
    path.write_bytes(b"".join(write_film(tmp_path / "part.ts", count=30).read_bytes() for _ in range(2)))
    with open_video(path) as video:
        frames = list(video.frames())
        assert [frame.index for frame in frames] == list(range(60))
        assert [number_of(frame.pixels) for frame in frames] == [*range(30), *range(30)]
        assert np.allclose([frame.time_s for frame in frames], np.arange(60) / 25, atol=1e-6)
        assert list(video.times_s()) == [frame.time_s for frame in frames]
        assert np.array_equal(video.frame(33).pixels, frames[33].pixels)
        assert [frame.index for frame in video.frames(backward=True)] == list(range(60))[::-1]


def test_pictures_that_are_never_shown_do_not_count(tmp_path: Path) -> None:
    """VP8 stores pictures that later ones are drawn upon; here every fourth one is such a picture."""
    path = write_film(tmp_path / "film.webm", **CONTAINERS["vp8.webm"])
    with av.open(str(path)) as source, av.open(str(tmp_path / "hidden.webm"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if not packet.size:
                continue
            pieces = [(bytes(packet), packet.pts)]
            if number % 4 == 3 and not packet.is_keyframe:
                data = bytearray(bytes(packet))
                data[0] &= ~0x10
                pieces.insert(0, (bytes(data), (packet.pts or 0) - 20))
            for data_, stamp in pieces:
                piece: Any = av.Packet(data_)
                piece.stream, piece.pts, piece.dts = stream, stamp, stamp
                piece.time_base, piece.is_keyframe = packet.time_base, packet.is_keyframe
                target.mux(piece)
    with open_video(tmp_path / "hidden.webm") as video:
        frames = list(video.frames())
        assert [frame.index for frame in frames] == list(range(30))
        assert video.count_frames() == 30
        assert frames[0].pixels.shape == (*SIZE_WH[::-1], 3)
        assert all(np.array_equal(video.frame(index).pixels, frames[index].pixels) for index in (29, 4, 12))
