"""Birth, counts and removal: small examples, and the rules told with lists that are never dropped as oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masklet.errors import InputError
from masklet.inference.association import NO_CONCEPT, Association, Births
from masklet.inference.lifecycle import (
    JUST_BORN,
    NEVER,
    Masklets,
    Verdict,
    forgotten,
    judge,
    kept_by_user,
    placed,
    settle,
)
from masklet.inference.policy import VideoPolicy

POLICY = VideoPolicy()


def births_of(object_ids: Sequence[int], scores: list[float] | None = None) -> Births:
    count = len(object_ids)
    return Births(
        detection_idx=np.arange(count),
        object_ids=np.array(list(object_ids), dtype=np.int64),
        concept_idx=np.zeros(count, dtype=np.int64),
        scores=np.array(scores or [0.75] * count, dtype=np.float32),
    )


def seen(
    masklets: Masklets,
    *,
    near: list[list[int]],
    unmatched: Sequence[int] = (),
    empty: Sequence[int] = (),
    unseen: Sequence[int] = (),
) -> Association:
    """What a frame says, by id: `near` are the masklets of each detection."""
    ids = masklets.object_ids
    return Association(
        matched=np.zeros(len(ids), dtype=np.bool_),
        unmatched=np.isin(ids, unmatched),
        empty=np.isin(ids, empty),
        looked_for=~np.isin(ids, unseen),
        new=np.zeros(len(near), dtype=np.bool_),
        near=np.array([np.isin(ids, one) for one in near], dtype=np.bool_).reshape(len(near), len(ids)),
        best=np.full(len(ids), -1, dtype=np.int64),
    )


def born(*object_ids: int, frame: int = 0, policy: VideoPolicy = POLICY) -> Masklets:
    masklets = Masklets()
    nobody = Verdict(masklets=masklets, removed=np.zeros(0, np.bool_), hidden=np.zeros(0, np.bool_))
    return settle(nobody, births_of(object_ids), occluded=np.zeros(0, np.bool_), frame_idx=frame, policy=policy)


def passed(
    masklets: Masklets, verdict: Verdict, frame: int, new: Sequence[int] = (), policy: VideoPolicy = POLICY
) -> Masklets:
    occluded = np.zeros(len(masklets), dtype=np.bool_)
    return settle(verdict, births_of(new), occluded=occluded, frame_idx=frame, policy=policy)


# --- small examples ---------------------------------------------------------------------------------------------------


def test_five_masklets_on_a_frame() -> None:
    """6.1: more for those near a detection, less for those unmatched, nothing for those empty or not looked for."""
    masklets = replace(born(0, 1, 2, 3, 4, frame=3), keep_alive=np.array([29, 30, 30, -1, 7]))
    association = seen(masklets, near=[[0], [1, 1], [0, 1]], unmatched=[1, 3], empty=[2], unseen=[4])
    verdict = judge(masklets, association, frame_idx=4, backwards=False, policy=POLICY)
    assert verdict.masklets.keep_alive.tolist() == [30, 29, 30, -1, 7]
    assert verdict.masklets.unmatched.tolist() == [0, 1, 0, 1, 0]
    assert verdict.masklets.shared == {(0, 1): 1}
    assert not verdict.removed.any()
    assert not verdict.hidden.any()
    empties = replace(POLICY, keep_alive_counts_empty=True)
    verdict = judge(masklets, association, frame_idx=4, backwards=False, policy=empties)
    assert verdict.masklets.keep_alive.tolist() == [30, 29, 29, -1, 7]
    assert masklets.keep_alive.tolist() == [29, 30, 30, -1, 7]


@pytest.mark.parametrize(
    ("frame", "backwards", "removed"),
    [(14, False, True), (15, False, False), (0, False, True), (-14, True, True), (-15, True, False), (0, True, True)],
)
def test_the_window_is_strict(frame: int, backwards: bool, removed: bool) -> None:
    """6.1: born on f, removed on f ... f + 14 only."""
    masklets = replace(born(0), unmatched=np.array([7]))
    association = seen(masklets, near=[], unmatched=[0])
    assert judge(masklets, association, frame_idx=frame, backwards=backwards, policy=POLICY).removed.tolist() == [
        removed
    ]
    off = VideoPolicy.without_disambiguation()
    for other in (frame, 30):
        assert not judge(masklets, association, frame_idx=other, backwards=backwards, policy=off).removed.any()


def test_a_count_that_was_reached_late_counts_when_the_direction_changes() -> None:
    """6.1: nothing is reset, so a masklet that has outlived its hotstart is young again backwards, matched or not."""
    masklets = replace(born(0), unmatched=np.array([7]))
    verdict = judge(masklets, seen(masklets, near=[], unmatched=[0]), frame_idx=20, backwards=False, policy=POLICY)
    masklets = passed(masklets, verdict, 20)
    verdict = judge(masklets, seen(masklets, near=[[0]]), frame_idx=14, backwards=True, policy=POLICY)
    assert verdict.removed.tolist() == [True]


def test_a_twin_whose_elder_is_gone() -> None:
    """6.1: the list of shared detections outlives the elder; here a mark on the younger one does."""
    masklets = replace(born(0, 1), first_frame=np.array([0, 20]), unmatched=np.array([7, 0]), shared={(0, 1): 8})
    verdict = judge(masklets, seen(masklets, near=[], unmatched=[0]), frame_idx=4, backwards=True, policy=POLICY)
    assert verdict.removed_ids == [0]  # 20 is not below 4 + 15
    masklets = passed(masklets, verdict, 4)
    assert (masklets.ids(), masklets.shared, masklets.doubles.tolist()) == ([1], {}, [True])
    assert judge(masklets, seen(masklets, near=[]), frame_idx=34, backwards=False, policy=POLICY).removed_ids == [1]


def test_who_is_the_older() -> None:
    """6.1: least first frame forwards, greatest backwards; of equals the first in order."""
    masklets = replace(born(4, 7, 2, 9), first_frame=np.array([3, 1, 1, 5]))
    association = seen(masklets, near=[[4, 7, 2, 9], [4, 9], [2]])
    forwards = judge(masklets, association, frame_idx=6, backwards=False, policy=POLICY).masklets.shared
    assert forwards == {(7, 4): 1, (7, 2): 1, (7, 9): 1, (4, 9): 1}
    backwards = judge(masklets, association, frame_idx=0, backwards=True, policy=POLICY).masklets.shared
    assert backwards == {(9, 4): 2, (9, 7): 1, (9, 2): 1}


def test_hiding_by_keep_alive() -> None:
    """6.1, off by default: not shown while the counter is 0 or less, if it was ever unmatched and is not removed."""
    policy = replace(POLICY, keep_alive_hides=True)
    masklets = replace(born(0, 1, 2, 3), keep_alive=np.array([1, 1, 0, 2]), unmatched=np.array([0, 7, 0, 0]))
    association = seen(masklets, near=[], unmatched=[0, 1, 3])
    verdict = judge(masklets, association, frame_idx=4, backwards=False, policy=policy)
    assert verdict.hidden.tolist() == [True, False, False, False]
    assert verdict.removed.tolist() == [False, True, False, False]
    verdict = judge(masklets, association, frame_idx=4, backwards=False, policy=POLICY)
    assert not verdict.hidden.any()
    kept = kept_by_user(masklets, [0, 1])
    verdict = judge(kept, association, frame_idx=4, backwards=False, policy=policy)
    assert not (verdict.hidden | verdict.removed).any()


def test_confirmation() -> None:
    """6.6: three frames in a row, birth included, for good; a frame without a look counts neither way."""
    policy = replace(POLICY, confirm=True)
    masklets = born(0, 1, 2, policy=policy)
    assert masklets.unconfirmed_ids(policy) == {0, 1, 2}
    near = [[[0], [2]], [[0], [1]], [[1], [2]], [[1]]]
    states = []
    for frame, one in enumerate(near, 1):
        association = seen(masklets, near=one, unseen=[2] if frame == 2 else [])
        masklets = passed(
            masklets,
            judge(masklets, association, frame_idx=frame, backwards=False, policy=policy),
            frame,
            policy=policy,
        )
        states.append(masklets.unconfirmed_ids(policy))
    assert states == [{0, 1, 2}, {1, 2}, {1}, set()]
    assert masklets.unconfirmed_ids(POLICY) == frozenset()
    assert born(0, policy=replace(policy, confirm_frames=1)).unconfirmed_ids(policy) == frozenset()


def test_settling() -> None:
    """6.3 last line and 6.5: who was occluded, who goes, who comes; ids go on."""
    masklets = replace(born(0, 1, 2, 5), last_occluded=np.array([NEVER, 3, 4, JUST_BORN]))
    verdict = Verdict(
        masklets=masklets, removed=np.array([False, True, False, False]), hidden=np.zeros(4, dtype=np.bool_)
    )
    after = settle(
        verdict,
        births_of([6, 7], [0.6, 0.9]),
        occluded=np.array([True, True, False, False]),
        frame_idx=9,
        policy=replace(POLICY, keep_alive_start=5),
    )
    assert verdict.removed_ids == [1]
    assert after.ids() == [0, 2, 5, 6, 7]
    assert after.last_occluded.tolist() == [9, 4, NEVER, JUST_BORN, JUST_BORN]
    assert after.first_frame.tolist() == [0, 0, 0, 9, 9]
    assert after.keep_alive.tolist() == [30, 30, 30, 5, 5]
    assert after.scores.tolist() == [np.float32(one) for one in (0.75, 0.75, 0.75, 0.6, 0.9)]
    assert after.next_id == 8
    assert masklets.ids() == [0, 1, 2, 5]


def test_nothing() -> None:
    masklets = Masklets()
    verdict = judge(masklets, seen(masklets, near=[]), frame_idx=0, backwards=True, policy=POLICY)
    assert (verdict.removed.shape, verdict.hidden.shape, verdict.removed_ids) == ((0,), (0,), [])
    assert len(passed(masklets, verdict, 0)) == 0
    assert forgotten(masklets, []).next_id == 0


# --- what a user does -------------------------------------------------------------------------------------------------


def test_a_placed_object() -> None:
    """8.4: its score is 1, its id is known from now on; a removed id may come again."""
    masklets = placed(born(0, 1), 7, concept_idx=NO_CONCEPT, frame_idx=4, policy=POLICY)
    assert masklets.ids() == [0, 1, 7]
    assert (masklets.scores[2], masklets.first_frame[2], masklets.concept_idx[2]) == (1, 4, NO_CONCEPT)
    assert masklets.by_user.tolist() == [False, False, True]
    assert masklets.next_id == 8
    again = placed(forgotten(masklets, [0]), 0, concept_idx=0, frame_idx=5, policy=POLICY)
    assert (again.ids(), again.next_id) == ([1, 7, 0], 8)


@pytest.mark.parametrize("object_id", [1, -1])
def test_an_id_that_cannot_be_placed(object_id: int) -> None:
    message = rf"^object_id must be 0 or more and none of those that are followed \[0, 1\], got {object_id}; 2 is free$"
    with pytest.raises(InputError, match=message):
        placed(born(0, 1), object_id, concept_idx=0, frame_idx=0, policy=POLICY)


def test_no_room_to_place() -> None:
    """8.4, step 2 and trap 29, on purpose otherwise: there an answer of another shape comes back."""
    message = "^at most 2 objects are followed at a time, got one more: remove one or raise max_masklets$"
    with pytest.raises(InputError, match=message):
        placed(born(0, 1), 2, concept_idx=0, frame_idx=0, policy=replace(POLICY, max_masklets=2))


def test_a_corrected_masklet_is_not_removed() -> None:
    """8.4, step 3: the user's word is final; in the original its counts would go on."""
    policy = replace(POLICY, confirm=True)
    masklets = replace(born(0, 1), unmatched=np.array([7, 7]))
    masklets = kept_by_user(masklets, [1])
    assert masklets.scores.tolist() == [0.75, 1]
    assert masklets.unconfirmed_ids(policy) == {0}
    association = seen(masklets, near=[[0, 1]] * 9, unmatched=[0, 1])
    assert judge(masklets, association, frame_idx=3, backwards=False, policy=policy).removed.tolist() == [True, False]
    assert kept_by_user(born(0), [0], score=None).scores.tolist() == [0.75]


