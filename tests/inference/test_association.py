"""Detections x masklets: thresholds that are exact in float32, loops as oracle, and who is born."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from masklet.inference.association import (
    NO_CONCEPT,
    Association,
    FrameDetections,
    Overlap,
    admit,
    associate,
    gather_detections,
    overlap_within_concepts,
)
from masklet.inference.policy import VideoPolicy
from scripted_video import EMPTY, SIDE, A, B, detections_of, rectangle

POLICY = VideoPolicy()


def overlap_of(iou: list[list[float]], *, empty: Sequence[int] = (), unseen: Sequence[int] = ()) -> Overlap:
    """Overlaps of one concept; `empty` and `unseen` (not looked for) are masklets."""
    array = np.array(iou, dtype=np.float32).reshape(len(iou), len(iou[0]) if iou else 0)
    masklets = np.arange(array.shape[1])
    return Overlap(
        iou=array,
        comparable=np.ones(array.shape, dtype=np.bool_),
        empty=np.isin(masklets, empty),
        looked_for=~np.isin(masklets, unseen),
    )


def scores_of(*scores: float) -> np.ndarray:
    return np.array(scores, dtype=np.float32)


def found_of(scores: list[float], concepts: list[int] | None = None) -> FrameDetections:
    count = len(scores)
    return FrameDetections(
        concept_idx=np.array(concepts or [0] * count, dtype=np.int64),
        scores=np.array(scores, dtype=np.float32),
        boxes_cxcywh_norm=np.full((count, 4), 0.5, dtype=np.float32),
        mask_logits=torch.zeros(count, 3, 4),
        looked_for=frozenset([0]),
    )


def all_new(count: int) -> Association:
    return associate(overlap_of([[]] * count), np.ones(count, dtype=np.float32), POLICY)


# --- who is whom ------------------------------------------------------------------------------------------------------


def test_five_of_each() -> None:
    """Section 5: two thresholds on one overlap, nothing is assigned."""
    iou = [
        [0.9, 0.0, 0.0, 0.0, 0.0],
        [0.6, 0.3, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.5, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.05],
        [0.0, 0.0, 0.0, 0.0, 0.09],
    ]
    result = associate(overlap_of(iou, empty=[3]), scores_of(0.95, 0.6, 0.6, 0.7, 0.69), POLICY)
    assert result.matched.tolist() == [True, False, True, False, False]
    assert result.unmatched.tolist() == [False, True, False, False, True]
    assert result.empty.tolist() == [False, False, False, True, False]
    assert result.new.tolist() == [False, False, False, True, False]
    assert [np.flatnonzero(row).tolist() for row in result.near] == [[0], [0, 1], [2], [], []]
    assert result.best.tolist() == [0, -1, -1, -1, -1]


@pytest.mark.parametrize(
    ("iou", "score", "near", "matched", "new", "best"),
    [
        (1 / 10, 0.7, True, False, False, -1),
        (0.0999, 0.7, False, False, True, -1),
        (0.0999, 0.6999, False, False, False, -1),
        (5 / 10, 0.51, True, True, False, -1),
        (0.4999, 0.51, True, False, False, -1),
        (8 / 10, 0.8, True, True, False, 0),
        (0.7999, 0.8, True, True, False, -1),
        (8 / 10, 0.7999, True, True, False, -1),
    ],
)
def test_exact_thresholds(iou: float, score: float, near: bool, matched: bool, new: bool, best: int) -> None:
    """Section 5, last line, and trap 33: in float32 exact 0.1, 0.5, 0.7, 0.8 count as reached."""
    result = associate(overlap_of([[iou]]), scores_of(score), POLICY)
    assert (bool(result.near[0, 0]), bool(result.matched[0]), bool(result.new[0]), int(result.best[0])) == (
        near,
        matched,
        new,
        best,
    )


def test_without_masklets_all_is_new() -> None:
    """Section 5, M == 0 and trap 1."""
    result = associate(overlap_of([[], []]), scores_of(0.51, 0.9), POLICY)
    assert result.new.tolist() == [True, True]
    assert (result.matched.shape, result.near.shape, result.best.shape) == ((0,), (2, 0), (0,))
    empty = associate(overlap_of([[0.0]], empty=[0]), scores_of(0.69), POLICY)
    assert empty.new.tolist() == [False]  # an empty masklet is one


def test_without_detections() -> None:
    """Section 5, N == 0; and a concept that was not looked for (deviation: a box lives on)."""
    overlap = replace(
        overlap_of([[0.0] * 3], empty=[1], unseen=[2]),
        iou=np.zeros((0, 3), dtype=np.float32),
        comparable=np.zeros((0, 3), dtype=np.bool_),
    )
    result = associate(overlap, scores_of(), POLICY)
    assert result.unmatched.tolist() == [True, False, False]
    assert result.empty.tolist() == [False, True, False]
    assert (result.new.shape, result.near.shape) == ((0,), (0, 3))
    assert result.best.tolist() == [-1, -1, -1]


def test_the_last_sure_detection_sets_right() -> None:
    """Section 5, "later d overwrites"; of equal overlaps the first masklet's."""
    result = associate(overlap_of([[0.95, 0.0], [0.85, 0.85], [0.0, 0.9]]), scores_of(0.9, 0.9, 0.79), POLICY)
    assert result.best.tolist() == [1, -1]


