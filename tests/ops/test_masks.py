"""Run-length codes, boxes and overlaps against slow definitions; removal of duplicates."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from masklet.errors import InputError
from masklet.ops.masks import (
    decode_crop,
    decode_rle,
    decode_rles,
    encode_rle,
    keep_distinct,
    mask_iou,
    mask_stability,
    masks_to_boxes,
    rle_areas,
    rle_boxes,
    rle_iou,
    rle_of_boundaries,
    rles_apart,
)

Masks = npt.NDArray[np.bool_]


@st.composite
def mask_stacks(draw: st.DrawFn, most: int = 4) -> Masks:
    shape = (draw(st.integers(0, most)), draw(st.integers(1, 9)), draw(st.integers(1, 7)))
    return draw(arrays(np.bool_, shape))


def slow_boxes(masks: Masks) -> list[list[float]]:
    boxes = []
    for mask in masks:
        places = [(x, y) for y, row in enumerate(mask) for x, inside in enumerate(row) if inside]
        if places:
            xs, ys = zip(*places, strict=True)
            boxes.append([float(min(xs)), float(min(ys)), float(max(xs) + 1), float(max(ys) + 1)])
        else:
            boxes.append([0.0, 0.0, 0.0, 0.0])
    return boxes


def slow_iou(masks: Masks, others: Masks) -> npt.NDArray[np.float64]:
    pairs = [[(a & b).sum() / max((a | b).sum(), 1) for b in others] for a in masks]
    return np.array(pairs, dtype=np.float64).reshape(len(masks), len(others))


def slow_boundaries(mask: Masks) -> npt.NDArray[np.int64]:
    column_by_column = np.concatenate(([0], mask.T.ravel().astype(int), [0]))
    return np.flatnonzero(np.diff(column_by_column))


@given(mask_stacks())
@settings(max_examples=100, derandomize=True, deadline=None)
def test_codes_of_masks(masks: Masks) -> None:
    rles = [encode_rle(mask) for mask in masks]
    assert json.loads(json.dumps(rles)) == rles
    assert np.array_equal(decode_rles(rles, masks.shape[1:]), masks)
    assert rle_areas(rles).tolist() == masks.sum((1, 2)).tolist()
    assert rle_boxes(rles).tolist() == slow_boxes(masks)
    for mask, rle in zip(masks, rles, strict=True):
        assert np.array_equal(decode_rle(rle), mask)
        crop, (x0, y0, x1, y1) = decode_crop(rle)
        assert np.array_equal(mask[y0:y1, x0:x1], crop)
        assert crop.sum() == mask.sum()
        assert rle_of_boundaries(slow_boundaries(mask), mask.shape) == rle


@pytest.mark.parametrize("count", [0, 255, 256, 700])
def test_any_number_of_masks(count: int) -> None:
    """pycocotools 2.0.11 fails to count the pixels of more than 255 masks at once."""
    masks = np.zeros((count, 3, 5), dtype=np.bool_)
    masks[:, 0, 0] = True
    masks[: count // 2, 1:, 4] = True
    rles = [encode_rle(mask) for mask in masks]
    assert rle_areas(rles).tolist() == masks.sum((1, 2)).tolist()
    assert len(rle_boxes(rles)) == count
    assert rle_iou(rles, rles[:1]).shape == (count, min(count, 1))


@given(mask_stacks(), st.integers(0, 3))
@settings(max_examples=100, derandomize=True, deadline=None)
def test_boxes_and_overlaps(masks: Masks, count: int) -> None:
    others = np.random.default_rng(len(masks) + count).random((count, *masks.shape[1:])) > 0.5
    tensors = torch.from_numpy(masks), torch.from_numpy(others)
    assert masks_to_boxes(tensors[0]).tolist() == slow_boxes(masks)
    expected = slow_iou(masks, others)
    np.testing.assert_allclose(mask_iou(*tensors).numpy(), expected, rtol=1e-6)  # one rounding in float32
    codes = [[encode_rle(mask) for mask in stack] for stack in (masks, others)]
    np.testing.assert_allclose(rle_iou(*codes), expected, rtol=1e-12)


def test_our_codes_are_those_of_pycocotools() -> None:
    mask = np.random.default_rng(0).random((37, 61)) > 0.4
    theirs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert encode_rle(mask) == {"size": [37, 61], "counts": theirs["counts"].decode()}
    assert np.array_equal(coco_mask.decode(encode_rle(mask)), mask)


def test_counts_stay_exact_over_many_pixels() -> None:
    masks = (
        torch.rand(3, 1500, 1100, generator=torch.Generator().manual_seed(0))
        > torch.tensor([0.2, 0.5, 0.9])[:, None, None]
    )
    expected = slow_iou(masks.numpy(), masks.numpy())
    np.testing.assert_allclose(mask_iou(masks, masks).numpy(), expected, rtol=1e-7)


def test_boxes_without_pixels() -> None:
    assert masks_to_boxes(torch.zeros(0, 4, 5, dtype=torch.bool)).shape == (0, 4)
    assert masks_to_boxes(torch.zeros(2, 0, 5, dtype=torch.bool)).tolist() == [[0.0] * 4] * 2


def test_sizes_must_agree() -> None:
    with pytest.raises(InputError, match=r"\(1, 2, 3\) and \(1, 3, 2\)"):
        mask_iou(torch.zeros(1, 2, 3).bool(), torch.zeros(1, 3, 2).bool())
    with pytest.raises(InputError, match="one size"):
        rle_iou([encode_rle(np.zeros((2, 3), bool))], [encode_rle(np.zeros((3, 2), bool))])


def test_a_removed_candidate_removes_no_other() -> None:
    # 0 overlaps 1, 1 overlaps 2, 0 does not overlap 2.
    iou = torch.tensor([[1.0, 0.8, 0.1], [0.8, 1.0, 0.7], [0.1, 0.7, 1.0]])
    assert keep_distinct(iou, 0.5).tolist() == [True, False, True]
    assert keep_distinct(iou, 0.75).tolist() == [True, False, True]
    assert keep_distinct(iou, 0.9).tolist() == [True, True, True]
    assert keep_distinct(iou, 0.05).tolist() == [True, False, False]


def test_an_overlap_must_exceed_the_threshold() -> None:
    iou = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    assert keep_distinct(iou, 0.5).tolist() == [True, True]


def test_no_candidates() -> None:
    assert keep_distinct(torch.zeros(0, 0), 0.5).tolist() == []


@given(st.integers(0, 12), st.integers(0, 1000))
@settings(max_examples=50, derandomize=True, deadline=None)
def test_greedy_removal_by_its_definition(count: int, seed: int) -> None:
    iou = np.random.default_rng(seed).random((count, count))
    iou = np.maximum(iou, iou.T)
    kept: list[int] = []
    for candidate in range(count):
        if all(iou[better, candidate] <= 0.6 for better in kept):
            kept.append(candidate)
    assert keep_distinct(torch.from_numpy(iou), 0.6).nonzero()[:, 0].tolist() == kept


@given(mask_stacks(5), st.data())
@settings(max_examples=60, derandomize=True, deadline=None)
def test_masks_are_cut_apart_by_score(masks: Masks, data: st.DataObject) -> None:
    scores = data.draw(st.lists(st.sampled_from([-2.0, 0.0, 0.3, 0.5]), min_size=len(masks), max_size=len(masks)))
    groups = data.draw(st.lists(st.integers(-1, 1), min_size=len(masks), max_size=len(masks)))
    expected = masks.copy()
    for index in range(len(masks)):
        for other in range(len(masks)):
            wins = (scores[other], -other) > (scores[index], -index)
            if groups[other] == groups[index] and wins:
                expected[index] &= ~masks[other]
    apart = rles_apart([encode_rle(mask) for mask in masks], scores, groups)
    assert np.array_equal(decode_rles(apart, masks.shape[1:]), expected)
    alone = rles_apart([encode_rle(mask) for mask in masks], scores)
    assert decode_rles(alone, masks.shape[1:]).sum(0).max(initial=0) <= 1


def test_stability_is_the_share_that_stays() -> None:
    """Both thresholds are strict, and what is empty even with the lower one does not change."""
    masks = torch.full((2, 2, 5, 4), -3.0)
    masks[0, 0, 0] = 2.0  # 4 that stay
    masks[0, 0, 1, 0] = -0.5  # 1 that comes
    masks[0, 0, 2, 0] = -1.0  # not yet
    masks[0, 1, 0, :2] = 1.0  # 2 that go: 1 is not above 1
    masks[1, 0, :2] = 9.0
    assert mask_stability(masks, 1.0).tolist() == [[pytest.approx(0.8), 0.0], [1.0, 1.0]]
    assert mask_stability(masks.bfloat16(), 1.0).dtype == torch.float32
    assert mask_stability(torch.zeros(0, 3, 4, 4), 1.0).shape == (0, 3)
