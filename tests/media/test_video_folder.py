"""Folders of frames and pictures in memory: no video decoder."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from masklet.errors import VideoError
from masklet.media.frame_folder import natural_key
from masklet.media.images import Pixels
from masklet.media.span import Seconds, Span
from masklet.media.video import open_video


def picture(number: int, size_wh: tuple[int, int] = (9, 5)) -> Pixels:
    return np.full((size_wh[1], size_wh[0], 3), number, dtype=np.uint8)


@pytest.fixture(autouse=True)
def no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)


def folder_of(folder: Path, names: list[str]) -> Path:
    """Pictures that hold their place in the list."""
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        Image.fromarray(picture(number)).save(folder / name)
    return folder


def test_natural_order(tmp_path: Path) -> None:
    names = ["frame2.png", "frame9.png", "frame10.PNG", "Frame11.png", "frame100.png"]
    folder = folder_of(tmp_path / "frames", names)
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(b"")
    folder_of(folder / "frame3.png", ["frame1.png"])
    with open_video(folder, rate=10) as video:
        frames = list(video.frames())
        assert [int(frame.pixels[0, 0, 0]) for frame in frames] == [0, 1, 2, 3, 4]
        assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
        assert [frame.time_s for frame in frames] == [0, 0.1, 0.2, 0.3, 0.4]
        assert video.facts.size_hw == (5, 9)
        assert video.facts.frame_count == video.count_frames() == 5
        assert video.facts.duration_s == 0.5
        assert [frame.index for frame in video.frames(backward=True)] == [4, 3, 2, 1, 0]
        span = Span(start=1, every=Seconds(0.2))
        assert [frame.index for frame in video.frames(span)] == [1, 3]
        assert [frame.index for frame in video.frames(span, backward=True)] == [3, 1]
        assert int(video.frame(3).pixels[0, 0, 0]) == 3
        with pytest.raises(VideoError, match="a frame from 0 to 4, got 5"):
            video.frame(5)


def test_names_in_natural_order() -> None:
    names = ["a1b10", "a1b2", "a01b2", "A1b3", "a", "", "10", "9", "ä2", "ä10", "²"]
    assert sorted(names, key=natural_key) == ["", "9", "10", "a", "a01b2", "a1b2", "A1b3", "a1b10", "²", "ä2", "ä10"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["0.png", "1.png", "2.png", "5.png", "6.png", "8.png"], "frames missing: 3, the first of them number 3"),
        (["f00.png", "f05.png", "f10.png", "f20.png"], "frames missing: 1, the first of them number 15"),
        (["00.png", "05.png", "10.png"], None),
        (["1.png", "7.png", "8.png", "100.png", "300.png"], None),  # times, not numbers
        (["a.png", "b.png", "x7.png"], None),
        (["1.png"], None),
    ],
)
def test_missing_numbers_are_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, names: list[str], expected: str | None
) -> None:
    with (
        caplog.at_level(logging.WARNING, logger="masklet"),
        open_video(folder_of(tmp_path / "frames", names)) as video,
    ):
        assert [frame.index for frame in video.frames()] == list(range(len(names)))
        assert (video.damage is None) == (expected is None)
        assert expected is None or f"frames: {expected}" in str(video.damage)
        assert [record.getMessage() for record in caplog.records] == ([video.damage] if expected else [])


def test_a_folder_without_frames(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(VideoError, match=r"expected a folder with frames .* found none in it"):
        open_video(tmp_path)


def test_a_frame_that_cannot_be_read(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "frames", ["0.png", "1.png", "2.png"])
    (folder / "1.png").write_bytes(b"")
    with open_video(folder) as video:
        reader = video.frames()
        assert next(reader).index == 0
        with pytest.raises(VideoError, match=r"frame 1: .*1\.png: expected a picture, the file is empty"):
            next(reader)
        assert video.frame(2).index == 2
    (folder / "0.png").unlink()
    (folder / "1.png").rename(folder / "0.png")
    with pytest.raises(VideoError, match=r"frame 0: .*0\.png"):
        open_video(folder)


def test_a_size_that_changes(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "frames", ["0.png", "1.png"])
    Image.fromarray(picture(0, (9, 6))).save(folder / "1.png")
    with open_video(folder) as video, pytest.raises(VideoError, match=r"1\.png.* frame 1: expected 9 x 5 .* got 9 x 6"):
        list(video.frames())


def test_a_single_picture_is_a_film_of_one_frame(tmp_path: Path) -> None:
    folder_of(tmp_path, ["a.png"])
    with open_video(tmp_path / "a.png") as video:
        assert [frame.index for frame in video.frames()] == [0]
        assert [frame.index for frame in video.frames(backward=True)] == [0]


def test_after_closing(tmp_path: Path) -> None:
    video = open_video(folder_of(tmp_path / "frames", ["0.png", "1.png"]))
    video.close()
    for ask in (video.frames, video.times_s, video.count_frames, lambda: video.frame(0)):
        with pytest.raises(VideoError, match="frames: expected an open video, it was closed"):
            ask()


def test_pictures_in_memory(tmp_path: Path) -> None:
    array = np.stack([picture(number) for number in range(4)])
    folder_of(tmp_path, ["a.png"])
    mixed = [array[0], Image.fromarray(array[1]), tmp_path / "a.png"]
    for source, expected in ((array, [0, 1, 2, 3]), (list(array), [0, 1, 2, 3]), (mixed, [0, 1, 0])):
        with open_video(source, rate=4) as video:
            frames = list(video.frames())
            assert [int(frame.pixels[0, 0, 0]) for frame in frames] == expected
            assert frames[1].time_s == 0.25
            frames[0].pixels[:] = 99
    assert array.max() == 3  # frames are their reader's own
    for nothing in ([], array[:0]):
        with pytest.raises(VideoError, match="at least one picture"):
            open_video(nothing)
    with pytest.raises(VideoError, match="rate: expected"):
        open_video(array, rate=0)
    with pytest.raises(VideoError, match="frame 0: a picture as an array must be"):
        open_video(array.astype(np.float32))  # type: ignore[arg-type]


def test_readers_hold_a_bounded_number_of_frames() -> None:
    with open_video(np.zeros((200, 3, 3, 3), np.uint8)) as video:
        with video.frames(ahead=2) as reader:
            next(reader)
            assert reader.waiting <= 2
        with pytest.raises(VideoError, match="ahead: expected"):
            video.frames(ahead=0)