def test_other_thresholds() -> None:
    """The comparisons in float32 hold for any value; a new detection sets nothing right, however low the bar."""
    policy = replace(POLICY, match_iou=0.7, near_iou=0.3, recondition_iou=0.2)
    result = associate(overlap_of([[0.7, 0.0], [0.0, 0.2]]), scores_of(0.9, 0.9), policy)
    assert result.matched.tolist() == [True, False]
    assert result.new.tolist() == [False, True]
    assert result.best.tolist() == [0, -1]


def test_matching_once() -> None:
    """Section 5, o2o_matching: the assignment with the largest sum, then the threshold."""
    iou = [[0.9, 0.8, 0.0], [0.7, 0.1, 0.0]]
    assert associate(overlap_of(iou), scores_of(0.9, 0.9), POLICY).matched.tolist() == [True, True, False]
    once = associate(overlap_of(iou), scores_of(0.9, 0.9), replace(POLICY, match_once=True))
    assert once.matched.tolist() == [True, True, False]  # 0.8 + 0.7 is more than 0.9 + 0.1
    iou[1] = [0.3, 0.1, 0.0]
    once = associate(overlap_of(iou), scores_of(0.9, 0.9), replace(POLICY, match_once=True))
    assert once.matched.tolist() == [False, True, False]  # 0.8 + 0.3, of which 0.3 is no match
    assert once.unmatched.tolist() == [True, False, True]


@st.composite
def frames(draw: st.DrawFn) -> tuple[Overlap, np.ndarray]:
    detections, masklets = draw(st.integers(0, 5)), draw(st.integers(0, 5))
    concepts = [draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)) for n in (detections, masklets)]
    comparable = np.array(concepts[0])[:, None] == np.array(concepts[1])[None]
    values = st.sampled_from([0.0, 0.09, 0.1, 0.3, 0.5, 0.7, 0.8, 0.81, 1.0])
    numbers = draw(st.lists(values, min_size=comparable.size, max_size=comparable.size))
    scores = draw(st.lists(st.sampled_from([0.51, 0.69, 0.7, 0.8, 0.9]), min_size=detections, max_size=detections))
    flags = [draw(st.lists(st.booleans(), min_size=masklets, max_size=masklets)) for _ in range(2)]
    overlap = Overlap(
        iou=np.where(comparable, np.array(numbers).reshape(comparable.shape), 0).astype(np.float32),
        comparable=comparable,
        empty=np.array(flags[0], dtype=np.bool_),
        looked_for=np.array(flags[1], dtype=np.bool_),
    )
    return overlap, np.array(scores, dtype=np.float32)


