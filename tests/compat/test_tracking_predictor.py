"""SAM 2's loop on videos: forms, coordinates, memory. That masks are right is shown in test_video_notebooks.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from masklet.compat.sam3.model.sam3_tracking_predictor import Sam3TrackerPredictor
from masklet.compat.sam3.model.sam3_video_inference import Sam3VideoInferenceWithInstanceInteractivity
from masklet.compat.sam3.model_builder import build_sam3_video_model
from masklet.errors import InputError, PromptError
from masklet.model.build import build_model

HEIGHT, WIDTH = 44, 60


@pytest.fixture(scope="module")
def model(video_pt: Path) -> Sam3VideoInferenceWithInstanceInteractivity:
    return build_sam3_video_model(checkpoint_path=video_pt, device="cpu")


@pytest.fixture
def predictor(model) -> Sam3TrackerPredictor:
    return model.tracker


@pytest.fixture
def state(predictor, clip):
    return predictor.init_state(video_path=clip)


def clicked(predictor, state, frame=0, obj_id=1, points=((20 / WIDTH, 21 / HEIGHT),), labels=(1,), **rest):
    return predictor.add_new_points_or_box(state, frame, obj_id, points, labels, **rest)


def test_state(predictor, clip):
    for options in ({}, {"offload_video_to_cpu": True, "offload_state_to_cpu": True, "async_loading_frames": True}):
        state = predictor.init_state(video_path=clip, **options)
        assert (state["video_height"], state["video_width"], state["num_frames"]) == (HEIGHT, WIDTH, 5)
        assert state["obj_ids"] == []


def test_forms(predictor, state):
    low = 4 * predictor.backbone.config.vision.grid
    frame_idx, obj_ids, low_res, video_res = clicked(predictor, state, frame=2, obj_id=7)
    assert (frame_idx, obj_ids) == (2, [7])
    assert (low_res.shape, video_res.shape) == ((1, 1, low, low), (1, 1, HEIGHT, WIDTH))
    assert low_res.dtype == video_res.dtype == torch.float32
    _, obj_ids, low_res, video_res = clicked(predictor, state, frame=3, obj_id=2)
    assert obj_ids == state["obj_ids"] == [7, 2]  # as they came
    assert (low_res[0] == -1024).all()  # nothing is known of the first one here
    assert video_res.shape == (2, 1, HEIGHT, WIDTH)

    frames = list(predictor.propagate_in_video(state, 2, 1, False, propagate_preflight=True))
    assert [frame[0] for frame in frames] == [2, 3]
    for _, ids, low_res, video_res, scores in frames:
        assert ids == [7, 2]
        assert (low_res.shape, video_res.shape) == ((2, 1, low, low), (2, 1, HEIGHT, WIDTH))
        assert scores.shape == (2, 1)
    backwards = predictor.propagate_in_video(state, start_frame_idx=3, max_frame_num_to_track=9, reverse=True)
    assert [frame[0] for frame in backwards] == [3, 2, 1, 0]  # unlike the passes of concepts, from 3 on
    assert [frame[0] for frame in predictor.propagate_in_video(state)] == [2, 3, 4]


def test_coordinates(predictor, clip):
    """Every form of the same click and box gives the same masks; another place another one."""
    side = predictor.backbone.config.vision.image_size

    def answer(points=None, labels=None, **rest):
        return predictor.add_new_points_or_box(predictor.init_state(clip), 0, 1, points, labels, **rest)[3]

    point, box = np.array([0.25, 0.5]), np.array([0.125, 0.25, 0.5, 0.75])
    first = answer([point.tolist()], [1])
    for points, labels, relative in (
        (torch.tensor([point.tolist()]), torch.tensor([1], dtype=torch.int32), True),
        (point[None, None], np.array([[1]]), True),
        ((point * side)[None], [1], False),
    ):
        torch.testing.assert_close(answer(points, labels, rel_coordinates=relative), first)
    boxed = answer(box=box.tolist())
    assert not torch.equal(boxed, first)
    for given, relative in ((torch.tensor(box)[None], True), (box * side, False)):
        torch.testing.assert_close(answer(box=given, rel_coordinates=relative), boxed)
    both = answer([[0.9, 0.9]], [0], box=box)
    assert not torch.equal(both, boxed)
    assert not torch.equal(answer([[0.9, 0.9]], [1]), first)
    torch.testing.assert_close(answer([point.tolist()], [1], normalize_coords=False), first)


def test_earlier_points(predictor, state):
    clicked(predictor, state)
    clicked(predictor, state, points=[[0.9, 0.9]], labels=[0], clear_old_points=False)
    (prompts,) = (bucket.prompts[0][1] for bucket in state["session"].buckets)
    assert prompts.points.labels.tolist() == [[1, 0]]
    clicked(predictor, state, points=[[0.9, 0.9]], labels=[0])
    (prompts,) = (bucket.prompts[0][1] for bucket in state["session"].buckets)
    assert prompts.points.labels.tolist() == [[0]]
    with pytest.raises(ValueError, match="a box comes before all points"):
        predictor.add_new_points_or_box(state, 0, 1, box=[0, 0, 1, 1], clear_old_points=False)


def test_memory_of_a_passed_frame(predictor, clip):
    answers = []
    for remembered in (False, True):
        state = predictor.init_state(clip)
        clicked(predictor, state)
        list(predictor.propagate_in_video(state))
        answers.append(clicked(predictor, state, frame=3, use_prev_mem_frame=remembered)[3])
    assert not torch.equal(*answers)


def test_masks(predictor, state):
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[10:30, 5:25] = True
    frame_idx, obj_ids, low_res, video_res = predictor.add_new_mask(state, 1, 3, torch.from_numpy(mask))
    assert (frame_idx, obj_ids) == (1, [3])
    np.testing.assert_array_equal((video_res[0, 0] > 0).numpy(), mask)
    assert low_res.shape[0] == 1
    frames = {frame[0]: frame[3] for frame in predictor.propagate_in_video(state, 0, None, False)}
    assert list(frames) == [0, 1, 2, 3, 4]
    # What is remembered has the network's resolution: the mask's edge may move by a pixel.
    assert ((frames[1][0, 0] > 0).numpy() != mask).sum() <= 2 * (20 + 20)
    with pytest.raises(PromptError, match=r"a mask must be \(H, W\)"):
        predictor.add_new_mask(state, 1, 3, mask[None])


def test_all_frames_are_remembered(predictor, clip):
    """Programs click on any frame of a film that was passed: masks of all objects are there."""
    film = np.concatenate([clip] * 6)
    state = predictor.init_state(film)
    clicked(predictor, state)
    passed = {frame[0]: frame[3] for frame in predictor.propagate_in_video(state)}
    assert len(passed) == 30
    _, ids, _, video_res = clicked(predictor, state, frame=4, obj_id=2)
    assert ids == [1, 2]
    torch.testing.assert_close(video_res[0], passed[4][0])


def test_taking_back(predictor, state):
    clicked(predictor, state, frame=0, obj_id=1)
    clicked(predictor, state, frame=0, obj_id=2, points=[[0.8, 0.2]])
    clicked(predictor, state, frame=3, obj_id=2)
    frame_idx, ids, _, video_res = predictor.clear_all_points_in_frame(state, 0, 2)
    assert (frame_idx, ids) == (0, [1, 2])
    assert (video_res[1] < -1023).all()  # resizing rounds
    assert (video_res[0] > -1023).any()
    assert predictor.clear_all_points_in_frame(state, 0, 1, need_output=False) is None
    clicked(predictor, state, frame=0, obj_id=1)

    assert predictor.remove_object(state, 9) == ([1, 2], [])
    with pytest.raises(RuntimeError, match=r"obj_id must be one of \[1, 2\], got 9"):
        predictor.remove_object(state, 9, strict=True)
    left, frames = predictor.remove_object(state, 2)
    assert left == state["obj_ids"] == [1]
    assert [(frame, masks.shape) for frame, masks in frames] == [(3, (1, 1, HEIGHT, WIDTH))]
    assert predictor.remove_object(state, 1, need_output=False) == ([], [])

    clicked(predictor, state, obj_id=5)
    assert predictor.clear_all_points_in_video(state) is None
    assert state["obj_ids"] == []
    with pytest.raises(RuntimeError, match="No points are provided; please add points first"):
        next(predictor.propagate_in_video(state))
    assert clicked(predictor, state, obj_id=6)[1] == [6]


def test_what_cannot_be(predictor, state):
    for points, labels in (([[0.5, 0.5]], None), (None, [1]), (None, None)):
        with pytest.raises(ValueError, match=r"go together|neither"):
            predictor.add_new_points(state, 0, 1, points, labels)
    with pytest.raises(InputError, match=r"points must be x, y as fractions 0..1"):
        clicked(predictor, state, points=[[20, 21]])
    with pytest.raises(InputError, match="one object, got 2 boxes"):
        predictor.add_new_points_or_box(state, 0, 1, box=[[0, 0, 1, 1], [0, 0, 1, 1]])
    with pytest.raises(InputError, match="frame_idx must be from 0 to 4, got 5"):
        clicked(predictor, state, frame=5)
    with pytest.raises(InputError, match="inference_state must be what init_state gave"):
        clicked(predictor, {})
    clicked(predictor, state)
    with pytest.raises(NotImplementedError, match="obj_ids must be None"):
        next(predictor.propagate_in_video(state, obj_ids=[1]))
    with pytest.raises(InputError, match="one of the 5 frames from 0 to 4"):
        next(predictor.propagate_in_video(state, 7))
    with pytest.raises(InputError, match="steps must be 0 or more"):
        next(predictor.propagate_in_video(state, 0, -1))
    passing = predictor.propagate_in_video(state, 1, run_mem_encoder=False)
    next(passing)
    with pytest.raises(InputError, match="without being remembered"):
        next(passing)


def test_backbone(model, clip):
    """It may be that of another model, as in programs that build the two apart."""
    predictor, other = model.tracker, build_model("test", seed=0)
    alone = Sam3TrackerPredictor(predictor.tracker, predictor.policy)
    with pytest.raises(InputError, match="needs a backbone that encodes frames, got NoneType"):
        alone.init_state(clip)
    answers = []
    for backbone in (model.detector.backbone, other):
        alone.backbone = backbone
        answers.append(clicked(alone, alone.init_state(clip))[3])
    torch.testing.assert_close(answers[0], clicked(predictor, predictor.init_state(clip))[3])
    assert not torch.equal(answers[0], answers[1])
    levels = other.encode_image(torch.zeros(1, 3, 56, 56), tracker=True).tracker_levels
    assert not torch.equal(other.tracker.features(levels).fine, predictor.tracker.features(levels).fine)