def test_forgetting() -> None:
    """8.5, on purpose otherwise: there entries stay; and ids that are not there are errors."""
    masklets = replace(born(0, 1, 2), shared={(0, 1): 8, (0, 2): 3, (1, 2): 1})
    after = forgotten(masklets, [0])
    assert after.ids() == [1, 2]
    assert after.shared == {(1, 2): 1}
    assert not after.doubles.any()
    assert after.next_id == 3
    with pytest.raises(InputError, match=r"^object_ids must be among those that are followed \[1, 2\], got \[0, 9\]$"):
        forgotten(after, [9, 0, 1])
    with pytest.raises(InputError, match=r"got \[5\]$"):
        kept_by_user(after, [5])


# --- against the rules as they are told -------------------------------------------------------------------------------


@dataclass
class Told:
    """Section 6.1 word by word: lists of frames, by id, that only grow."""

    policy: VideoPolicy
    first_frame: dict[int, int] = field(default_factory=dict)
    keep_alive: dict[int, int] = field(default_factory=dict)
    unmatched_frames: dict[int, list[int]] = field(default_factory=dict)
    overlap: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    removed: set[int] = field(default_factory=set)

    def frame(
        self, frame: int, backwards: bool, new: list[int], near: list[list[int]], unmatched: list[int]
    ) -> tuple[set[int], set[int]]:
        """Removed and suppressed ids of a frame."""
        policy = self.policy
        for one in new:
            self.first_frame.setdefault(one, frame)
            self.keep_alive[one] = policy.keep_alive_start
        for one in {one for ids in near for one in ids}:
            self.keep_alive[one] = min(policy.keep_alive_max, self.keep_alive[one] + 1)
        for one in unmatched:
            self.unmatched_frames.setdefault(one, []).append(frame)
            self.keep_alive[one] = max(policy.keep_alive_min, self.keep_alive[one] - 1)

        limit = frame + policy.hotstart_delay if backwards else frame - policy.hotstart_delay
        young = {one for one, first in self.first_frame.items() if (first < limit if backwards else first > limit)}
        missed = {one: frames for one, frames in self.unmatched_frames.items() if one not in self.removed}
        gone = {one for one, frames in missed.items() if len(frames) >= policy.unmatched_frames and one in young}
        suppressed = {one for one in missed if self.keep_alive[one] <= 0 and one not in gone}
        self._share(frame, backwards, near)
        for (_, one), frames in self.overlap.items():
            if len(frames) >= policy.shared_detections and one in young:
                gone.add(one)
        gone -= self.removed
        self.removed |= gone
        return gone, suppressed

    def _share(self, frame: int, backwards: bool, near: list[list[int]]) -> None:
        for ids in near:
            if len(ids) >= 2:
                first = (max if backwards else min)(ids, key=lambda one: self.first_frame[one])
                for one in ids:
                    if one != first:
                        self.overlap.setdefault((first, one), []).append(frame)