@given(frames(), st.booleans(), st.booleans())
@settings(max_examples=150, derandomize=True, deadline=None)
def test_one_pair_after_the_other(frame: tuple[Overlap, np.ndarray], shared_start: bool, once: bool) -> None:
    """The text of section 5, line by line."""
    overlap, scores = frame
    result = associate(overlap, scores, replace(POLICY, shared_start=shared_start, match_once=once))
    detections, masklets = overlap.iou.shape
    tenth, half, seven, eight = (np.float32(value) for value in (0.1, 0.5, 0.7, 0.8))
    assigned = set(zip(*linear_sum_assignment(1 - overlap.iou), strict=True)) if once else None
    best = [-1] * masklets
    for d in range(detections):
        mine = [t for t in range(masklets) if overlap.comparable[d, t]]
        near = [t for t in mine if overlap.iou[d, t] >= tenth]
        assert np.flatnonzero(result.near[d]).tolist() == near
        nothing_yet = masklets == 0 if shared_start else not mine
        assert result.new[d] == ((nothing_yet or scores[d] >= seven) and not near)
        top = max((overlap.iou[d, t] for t in mine), default=0)
        if scores[d] >= eight and near and top >= eight:
            best[min(t for t in mine if overlap.iou[d, t] == top)] = d
    assert result.best.tolist() == best
    for t in range(masklets):
        matched = any(
            overlap.comparable[d, t] and overlap.iou[d, t] >= half and (assigned is None or (d, t) in assigned)
            for d in range(detections)
        )
        assert result.matched[t] == matched
        assert result.unmatched[t] == (overlap.looked_for[t] and not overlap.empty[t] and not matched)


# --- overlaps ---------------------------------------------------------------------------------------------------------


