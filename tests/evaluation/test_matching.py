import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masklet.errors import InputError
from masklet.evaluation.matching import Instances, assign, compare
from masklet.ops.masks import BoolArray, encode_rle

SIZE_HW = (20, 30)


def rectangle(x0: int, y0: int, width: int, height: int) -> BoolArray:
    mask = np.zeros(SIZE_HW, dtype=np.bool_)
    mask[y0 : y0 + height, x0 : x0 + width] = True
    return mask


def instances(*xywh: tuple[int, int, int, int]) -> Instances:
    """Rectangles, with the boxes that they fill."""
    boxes = [(x, y, x + width, y + height) for x, y, width, height in xywh]
    return Instances(
        rles=[encode_rle(rectangle(*one)) for one in xywh],
        boxes_xyxy=np.array(boxes, dtype=np.float32).reshape(-1, 4),
    )


def test_total_overlap_decides_not_the_best_pair() -> None:
    # Example B, pair 1 of spec/evaluation.md 7.2: greedy would pair the second prediction and leave the first at 0.05.
    comparison = compare(instances((4, 0, 12, 10), (0, 0, 9, 10)), instances((0, 0, 12, 10), (8, 0, 12, 10)))
    assert comparison.predicted_idx.tolist() == [0, 1]
    assert comparison.true_idx.tolist() == [1, 0]
    assert comparison.mask_ious.tolist() == [0.5, 0.75]
    assert comparison.box_ious == pytest.approx([0.5, 0.75])
    assert comparison.predicted_areas.tolist() == [120, 90]
    assert comparison.true_areas.tolist() == [120, 120]


def test_boxes_are_those_given_not_those_of_the_masks() -> None:
    predicted = Instances(
        rles=[encode_rle(rectangle(0, 0, 10, 10))], boxes_xyxy=np.array([[0, 0, 10, 5]], dtype=np.float32)
    )
    comparison = compare(predicted, instances((0, 0, 10, 10)))
    assert comparison.mask_ious.tolist() == [1.0]
    assert comparison.box_ious.tolist() == [0.5]


@pytest.mark.parametrize(("predictions", "objects"), [(0, 0), (0, 2), (3, 0)])
def test_one_side_or_both_empty(predictions: int, objects: int) -> None:
    comparison = compare(
        instances(*[(i, i, 3, 4) for i in range(predictions)]), instances(*[(i, i, 5, 2) for i in range(objects)])
    )
    assert len(comparison.predicted_areas) == predictions and len(comparison.true_areas) == objects
    for pairs in (comparison.predicted_idx, comparison.true_idx, comparison.mask_ious, comparison.box_ious):
        assert pairs.shape == (0,)


def test_an_empty_mask_overlaps_nothing() -> None:
    comparison = compare(instances((3, 3, 0, 0)), instances((0, 0, 5, 5)))
    assert comparison.mask_ious.tolist() == [0.0] and comparison.predicted_areas.tolist() == [0]


def test_masks_of_different_sizes_are_refused() -> None:
    other = Instances(rles=[encode_rle(np.ones((20, 31), dtype=np.bool_))], boxes_xyxy=np.zeros((1, 4), np.float32))
    with pytest.raises(InputError, match="must have one size"):
        compare(other, instances((0, 0, 5, 5)))


def best_total(iou: np.ndarray) -> float:
    """The slow obvious way: every one-to-one pairing."""
    few = iou if iou.shape[0] <= iou.shape[1] else iou.T
    rows = range(few.shape[0])
    return max(
        float(sum(few[row, column] for row, column in zip(rows, columns, strict=True)))
        for columns in itertools.permutations(range(few.shape[1]), few.shape[0])
    )


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 10_000))
@settings(max_examples=150, derandomize=True, deadline=None)
def test_the_assignment_is_one_to_one_and_the_best_of_all(predictions: int, objects: int, seed: int) -> None:
    iou = np.random.default_rng(seed).integers(0, 9, (predictions, objects)) / 8  # many ties; sums are exact
    predicted_idx, true_idx = assign(iou)
    assert len(predicted_idx) == len(true_idx) == min(predictions, objects)
    assert len(set(predicted_idx.tolist())) == len(set(true_idx.tolist())) == min(predictions, objects)
    assert predicted_idx.tolist() == sorted(predicted_idx.tolist())
    assert iou[predicted_idx, true_idx].sum() == best_total(iou)
