"""A run over a video: its files, whatever ends it, and that it goes on as if it had not ended."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from film_cases import write_film
from follow_cases import ask, clip, documents, predictor
from full_disk import full_disk
from masklet import Exemplar
from masklet.errors import DataError, InputError, OutputError, VideoError
from masklet.inference.frame_lines import read_results
from masklet.inference.open_video import OpenVideo
from masklet.inference.video_result import VideoResult
from masklet.inference.video_run import FINISHED_FILE, STATE_FILE, Wanted, run_video
from masklet.media.film_stream import open_pipe

ALL = Wanted(film=True, masks=True, mot=True, coco=True)
SETTINGS = {"concepts": ["dog"]}
REACH = 31  # frames that a masklet reads at most: one prompted, 15 tracked behind it and as many the other way
FILES = {"frames.jsonl", "overlay.mp4", "masks", "mot.txt", "youtube_vis.json"}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = clip()
    return write_film(tmp_path_factory.mktemp("film") / "clip.mp4", frames=frames, size_wh=(90, 60))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out/clip"


def run(
    film: Any,
    folder: Path,
    *,
    wanted: Wanted = ALL,
    stop: Callable[[int], None] = lambda count: None,
    settings: dict[str, Any] = SETTINGS,
    **how: Any,
) -> list[VideoResult]:
    """All results; `stop` is called with the number of results after each."""
    found = []
    with (
        predictor().open(film) as video,
        closing(run_video(video, ask, folder=folder, wanted=wanted, settings=settings, **how)) as results,
    ):
        for result in results:
            found.append(result)
            stop(len(found))
    return found


def cut_at(count: int, error: type[BaseException] = KeyboardInterrupt) -> Callable[[int], None]:
    def stop(done: int) -> None:
        if done == count:
            raise error

    return stop


def contents(folder: Path) -> dict[str, Any]:
    """Every file of a run; of the film the pixels and times of its frames."""
    found: dict[str, Any] = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".mp4"
    }
    if (folder / "overlay.mp4").exists():
        found["overlay.mp4"] = film_frames(folder / "overlay.mp4")
    return found


def assert_same(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    """The same files with the same content; names those that differ, and of lines and frames where."""
    assert sorted(mine) == sorted(theirs)
    for name, content in theirs.items():
        parts = [one.splitlines() if isinstance(one, bytes) else one for one in (mine[name], content)]
        different = [place for place, (one, other) in enumerate(zip(*parts, strict=True)) if one != other]
        assert not different, f"{name}: {different}"


def film_frames(path: Path) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as film:
        return [(frame.time or 0, frame.to_ndarray(format="rgb24").tobytes()) for frame in film.decode(video=0)]


@pytest.fixture(scope="module")
def whole(film: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The files of an uncut run."""
    folder = tmp_path_factory.mktemp("whole") / "clip"
    run(film, folder)
    return contents(folder)


# --- what is written --------------------------------------------------------------------------------------------------


def test_files_of_a_run(film: Path, folder: Path, whole: dict[str, Any]) -> None:
    results = run(film, folder)
    assert {path.name for path in folder.iterdir()} == FILES | {FINISHED_FILE}
    assert documents(read_results(folder / "frames.jsonl")) == documents(results)
    assert [result.time_s for result in results] == pytest.approx([k / 25 for k in range(12)])
    assert len(whole["overlay.mp4"]) == 12
    assert_same(contents(folder), whole)  # every run gives the same