def test_overlaps_within_concepts() -> None:
    """Section 12, row "association", and section 5, "IoU = inter / max(union, 1)"."""
    found = gather_detections(
        {
            5: detections_of([(A, 0.9), (EMPTY, 0.8)]),
            2: detections_of([(rectangle(0, 0, 4, 2), 0.9)]),
            9: detections_of([]),
        },
        POLICY,
    )
    assert found.concept_idx.tolist() == [2, 5, 5]
    masks = torch.stack((A, EMPTY, B, A, A))
    overlap = overlap_within_concepts(found, masks, np.array([5, 5, 2, NO_CONCEPT, 9]))
    assert overlap.iou.tolist() == [[0, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert overlap.comparable.tolist() == [
        [False, False, True, False, False],
        [True, True, False, False, False],
        [True, True, False, False, False],
    ]
    assert overlap.empty.tolist() == [False, True, False, False, False]
    assert overlap.looked_for.tolist() == [True, True, True, False, True]
    assert overlap.iou.dtype == np.float32


def test_overlaps_of_nothing() -> None:
    nothing = gather_detections({}, POLICY)
    assert len(nothing) == 0
    for masklets in (0, 2):
        overlap = overlap_within_concepts(nothing, torch.ones(masklets, 5, 7), np.zeros(masklets, dtype=np.int64))
        assert overlap.iou.shape == (0, masklets)
        assert overlap.looked_for.tolist() == [False] * masklets
    some = gather_detections({0: detections_of([(A, 0.9)])}, POLICY)
    assert overlap_within_concepts(some, torch.zeros(0, 5, 7), np.zeros(0, dtype=np.int64)).iou.shape == (1, 0)


def test_masks_of_another_size() -> None:
    """Section 5: the larger masks are shrunk to the smaller grid, whichever these are."""
    found = gather_detections({0: detections_of([(A, 0.9)])}, POLICY)
    small = torch.full((1, SIDE // 2, SIDE // 2), -1.0)  # stretched, its edge would move outwards
    small[0, :2, :2] = 5.0
    large = torch.nn.functional.interpolate(small[None], (2 * SIDE, 2 * SIDE), mode="nearest")[0]
    for masks in (small, large):
        assert overlap_within_concepts(found, masks, np.zeros(1, dtype=np.int64)).iou.tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("scores", "kept"), [((0.9, 0.8, 0.7), [0, 1]), ((0.7, 0.8, 0.9), [2]), ((0.5, 0.8, 0.4), [1])]
)
def test_duplicates_among_detections(scores: tuple[float, ...], kept: list[int]) -> None:
    """Section 15.3 row 24: an overlap of 0.1 stays, 0.2 goes; scores above 0.5; query order."""
    bars = [rectangle(0, 0, 10, 1), rectangle(0, 0, 1, 1), rectangle(0, 0, 2, 1)]
    every = detections_of(list(zip(bars, scores, strict=True)))
    found = every.select(every.scores > POLICY.detection_score)
    result = gather_detections({0: found}, POLICY)
    assert result.scores.tolist() == [np.float32(scores[index]) for index in kept]
    assert torch.equal(result.mask_logits, torch.stack([bars[index] for index in kept]))
    assert len(gather_detections({0: found}, replace(POLICY, detection_iou=0.0))) == len(found)


def test_detections_keep_the_order_of_queries() -> None:
    """Section 5.1, step 3, "in detection index order", concept by concept."""
    found = {1: detections_of([(A, 0.6), (B, 0.9)]), 0: detections_of([(B, 0.7), (EMPTY, 0.8), (A, 0.75)])}
    result = gather_detections(found, POLICY)
    assert result.concept_idx.tolist() == [0, 0, 0, 1, 1]
    assert result.scores.tolist() == scores_of(0.7, 0.8, 0.75, 0.6, 0.9).tolist()
    assert torch.equal(result.mask_logits, torch.stack((B, EMPTY, A, A, B)))


# --- who is born ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("most", "masklets", "chosen", "dropped"),
    [(9, 1, [0, 1, 2, 3, 4], 0), (6, 1, [0, 1, 2, 3, 4], 0), (4, 1, [1, 3, 0], 2), (1, 1, [], 5), (1, 3, [], 5)],
)
def test_room_for_new_masklets(most: int, masklets: int, chosen: list[int], dropped: int) -> None:
    """Section 5.1, step 2: index order while there is room, else the best scores first; ids in this order."""
    found = found_of([0.6, 0.9, 0.5, 0.9, 0.6], [3, 1, 4, 1, 5])
    births = admit(found, all_new(5), masklets=masklets, next_id=7, policy=replace(POLICY, max_masklets=most))
    assert births.detection_idx.tolist() == chosen
    assert births.object_ids.tolist() == [7 + k for k in range(len(chosen))]
    assert births.concept_idx.tolist() == [[3, 1, 4, 1, 5][index] for index in chosen]
    assert births.scores.tolist() == found.scores[chosen].tolist()
    assert births.dropped == dropped
    assert len(births) == len(chosen)


def test_births_at_the_edge() -> None:
    """Section 5.1, step 1: off unless asked for; strictly inside in both axes."""
    found = found_of([0.9] * 5)
    found.boxes_cxcywh_norm[:, :2] = [[0.025, 0.5], [0.03, 0.97], [0.5, 0.975], [0.5, 0.5], [0.99, 0.5]]
    births = admit(found, all_new(5), masklets=0, next_id=0, policy=POLICY)
    assert births.detection_idx.tolist() == [0, 1, 2, 3, 4]
    births = admit(found, all_new(5), masklets=0, next_id=0, policy=replace(POLICY, birth_margin=0.025))
    assert births.detection_idx.tolist() == [1, 3]
    assert births.dropped == 0


def test_nobody_is_born() -> None:
    births = admit(found_of([]), all_new(0), masklets=0, next_id=3, policy=POLICY)
    assert (len(births), births.dropped) == (0, 0)
