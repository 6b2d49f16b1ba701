"""When a detection sets a masklet right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from masklet.inference.association import associate, gather_detections, overlap_within_concepts
from masklet.inference.lifecycle import Masklets, kept_by_user
from masklet.inference.policy import VideoPolicy
from masklet.inference.recondition import Corrections, corrections
from masklet.ops.masks import rle_areas
from scripted_video import EMPTY, A, B, Found, ScriptedVideo, changed, detections_of, rectangle

POLICY = VideoPolicy()
X, Y = rectangle(0, 0, 5, 2), rectangle(0, 0, 4, 2)  # overlap 0.8


def masklets_of(count: int) -> Masklets:
    every = np.zeros(count, dtype=np.int64)
    return replace(Masklets(), object_ids=np.arange(count), concept_idx=every, by_user=every > 0, scores=every + 0.75)


def corrected(
    found: Found,
    masks: list[torch.Tensor],
    sight: list[float],
    frame: int,
    policy: VideoPolicy = POLICY,
    by_user: tuple[int, ...] = (),
) -> Corrections:
    detections = gather_detections({0: detections_of(found)}, policy)
    logits = torch.stack(masks) if masks else torch.zeros(0, 16, 16)
    masklets = kept_by_user(masklets_of(len(masks)), by_user)
    overlap = overlap_within_concepts(detections, logits, masklets.concept_idx)
    return corrections(
        detections,
        associate(overlap, detections.scores, policy),
        masklets,
        mask_logits=logits,
        sight_logits=torch.tensor(sight),
        frame_idx=frame,
        policy=policy,
    )


def pairs(result: Corrections) -> list[tuple[int, int]]:
    return list(zip(result.masklet_idx.tolist(), result.detection_idx.tolist(), strict=True))


@pytest.mark.parametrize(
    ("frame", "score", "sight", "acts"),
    [(16, 0.8, 0.81, True), (16, 0.79, 5, False), (16, 0.9, 0.79, False), (15, 0.9, 5, False), (32, 0.9, 5, True)],
)
def test_the_gates(frame: int, score: float, sight: float, acts: bool) -> None:
    """15.3 row 17: score and overlap at least 0.8, the logit (no probability) above 0.8, every 16th frame."""
    result = corrected([(Y, score)], [X, B], [sight, 5.0], frame)
    assert pairs(result) == ([(0, 0)] if acts else [])
    assert not result.shown.any()
    assert len(result) == acts


def test_exact_gates() -> None:
    """Trap 33: the logit is strict, in float32; frame 0 counts; 0 is never."""
    assert pairs(corrected([(A, 0.9)], [A], [0.8], 0)) == []
    assert pairs(corrected([(A, 0.9)], [A], [0.8001], 0)) == [(0, 0)]
    assert pairs(corrected([(A, 0.9)], [A], [5.0], 0, replace(POLICY, recondition_every=0))) == []
    assert pairs(corrected([], [A], [5.0], 0)) == []
    assert pairs(corrected([(A, 0.9)], [], [], 0)) == []


def test_several() -> None:
    """6.2: every masklet that has a best detection, each by its own; the later of two detections."""
    off = replace(POLICY, detection_iou=0.0)
    result = corrected(
        [(A, 0.9), (B, 0.95), (rectangle(0, 0, 4, 4, 1.0), 0.85)], [B, EMPTY, A], [5.0, 5.0, 5.0], 16, off
    )
    assert pairs(result) == [(0, 1), (2, 2)]


def test_what_a_user_vouched_for_is_left_as_it_is() -> None:
    assert pairs(corrected([(A, 0.9), (B, 0.9)], [A, B], [5.0, 5.0], 16, by_user=(0,))) == [(1, 1)]


def test_the_detections_mask_is_shown_if_asked() -> None:
    """Section 12, row "recondition"."""
    policy = replace(POLICY, recondition_shown=True)
    assert corrected([(A, 0.9)], [A], [5.0], 16, policy).shown.tolist() == [True]


def test_boxes_that_came_apart() -> None:
    """6.2, the variant that is off: on any frame, for all that have a best detection; shown where it held."""
    policy = replace(POLICY, recondition_box_iou=0.9, recondition_box_score=0.85)
    found = [(Y, 0.9), (B, 0.8)]
    result = corrected(found, [X, B], [5.0, 5.0], 15, policy)
    assert pairs(result) == [(0, 0), (1, 1)]
    assert result.shown.tolist() == [True, False]
    assert pairs(corrected([(Y, 0.84), (B, 0.8)], [X, B], [5.0, 5.0], 15, policy)) == []
    assert pairs(corrected([(X, 0.9)], [X], [5.0], 15, policy)) == []


@pytest.mark.parametrize(("frame", "score", "sight"), [(16, 0.8, 0.81), (16, 0.79, 5.0), (32, 0.9, 5.0)])
def test_in_the_loop(frame: int, score: float, sight: float) -> None:
    """15.3 row 17: the frame becomes a prompted one for both objects of the bucket; the tracker's mask is given out."""
    video = ScriptedVideo(
        lambda f: [(X, 0.9), (B, 0.9)] if f < frame else [(Y, score)],
        lambda i, f: (X, B)[i],
        sight=lambda i, f: sight,
    ).steps(frame - 1, frame)
    acts = score >= 0.8
    assert sorted(video.prompted.get(frame, {})) == ([0, 1] if acts else [])
    assert rle_areas(video.log[-1].held.value.masks).tolist() == [10, 16]
    assert video.log[-1].areas(video.log[-1].remembered) == {0: 10, 1: 16}  # the tracker's as well
    if acts:
        assert (video.prompted[frame][0] > 0).sum() == 8
        assert (video.prompted[frame][1] > 0).sum() == 16
    last = ScriptedVideo(
        lambda f: [(X, 0.9), (B, 0.9)] if f < 16 else [(Y, 0.9), (rectangle(0, 0, 5, 2, 3.0), 0.85)],
        video.masks,
        changed(detection_iou=0),
    ).steps(15, 16)
    assert torch.equal(last.prompted[16][0] > 0, X > 0)
