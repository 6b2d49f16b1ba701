"""Films that pass by once: pipes and cameras."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from film_cases import CONTAINERS, number_of, write_film
from masklet.errors import VideoError
from masklet.media.film_container import open_device
from masklet.media.film_stream import FilmStream, open_pipe, open_raw_pipe
from masklet.media.span import Seconds, Span
from masklet.media.video import open_video

READ = """
from film_cases import number_of
from masklet.media.video import open_video
with open_video("-") as video:
    print(*[f"{frame.index}:{number_of(frame.pixels)}:{frame.time_s:.2f}" for frame in video.frames()])
"""


@contextmanager
def piped(data: bytes, *, hold: bool = False) -> Iterator[int]:
    """The reading end of a pipe through which `data` comes; with `hold` it is not closed afterwards."""
    read, write = os.pipe()
    done = threading.Event()

    def send() -> None:
        with open(write, "wb", buffering=0) as file:
            try:
                sent = 0
                while sent < len(data):
                    sent += file.write(data[sent : sent + 4096])
                if hold:
                    done.wait(20)
            except BrokenPipeError:
                pass

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield read
    finally:
        done.set()
        os.close(read)
        sender.join()


def test_standard_input_of_a_program(tmp_path: Path) -> None:
    data = write_film(tmp_path / "film.mjpeg", count=5, **CONTAINERS["mjpeg"]).read_bytes()
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    with piped(data) as descriptor:
        done = subprocess.run(
            [sys.executable, "-c", READ],
            stdin=descriptor,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            env=os.environ | {"PYTHONPATH": paths},
        )
    assert done.stdout.strip() == "0:0:0.00 1:1:0.04 2:2:0.08 3:3:0.12 4:4:0.16"
    assert not done.stderr


@pytest.mark.parametrize("ending", ["mkv", "webm", "ts", "gif", "h264", "avi", "fragmented.mp4"])
def test_films_through_a_pipe(tmp_path: Path, ending: str) -> None:
    data = write_film(tmp_path / f"film.{ending}", count=20, **CONTAINERS[ending]).read_bytes()
    with piped(data) as descriptor, open_pipe(descriptor, "stdin") as video:
        assert not video.can_seek
        assert video.facts.name == "stdin"
        frames = list(video.frames(Span(start=3, end=Seconds(0.6), every=4)))
        assert [frame.index for frame in frames] == [number_of(frame.pixels) for frame in frames] == [3, 7, 11]


def test_uncompressed_films_through_a_pipe(tmp_path: Path) -> None:
    data = write_film(tmp_path / "film.y4m", count=20, codec="rawvideo", options={}).read_bytes()
    with piped(data) as descriptor, open_pipe(descriptor, "stdin") as video:
        assert video.facts.rate == 25
        frames = list(video.frames())
        assert [frame.index for frame in frames] == [number_of(frame.pixels) for frame in frames] == list(range(20))


def test_plain_bytes_through_a_pipe(caplog: pytest.LogCaptureFixture) -> None:
    pictures = np.random.default_rng(4).integers(0, 256, (5, 13, 9, 3), dtype=np.uint8)
    data = pictures.tobytes()
    with piped(data) as descriptor, open_raw_pipe(descriptor, "raw:9x13", size_hw=(13, 9), rate=10) as video:
        frames = list(video.frames())
        assert np.array_equal(np.stack([frame.pixels for frame in frames]), pictures)
        assert [frame.time_s for frame in frames] == [0, 0.1, 0.2, 0.3, 0.4]
        assert video.damage is None
    with piped(data[:-1]) as descriptor, open_raw_pipe(descriptor, "raw:9x13", size_hw=(13, 9), rate=30) as video:
        assert [frame.index for frame in video.frames()] == [0, 1, 2, 3]
        assert "not whole" in str(video.damage)
    assert [record.getMessage() for record in caplog.records] == [video.damage]
    for data, expected in ((b"", "nothing came through the pipe"), (b"abc", "expected a film with at least one")):
        with piped(data) as descriptor, pytest.raises(VideoError, match=f"raw:9x13: .*{expected}"):
            open_raw_pipe(descriptor, "raw:9x13", size_hw=(13, 9), rate=10)


@pytest.mark.parametrize(
    ("source", "rate", "expected"),
    [
        ("raw:640", None, "expected raw:WIDTHxHEIGHT"),
        ("raw:0x480", None, "expected raw:WIDTHxHEIGHT"),
        ("raw:99999x99999", None, "at most 200 megapixels"),
        ("raw:640x480", 0.0, "rate: expected 0.001 to 1000"),
    ],
)
def test_plain_bytes_that_cannot_be(
    monkeypatch: pytest.MonkeyPatch, source: str, rate: float | None, expected: str
) -> None:
    with piped(b"") as descriptor, open(descriptor, closefd=False) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(VideoError, match=expected):
            open_video(source, rate=rate)


def test_a_pipe_passes_by_once(tmp_path: Path) -> None:
    data = write_film(tmp_path / "film.mkv", count=4).read_bytes()
    with piped(data) as descriptor, open_pipe(descriptor, "stdin") as video:
        for ask in (lambda: video.frame(0), video.count_frames, lambda: video.frames(backward=True)):
            with pytest.raises(VideoError, match="stdin: a pipe or camera passes by once"):
                ask()
        assert len(list(video.frames())) == 4
        with pytest.raises(VideoError, match="passes by once"):
            video.frames()


def test_a_start_behind_the_end(tmp_path: Path) -> None:
    data = write_film(tmp_path / "film.mkv", count=4).read_bytes()
    with (
        piped(data) as descriptor,
        open_pipe(descriptor, "stdin") as video,
        pytest.raises(VideoError, match="stdin: expected frames from frame 9 to the end, there are none"),
    ):
        list(video.frames(Span(start=9)))


def test_closing_does_not_wait_for_the_pipe(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = write_film(tmp_path / "film.mkv", count=60).read_bytes()
    with piped(data, hold=True) as descriptor:
        video = open_pipe(descriptor, "stdin")
        reader = video.frames(ahead=100)
        next(reader)
        time.sleep(0.1)  # the thread now waits for bytes that never come
        start = time.monotonic()
        video.close()
        assert time.monotonic() - start < 5
        assert not any(thread.name == "masklet-read-ahead" for thread in threading.enumerate())
        assert video.damage is None
        assert not caplog.records


def test_waiting_for_a_pipe_can_be_stopped() -> None:
    with piped(b"", hold=True) as descriptor:
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            open_pipe(descriptor, "stdin")
        timer.join()


@pytest.mark.parametrize(
    ("data", "expected"), [(b"", "nothing came through the pipe"), (b"no film\n" * 400, "stdin: expected a film")]
)
def test_no_film_in_a_pipe(data: bytes, expected: str) -> None:
    with piped(data) as descriptor, pytest.raises(VideoError, match=expected):
        open_pipe(descriptor, "stdin")


def test_an_mp4_with_its_index_at_the_end(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    noise = [rng.integers(0, 256, (96, 160, 3), dtype=np.uint8) for _ in range(20)]  # more than is read at once
    path = write_film(tmp_path / "film.mp4", frames=noise, size_wh=(160, 96))
    with piped(path.read_bytes()) as descriptor, pytest.raises(VideoError, match=r"-movflags \+faststart"):
        open_pipe(descriptor, "stdin")
    with path.open("rb") as file, open_pipe(file.fileno(), "stdin") as video:  # redirected: it can go back
        assert [frame.index for frame in video.frames()] == list(range(20))


def test_a_cut_film_through_a_pipe(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = write_film(tmp_path / "film.mkv", count=30).read_bytes()
    with piped(data[: len(data) * 2 // 3]) as descriptor, open_pipe(descriptor, "stdin") as video:
        frames = list(video.frames())
        assert 10 < len(frames) < 30
        assert video.damage is not None
    assert [record.getMessage() for record in caplog.records] == [video.damage]


def test_no_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(VideoError, match="this program has none"):
        open_video("-")


def test_a_device_that_gives_pictures_without_end() -> None:
    """The library's test picture stands for a camera: it is opened in the same way."""
    device = "testsrc=size=48x32:rate=25"
    with FilmStream(lambda: open_device(device, "lavfi", "camera:0", {}), "camera:0", lambda: None) as video:
        assert video.facts.name == "camera:0"
        assert video.facts.size_hw == (32, 48)
        assert video.facts.frame_count is None
        with video.frames(Span(every=2)) as reader:
            frames = [next(reader) for _ in range(3)]
    assert [(frame.index, frame.time_s) for frame in frames] == [(0, 0.0), (2, 0.08), (4, 0.16)]
    with pytest.raises(VideoError, match="camera:0: expected a camera at nothing, it cannot be opened"):
        FilmStream(lambda: open_device("nothing", "lavfi", "camera:0", {}), "camera:0", lambda: None)


@pytest.mark.parametrize("name", ["camera:", "camera:x", "camera:-1", "camera:99"])
def test_a_camera_that_is_not_there(name: str) -> None:
    with pytest.raises(VideoError, match=f"^{name}: (expected|cameras)"):
        open_video(name)
