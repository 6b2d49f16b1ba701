"""Detections x masklets of one frame: who is whom, who is lost, who is new. Pure functions (spec/video.md 3 and 5).

    detections = gather_detections(found, policy)                           one `Detections` per concept -> one value
    overlap = overlap_within_concepts(detections, mask_logits, masklets.concept_idx)
    association = associate(overlap, detections.scores, policy)
    births = admit(detections, association, masklets=len(masklets), next_id=masklets.next_id, policy=policy)

Unusual: nothing is assigned. Two thresholds on one overlap decide, so a detection may hold several masklets and a
masklet several detections; a masklet near a detection that does not match it counts as near and as unmatched. Rules act
within a concept: detections and masklets of different concepts are never compared.

Shape letters: N detections, O masklets, both over all concepts of the video.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from masklet.inference.policy import VideoPolicy
from masklet.inference.selection import without_duplicates
from masklet.ops.masks import BoolArray, mask_iou
from masklet.types import Detections

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

NO_CONCEPT = -1
"""`concept_idx` of a masklet that a user placed and that belongs to no concept: it is compared with no detection."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameDetections:
    """What was found on one frame, over all concepts; concept by concept, in query order within one.

    Attributes:
        concept_idx: (N,) which concept each is of.
        scores: (N,) float32 0..1.
        boxes_cxcywh_norm: (N, 4) float32 fractions of the frame, may reach beyond it.
        mask_logits: (N, h, w) positive inside the object.
        looked_for: the concepts that were looked for on this frame, found or not. An exemplar without a name is looked
            for on its own frame only.
    """

    concept_idx: IntArray
    scores: FloatArray
    boxes_cxcywh_norm: FloatArray
    mask_logits: Tensor
    looked_for: frozenset[int]

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, kw_only=True, eq=False)
class Overlap:
    """How the detections and masklets of a frame lie on each other.

    Attributes:
        iou: (N, O) float32 0..1 mask overlap; 0 where they are not comparable.
        comparable: (N, O) of one concept.
        empty: (O,) masklets without a positive pixel.
        looked_for: (O,) masklets whose concept was looked for.
    """

    iou: FloatArray
    comparable: BoolArray
    empty: BoolArray
    looked_for: BoolArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Association:
    """What the overlaps of a frame mean.

    Attributes:
        matched: (O,) a detection overlaps the masklet well.
        unmatched: (O,) none does, although the masklet is not empty and its concept was looked for.
        empty: (O,) the masklet has no pixel; such a one may be neither matched nor unmatched.
        looked_for: (O,) its concept was looked for.
        new: (N,) the detection may start a masklet.
        near: (N, O) they overlap a little or more.
        best: (O,) the detection that may set the masklet right, or -1.
    """

    matched: BoolArray
    unmatched: BoolArray
    empty: BoolArray
    looked_for: BoolArray
    new: BoolArray
    near: BoolArray
    best: IntArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Births:
    """The K masklets that begin on a frame, in the order of their ids.

    Attributes:
        detection_idx: (K,) from which detections.
        object_ids: (K,) ascending.
        concept_idx: (K,).
        scores: (K,) float32 0..1, of the detections.
        dropped: how many more there would have been without the limit.
    """

    detection_idx: IntArray
    object_ids: IntArray
    concept_idx: IntArray
    scores: FloatArray
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.object_ids)


def gather_detections(found: Mapping[int, Detections], policy: VideoPolicy) -> FrameDetections:
    """The detections of a frame without duplicates, back in query order (spec/video.md 3).

    The order counts: ids are given in it, and the last of several detections sets a masklet right.

    Args:
        found: by concept, best first, those above `policy.detection_score`; an entry for every concept that was looked
            for, also when nothing was found.
        policy: `detection_iou`.
    """
    concepts = sorted(found)
    kept = [found[concept] for concept in concepts]
    if policy.detection_iou > 0:
        kept = without_duplicates(kept, policy.detection_iou)
    kept = [one.select(one.query_idx.argsort()) for one in kept]
    counts = np.array([len(one) for one in kept], dtype=np.int64)
    filled = [one.mask_logits for one in kept if len(one)]
    return FrameDetections(
        concept_idx=np.repeat(np.array(concepts, dtype=np.int64), counts),
        scores=_joined([one.scores for one in kept], (0,)),
        boxes_cxcywh_norm=_joined([one.boxes_cxcywh_norm for one in kept], (0, 4)),
        mask_logits=torch.cat(filled) if filled else torch.zeros(0, 0, 0),
        looked_for=frozenset(concepts),
    )


