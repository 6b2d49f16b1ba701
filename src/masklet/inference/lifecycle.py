"""Birth, life and removal of masklets: a state machine of frozen values (spec/video.md 6.1, 6.5, 6.6, 8.4, 8.5).

    verdict = judge(masklets, association, frame_idx=f, backwards=b, policy=policy)     counts, who is removed
    masklets = settle(verdict, births, occluded=..., frame_idx=f, policy=policy)        the masklets of the next frame

and, between frames, what a user does:

    masklets = placed(masklets, 7, ...)        a new object by a click; `kept_by_user` for a click on one that is there
    masklets = forgotten(masklets, [7])

A masklet is removed within the first frames of its life only (`hotstart_delay`), for one of two reasons: no detection
matched it on too many frames, or it was near the same detection as an older masklet too many times. Counts go on over
gaps, calls and directions. A masklet whose mask is empty is not unmatched; one whose concept was not looked for is not
judged at all, so what a box showed on one frame lives on (the original removes it).

What is kept is bounded by the masklets that are there, whatever the number of frames. The rules are told with lists of
frames, one entry for each miss, which grow for ever; only whether a list has reached its threshold is ever asked. So

- a list is a number, and stops at its threshold;
- a removed masklet leaves with all its numbers, also those that it shares with others: ids are never used again. If it
  had reached the threshold with a younger one that outlived its hotstart, that one keeps a mark (`doubles`), since it
  can come within its hotstart again when the direction changes;
- the frame of the last occlusion is one number.

Shape letter: O masklets, over all concepts of a video.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from masklet.errors import InputError
from masklet.inference.association import Association, Births
from masklet.inference.policy import VideoPolicy
from masklet.ops.masks import BoolArray

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

NEVER = -1
"""`last_occluded` of a masklet that was in sight on every frame since its birth."""

JUST_BORN = -2
"""`last_occluded` of a masklet that has passed no frame since its birth."""


def _numbers() -> IntArray:
    return np.zeros(0, dtype=np.int64)


def _flags() -> BoolArray:
    return np.zeros(0, dtype=np.bool_)


@dataclass(frozen=True, kw_only=True, eq=False)
class Masklets:
    """What is remembered of the O masklets of a video, in the order in which they came to be. All arrays are (O,).

    Attributes:
        object_ids: given to users; 0 or more.
        concept_idx: the concept each belongs to, or `NO_CONCEPT`.
        scores: float32 0..1 of the detection at birth, which later frames do not change; 1 once a user vouched for it.
        first_frame: index of the frame of birth.
        keep_alive: the counter of `VideoPolicy.keep_alive_start`.
        unmatched: frames on which it was unmatched; counted up to the threshold.
        doubles: a masklet that was removed since had reached the threshold of shared detections with it.
        last_occluded: index of the last frame on which it was empty or suppressed, `NEVER`, or `JUST_BORN`.
        near_in_row: frames in a row on which it was near a detection, up to the threshold; counted if masklets have to
            be confirmed.
        confirmed: that threshold was reached once.
        by_user: a user placed or corrected it: no rule removes, hides, suppresses or sets it right.
        shared: (older id, other id) -> detections that both were near, up to the threshold.
        next_id: the first id that was never used.
    """

    object_ids: IntArray = field(default_factory=_numbers)
    concept_idx: IntArray = field(default_factory=_numbers)
    scores: FloatArray = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    first_frame: IntArray = field(default_factory=_numbers)
    keep_alive: IntArray = field(default_factory=_numbers)
    unmatched: IntArray = field(default_factory=_numbers)
    doubles: BoolArray = field(default_factory=_flags)
    last_occluded: IntArray = field(default_factory=_numbers)
    near_in_row: IntArray = field(default_factory=_numbers)
    confirmed: BoolArray = field(default_factory=_flags)
    by_user: BoolArray = field(default_factory=_flags)
    shared: Mapping[tuple[int, int], int] = field(default_factory=dict)
    next_id: int = 0

    def __len__(self) -> int:
        return len(self.object_ids)

    def ids(self, chosen: BoolArray | None = None) -> list[int]:
        """The ids of all, or of those at (O,) `chosen`."""
        found: list[int] = (self.object_ids if chosen is None else self.object_ids[chosen]).tolist()
        return found

    def unconfirmed_ids(self, policy: VideoPolicy) -> frozenset[int]:
        """Those that are not to be shown yet; none unless `policy.confirm`."""
        return frozenset(self.ids(~self.confirmed & ~self.by_user)) if policy.confirm else frozenset()

    def _select(self, stay: BoolArray) -> Self:
        """Those at (O,) `stay`; of the shared detections those that both sides are left of."""
        if stay.all():
            return self
        left = set(self.ids(stay))
        shared = {pair: count for pair, count in self.shared.items() if left.issuperset(pair)}
        arrays: dict[str, Any] = {name: getattr(self, name)[stay] for name in _ARRAYS}
        return replace(self, **arrays, shared=shared)

    def _with(self, others: Self) -> Self:
        """These, then `others`, which share nothing with each other yet."""
        if not len(others):
            return self
        arrays: dict[str, Any] = {
            name: np.concatenate((getattr(self, name), getattr(others, name))) for name in _ARRAYS
        }
        return replace(self, **arrays, next_id=max(self.next_id, others.next_id))


_ARRAYS = tuple(name for name in Masklets.__dataclass_fields__ if name not in ("shared", "next_id"))


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdict:
    """What a frame says about the masklets that it began with.

    Attributes:
        masklets: the same O, with this frame counted.
        removed: (O,) those that go. They are hidden on this frame and on all that are held back.
        hidden: (O,) those that are not shown on this frame since their keep-alive counter ran out.
    """

    masklets: Masklets
    removed: BoolArray
    hidden: BoolArray

    @property
    def removed_ids(self) -> list[int]:
        """Ids of `removed`."""
        return self.masklets.ids(self.removed)


def judge(
    masklets: Masklets, association: Association, *, frame_idx: int, backwards: bool, policy: VideoPolicy
) -> Verdict:
    """Counts a frame and says who is removed (spec/video.md 6.1).

    Args:
        masklets: O, at the start of the frame.
        association: of these masklets.
        frame_idx: index in the video.
        backwards: the video is followed from its end.
        policy: `hotstart_delay`, `unmatched_frames`, `shared_detections`, `keep_alive_...`, `confirm_frames`.
    """
    near = association.near.any(0)
    missed = association.unmatched
    if policy.keep_alive_counts_empty:
        missed = missed | (association.empty & association.looked_for)
    keep_alive = np.where(near, np.minimum(masklets.keep_alive + 1, policy.keep_alive_max), masklets.keep_alive)
    keep_alive = np.where(missed, np.maximum(keep_alive - 1, policy.keep_alive_min), keep_alive)

    most_unmatched, most_shared = _thresholds(policy)
    unmatched = np.minimum(masklets.unmatched + association.unmatched, most_unmatched)
    shared = _count_shared(masklets, association.near, backwards=backwards, most=most_shared)
    doubled = {other for (_, other), count in shared.items() if count == most_shared}
    doubles = masklets.doubles | np.isin(masklets.object_ids, list(doubled))

    young = _within_hotstart(masklets.first_frame, frame_idx, backwards=backwards, policy=policy) & ~masklets.by_user
    lost = young & (unmatched == most_unmatched)
    hidden = ~lost & ~masklets.by_user & (unmatched > 0) & (keep_alive <= 0) & policy.keep_alive_hides
    in_row = np.where(near, np.minimum(masklets.near_in_row + 1, policy.confirm_frames), 0)
    in_row = np.where(association.looked_for, in_row, masklets.near_in_row)
    counted = replace(
        masklets,
        keep_alive=keep_alive,
        unmatched=unmatched,
        shared=shared,
        near_in_row=in_row,
        confirmed=masklets.confirmed | (in_row == policy.confirm_frames),
    )
    return Verdict(masklets=counted, removed=lost | (young & doubles), hidden=hidden)


def settle(verdict: Verdict, births: Births, *, occluded: BoolArray, frame_idx: int, policy: VideoPolicy) -> Masklets:
    """The masklets that the next frame begins with (spec/video.md 6.3 last line, 6.5).

    Args:
        verdict: on O masklets.
        births: of this frame.
        occluded: (O,) those that were empty on this frame or have been suppressed.
        frame_idx: index in the video.
        policy: `shared_detections`, `keep_alive_start`, `confirm_frames`.
    """
    masklets = replace(
        verdict.masklets,
        last_occluded=np.where(occluded, frame_idx, np.maximum(verdict.masklets.last_occluded, NEVER)),
        doubles=_doubles(verdict, policy),
    )
    return masklets._select(~verdict.removed)._with(
        _born(births.object_ids, births.concept_idx, births.scores, frame_idx, policy)
    )


def placed(masklets: Masklets, object_id: int, *, concept_idx: int, frame_idx: int, policy: VideoPolicy) -> Masklets:
    """With one more, which a user placed (spec/video.md 8.4). Its id may be one that was removed.

    Args:
        masklets: O.
        object_id: 0 or more, none that is there.
        concept_idx: the concept whose detections it is compared with, or `NO_CONCEPT`.
        frame_idx: the frame on which it was placed, whether that was ever processed or not.
        policy: `max_masklets`, `keep_alive_start`.

    Raises:
        InputError: the id is there already, or below 0, or there is no room.
    """
    if object_id < 0 or object_id in masklets.object_ids:
        raise InputError(
            f"object_id must be 0 or more and none of those that are followed {masklets.ids()}, got {object_id}; "
            f"{masklets.next_id} is free"
        )
    if len(masklets) >= policy.max_masklets:
        raise InputError(
            f"at most {policy.max_masklets} objects are followed at a time, got one more: remove one or raise "
            "max_masklets"
        )
    one = _born(np.array([object_id]), np.array([concept_idx]), np.ones(1, dtype=np.float32), frame_idx, policy)
    return kept_by_user(masklets._with(one), [object_id])


def kept_by_user(masklets: Masklets, object_ids: Collection[int], *, score: float | None = 1.0) -> Masklets:
    """With some marked as a user's, so that no rule overrules it (spec/video.md 8.4).

    Args:
        masklets: O.
        object_ids: those that a user corrected, or showed by an exemplar of a concept without a name.
        score: theirs from now on, 0..1; None: as it was.

    Raises:
        InputError: an id is not there.
    """
    chosen = _chosen(masklets, object_ids)
    scores = masklets.scores if score is None else np.where(chosen, np.float32(score), masklets.scores)
    return replace(masklets, by_user=masklets.by_user | chosen, scores=scores)


def forgotten(masklets: Masklets, object_ids: Collection[int]) -> Masklets:
    """Without some, which a user removed: nothing of them is left, nor of what they shared with others.

    Raises:
        InputError: an id is not there.
    """
    return masklets._select(~_chosen(masklets, object_ids))


def _thresholds(policy: VideoPolicy) -> tuple[int, int]:
    """Of unmatched frames and shared detections; a masklet without any is never removed."""
    return max(1, policy.unmatched_frames), max(1, policy.shared_detections)


def _within_hotstart(first_frame: IntArray, frame_idx: int, *, backwards: bool, policy: VideoPolicy) -> BoolArray:
    """(O,) can it still be removed: born on f, on the frames f to f + delay - 1 (f - delay + 1 backwards).

    Everything that was born on later frames in the direction is, too.
    """
    delay = policy.hotstart_delay
    if not delay:
        return np.zeros(len(first_frame), dtype=np.bool_)
    within: BoolArray = first_frame < frame_idx + delay if backwards else first_frame > frame_idx - delay
    return within


def _count_shared(masklets: Masklets, near: BoolArray, *, backwards: bool, most: int) -> Mapping[tuple[int, int], int]:
    """The counts after a frame whose (N, O) `near` is given: one more for each detection, not for each frame."""
    several = np.flatnonzero(near.sum(1) > 1)
    if not len(several):
        return masklets.shared
    shared = dict(masklets.shared)
    age = -masklets.first_frame if backwards else masklets.first_frame
    for detection in several:
        together = np.flatnonzero(near[detection])
        older = together[age[together].argmin()]  # the first of equals
        for other in together[together != older]:
            pair = (int(masklets.object_ids[older]), int(masklets.object_ids[other]))
            shared[pair] = min(shared.get(pair, 0) + 1, most)
    return shared


def _doubles(verdict: Verdict, policy: VideoPolicy) -> BoolArray:
    """(O,) `Masklets.doubles` once the removed ones are gone."""
    masklets = verdict.masklets
    gone = set(verdict.removed_ids)
    if not gone:
        return masklets.doubles
    _, most = _thresholds(policy)
    marked = [other for (older, other), count in masklets.shared.items() if count == most and older in gone]
    return masklets.doubles | np.isin(masklets.object_ids, marked)


def _born(
    object_ids: IntArray, concept_idx: IntArray, scores: FloatArray, frame_idx: int, policy: VideoPolicy
) -> Masklets:
    count = len(object_ids)
    return Masklets(
        object_ids=object_ids,
        concept_idx=concept_idx,
        scores=scores,
        first_frame=np.full(count, frame_idx, dtype=np.int64),
        keep_alive=np.full(count, policy.keep_alive_start, dtype=np.int64),
        unmatched=np.zeros(count, dtype=np.int64),
        doubles=np.zeros(count, dtype=np.bool_),
        last_occluded=np.full(count, JUST_BORN, dtype=np.int64),
        near_in_row=np.ones(count, dtype=np.int64),
        confirmed=np.full(count, policy.confirm_frames == 1),
        by_user=np.zeros(count, dtype=np.bool_),
        next_id=max(object_ids.tolist(), default=-1) + 1,
    )


def _chosen(masklets: Masklets, object_ids: Iterable[int]) -> BoolArray:
    wanted = list(object_ids)
    unknown = sorted(set(wanted) - set(masklets.ids()))
    if unknown:
        raise InputError(f"object_ids must be among those that are followed {masklets.ids()}, got {unknown}")
    return np.isin(masklets.object_ids, wanted)
