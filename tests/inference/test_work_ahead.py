"""Work on frames to come changes no result, and acts on nothing that is said meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from masklet.errors import PromptError, VideoError
from masklet.inference import frame_search
from masklet.inference.open_video import OpenVideo
from masklet.inference.policy import VideoPolicy
from masklet.inference.stages import stage, timed_stages
from masklet.inference.video_frames import VideoFrames
from masklet.inference.video_predictor import VideoPredictor
from masklet.inference.video_result import VideoResult
from masklet.inference.work_ahead import WorkAhead, threads_ahead
from masklet.media.film_writer import FilmWriter
from masklet.media.span import Span
from masklet.media.video import open_video
from masklet.model.build import build_model
from masklet.types import Exemplar
from session_cases import tracker

# With these a tiny random model finds something on every frame, and some of it is removed.
EAGER = VideoPolicy(
    detection_score=0.02,
    detection_iou=0,
    near_iou=0.9,
    birth_score=0.02,
    hotstart_delay=2,
    unmatched_frames=1,
    shared_detections=1,
    max_masklets=4,
    recondition_every=2,
    recondition_score=0.02,
    recondition_iou=0.1,
)
AT_ONCE = replace(EAGER, hotstart_delay=0, unmatched_frames=0, shared_detections=0)
FRAMES = np.random.default_rng(1).integers(0, 256, (9, 45, 60, 3), dtype=np.uint8)


def predictor(policy: VideoPolicy = EAGER) -> VideoPredictor:
    model = build_model("test", seed=3)
    model.tracker = tracker()  # whose weights are strong: masks differ, and are not empty
    return VideoPredictor(model, policy=policy)


def told(results: Iterator[VideoResult] | list[VideoResult]) -> list[object]:
    return [
        (one.frame_idx, one.object_ids.tolist(), one.scores.tolist(), one.presence, one.rle(), one.followed)
        for one in results
    ]


def everything(video: OpenVideo) -> Iterator[VideoResult]:
    """A session with all that can be said, in the middle of passes, too."""
    video.add_concept("dog")
    yield from video.propagate()
    passing = video.propagate(2)
    yield from islice(passing, 2)
    video.add_concept("cat")
    chosen = video.object_ids[0]
    yield video.click(3, box_xyxy=(5, 5, 40, 40), object_id=chosen)
    yield from islice(passing, 1)
    video.add_exemplar(6, Exemplar((5, 5, 40, 40)), concept=0)
    yield from video.go_on()
    yield from video.propagate(6, direction="both")
    yield from video.propagate(1, 4, object_ids=[chosen])
    yield from video.propagate(3, direction="backward")


def ahead(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(frame_search, "threads_ahead", lambda device, tokens: threads)


def test_results_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for threads in (0, 1):
        ahead(monkeypatch, threads)
        with predictor().open(FRAMES) as video:
            found.append(told(everything(video)))
    assert found[0] == found[1]
    assert len({str(one[1]) for one in found[0]}) == 3  # type: ignore[index]


def test_each_frame_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead(monkeypatch, 1)
    own = predictor()
    encoded = []
    plain = own.model.encode_patches
    monkeypatch.setattr(
        own.model, "encode_patches", lambda pixels: encoded.append(pixels.sum().item()) or plain(pixels)
    )
    with own.open(FRAMES) as video:
        video.add_concept("dog")
        list(video.propagate())
    assert len(encoded) == len(set(encoded)) == len(FRAMES)


def test_frames_that_come_are_kept_whoever_asks_for_which(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that had their turn are used again later than those to come were."""
    model = predictor().model
    encoded = []
    plain = model.encode_patches
    monkeypatch.setattr(model, "encode_patches", lambda pixels: encoded.append(1) or plain(pixels))
    frames = VideoFrames(model, open_video(FRAMES), Span(), image_size=model.config.vision.image_size)
    most = 0
    for place in frames.passed(range(9), ahead=2, at_hand=frames.image):
        frames.image(max(0, place - 1))
        frames.image(place)
        most = max(most, len(frames._encoded))
        time.sleep(0.005)  # for the reader
    assert len(encoded) == len(FRAMES)
    assert most <= 5  # two that were used last, two to come, the next one


