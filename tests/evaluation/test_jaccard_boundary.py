"""J&F beside the obvious way: outlines pixel by pixel, widened with a disk."""

import math

import numpy as np
import pytest

from label_map_cases import PREDICTED, TRUE, A, B, Labels, labels
from masklet.errors import InputError
from masklet.evaluation.jaccard_boundary import (
    jaccard_boundary,
    outline_agreement,
    region_overlap,
    score_objects,
)
from masklet.ops.masks import BoolArray


@pytest.mark.parametrize(
    ("skip_ends", "objects", "mean"),
    [  # spec/evaluation.md 7.6
        (True, [(48.888889, 39.956140), (40.909091, 50.0)], (44.898990, 44.978070, 44.938530)),
        (False, [(49.333333, 43.973684), (60.606061, 66.666667)], (54.969697, 55.320175, 55.144936)),
    ],
)
def test_example_e(skip_ends: bool, objects: list[tuple[float, float]], mean: tuple[float, float, float]) -> None:
    scores = score_objects(TRUE, PREDICTED, skip_ends=skip_ends)
    assert [score.object_id for score in scores] == [1, 2]
    assert [(score.j, score.f) for score in scores] == [pytest.approx(one, abs=1e-6) for one in objects]
    total = jaccard_boundary([scores])
    assert total.objects == 2
    assert (total.j, total.f, total.j_and_f) == pytest.approx(mean, abs=1e-6)
    assert scores[0].j_and_f == pytest.approx(sum(objects[0]) / 2, abs=1e-6)


def slow_outline(mask: BoolArray) -> BoolArray:
    height, width = mask.shape
    outline = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            neighbours = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            outline[y, x] = any(mask[y, x] != mask[p] for p in neighbours if p[0] < height and p[1] < width)
    return outline


def slow_agreement(true: BoolArray, predicted: BoolArray) -> float:
    height, width = true.shape
    radius = math.ceil(0.008 * math.sqrt(height**2 + width**2))
    disk = [
        (dy, dx)
        for dy in range(-radius, radius + 1)
        for dx in range(-radius, radius + 1)
        if dy * dy + dx * dx <= radius * radius
    ]

    def widened(outline: BoolArray) -> BoolArray:
        wide = np.zeros_like(outline)
        for y, x in np.argwhere(outline):
            for dy, dx in disk:
                if 0 <= y + dy < height and 0 <= x + dx < width:
                    wide[y + dy, x + dx] = True
        return wide

    one, other = slow_outline(true), slow_outline(predicted)
    if not other.any() or not one.any():
        return float(not other.any() and not one.any())
    precision, recall = widened(one)[other].mean(), widened(other)[one].mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("seed", range(220))
def test_one_frame_against_widened_outlines(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Every fifth picture is wide enough for a radius of more than one pixel, where a disk differs from a square.
    height, width = (rng.integers(3, 30), 400) if seed % 5 == 0 else rng.integers(1, 30, 2)
    masks = np.zeros((2, height, width), dtype=np.bool_)
    y, x = rng.integers(0, height), rng.integers(0, width)
    for mask in masks:
        top, left = y + rng.integers(0, 4), x + rng.integers(0, 8)
        mask[top : top + rng.integers(0, 12), left : left + rng.integers(0, 40)] = rng.random() < 0.9
        if rng.random() < 0.3:
            mask ^= rng.random(mask.shape) < 0.05
    if rng.random() < 0.1:
        masks[rng.integers(2)] = rng.random() < 0.5  # nothing, or everything, which has no outline either
    true, predicted = masks
    assert outline_agreement(true, predicted) == pytest.approx(slow_agreement(true, predicted), abs=1e-12)
    union = (true | predicted).sum()
    assert region_overlap(true, predicted) == ((true & predicted).sum() / union if union else 1.0)


def slow_score(true: Labels, predicted: Labels, number: int) -> tuple[float, float]:
    there = [bool(((a == number) | (b == number)).any()) for a, b in zip(true, predicted, strict=True)]
    first = there.index(True)
    frames = [(a == number, b == number) for a, b in zip(true[first:], predicted[first:], strict=True)]
    both = [(region_overlap(a, b), slow_agreement(a, b)) for a, b in frames]
    return tuple(100 * np.mean(both, axis=0))


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("skip_ends", [True, False])
def test_videos_against_the_rule(seed: int, skip_ends: bool) -> None:
    rng = np.random.default_rng(seed)
    frames = int(rng.integers(1, 7))
    true, predicted = np.zeros((2, frames, 11, 17), dtype=np.uint8)
    for number in (1, 2, 3):
        for frame in range(frames):
            for maps in (true, predicted):
                y, x = rng.integers(0, 8, 2)
                if rng.random() < 0.6:
                    maps[frame, y : y + 4, x : x + 5] = number
    scores = score_objects(true, predicted, skip_ends=skip_ends)
    seen = slice(1, -1) if skip_ends else slice(None)
    assert [one.object_id for one in scores] == [n for n in (1, 2, 3) if (true[seen] == n).any()]
    for one in scores:
        assert (one.j, one.f) == pytest.approx(slow_score(true[seen], predicted[seen], one.object_id))


def test_an_object_only_true_in_skipped_frames_is_ignored() -> None:
    true = labels({1: {0: A, 4: A}, 2: {1: B}})
    assert [one.object_id for one in score_objects(true, true)] == [2]
    assert [one.object_id for one in score_objects(true, true, skip_ends=False)] == [1, 2]


def test_an_object_that_is_never_true_is_ignored() -> None:
    assert [one.object_id for one in score_objects(labels({2: {1: A}}), labels({1: {1: A}, 9: {2: B}}))] == [2]


def test_nobody_predicted() -> None:
    (score,) = score_objects(labels({1: {1: A, 2: A}}), labels({}))
    assert (score.j, score.f) == pytest.approx((100 / 3, 100 / 3))  # right in frame 3, where there is nothing


def test_one_object_may_be_given_as_masks() -> None:
    (as_mask,) = score_objects(TRUE == 1, PREDICTED == 1)
    assert as_mask == score_objects(TRUE, PREDICTED)[0]


def test_the_mean_is_over_objects_not_videos() -> None:
    perfect = score_objects(TRUE, TRUE)
    none = score_objects(labels({1: {1: A, 2: A, 3: A}}), labels({}))
    total = jaccard_boundary([perfect, none])
    assert (total.objects, total.j, total.f) == (3, pytest.approx(200 / 3), pytest.approx(200 / 3))


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_no_object_has_no_mean(frames: int) -> None:
    assert score_objects(TRUE[:frames], TRUE[:frames]) == []
    total = jaccard_boundary([[], []])
    assert total.objects == 0 and math.isnan(total.j) and math.isnan(total.j_and_f)


@pytest.mark.parametrize(
    ("true", "predicted", "message"),
    [
        (TRUE, PREDICTED[:4], r"one shape, got \(5, 60, 80\) and \(4, 60, 80\)"),
        (TRUE, PREDICTED[:, :, :79], "resize the predictions"),
        (TRUE[0], PREDICTED[0], r"true must be \(F, H, W\) labels .* got \(60, 80\) uint8"),
        (TRUE, PREDICTED.astype(np.float32), "predicted must be .* float32"),
    ],
)
def test_maps_that_do_not_fit_are_refused(true: Labels, predicted: Labels, message: str) -> None:
    with pytest.raises(InputError, match=message):
        score_objects(true, predicted)
