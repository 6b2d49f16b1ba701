"""The frame loop of concepts in video: detect, follow, decide, remember (spec/video.md 2).

        frame ─┬─ detect ─▶ detections ─┐
               └─ session.follow ─▶ masks of masklets ─┴─ associate ─▶ judge ─▶ who is new, lost, set right, emptied
                                                                            │
         session.begin, remove ◀─ session.remember ◀─ session.correct ◀─────┘

Every decision is a pure function of another file; here they are put in order, and what they decide is told to the
tracker's session. What comes out holds all masklets of the frame, and who must not be shown (`hold_back.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from masklet.inference.association import (
    Association,
    Births,
    FrameDetections,
    admit,
    associate,
    gather_detections,
    overlap_within_concepts,
)
from masklet.inference.frame_masklets import FrameMasklets
from masklet.inference.hold_back import HeldFrame
from masklet.inference.lifecycle import Masklets, Verdict, judge, settle
from masklet.inference.occlusion import occluded_twins
from masklet.inference.policy import VideoPolicy
from masklet.inference.postprocess import masks_to_rles
from masklet.inference.recondition import Corrections, corrections
from masklet.inference.tracked_frame import TrackedFrame
from masklet.inference.tracker_session import TrackerSession
from masklet.ops.mask_cleanup import cleaned, emptied, sight_logits_of, strongest_only, without_shrunk
from masklet.ops.resize import resized
from masklet.types import Detections

_REMEMBERED_SCALE = 4  # masks are remembered at so many times the resolution at which they are found
_BINARY = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class PassedFrame:
    """What came of a frame.

    Attributes:
        held: all masklets on it, and who is hidden; not to be given out before `hold_back` says so.
        born_ids: masklets that began here.
        corrected_ids: masklets that a detection set right here.
        removed_ids: masklets that ended here.
        dropped: detections that found no room.
    """

    held: HeldFrame[FrameMasklets]
    born_ids: tuple[int, ...]
    corrected_ids: tuple[int, ...]
    removed_ids: tuple[int, ...]
    dropped: int


class ConceptLoop:
    """Follows the instances of concepts through one video.

    Args:
        session: of the video.
        detect: what is found on a frame, by concept; an entry for every concept that is looked for there.
        size_hw: of the video, pixels.
        policy: the rules.

    Attributes:
        masklets: that are followed now; their ids are those of the session, in its order. Who changes one side, as a
            user does, changes the other.
    """

    def __init__(
        self,
        session: TrackerSession,
        detect: Callable[[int], Mapping[int, Detections]],
        *,
        size_hw: tuple[int, int],
        policy: VideoPolicy,
    ) -> None:
        self.masklets = Masklets()
        self._session = session
        self._detect = detect
        self._size_hw = size_hw
        self._policy = policy

    @torch.no_grad()
    def step(self, frame_idx: int, *, backwards: bool = False) -> PassedFrame:
        """Passes one frame.

        Args:
            frame_idx: index in the video.
            backwards: the video is followed from its end.
        """
        policy, before = self._policy, self.masklets
        detections = gather_detections(self._detect(frame_idx), policy)
        tracked = self._session.follow(frame_idx, backwards=backwards, remember=False)
        assert list(tracked.object_ids) == before.ids(), "session and loop follow the same objects"
        logits = self._masks(tracked)
        sight_logits = tracked.masks.sight_logits

        association, births, verdict = self._decide(detections, logits, frame_idx, backwards=backwards)
        better = corrections(
            detections,
            association,
            before,
            mask_logits=logits,
            sight_logits=sight_logits,
            frame_idx=frame_idx,
            policy=policy,
        )
        suppressed = occluded_twins(logits > 0, before, verdict.removed, backwards=backwards, policy=policy)
        shown = emptied(logits, suppressed)

        self._set_right(frame_idx, detections, better)
        self._remember(frame_idx, shown, detections, better)
        self._begin(frame_idx, detections, births)
        for object_id in verdict.removed_ids:
            self._session.remove(object_id)
        occluded = association.empty | suppressed
        self.masklets = settle(verdict, births, occluded=occluded, frame_idx=frame_idx, policy=policy)
        value = self._value(
            before, births, _replaced(shown, detections, better, better.shown), sight_logits, detections
        )
        hidden = frozenset(before.ids(verdict.hidden))
        return PassedFrame(
            held=HeldFrame(frame_idx, value, hidden, self.masklets.unconfirmed_ids(policy)),
            born_ids=tuple(births.object_ids.tolist()),
            corrected_ids=tuple(before.object_ids[better.masklet_idx].tolist()),
            removed_ids=tuple(verdict.removed_ids),
            dropped=births.dropped,
        )

    @torch.no_grad()
    def remembered(self, frame_idx: int) -> FrameMasklets:
        """All masklets on a frame as far as the session remembers it; answers to prompts that wait come first."""
        tracked = self._session.shown(frame_idx)
        logits = self._masks(tracked)
        return FrameMasklets(
            object_ids=self.masklets.object_ids,
            concept_idx=self.masklets.concept_idx,
            scores=self.masklets.scores,
            tracker_scores=tracked.masks.sight_logits.float().sigmoid().cpu().numpy(),
            masks=tuple(masks_to_rles(logits, self._size_hw)),
        )

    def _masks(self, tracked: TrackedFrame) -> Tensor:
        """(O, h, w) logits of all masklets as they are judged, shown and remembered."""
        logits = cleaned(tracked.masks.mask_logits, self._policy.clean_area)
        return strongest_only(logits, self.masklets.concept_idx) if self._policy.masks_compete else logits

    def _decide(
        self, detections: FrameDetections, logits: Tensor, frame_idx: int, *, backwards: bool
    ) -> tuple[Association, Births, Verdict]:
        policy, masklets = self._policy, self.masklets
        overlap = overlap_within_concepts(detections, logits, masklets.concept_idx)
        association = associate(overlap, detections.scores, policy)
        births = admit(detections, association, masklets=len(masklets), next_id=masklets.next_id, policy=policy)
        return (
            association,
            births,
            judge(masklets, association, frame_idx=frame_idx, backwards=backwards, policy=policy),
        )

    def _set_right(self, frame_idx: int, detections: FrameDetections, better: Corrections) -> None:
        if not len(better):
            return
        ids = [int(self.masklets.object_ids[masklet]) for masklet in better.masklet_idx]
        if self._policy.recondition_bucket:
            masks = self._prompt_masks(detections.mask_logits[better.detection_idx])
            # What is remembered of the frame is made afterwards, of all masks as they are shown.
            self._session.correct(frame_idx, dict(zip(ids, masks, strict=True)), remember=False)
        else:
            self._session.promote(frame_idx, ids)

    def _remember(self, frame_idx: int, shown: Tensor, detections: FrameDetections, better: Corrections) -> None:
        policy = self._policy
        if not len(shown):
            return
        logits = _replaced(shown, detections, better, np.full(len(better), policy.recondition_remembered))
        if policy.shrink_upsampled:
            logits = _stretched(logits)
        logits = without_shrunk(logits, policy.shrink_share, self.masklets.concept_idx)
        self._session.remember(frame_idx, logits, sight_logits_of(logits))

    def _begin(self, frame_idx: int, detections: FrameDetections, births: Births) -> None:
        """New objects: those of a concept form a bucket, or each one if they must not cut each other."""
        if not len(births):
            return
        object_ids: list[int] = births.object_ids.tolist()
        masks = self._prompt_masks(detections.mask_logits[births.detection_idx])
        groups = births.concept_idx.tolist() if self._policy.births_cut else object_ids
        # At once, so that the session has them in the order of their ids, whatever their concepts.
        self._session.begin(
            frame_idx, dict(zip(object_ids, masks, strict=True)), groups=dict(zip(object_ids, groups, strict=True))
        )

    def _prompt_masks(self, mask_logits: Tensor) -> list[Tensor]:
        """Masks of detections as they are given to the tracker, bool."""
        if self._policy.births_upsampled:
            return list(_stretched(mask_logits) > 0)
        return list(mask_logits >= _BINARY)

    def _value(
        self, before: Masklets, births: Births, shown: Tensor, sight_logits: Tensor, detections: FrameDetections
    ) -> FrameMasklets:
        masks = masks_to_rles(shown, self._size_hw)
        if len(births):
            masks += masks_to_rles(
                cleaned(detections.mask_logits[births.detection_idx], self._policy.clean_area), self._size_hw
            )
        sight = sight_logits.float().sigmoid().cpu().numpy()
        return FrameMasklets(
            object_ids=np.concatenate((before.object_ids, births.object_ids)),
            concept_idx=np.concatenate((before.concept_idx, births.concept_idx)),
            scores=np.concatenate((before.scores, births.scores)),
            tracker_scores=np.concatenate((sight, births.scores)),
            masks=tuple(masks),
        )


def _stretched(mask_logits: Tensor) -> Tensor:
    """(O, h, w) at the size at which masks are remembered and given."""
    height, width = mask_logits.shape[1:]
    return resized(mask_logits, (_REMEMBERED_SCALE * height, _REMEMBERED_SCALE * width))


def _replaced(
    mask_logits: Tensor, detections: FrameDetections, better: Corrections, chosen: npt.NDArray[np.bool_]
) -> Tensor:
    """The masks with those of the corrections at (K,) `chosen` in place of the tracker's."""
    if not chosen.any():
        return mask_logits
    result = mask_logits.clone()
    for masklet, detection in zip(better.masklet_idx[chosen], better.detection_idx[chosen], strict=True):
        result[masklet] = detections.mask_logits[detection]
    return result
