"""What the frame loop tells the tracker, by rules in which the two public implementations differ (spec/video.md 12).

Detector and tracker are scripted, and the numbers are computed by hand. `test_video_parity.py` shows the same rules
beside the other implementation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
from torch import Tensor

from masklet.inference.concept_loop import ConceptLoop
from masklet.inference.policy import VideoPolicy
from masklet.inference.tracker_session import TrackerSession
from masklet.ops.masks import rle_areas
from masklet.types import Detections
from scripted_video import POLICY, SIDE, A, B, C, ScriptedTracker, detections_of, rectangle

Found = Sequence[tuple[Tensor, float]]


@dataclass
class Recorder(ScriptedTracker):
    """Keeps what it is told."""

    begun: list[dict[int, Tensor]] = field(default_factory=list)  # bucket by bucket
    corrected: list[list[int]] = field(default_factory=list)
    promoted: list[list[int]] = field(default_factory=list)

    def begin(self, frame: int, masks: Mapping[int, Tensor], *, groups: Mapping[int, int] | None = None) -> None:
        assert groups is not None
        for group in dict.fromkeys(groups.values()):
            self.begun.append({i: mask for i, mask in masks.items() if groups[i] == group})
        super().begin(frame, masks, groups=groups)

    def correct(self, frame: int, masks: Mapping[int, Tensor], *, remember: bool = True) -> None:
        assert not remember  # the loop has the session remember all objects afterwards
        self.corrected.append(list(masks))

    def promote(self, frame: int, object_ids: Sequence[int]) -> None:
        self.promoted.append(list(object_ids))


def followed(
    policy: VideoPolicy, found: Mapping[int, Found | Mapping[int, Found]], masks: Sequence[Tensor]
) -> tuple[Recorder, list[list[int]]]:
    """Frames of a video: what the tracker was told, and the areas of all masks that came of each."""
    tracker = Recorder(masks=lambda object_id, frame: masks[object_id], sight=lambda object_id, frame: 5.0)

    def detect(frame: int) -> dict[int, Detections]:
        each = found[frame]
        by_concept = each if isinstance(each, Mapping) else {0: each}
        return {concept: detections_of(pairs) for concept, pairs in by_concept.items()}

    session: TrackerSession = tracker  # type: ignore[assignment]
    loop = ConceptLoop(session, detect, size_hw=(SIDE, SIDE), policy=policy)
    passed = [loop.step(frame) for frame in found]
    return tracker, [rle_areas(frame.held.value.masks).tolist() for frame in passed]


@pytest.mark.parametrize(("upsampled", "shape", "area"), [(True, 4 * SIDE, 30 * 64), (False, SIDE, 0)])
def test_the_mask_of_a_new_object(upsampled: bool, shape: int, area: int) -> None:
    """Row "mask of a new object": above 0 where it is stretched, or at least 0.5 where it is not.

    0.3 beside -5 is above 0 up to 0.057 of a pixel behind the last centre: 30 of the rows that are a quarter as high.
    """
    faint = rectangle(0, 0, SIDE, 8, inside=0.3)
    tracker, _ = followed(replace(POLICY, births_upsampled=upsampled), {0: [(faint, 0.9)]}, [faint])
    ((mask,),) = (each.values() for each in tracker.begun)
    assert mask.shape == (shape, shape)
    assert int(mask.sum()) == area


@pytest.mark.parametrize(("cut", "calls"), [(True, [[0, 1], [2]]), (False, [[0], [1], [2]])])
def test_who_begins_together(cut: bool, calls: list[list[int]]) -> None:
    """Row "masklet states": objects of a concept in a bucket, where later ones cut earlier ones, or each alone."""
    found = {0: {0: [(A, 0.9), (B, 0.8)], 4: [(A, 0.9)]}}
    tracker, _ = followed(replace(POLICY, births_cut=cut), found, [A, B, A])
    assert [list(each) for each in tracker.begun] == calls


def test_ids_across_concepts_where_room_is_short() -> None:
    """They are given by score then (spec/video.md 5.1); the tracker has the objects in the same order."""
    found = {0: [(A, 0.9), (C, 0.6)], 4: [(B, 0.8), (rectangle(12, 0, 16, 4), 0.55)]}
    tracker, areas = followed(replace(POLICY, max_masklets=3), {0: found, 1: found}, [A, B, C])
    assert [list(each) for each in tracker.begun] == [[0, 2], [1]]
    assert tracker.object_ids == (0, 1, 2)
    assert areas == [[16, 16, 16]] * 2


@pytest.mark.parametrize(("upsampled", "left"), [(True, [False, True]), (False, [True, True])])
def test_the_share_that_others_leave(upsampled: bool, left: list[bool]) -> None:
    """Row "memory mask resolution": of ten columns at +1 seven lie under +5: 0.3 is left, which is enough.

    Stretched four times the first ends 1/3 of a pixel earlier, with 39 columns, and wins where the other falls below
    +1, on 11 of them: 0.28.
    """
    weak, strong = rectangle(0, 0, 10, SIDE, inside=1.0), rectangle(0, 0, 7, SIDE)
    policy = replace(POLICY, detection_iou=0, shrink_upsampled=upsampled)
    found = [(weak, 0.9), (strong, 0.8)]
    tracker, areas = followed(policy, {0: found, 1: found}, [weak, strong])
    ((remembered, _),) = tracker.remembered.values()
    assert remembered.shape == (2, *(4 * SIDE if upsampled else SIDE,) * 2)
    assert (remembered > 0).flatten(1).any(1).tolist() == left
    assert areas == [[160, 112]] * 2  # what is given out is as it was


@pytest.mark.parametrize(("compete", "areas"), [(False, [160, 112, 112]), (True, [48, 112, 112])])
def test_masks_that_compete(compete: bool, areas: list[int]) -> None:
    """Of ten columns at +1 seven lie under +5 of the same concept; what lies under another concept's stays."""
    weak, strong = rectangle(0, 0, 10, SIDE, inside=1.0), rectangle(0, 0, 7, SIDE)
    policy = replace(POLICY, detection_iou=0, shrink_share=0.0, shrink_upsampled=False, masks_compete=compete)
    found = {0: [(weak, 0.9), (strong, 0.8)], 4: [(strong, 0.7)]}
    tracker, (_, given) = followed(policy, {0: found, 1: found}, [weak, strong, strong])
    assert given == areas
    ((remembered, _),) = tracker.remembered.values()
    assert (remembered > 0).flatten(1).sum(1).tolist() == areas