@given(st.data())
@settings(max_examples=80, derandomize=True, deadline=None)
def test_dropping_what_is_kept_changes_nothing(data: st.DataObject) -> None:
    """6.1 over several calls, frames passed twice or left out: the same removals, counters and hidden masklets."""
    delay = data.draw(st.integers(1, 6))
    policy = VideoPolicy(
        hotstart_delay=delay,
        unmatched_frames=data.draw(st.integers(0, delay)),
        shared_detections=data.draw(st.integers(0, delay)),
        keep_alive_start=2,
        keep_alive_max=3,
        keep_alive_hides=True,
    )
    told, masklets = Told(policy), Masklets()
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    for backwards in data.draw(st.lists(st.booleans(), min_size=1, max_size=6)):
        frame = int(rng.integers(0, 20))
        for _ in range(int(rng.integers(1, 10))):
            ids = masklets.ids()
            # Often the same masklets, so that counts grow.
            near = [[one for one in ids if rng.random() < 0.5] for _ in range(rng.integers(0, 3))]
            unmatched = [one for one in ids if rng.random() < 0.2]
            new = [masklets.next_id + k for k in range(int(rng.integers(0, 3)) if len(ids) < 6 else 0)]
            gone, suppressed = told.frame(frame, backwards, new, near, unmatched)
            association = seen(masklets, near=near, unmatched=unmatched)
            verdict = judge(masklets, association, frame_idx=frame, backwards=backwards, policy=policy)
            assert set(verdict.removed_ids) == gone
            assert set(masklets.ids(verdict.hidden)) - gone == suppressed - gone
            masklets = passed(masklets, verdict, frame, new, policy)
            there = masklets.ids()
            assert set(there) == set(told.first_frame) - told.removed
            assert masklets.keep_alive.tolist() == [told.keep_alive[one] for one in there]
            assert masklets.first_frame.tolist() == [told.first_frame[one] for one in there]
            assert all(pair[0] in there and pair[1] in there for pair in masklets.shared)
            assert all(count <= max(1, policy.shared_detections) for count in masklets.shared.values())
            assert masklets.unmatched.max(initial=0) <= max(1, policy.unmatched_frames)
            frame += -1 if backwards else 1
