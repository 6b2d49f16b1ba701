"""Threshold, order, and removal of duplicates."""

from __future__ import annotations

import math

import pytest
import torch

from masklet.errors import InputError
from masklet.inference.selection import best_first, queries_above, without_duplicates
from masklet.types import Detections, RawDetections


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def raw_of(probabilities: list[list[float]], presence: list[float]) -> RawDetections:
    prompts, queries = len(probabilities), len(probabilities[0]) if probabilities else 3
    numbers = torch.arange(prompts * queries * 4, dtype=torch.float32).reshape(prompts, queries, 4)
    return RawDetections(
        class_logits=torch.tensor([[logit(p) for p in row] for row in probabilities]).reshape(prompts, queries),
        boxes_cxcywh_norm=numbers,
        presence_logits=torch.tensor([logit(p) for p in presence]).reshape(prompts),
        queries=torch.zeros(prompts, queries, 2),
        memory=torch.zeros(prompts, 6, 2),
    )


def detections_of(masks: list[list[int]], scores: list[float], first_query: int = 0) -> Detections:
    count = len(scores)
    return Detections(
        query_idx=torch.arange(count) + first_query,
        scores=torch.tensor(scores),
        boxes_cxcywh_norm=torch.zeros(count, 4),
        mask_logits=torch.tensor(masks, dtype=torch.float32).reshape(count, 1, len(masks[0]) if masks else 4) - 0.5,
    )


def test_a_score_is_class_times_presence_and_must_exceed_the_threshold() -> None:
    raw = raw_of([[0.9, 0.5, 0.99], [0.9, 0.5, 0.99]], presence=[0.8, 0.4])
    assert queries_above(raw, 0.5).tolist() == [[True, False, True], [False, False, False]]
    half = RawDetections(
        class_logits=torch.zeros(1, 1),
        boxes_cxcywh_norm=torch.zeros(1, 1, 4),
        presence_logits=torch.full((1,), 1000.0),
        queries=torch.zeros(1, 1, 1),
        memory=torch.zeros(1, 1, 1),
    )
    assert half.scores().item() == 0.5
    assert queries_above(half, 0.5).tolist() == [[False]]  # strictly
    assert queries_above(half, 0.4999).tolist() == [[True]]


def test_thresholds_of_single_prompts() -> None:
    raw = raw_of([[0.9, 0.3, 0.6]] * 2, presence=[0.99, 0.99])
    assert queries_above(raw, [0.2, 0.7]).tolist() == [[True, True, True], [True, False, False]]
    assert queries_above(raw, [0, 1]).tolist() == [[True] * 3, [False] * 3]


@pytest.mark.parametrize("thresholds", [-0.1, 1.1, float("nan"), [0.5], [0.5, 0.5, 0.5], [0.5, float("inf")]])
def test_thresholds_that_are_none(thresholds: float | list[float]) -> None:
    with pytest.raises(InputError, match="threshold"):
        queries_above(raw_of([[0.9]] * 2, presence=[0.5, 0.5]), thresholds)


def test_undefined_scores_are_dropped_and_half_precision_is_not_rounded_again() -> None:
    raw = raw_of([[0.9, 0.8, 0.7]], presence=[0.9])
    raw.class_logits[0, 1] = float("nan")
    assert queries_above(raw, 0.0).tolist() == [[True, False, True]]
    coarse = RawDetections(
        class_logits=torch.tensor([[4.0, 4.0625]], dtype=torch.bfloat16),
        boxes_cxcywh_norm=torch.zeros(1, 2, 4),
        presence_logits=torch.tensor([3.0], dtype=torch.bfloat16),
        queries=torch.zeros(1, 2, 1),
        memory=torch.zeros(1, 1, 1),
    )
    assert coarse.scores()[0, 1] > coarse.scores()[0, 0]  # both 0.98 in bfloat16


def test_best_first_keeps_what_belongs_together() -> None:
    raw = raw_of([[0.6, 0.9, 0.1, 0.7], [0.1, 0.1, 0.1, 0.1]], presence=[0.99, 0.99])
    keep = queries_above(raw, 0.5)
    masks = [torch.tensor([0.0, 1.0, 3.0])[:, None, None].expand(3, 2, 5), torch.zeros(0, 2, 5)]
    first, second = best_first(raw, keep, masks)
    assert first.query_idx.tolist() == [1, 3, 0]
    assert first.mask_logits[:, 0, 0].tolist() == [1.0, 3.0, 0.0]
    assert torch.equal(first.boxes_cxcywh_norm, raw.boxes_cxcywh_norm[0, [1, 3, 0]])
    torch.testing.assert_close(first.scores, torch.tensor([0.9, 0.7, 0.6]) * 0.99)
    assert len(second) == 0
    assert second.scores.shape == (0,)
    assert second.mask_logits.shape == (0, 2, 5)


def test_equal_scores_keep_query_order() -> None:
    raw = raw_of([[0.7] * 40], presence=[0.9])
    (detections,) = best_first(raw, queries_above(raw, 0.1), [torch.zeros(40, 1, 1)])
    assert detections.query_idx.tolist() == list(range(40))


def test_no_prompts() -> None:
    raw = raw_of([], presence=[])
    assert queries_above(raw, 0.5).shape == (0, 3)
    assert best_first(raw, queries_above(raw, []), []) == []
    assert without_duplicates([], 0.5) == []
    assert without_duplicates([], 0.5, across=True) == []


def test_duplicates_within_a_prompt() -> None:
    detections = detections_of(
        [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 0, 1]], [0.9, 0.8, 0.7, 0.6]
    )
    (kept,) = without_duplicates([detections], 0.5)
    assert kept.query_idx.tolist() == [0, 2, 3]  # 2/3 > 0.5; 1/2 is not
    (kept,) = without_duplicates([detections], 0.4)
    assert kept.query_idx.tolist() == [0, 2]
    (kept,) = without_duplicates([detections], 1.0)
    assert kept.query_idx.tolist() == [0, 1, 2, 3]


def test_duplicates_across_prompts_only_when_asked() -> None:
    cats = detections_of([[1, 1, 0, 0], [0, 0, 1, 1]], [0.9, 0.5])
    dogs = detections_of([[0, 0, 1, 1], [1, 1, 0, 0]], [0.8, 0.7], first_query=10)
    birds = detections_of([], [])
    apart = without_duplicates([cats, birds, dogs], 0.5)
    assert [one.query_idx.tolist() for one in apart] == [[0, 1], [], [10, 11]]
    together = without_duplicates([cats, birds, dogs], 0.5, across=True)
    assert [one.query_idx.tolist() for one in together] == [[0], [], [10]]
    assert together[2].scores.tolist() == pytest.approx([0.8])


def test_of_equal_scores_the_earlier_prompt_keeps_the_object() -> None:
    first, second = (detections_of([[1, 1]], [0.5], first_query=n) for n in (0, 7))
    kept = without_duplicates([first, second], 0.5, across=True)
    assert [len(one) for one in kept] == [1, 0]


def test_empty_masks_are_no_duplicates() -> None:
    (kept,) = without_duplicates([detections_of([[0, 0], [0, 0]], [0.9, 0.8])], 0.0)
    assert len(kept) == 2


@pytest.mark.parametrize("iou", [-0.1, 1.5, float("nan")])
def test_an_overlap_that_is_none(iou: float) -> None:
    with pytest.raises(InputError, match="overlap"):
        without_duplicates([], iou)