def overlap_within_concepts(detections: FrameDetections, mask_logits: Tensor, concept_idx: IntArray) -> Overlap:
    """Mask overlaps of N detections and O masklets, computed for those of one concept only.

    Args:
        detections: N.
        mask_logits: (O, h, w) of the masklets as the tracker gives them, holes filled, none suppressed; if the
            detections' masks have another size, the larger ones are shrunk.
        concept_idx: (O,) of the masklets.
    """
    assert len(mask_logits) == len(concept_idx)
    empty = ~(mask_logits > 0).flatten(1).any(1).cpu().numpy()
    comparable = detections.concept_idx[:, None] == concept_idx[None]
    iou = np.zeros(comparable.shape, dtype=np.float32)
    if comparable.any():
        found, followed = (masks > 0 for masks in _of_one_size(detections.mask_logits, mask_logits))
        for concept in np.intersect1d(detections.concept_idx, concept_idx):
            rows = np.flatnonzero(detections.concept_idx == concept)
            columns = np.flatnonzero(concept_idx == concept)
            iou[np.ix_(rows, columns)] = mask_iou(found[rows], followed[columns]).cpu().numpy()
    looked_for = np.isin(concept_idx, list(detections.looked_for))
    return Overlap(iou=iou, comparable=comparable, empty=empty, looked_for=looked_for)


def associate(overlap: Overlap, scores: FloatArray, policy: VideoPolicy) -> Association:
    """What the overlaps mean (spec/video.md 5).

    Args:
        overlap: of N detections and O masklets.
        scores: (N,) float32 0..1 of the detections.
        policy: `near_iou`, `match_iou`, `match_once`, `birth_score`, `shared_start`, `recondition_score`,
            `recondition_iou`.
    """
    near = overlap.comparable & (overlap.iou >= np.float32(policy.near_iou))
    match = overlap.comparable & (overlap.iou >= np.float32(policy.match_iou))
    if policy.match_once:
        match &= _assigned(overlap.iou)
    matched: BoolArray = np.logical_or.reduce(match, axis=0)
    first = ~(np.ones_like(near) if policy.shared_start else overlap.comparable).any(1)
    new = (first | (scores >= np.float32(policy.birth_score))) & ~near.any(1)
    return Association(
        matched=matched,
        unmatched=overlap.looked_for & ~overlap.empty & ~matched,
        empty=overlap.empty,
        looked_for=overlap.looked_for,
        new=new,
        near=near,
        best=_best(overlap, ~new & (scores >= np.float32(policy.recondition_score)), policy),
    )


def admit(
    detections: FrameDetections, association: Association, *, masklets: int, next_id: int, policy: VideoPolicy
) -> Births:
    """Which of the new detections become masklets, and their ids (spec/video.md 5.1).

    Args:
        detections: N.
        association: of these detections.
        masklets: how many there are before this frame's removals, over all concepts.
        next_id: the first free id; ids are never used again.
        policy: `birth_margin`, `max_masklets`.
    """
    new = association.new
    if policy.birth_margin > 0:
        margin = np.float32(policy.birth_margin)
        centres = detections.boxes_cxcywh_norm[:, :2]
        new = new & ((centres > margin) & (centres < 1 - margin)).all(1)
    chosen = np.flatnonzero(new)
    room = max(0, policy.max_masklets - masklets)
    dropped = max(0, len(chosen) - room)
    if dropped:
        # The best scores first: this is also the order of their ids.
        chosen = chosen[np.argsort(-detections.scores[chosen], kind="stable")[:room]]
    return Births(
        detection_idx=chosen,
        object_ids=np.arange(next_id, next_id + len(chosen)),
        concept_idx=detections.concept_idx[chosen],
        scores=detections.scores[chosen],
        dropped=dropped,
    )


def _best(overlap: Overlap, sure: BoolArray, policy: VideoPolicy) -> IntArray:
    """(O,) for each masklet the last sure detection that overlaps no other masklet more, or -1."""
    best = np.full(overlap.iou.shape[1], -1, dtype=np.int64)
    if not overlap.comparable.any():
        return best
    iou = np.where(overlap.comparable, overlap.iou, np.float32(-1))
    sure = sure & (iou.max(1) >= np.float32(policy.recondition_iou))
    for detection in np.flatnonzero(sure):
        best[iou[detection].argmax()] = detection
    return best


def _assigned(iou: FloatArray) -> BoolArray:
    """(N, O) the pairs, each detection and each masklet in one at most, whose overlaps have the largest sum."""
    from scipy.optimize import linear_sum_assignment  # takes 0.4 s to import

    pairs = np.zeros(iou.shape, dtype=np.bool_)
    pairs[linear_sum_assignment(iou, maximize=True)] = True
    return pairs


def _of_one_size(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the height and width of the smaller."""
    if first.shape[1:] == second.shape[1:]:
        return first, second
    size = min((tuple(one.shape[1:]) for one in (first, second)), key=math.prod)
    first, second = (
        F.interpolate(one.float()[:, None], size, mode="bilinear", align_corners=False)[:, 0] for one in (first, second)
    )
    return first, second


def _joined(parts: list[Tensor], empty_shape: tuple[int, ...]) -> FloatArray:
    whole: FloatArray = np.zeros(empty_shape, dtype=np.float32)
    if parts:
        whole = torch.cat([part.detach().float() for part in parts]).cpu().numpy()
    return whole
