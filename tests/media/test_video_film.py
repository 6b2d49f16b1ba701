"""Films of every kind: exact numbers and times, any frame, backward."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from film_cases import CONTAINERS, SIZE_WH, X265, number_of, painted, write_film
from masklet.errors import MissingExtraError, VideoError
from masklet.media.film import Film
from masklet.media.film_decoder import DecodedFrame
from masklet.media.span import Seconds, Span
from masklet.media.video import open_video
from masklet.media.video_source import Frame, VideoSource

COUNT = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("films")


@pytest.fixture(scope="module", params=list(CONTAINERS))
def film(request: pytest.FixtureRequest, folder: Path) -> Iterator[VideoSource]:
    path = write_film(folder / f"film.{request.param}", count=COUNT, **CONTAINERS[request.param])
    with open_video(path) as video:
        yield video
        assert video.damage is None


def all_frames(video: VideoSource, span: Span | None = None, **options: Any) -> list[Frame]:
    with video.frames(span, **options) as reader:
        return list(reader)


def same(one: list[Frame], other: list[Frame]) -> bool:
    return [(a.index, a.time_s) for a in one] == [(b.index, b.time_s) for b in other] and all(
        np.array_equal(a.pixels, b.pixels) for a, b in zip(one, other, strict=True)
    )


# --- every container --------------------------------------------------------------------------------------------------


def test_every_frame_in_order(film: VideoSource) -> None:
    frames = all_frames(film)
    assert [frame.index for frame in frames] == list(range(COUNT))
    assert [number_of(frame.pixels) for frame in frames] == list(range(COUNT))
    assert np.allclose([frame.time_s for frame in frames], np.arange(COUNT) / 25, atol=1e-9)
    assert {frame.pixels.shape for frame in frames} == {(*SIZE_WH[::-1], 3)}
    assert all(frame.pixels.dtype == np.uint8 and frame.pixels.flags.c_contiguous for frame in frames)
    assert film.facts.size_hw == SIZE_WH[::-1]
    assert film.facts.frame_count in (None, COUNT)
    assert film.facts.rate == pytest.approx(25)


def test_count_and_times_without_decoding(film: VideoSource) -> None:
    assert film.count_frames() == COUNT
    assert list(film.times_s()) == [frame.time_s for frame in all_frames(film)]


def test_any_frame_is_the_one_of_the_whole_film(film: VideoSource) -> None:
    frames = all_frames(film)
    order = [*np.random.default_rng(3).permutation(COUNT), 0, COUNT - 1, 7, 8, 9, 9]
    assert same([film.frame(int(index)) for index in order], [frames[index] for index in order])


def test_starting_at_any_frame(film: VideoSource) -> None:
    frames = all_frames(film)
    for start in range(0, COUNT, 3):
        assert same(all_frames(film, Span(start=start)), frames[start:])


def test_backward_is_forward_reversed(film: VideoSource, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = all_frames(film)
    assert same(all_frames(film, backward=True), frames[::-1])
    monkeypatch.setattr("masklet.media.film._MOST_KEPT", 4)  # less than a group of pictures, which has ten
    assert same(all_frames(film, backward=True), frames[::-1])
    span = Span(start=3, end=26, every=5)
    assert same(all_frames(film, span, backward=True), frames[3:26:5][::-1])


# --- spans ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (Span(start=4, end=7), range(4, 7)),
        (Span(end=500), range(COUNT)),
        (Span(every=7), range(0, COUNT, 7)),
        (Span(start=5, every=10), range(5, COUNT, 10)),
        (Span(start=Seconds(0.2), end=Seconds(0.4)), range(5, 10)),
        (Span(start=Seconds(0.21), end=12), range(6, 12)),
        (Span(every=Seconds(0.2)), range(0, COUNT, 5)),
        (Span(start=Seconds(0.04), every=Seconds(0.1)), (1, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 29)),
        (Span(start=29), (29,)),
    ],
    ids=str,
)
def test_spans(folder: Path, span: Span, expected: range) -> None:
    path = folder / "spans.mkv"
    if not path.exists():
        write_film(path, count=COUNT)
    with open_video(path) as video:
        frames = all_frames(video, span)
        assert [frame.index for frame in frames] == list(expected)
        assert [number_of(frame.pixels) for frame in frames] == list(expected)
        assert same(all_frames(video, span, backward=True), frames[::-1])


def test_frames_that_are_not_there(tmp_path: Path) -> None:
    with open_video(write_film(tmp_path / "film.mp4", count=3)) as video:
        for index in (-1, 3, 10**9):
            with pytest.raises(VideoError, match=f"a frame from 0 to 2, got {index}"):
                video.frame(index)
        for span in (Span(start=3), Span(start=Seconds(9))):
            for backward in (False, True):
                with pytest.raises(VideoError, match=r"film\.mp4: expected frames from .*, there are none"):
                    all_frames(video, span, backward=backward)


# --- what is in a film ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["mp4", "mkv", "webm"])
def test_a_variable_frame_rate_keeps_each_time(tmp_path: Path, ending: str) -> None:
    stamps = [0, 40, 41, 99, 1000, 1001, 1500, 4321, 4400, 9999]
    path = write_film(
        tmp_path / f"film.{ending}", count=10, stamps=stamps, unit=Fraction(1, 1000), **CONTAINERS[ending]
    )
    with open_video(path) as video:
        assert [frame.time_s for frame in all_frames(video)] == [stamp / 1000 for stamp in stamps]
        assert list(video.times_s()) == [stamp / 1000 for stamp in stamps]
        assert [frame.index for frame in all_frames(video, Span(start=Seconds(1)))] == [4, 5, 6, 7, 8, 9]
        assert [frame.index for frame in all_frames(video, Span(every=Seconds(1)))] == [0, 4, 7, 9]
        assert video.frame(7).time_s == 4.321


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_frames_are_turned_as_a_viewer_shows_them(tmp_path: Path, degrees: int, mirrored: bool, ending: str) -> None:
    path = write_film(tmp_path / f"film.{ending}", count=2, rotation=(degrees, mirrored), pixel_aspect=Fraction(3, 2))
    upright = np.rot90(painted(1), degrees // 90)
    if mirrored:
        upright = upright[:, ::-1]
    with open_video(path) as video:
        frame = video.frame(1)
        assert frame.pixels.shape == upright.shape == (*video.facts.size_hw, 3)
        assert np.abs(frame.pixels.astype(int) - upright).mean() < 8
        assert frame.pixels.flags.c_contiguous
        assert video.facts.pixel_aspect == pytest.approx(1.5 if degrees % 180 == 0 else 1 / 1.5)


@pytest.mark.parametrize("size_wh", [(51, 33), (49, 64), (48, 35)])
@pytest.mark.parametrize("ending", ["webm", "gif"])
def test_odd_sizes(tmp_path: Path, size_wh: tuple[int, int], ending: str) -> None:
    path = write_film(tmp_path / f"film.{ending}", count=3, size_wh=size_wh, **CONTAINERS[ending])
    with open_video(path) as video:
        frames = all_frames(video)
        assert [number_of(frame.pixels) for frame in frames] == [0, 1, 2]
        assert frames[0].pixels.shape == (size_wh[1], size_wh[0], 3)
        assert np.abs(frames[2].pixels[:, -3:].astype(int) - painted(2, size_wh)[:, -3:]).mean() < 40


@pytest.mark.parametrize(("ending", "colorspace"), [("mp4", None), ("mp4", 1), ("hevc.mkv", 1)])
def test_colours_follow_the_colour_space(tmp_path: Path, ending: str, colorspace: int | None) -> None:
    bars = np.repeat(np.array([[200, 30, 40], [30, 200, 60], [20, 40, 220], [240, 240, 10]], np.uint8), 12, axis=0)
    bars = np.broadcast_to(bars, (32, 48, 3)).copy()
    options = {"crf": "1"} if ending == "mp4" else {"x265-params": X265["x265-params"] + ":crf=2"}
    settings = CONTAINERS[ending] | {"options": options, "frames": [bars] * 8, "colorspace": colorspace}
    with open_video(write_film(tmp_path / f"film.{ending}", **settings)) as video:
        assert np.abs(video.frame(0).pixels[:, 6::12].astype(int) - bars[:, 6::12]).max() <= 6


def test_transparent_parts_of_a_gif_are_white(tmp_path: Path) -> None:
    Image.new("RGBA", (9, 5), (200, 0, 0, 0)).save(tmp_path / "film.gif")
    with open_video(tmp_path / "film.gif") as video:
        assert video.frame(0).pixels.min() == 255


def test_a_film_of_one_frame(tmp_path: Path) -> None:
    with open_video(write_film(tmp_path / "film.mp4", count=1)) as video:
        assert [frame.index for frame in all_frames(video)] == [0]
        assert [frame.index for frame in all_frames(video, backward=True)] == [0]
        assert video.count_frames() == 1


def test_what_was_trimmed_off_does_not_count(tmp_path: Path) -> None:
    """An MP4 cut without coding it anew keeps pictures that are decoded and not shown, before and behind."""
    whole, path = write_film(tmp_path / "whole.mp4", count=20), tmp_path / "film.mp4"
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        pictures = source.streams.video[0]
        stream = target.add_stream_from_template(pictures)
        for packet in source.demux(pictures):
            if packet.size:
                assert packet.pts is not None and packet.dts is not None and pictures.time_base is not None
                shift = round(5 / 25 / pictures.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                target.mux(packet)
    data = bytearray(path.read_bytes())
    edit = data.index(b"elst") + 12  # behind the name, the version and the number of edits: the length of the first
    assert int.from_bytes(data[edit : edit + 4], "big") == 600  # thousandths of a second
    data[edit : edit + 4] = (400).to_bytes(4, "big")
    path.write_bytes(bytes(data))
    with open_video(path) as video:
        frames = all_frames(video)
        assert [frame.index for frame in frames] == list(range(10))
        assert [number_of(frame.pixels) for frame in frames] == list(range(5, 15))
        assert np.allclose([frame.time_s for frame in frames], np.arange(10) / 25, atol=1e-9)
        assert video.count_frames() == 10
        assert same(all_frames(video, backward=True), frames[::-1])
        assert same([video.frame(index) for index in (9, 2, 0)], [frames[9], frames[2], frames[0]])
        assert video.damage is None


def test_sound_beside_the_pictures_does_not_matter(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    with av.open(str(film), "w") as container:
        sound = container.add_stream("aac", rate=8000)
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height = SIZE_WH
        for number in range(10):
            picture = av.VideoFrame.from_ndarray(painted(number)).reformat(format="yuv420p")
            container.mux(stream.encode(picture))
            piece = av.AudioFrame.from_ndarray(np.zeros((1, 320), np.float32), format="fltp", layout="mono")
            piece.sample_rate = 8000
            container.mux(sound.encode(piece))
        container.mux(stream.encode(None))
        container.mux(sound.encode(None))
    with open_video(film) as video:
        assert [number_of(frame.pixels) for frame in all_frames(video)] == list(range(10))
        assert video.count_frames() == 10
        assert video.damage is None


# --- readers ----------------------------------------------------------------------------------------------------------


def test_readers_do_not_disturb_each_other(tmp_path: Path) -> None:
    with open_video(write_film(tmp_path / "film.mp4", count=20)) as video:
        forward, backward = video.frames(), video.frames(backward=True)
        for index in range(20):
            assert number_of(next(forward).pixels) == index
            assert number_of(next(backward).pixels) == 19 - index
            assert number_of(video.frame(13).pixels) == 13


def test_a_closed_film(tmp_path: Path) -> None:
    video = open_video(write_film(tmp_path / "film.mp4", count=20))
    reader = video.frames()
    next(reader)
    complete = video.frames()
    assert len(list(complete)) == 20
    video.close()
    video.close()
    for ask in (lambda: next(reader), video.frames, video.times_s, video.count_frames, lambda: video.frame(0)):
        with pytest.raises(VideoError, match=r"film\.mp4: expected an open video, it was closed"):
            ask()
    assert list(complete) == []


def test_a_film_that_is_open_already_is_itself(tmp_path: Path) -> None:
    with open_video(write_film(tmp_path / "film.mp4", count=1)) as video:
        assert open_video(video) is video
        assert isinstance(video, Film)


def test_a_rate_is_for_what_has_no_times(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", count=1)
    with open_video(path) as video:
        for source in (path, video, "-", "camera:0"):
            with pytest.raises(VideoError, match=r"rate: expected none for .*, got 10"):
                open_video(source, rate=10)


def alive() -> int:
    """How many frames there are in the whole program."""
    return sum(type(item) in (Frame, DecodedFrame) for item in gc.get_objects())


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("kind", ["film", "folder"])
def test_few_frames_are_alive_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, backward: bool
) -> None:
    count, ahead, part = 300, 3, 16
    monkeypatch.setattr("masklet.media.film._MOST_KEPT", part)
    if kind == "film":
        source = write_film(tmp_path / "film.mkv", count=count)
    else:
        source = tmp_path / "frames"
        source.mkdir()
        for number in range(count):
            (source / f"{number}.ppm").write_bytes(b"P6 8 4 255\n" + bytes(96))
    most, seen, before = 0, 0, alive()
    with open_video(source) as video, video.frames(ahead=ahead, backward=backward) as reader:
        for _ in reader:
            seen += 1
            if seen % 20 == 0:
                most = max(most, alive() - before)
    assert seen == count
    # The caller's, those that wait, one made and one being made, each as a `Frame` and decoded.
    # How many wait when they are counted is up to the threads; the caller's is always there.
    assert 1 <= most <= 1 + ahead + 2 * 2 + (part if backward and kind == "film" else 0)


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_film(tmp_path / "film.mp4", count=1)
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"masklet\[video\]"):
        open_video(path)
