"""Objects of a video followed by themselves, and clicks on frames that are forgotten."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from masklet.errors import InputError, PromptError
from masklet.inference.policy import VideoPolicy
from masklet.inference.video_frames import VideoFrames
from masklet.inference.video_predictor import VideoPredictor
from masklet.model.build import build_model
from masklet.types import Exemplar
from session_cases import tracker, watched

# With these a tiny random model finds something on every frame, and some of it is removed.
EAGER = VideoPolicy(
    detection_score=0.02, detection_iou=0, near_iou=0.9, birth_score=0.02, hotstart_delay=0, max_masklets=3
)
FRAMES = np.random.default_rng(1).integers(0, 256, (7, 45, 60, 3), dtype=np.uint8)


def predictor(policy: VideoPolicy = EAGER) -> VideoPredictor:
    model = build_model("test", seed=3)
    model.tracker = tracker()  # whose weights are strong: masks differ, and are not empty
    return VideoPredictor(model, policy=policy)


def test_nobody_else_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    with predictor().open(FRAMES) as video:
        video.click(1, box_xyxy=(5, 5, 40, 40), object_id=4)
        video.click(1, [(50, 30)], object_id=9)
        list(video.propagate(1, 2))
        video.add_concept("dog")
        before = video.object_ids
        results = list(video.propagate(2, object_ids=[9], pixels=False))
        results += video.propagate(2, 1, direction="backward", object_ids=[9], pixels=False)
        assert [one.frame_idx for one in results] == [2, 3, 4, 5, 6, 1]  # none waits
        assert {i for one in results for i in one.object_ids.tolist()} == {9}
        assert video.object_ids == before  # nothing was looked for
        assert {one.source is None for one in results} == {True}
        with pytest.raises(InputError, match=r"among those that are followed \[4, 9\], got \[3, 5\]"):
            video.propagate(0, object_ids=[5, 9, 3])
        with pytest.raises(InputError, match="steps must be 0 or more, got -1"):
            video.propagate(0, -1, object_ids=[9])
        with pytest.raises(InputError, match="one of the 7 frames from 0 to 6"):
            video.propagate(7, object_ids=[9])
        with monkeypatch.context() as patch:
            patch.setattr(VideoFrames, "count", None)  # as of a pipe or camera
            with pytest.raises(InputError, match="once and in order"):
                video.propagate(0, object_ids=[9])
        passing = video.propagate(2, object_ids=[4, 9])
        next(passing)
        video.remove(9)
        assert next(passing).object_ids.tolist() in ([4], [])


def test_scores_of_objects_followed_alone_are_probabilities() -> None:
    """Spec/video.md 6.5 and trap 13, on purpose otherwise: there a pass over some objects gives logits."""
    with predictor().open(FRAMES) as video:
        video.click(1, box_xyxy=(5, 5, 40, 40), object_id=4)
        everything = {one.frame_idx: one.tracker_scores for one in video.propagate(1, pixels=False)}
        alone = {one.frame_idx: one.tracker_scores for one in video.propagate(1, object_ids=[4], pixels=False)}
    assert set(alone) == set(everything) == set(range(1, 7))
    assert sum(map(len, alone.values())) > 3
    for frame_idx, scores in alone.items():
        assert ((scores > 0.5) & (scores <= 1)).all()  # in sight; the logits are about 30
        np.testing.assert_allclose(scores, everything[frame_idx], atol=1e-6)


def test_prompts_add_to_what_was_said_before() -> None:
    """Trap 16, on purpose otherwise: there a text or a box throws away every object, also those of a user."""
    with predictor(replace(EAGER, max_masklets=20)).open(FRAMES) as video:
        video.click(1, box_xyxy=(5, 5, 40, 40), object_id=4)
        list(video.propagate(1, 2))
        video.add_concept("dog")
        video.add_exemplar(2, Exemplar((5, 5, 40, 40)), concept=0)
        video.add_concept("cat")
        video.click(3, [(50, 30)], object_id=9)
        assert video.concepts == ("dog", "cat")
        assert video.object_ids == (4, 9)
        said = {i: frame for one in video.state().buckets for frame, each in one.prompts.items() for i in each}
        assert said == {4: 1, 9: 3}
        results = list(video.propagate(1, pixels=False))
        assert {4, 9} < set(video.object_ids)  # beside those that were found
        assert {"dog", ""} <= {concept for one in results for concept in one.concepts}
        video.reset()  # only when asked
        assert (video.concepts, video.object_ids) == ((), ())


def test_a_click_refines_the_mask_that_is_handed_in() -> None:
    found = predictor()
    assert found.model.tracker is not None
    with found.open(FRAMES) as video, watched(found.model.tracker) as calls:
        video.click(3, [(30, 20)], [1])
        video.click(4, [(30, 20)], [1], object_id=0, refined=np.eye(45, 60))
        video.click(4, [(30, 20)], [1], object_id=0, refined=np.eye(45, 60))  # refines the answer to the first
        with pytest.raises(PromptError, match=r"a mask must be \(H, W\)"):
            video.click(5, [(30, 20)], [1], object_id=0, refined=np.ones(4))
    fed = [call["mask_logits"] for call in calls.prompts]
    assert fed[0] is None
    np.testing.assert_array_equal(fed[1][0].numpy(), np.eye(45, 60) * 20 - 10)
    assert fed[2].shape != fed[1].shape


def test_who_found_no_room() -> None:
    """Some frames have more detections than there is room for."""
    with predictor().open(FRAMES) as video:
        video.add_concept("dog")
        results = list(video.propagate())
    assert max(one.followed for one in results) == 3
    assert sum(one.dropped for one in results) > 0
    with predictor(replace(EAGER, max_masklets=100)).open(FRAMES) as video:
        video.add_concept("dog")
        assert {one.dropped for one in video.propagate()} == {0}


def test_masks_may_overlap() -> None:
    overlaps = []
    for apart in (True, False):
        with predictor(replace(EAGER, masks_apart=apart)).open(FRAMES) as video:
            video.add_concept("dog")
            overlaps.append(max(one.masks.sum(0).max(initial=0) for one in video.propagate()))
    assert overlaps[0] == 1
    assert overlaps[1] > 1