X, Y = rectangle(0, 0, 5, 2), rectangle(0, 0, 4, 2)  # an overlap of 0.8


@pytest.mark.parametrize(
    ("rules", "given", "remembered"),
    [
        ({}, 10, 10),
        ({"recondition_shown": True}, 8, 10),
        ({"recondition_remembered": True}, 10, 8),
    ],
    ids=["the original", "transformers", "transformers, recondition_on_trk_masks=False"],
)
def test_a_frame_that_is_set_right(rules: dict[str, bool], given: int, remembered: int) -> None:
    """Row "recondition", and 15.3 row 17: what is given out of the frame, and what is remembered of it."""
    policy = replace(POLICY, shrink_upsampled=False, **rules)  # type: ignore[arg-type]
    tracker, areas = followed(policy, {15: [(X, 0.9)], 16: [(Y, 0.9)]}, [X])
    assert areas == [[10], [given]]
    assert int((tracker.remembered[16][0] > 0).sum()) == remembered


@pytest.mark.parametrize("whole", [True, False])
def test_a_prompted_frame_of_a_bucket_or_of_one(whole: bool) -> None:
    """Row "recondition": the detection becomes a prompt of the bucket, or the frame is a prompted one as it is."""
    policy = replace(POLICY, recondition_bucket=whole)
    tracker, _ = followed(policy, {15: [(X, 0.9), (B, 0.9)], 16: [(Y, 0.9)]}, [X, B])
    assert (tracker.corrected, tracker.promoted) == (([[0]], []) if whole else ([], [[0]]))
