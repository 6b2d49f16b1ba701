"""What a video answers to prompts, frames and objects that cannot be, and after it was closed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from film_cases import write_film
from follow_cases import clip, model, predictor
from masklet import Exemplar, VideoPredictor
from masklet.errors import InputError, PromptError, VideoError
from masklet.inference.open_video import OpenVideo
from masklet.media.film_stream import open_pipe
from masklet.media.span import Span

BOX = (10.0, 10.0, 60.0, 50.0)

REFUSED: dict[str, tuple[Callable[[OpenVideo], Any], str]] = {
    "frame of a click": (lambda v: v.click(12, [(1, 1)]), "one of the 12 frames from 0 to 11 that are read, got 12"),
    "frame before the first": (lambda v: v.click(-1, [(1, 1)]), "got -1"),
    "frame of a mask": (lambda v: v.give_mask(99, np.ones((60, 90))), "got 99"),
    "frame of an exemplar": (lambda v: v.add_exemplar(12, Exemplar(BOX)), "got 12"),
    "frame of a pass": (lambda v: v.propagate(12), "got 12"),
    "unknown object": (lambda v: v.remove(7), r"object_ids must be among those that are followed \[0\], got \[7\]"),
    "unknown concept": (lambda v: v.add_exemplar(3, Exemplar(BOX), concept=1), "one of 1 concepts, got 1"),
    "concept twice": (lambda v: v.add_concept("dog"), "'dog' is looked for already"),
    "empty concept": (lambda v: v.add_concept(" "), "at least one visible character"),
    "threshold": (lambda v: v.add_concept("cat", threshold=float("nan")), "threshold must be in 0..1, got nan"),
    "no exemplar": (lambda v: v.add_exemplar(3, BOX), "exemplar must be a masklet.Exemplar, got tuple"),
    "only negative": (lambda v: v.add_exemplar(3, Exemplar(BOX, False)), "begins with a positive exemplar"),
    "nothing shown": (lambda v: v.click(3), "at least one point or a box, got neither"),
    "click outside": (lambda v: v.click(3, [(90.5, 3)]), "a click"),
    "not a number": (lambda v: v.click(3, [(float("nan"), 3)]), "nan"),
    "labels": (lambda v: v.click(3, [(1, 1)], [1, 0]), "every point has a label, got 1 points and 2 labels"),
    "label": (lambda v: v.click(3, [(1, 1)], [2]), r"a label must be 1 \(on the object\) or 0"),
    "reversed box": (lambda v: v.click(3, box_xyxy=(60, 10, 10, 50)), "a box"),
    "negative identity": (
        lambda v: v.click(3, [(1, 1)], object_id=-1),
        r"object_id must be 0 or more and none of those .* \[0\], got -1; 1 is free",
    ),
    "box behind points": (
        lambda v: v.click(3, box_xyxy=BOX, object_id=0, keep_earlier=True),
        "a box comes before all points of an object",
    ),
    "mask": (lambda v: v.give_mask(3, np.full((60, 90), 7.0)), "use mask > 0 for logits"),
    "direction": (lambda v: v.propagate(direction="up"), "direction must be 'forward', 'backward' or 'both', got 'up'"),  # type: ignore[arg-type]
    "steps": (lambda v: v.propagate(steps=-1), "steps must be 0 or more, got -1"),
}


@pytest.mark.parametrize(("ask", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_is_refused_and_changes_nothing(ask: Callable[[OpenVideo], Any], message: str) -> None:
    with predictor().open(clip()) as video:
        video.add_concept("dog")
        video.click(2, [(40, 30)])
        before = video.state()
        with pytest.raises(InputError, match=message):
            ask(video)
        after = video.state()
        assert (after.concepts, after.object_ids) == (before.concepts, before.object_ids)
        assert after.masklets.ids() == before.masklets.ids()
        assert [list(one.prompts) for one in after.buckets] == [list(one.prompts) for one in before.buckets]


def test_nothing_to_follow() -> None:
    with (
        predictor().open(clip()) as video,
        pytest.raises(InputError, match="there is nothing to follow: name a concept"),
    ):
        video.propagate()


def test_two_prompts_on_one_object() -> None:
    """The later one of a frame holds, or both with `keep_earlier`; on other frames each."""
    with predictor().open(clip()) as video:
        video.click(2, [(40, 30)])
        video.click(2, [(70, 50)], object_id=0)
        assert prompts(video) == {2: [(70, 50)]}
        video.click(2, [(10, 10)], [0], object_id=0, keep_earlier=True)
        assert prompts(video) == {2: [(70, 50), (10, 10)]}
        video.click(5, [(20, 20)], object_id=0)
        assert prompts(video) == {2: [(70, 50), (10, 10)], 5: [(20, 20)]}
        assert video.object_ids == (0,)


def prompts(video: OpenVideo) -> dict[int, list[tuple[int, int]]]:
    """The clicks on object 0 in pixels of the video, by frame."""
    (bucket,) = video.state().buckets
    side = model().config.vision.image_size
    height, width = video.size_hw
    found = {}
    for frame_idx, said in bucket.prompts.items():
        points = said[0].points
        assert points is not None
        found[frame_idx] = [(round(x * width / side), round(y * height / side)) for x, y in points.xy_px[0].tolist()]
    return found


def test_an_identity_that_was_removed_is_unknown_and_not_given_again() -> None:
    with predictor().open(clip()) as video:
        video.click(2, [(40, 30)])
        video.remove(0)
        with pytest.raises(InputError, match=r"followed \[\], got \[0\]"):
            video.remove(0)
        assert video.click(2, [(40, 30)]).object_ids.tolist() in ([1], [])
        assert video.object_ids == (1,)


CALLS: dict[str, Callable[[OpenVideo], Any]] = {
    "add_concept": lambda v: v.add_concept("cat"),
    "add_exemplar": lambda v: v.add_exemplar(3, Exemplar(BOX)),
    "click": lambda v: v.click(3, [(1, 1)]),
    "give_mask": lambda v: v.give_mask(3, np.ones((60, 90))),
    "remove": lambda v: v.remove(0),
    "reset": lambda v: v.reset(),
    "propagate": lambda v: v.propagate(),
    "go_on": lambda v: v.go_on(),
    "restore": lambda v: v.restore(v.state()),
    "with_pixels": lambda v: list(v.with_pixels([])),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_use_after_close(call: Callable[[OpenVideo], Any]) -> None:
    video = predictor().open(clip())
    video.click(2, [(40, 30)])
    video.close()
    video.close()
    with pytest.raises(VideoError, match="video: expected an open video, it was closed; open it again"):
        call(video)


def test_a_pass_ends_when_its_video_is_closed(tmp_path: Path) -> None:
    film = write_film(tmp_path / "long.mp4", frames=clip(40), size_wh=(90, 60))
    video = predictor().open(film)
    video.add_concept("dog")
    results = video.propagate()
    next(results)
    video.close()
    with pytest.raises(VideoError, match="expected an open video, it was closed"):
        list(results)


def test_one_frame() -> None:
    with predictor().open(clip(1)) as video:
        video.add_concept("dog")
        for direction in ("forward", "backward"):
            assert [result.frame_idx for result in video.propagate(direction=direction)] == [0]  # type: ignore[arg-type]


def test_a_span_without_frames() -> None:
    with pytest.raises(InputError, match="expected frames from frame 50 to the end, there are none"):
        predictor().open(clip(), span=Span(start=50))


def test_pipes_give_each_frame_once(tmp_path: Path) -> None:
    path = write_film(tmp_path / "pipe.mkv", frames=clip(), size_wh=(90, 60))
    with path.open("rb") as file, open_pipe(file.fileno(), "stdin") as source, predictor().open(source) as video:
        with pytest.raises(InputError, match="stdin: frames come once and in order, and frame 3 is not at hand"):
            video.click(3, [(1, 1)])
        with pytest.raises(InputError, match="no other run can go on"):
            video.state()
        video.add_concept("dog")
        for how in ({"start": 3}, {"steps": 2}, {"direction": "both"}):
            with pytest.raises(
                InputError, match="frames come once and in order, so it can only be followed to its end"
            ):
                video.propagate(**how)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="their pixels cannot be had again"):
            list(video.with_pixels([]))
        seen = []
        for result in video.propagate(pixels=False):
            seen.append(result.frame_idx)
            if result.frame_idx == 4:
                video.click(7, [(40, 30)], object_id=0)  # on the frame that was passed last
        assert seen == list(range(12))


def test_models_without_a_tracker() -> None:
    with pytest.raises(InputError, match="VideoPredictor takes a model, got str"):
        VideoPredictor("sam3.pt")  # type: ignore[arg-type]


def test_prompts_are_errors_of_their_own() -> None:
    with predictor().open(clip()) as video, pytest.raises(PromptError):
        video.click(3, [(500, 500)])