def test_the_film_shows_the_objects(film: Path, folder: Path, whole: dict[str, Any]) -> None:
    results = run(film, folder)
    for (time_s, pixels), result in zip(whole["overlay.mp4"], results, strict=True):
        assert time_s == pytest.approx(result.time_s, abs=1 / 60_000)  # a film's unit of time
        drawn = np.asarray(result.overlay(), dtype=float)
        shown = np.frombuffer(pixels, dtype=np.uint8).reshape(drawn.shape)
        assert np.abs(shown - drawn).mean() < 25  # levels; a film halves the resolution of colours, which are random
        plain = np.kron(result.source, np.ones((drawn.shape[0] // 60, drawn.shape[1] // 90, 1)))
        if len(result):
            assert np.abs(shown - drawn).mean() < 0.7 * np.abs(shown - plain).mean()


def test_only_what_is_wanted(film: Path, folder: Path) -> None:
    run(film, folder, wanted=Wanted(film=False))
    assert {path.name for path in folder.iterdir()} == {"frames.jsonl", FINISHED_FILE}


@pytest.mark.parametrize("direction", ["backward", "both"])
def test_a_film_runs_forward_whatever_the_pass(film: Path, folder: Path, direction: str) -> None:
    def show(video: OpenVideo) -> None:
        video.add_exemplar(6, Exemplar((10, 10, 60, 50)))

    with predictor().open(film) as video:
        prompt = ask if direction == "backward" else show
        results = list(
            run_video(video, prompt, folder=folder, wanted=ALL, settings=SETTINGS, direction=direction)  # type: ignore[arg-type]
        )
    numbers = [result.frame_idx for result in results]
    assert numbers == (list(range(11, -1, -1)) if direction == "backward" else [*range(6, 12), *range(5, -1, -1)])
    assert [time_s for time_s, _ in film_frames(folder / "overlay.mp4")] == pytest.approx([k / 25 for k in range(12)])
    frames = [int(line.split(",")[0]) for line in (folder / "mot.txt").read_text().splitlines()]
    assert frames == sorted(frames)
    assert len(read_results_numbers(folder)) == 12


def read_results_numbers(folder: Path) -> list[int]:
    return [result.frame_idx for result in read_results(folder / "frames.jsonl")]


def test_memory_does_not_grow_with_the_video(folder: Path) -> None:
    """Neither are results kept with their pixels, nor does what is remembered become more than the rules reach."""
    alive: list[weakref.ref[VideoResult]] = []
    most, remembered = 0, {}
    with predictor(max_masklets=2).open(clip(100, size_hw=(30, 40))) as video:
        for result in run_video(video, say_dog, folder=folder, wanted=Wanted(film=True), settings=SETTINGS):
            alive = [one for one in [*alive, weakref.ref(result)] if one() is not None]
            most = max(most, len(alive))
            buckets = video.state().buckets
            remembered[result.frame_idx] = sum(len(one.tracked) + len(one.prompted) for one in buckets)
    assert most <= 2
    assert len(set(remembered.values())) > 5  # it grows at first
    full = [count for frame, count in remembered.items() if frame >= 2 * REACH]
    assert max(full[20:]) <= max(full[:20])


# --- runs that are cut ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 5, 9, 12])
def test_ctrl_c_leaves_valid_files_and_a_run_that_goes_on(
    film: Path, folder: Path, whole: dict[str, Any], count: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(film, folder, stop=cut_at(count))
    assert {path.name for path in folder.iterdir()} - {"masks"} == FILES - {"masks"} | {STATE_FILE}
    assert read_results_numbers(folder) == list(range(count))
    assert len(film_frames(folder / "overlay.mp4")) == count
    assert json.loads((folder / "youtube_vis.json").read_text())["videos"][0]["length"] == count
    results = run(film, folder, resume=True)
    assert [result.frame_idx for result in results] == list(range(12))
    assert_same(contents(folder), whole)


def test_ctrl_c_within_a_frame(
    film: Path, folder: Path, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between what a frame changes in the tracker and what it changes in the loop: the state is that of before."""
    from masklet.inference.tracker_session import TrackerSession

    plain, calls = TrackerSession.remember, []

    def remember(self: TrackerSession, *arguments: Any) -> None:
        calls.append(1)
        plain(self, *arguments)
        if len(calls) == 8:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(TrackerSession, "remember", remember)
        with pytest.raises(KeyboardInterrupt):
            run(film, folder)
    assert 1 <= len(read_results_numbers(folder)) < 12
    run(film, folder, resume=True)
    assert_same(contents(folder), whole)


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from test_video_run import run
def stop(count):
    if count == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
run(Path(sys.argv[1]), Path(sys.argv[2]), stop=stop, save_every_s=float(sys.argv[5]))
"""


# With 0 s each frame is saved, so that lines and state agree; the second run's state is some frames older.
@pytest.mark.parametrize(("count", "save_every_s"), [(6, 0.0), (7, 0.15)])
def test_a_run_that_was_killed_goes_on(
    film: Path, folder: Path, whole: dict[str, Any], count: int, save_every_s: float
) -> None:
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parent.parent), *sys.path])
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, film, folder, str(Path(__file__).parent), str(count), str(save_every_s)],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr.decode()
    assert read_results_numbers(folder) == list(range(count))
    assert not (folder / FINISHED_FILE).exists()
    results = run(film, folder, resume=True)
    assert [result.frame_idx for result in results] == list(range(12))
    assert_same(contents(folder), whole)


def test_lines_after_the_state_are_done_again(film: Path, folder: Path, whole: dict[str, Any]) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(film, folder, stop=cut_at(4))
    with (folder / "frames.jsonl").open("ab") as file:
        file.write(whole["frames.jsonl"].splitlines(keepends=True)[4] + b'{"image": "half')
    run(film, folder, resume=True)
    assert_same(contents(folder), whole)


def test_cut_twice(film: Path, folder: Path, whole: dict[str, Any]) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(film, folder, stop=cut_at(7))
    with pytest.raises(KeyboardInterrupt):
        run(film, folder, stop=cut_at(3), resume=True)  # while the film is drawn of what was found before
    with pytest.raises(KeyboardInterrupt):
        run(film, folder, stop=cut_at(9), resume=True)
    run(film, folder, resume=True)
    assert_same(contents(folder), whole)


def test_a_pass_both_ways_goes_on(film: Path, folder: Path, tmp_path: Path) -> None:
    def show(video: OpenVideo) -> None:
        video.click(6, [(40, 30)])

    def run_both(folder: Path, count: int, **how: Any) -> None:
        with predictor().open(film) as video:
            results = run_video(video, show, folder=folder, wanted=ALL, settings=SETTINGS, direction="both", **how)
            with closing(results):
                for done, _ in enumerate(results, start=1):
                    cut_at(count)(done)

    run_both(tmp_path / "whole", 99)
    with pytest.raises(KeyboardInterrupt):
        run_both(folder, 8)
    assert not (folder / "overlay.mp4").exists()  # made at the end
    run_both(folder, 99, resume=True)
    assert_same(contents(folder), contents(tmp_path / "whole"))


def test_a_finished_run_is_not_done_again(
    film: Path, folder: Path, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(film, folder, wanted=Wanted(film=False))
    monkeypatch.setattr(OpenVideo, "propagate", None)
    assert documents(run(film, folder, wanted=Wanted(film=False), resume=True)) == documents(first)
    run(film, folder, resume=True)  # what is wanted now is made of the lines
    assert_same(contents(folder), whole)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    run(film, folder, resume=True)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_without_resume_a_run_begins_anew(film: Path, folder: Path, whole: dict[str, Any]) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(clip(12)[::-1], folder, stop=cut_at(7))
    (folder / ".overlay.mp4.1.partial").write_bytes(b"of a run that was killed")
    run(film, folder)
    assert_same(contents(folder), whole)


def test_nothing_to_resume_begins_anew(film: Path, folder: Path, whole: dict[str, Any]) -> None:
    run(film, folder, resume=True)
    assert_same(contents(folder), whole)


# --- what cannot be resumed or written --------------------------------------------------------------------------------


def test_another_run_is_not_resumed(film: Path, folder: Path) -> None:
    for stop in (cut_at(5), cut_at(99)):  # neither a cut nor a finished one
        with contextlib.suppress(KeyboardInterrupt):
            run(film, folder, stop=stop)
        before = contents(folder)
        with pytest.raises(InputError, match="expected a run of the same video with the same options, got another"):
            run(film, folder, resume=True, settings={"concepts": ["cat"]})
        assert_same(contents(folder), before)


def test_damaged_runs_are_told(film: Path, folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(film, folder, stop=cut_at(5))
    lines = (folder / "frames.jsonl").read_bytes()
    (folder / "frames.jsonl").write_bytes(lines[:-30])
    with pytest.raises(DataError, match=r"frames\.jsonl: expected the lines of the run that is resumed"):
        run(film, folder, resume=True)
    (folder / "frames.jsonl").write_bytes(lines)
    (folder / STATE_FILE).write_bytes(b"PK")
    with pytest.raises(DataError, match="expected the state of a video"):
        run(film, folder, resume=True)


def test_damaged_marks_of_finished_runs_are_told(film: Path, folder: Path) -> None:
    run(film, folder, wanted=Wanted(film=False))
    for text in ("", "[]", "{}"):
        (folder / FINISHED_FILE).write_text(text)
        with pytest.raises(DataError, match="expected what a finished run was asked, it cannot be read"):
            run(film, folder, resume=True)


def test_other_folders_are_left_alone(film: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="expected a folder of an earlier run or none"):
        run(film, folder)
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


def test_wrong_prompts_leave_an_earlier_run(film: Path, folder: Path, whole: dict[str, Any]) -> None:
    run(film, folder)
    with predictor().open(film) as video, pytest.raises(InputError, match="got 99"):
        list(
            run_video(video, lambda one: one.click(99, [(1, 1)]), folder=folder, wanted=ALL, settings=SETTINGS)  # type: ignore[arg-type,return-value]
        )
    assert_same(contents(folder), whole)


def test_a_full_disk_leaves_whole_lines(film: Path, folder: Path, whole: dict[str, Any]) -> None:
    lines = whole["frames.jsonl"].splitlines(keepends=True)
    size = sum(map(len, lines[:6]))
    with full_disk(size + 50), pytest.raises(OutputError):
        run(film, folder, wanted=Wanted(film=False))
    kept = (folder / "frames.jsonl").read_bytes()
    assert kept == b"".join(lines[:6])


def test_an_error_of_the_video_leaves_what_came_before(folder: Path) -> None:
    broken = [*clip()[:7], *clip(3, size_hw=(40, 40))]
    with pytest.raises(VideoError, match="frame 7"):
        run(broken, folder)
    assert read_results_numbers(folder) == list(range(7))
    assert len(film_frames(folder / "overlay.mp4")) == 7
    with pytest.raises(VideoError, match="frame 7"):  # and does not look finished
        run(broken, folder, resume=True)
    assert read_results_numbers(folder) == list(range(7))


# --- pipes ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Any]:
    path = write_film(tmp_path / "pipe.mkv", frames=clip(), size_wh=(90, 60))
    with path.open("rb") as file, open_pipe(file.fileno(), "stdin") as source:
        yield source


def say_dog(video: OpenVideo) -> None:
    video.add_concept("dog")


def run_pipe(pipe: Any, folder: Path, count: int, **how: Any) -> None:
    with predictor().open(pipe) as video:
        results = run_video(video, say_dog, folder=folder, wanted=ALL, settings=SETTINGS, **how)
        with closing(results):
            for done, _ in enumerate(results, start=1):
                cut_at(count)(done)


def test_a_pipe_to_its_end(pipe: Any, folder: Path) -> None:
    run_pipe(pipe, folder, 99)
    assert {path.name for path in folder.iterdir()} == FILES | {FINISHED_FILE}
    assert len(film_frames(folder / "overlay.mp4")) == 12


def test_a_pipe_that_is_cut_off_loses_no_frame_that_was_passed(pipe: Any, folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_pipe(pipe, folder, 5)
    assert read_results_numbers(folder) == [0, 1, 2, 3, 4, 5, 6, 7]  # three waited
    assert len(film_frames(folder / "overlay.mp4")) == 8
    assert not (folder / STATE_FILE).exists()


def test_a_pipe_cannot_be_resumed(pipe: Any, folder: Path) -> None:
    with pytest.raises(InputError, match="stdin: frames come once and in order, so there is nothing to resume"):
        run_pipe(pipe, folder, 99, resume=True)
