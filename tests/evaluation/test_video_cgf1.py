import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masklet.evaluation.cgf1 import OVERLAPS, PairCounts
from masklet.evaluation.matching import FloatArray
from masklet.evaluation.video_cgf1 import count_pairs, pair_values, video_cgf1_values

NOTHING: FloatArray = np.zeros((0, 0))


def counted(*ious: object) -> PairCounts:
    """Of pairs (1, 1), (1, 2), ... with these overlaps."""
    arrays = [np.array(iou, dtype=np.float64) for iou in ious]
    return count_pairs([((1, number), iou) for number, iou in enumerate(arrays, start=1)])


def missed(objects: int) -> FloatArray:
    return np.zeros((0, objects))


def wrong(predictions: int) -> FloatArray:
    return np.zeros((predictions, 0))


EXAMPLE_D = ([[0.9, 0.0], [0.0, 0.5], [0.0, 0.5]], wrong(1), NOTHING)  # spec/evaluation.md 7.5: cat, dog, cow


def test_example_d() -> None:
    counts = counted(*EXAMPLE_D)
    assert counts.pairs == ((1, 1), (1, 2), (1, 3))
    assert counts.true.tolist() == [2, 0, 0] and counts.predicted.tolist() == [3, 1, 0]
    assert counts.right.tolist() == [[2, *[1] * 8, 0], [0] * 10, [0] * 10]
    assert video_cgf1_values(counts) == pytest.approx(
        {
            "cgf1_micro_50_95": 0.19997030,
            "positive_micro_f1_50_95": 0.39994081,
            "ilmcc_50_95": 0.49999975,
            "cgf1_micro_50": 0.39995980,
            "positive_micro_f1_50": 0.79992000,
            "ilmcc_50": 0.49999975,
            "cgf1_micro_75": 0.19996790,
            "positive_micro_f1_75": 0.39993601,
            "ilmcc_75": 0.49999975,
        },
        abs=1e-8,
    )


def test_pairs_of_example_d() -> None:
    cat, dog, cow = pair_values(counted(*EXAMPLE_D))
    means = {key: value for key, value in cat.items() if key.endswith("_50_95")}
    assert means == pytest.approx({"TP_50_95": 1.0, "FP_50_95": 2.0, "FN_50_95": 1.0, "F1_50_95": 0.4})
    assert (cat["TP_50"], cat["FP_50"], cat["FN_50"], cat["F1_50"]) == (2, 1, 0, 0.8)
    assert (cat["TP_75"], cat["FP_75"], cat["FN_75"], cat["F1_75"]) == (1, 2, 1, 0.4)
    assert dog["FP_50_95"] == 1 and dog["F1_50_95"] == 0
    assert cow["F1_50_95"] == cow["F1_50"] == 1 and cow["FP_50_95"] == 0


@pytest.mark.parametrize(
    ("pairs", "cgf1", "positive_f1", "mcc"),
    [  # as pictures in spec/evaluation.md 7.4
        ((missed(1), NOTHING), 0, 0, 0),
        (([[1.0]],), 0, 0.99985001, 0),
        (([[1.0]], NOTHING), 0.99984901, 0.99985001, 0.99999900),
        ((NOTHING, NOTHING), 0, 0, 0),
        ((wrong(2),), 0, 0, 0),
        ((), 0, 0, 0),
    ],
)
def test_edges(pairs: tuple[object, ...], cgf1: float, positive_f1: float, mcc: float) -> None:
    values = video_cgf1_values(counted(*pairs))
    assert values["cgf1_micro_50_95"] == pytest.approx(cgf1, abs=1e-8)
    assert values["positive_micro_f1_50_95"] == pytest.approx(positive_f1, abs=1e-8)
    assert values["ilmcc_50_95"] == pytest.approx(mcc, abs=1e-8)
    # Published as a quotient: there is none of 0 / 0.
    assert math.isnan(values["ilmcc_50"]) == (positive_f1 == 0) == math.isnan(values["ilmcc_75"])


def test_an_overlap_at_a_threshold_counts() -> None:
    assert counted([[0.5]]).right.tolist() == [[1] + [0] * 9]
    assert counted([[0.9]]).right.tolist() == [[1] * 9 + [0]]
    assert counted([[np.nextafter(0.5, 0)]]).right.tolist() == [[0] * 10]


def test_total_overlap_decides_not_the_best_pair() -> None:
    # spec/evaluation.md 7.2, pair 1
    assert counted([[0.5, 0.5], [0.75, 0.05]]).right.tolist() == [[2, 1, 1, 1, 1, 1, 0, 0, 0, 0]]


def test_wrong_masklets_of_absent_phrases_lower_presence_not_f1() -> None:
    few, many = (video_cgf1_values(counted([[1.0]], wrong(count), NOTHING)) for count in (1, 5))
    assert few == many
    assert video_cgf1_values(counted([[1.0], [0.0]], NOTHING))["positive_micro_f1_50_95"] < 0.7


def test_presence_may_be_worse_than_a_coin() -> None:
    values = video_cgf1_values(counted([[1.0]], missed(1), missed(2), wrong(1), wrong(1)))
    # True positives 1, false negatives 2, false positives 2, true negatives 0.
    assert values["ilmcc_50_95"] == pytest.approx(-4 / 6, abs=1e-6)
    assert values["cgf1_micro_50_95"] < 0


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=6), st.integers(0, 10_000))
@settings(max_examples=200, derandomize=True, deadline=None)
def test_values_follow_from_the_definitions(shapes: list[tuple[int, int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = [rng.random(shape) for shape in shapes]
    counts = counted(*pairs)
    values = video_cgf1_values(counts)
    tp, fn, fp, tn = (
        sum(bool(g) == present and bool(d) == found for d, g in shapes)
        for present, found in ((True, True), (True, False), (False, True), (False, False))
    )
    mcc = (tp * tn - fp * fn) / (math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) + 1e-6)
    f1s = []
    for at in range(len(OVERLAPS)):
        right = int(counts.right[:, at].sum())
        pm_wrong = sum(d - int(row[at]) for (d, g), row in zip(shapes, counts.right, strict=True) if g)
        precision = right / (right + pm_wrong + 1e-4)
        recall = right / (sum(g for _, g in shapes) + 1e-4)
        f1s.append(2 * precision * recall / (precision + recall + 1e-4))
    assert values["ilmcc_50_95"] == pytest.approx(mcc)
    assert values["positive_micro_f1_50_95"] == pytest.approx(np.mean(f1s))
    assert values["cgf1_micro_50_95"] == pytest.approx(np.mean(f1s) * mcc)
    assert values["cgf1_micro_75"] == pytest.approx(f1s[5] * mcc)
    # The order of pairs is of no matter.
    assert video_cgf1_values(counted(*pairs[::-1])) == pytest.approx(values, nan_ok=True)