def test_nothing_is_sought_where_there_are_clicks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    own = predictor()
    for threads in (0, 1):
        ahead(monkeypatch, threads)
        with own.open(FRAMES) as video, monkeypatch.context() as patch:
            patch.setattr(own.model, "detector_features", None)
            video.click(1, box_xyxy=(5, 5, 40, 40))
            assert len(list(video.propagate(1))) == len(FRAMES) - 1


def test_an_exemplar_that_cannot_be_used_stops_at_its_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    for threads in (0, 1):
        ahead(monkeypatch, threads)
        with predictor(AT_ONCE).open(FRAMES) as video:
            video.add_concept("dog")
            video.add_exemplar(4, Exemplar((500, 500, 600, 600)), concept=0)
            results = video.propagate()
            assert [next(results).frame_idx for _ in range(4)] == [0, 1, 2, 3]
            with pytest.raises(PromptError):
                next(results)


def test_a_film_that_is_closed_meanwhile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("av")
    with FilmWriter(tmp_path / "a.mp4") as film:
        for frame in np.repeat(FRAMES[:, :44], 4, axis=0):
            film.write(frame)
    ahead(monkeypatch, 1)
    with predictor(AT_ONCE).open(tmp_path / "a.mp4") as video:
        video.add_concept("dog")
        results = video.propagate()
        assert next(results).frame_idx == 0
        video.close()
        with pytest.raises(VideoError, match="it was closed"):
            list(results)


def test_who_works_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for threads, share in ((1, 0), (2, 1), (3, 1), (8, 4)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert threads_ahead(cpu, 576) == share
        assert threads_ahead(cpu, 72 * 72) == 0
        assert threads_ahead(torch.device("cuda"), 576) == 0


# --- the two threads --------------------------------------------------------------------------------------------------


def test_calls_are_done_in_their_order_by_two_threads() -> None:
    before = torch.get_num_threads()
    together = threading.Barrier(2, timeout=10)  # each of the first two waits for the other
    done: list[tuple[int, str]] = []

    def call(number: int) -> int:
        assert torch.get_num_threads() == 1 and not torch.is_grad_enabled()
        if number < 2:
            together.wait()
        done.append((number, threading.current_thread().name))
        return number

    with WorkAhead(1) as work:
        calls = [work.start(lambda number=number: call(number)) for number in range(2)]  # type: ignore[misc]
        work.wait(calls[1])
        work.wait(calls[0])
        assert [one.result() for one in calls] == [0, 1]
        assert len({name for _, name in done}) == 2
        with work.following(3):
            assert torch.get_num_threads() == 1
        with work.following(30):
            assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before


def test_errors_come_where_results_are_asked_for() -> None:
    def fail() -> None:
        raise KeyError("no")

    with WorkAhead(1) as work:
        failed, fine = work.start(fail), work.start(lambda: 2)
        work.wait(failed)
        work.wait(fine)
        assert fine.result() == 2
        with pytest.raises(KeyError):
            failed.result()


def test_what_waits_is_dropped_at_the_end() -> None:
    go_on, done = threading.Event(), []
    with WorkAhead(1) as work:
        begun = threading.Event()
        work.start(lambda: (begun.set(), go_on.wait(10)))
        begun.wait(10)
        work.start(lambda: done.append(1))
        threading.Timer(0.05, go_on.set).start()
    assert not done
    assert "masklet-work-ahead" not in {thread.name for thread in threading.enumerate()}


def test_stages_are_measured_wherever_they_run() -> None:
    def call() -> None:
        with stage("encode"):
            pass

    with timed_stages() as seconds, WorkAhead(1) as work:
        work.wait(work.start(call))
    assert set(seconds) == {"encode"}
