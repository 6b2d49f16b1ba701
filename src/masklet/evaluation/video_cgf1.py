"""Video cgF1: are the right masklets found, and is nothing found where nothing is (spec/evaluation.md 2.2, 2.3, 4.3).

One (video, phrase) pair is what an image-phrase pair is for pictures; overlap is that of volumes. The assignment is
made once, on overlap, before any threshold. The epsilons are the official evaluator's; they lower a perfect small set
slightly and keep its published values comparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from masklet.evaluation.matching import FloatArray, IntArray, assign
from masklet.evaluation.video_files import Pair

KEPT_SCORE = 0.5  # a prediction counts from this score on, inclusive
TAUS: FloatArray = np.linspace(0.5, 0.95, 10)
_COUNT_EPS, _MCC_EPS = 1e-4, 1e-6
_SINGLE_TAUS = {"50": 0, "75": 5}  # suffix of a key -> position in TAUS


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoPairCounts:
    """What was counted of P (video, phrase) pairs.

    Attributes:
        pairs: P ids.
        true: (P,) true masklets.
        predicted: (P,) predicted ones that count.
        right: (P, 10) assigned pairs whose volumes overlap enough at each of `TAUS`.
    """

    pairs: tuple[Pair, ...]
    true: IntArray
    predicted: IntArray
    right: IntArray


def count_pairs(volume_ious: Sequence[tuple[Pair, FloatArray]]) -> VideoPairCounts:
    """The counts of P pairs, in their order.

    Args:
        volume_ious: for each pair (D, G) overlaps of the predictions that count with the true masklets; either may be
            0, and both are for a phrase rightly answered by nothing.
    """
    right = np.zeros((len(volume_ious), len(TAUS)), dtype=np.int64)
    for row, (_, iou) in zip(right, volume_ious, strict=True):
        row[:] = (iou[assign(iou)][:, None] >= TAUS).sum(axis=0)
    shapes = np.array([iou.shape for _, iou in volume_ious], dtype=np.int64).reshape(-1, 2)
    return VideoPairCounts(
        pairs=tuple(pair for pair, _ in volume_ious), true=shapes[:, 1], predicted=shapes[:, 0], right=right
    )


def video_cgf1_values(counts: VideoPairCounts) -> dict[str, float]:
    """`{cgf1_micro|ilmcc|positive_micro_f1}_{50_95|50|75}`: nine fractions; cgF1 and MCC may be negative.

    `ilmcc_50` and `ilmcc_75` are quotients, as published: nan where pmF1 is 0. Without both positive and negative
    pairs, or without any prediction, MCC and with it cgF1 is 0.
    """
    positive_f1, mcc = _positive_micro_f1(counts), _presence_mcc(counts)
    values = {
        "cgf1_micro_50_95": positive_f1.mean() * mcc,
        "ilmcc_50_95": mcc,
        "positive_micro_f1_50_95": positive_f1.mean(),
    }
    for suffix, idx in _SINGLE_TAUS.items():
        f1 = positive_f1[idx]
        values |= {
            f"cgf1_micro_{suffix}": f1 * mcc,
            f"ilmcc_{suffix}": f1 * mcc / f1 if f1 > 0 else np.nan,
            f"positive_micro_f1_{suffix}": f1,
        }
    return {key: float(value) for key, value in values.items()}


def pair_values(counts: VideoPairCounts) -> list[dict[str, float]]:
    """For each pair `{TP|FP|FN|F1}_{50_95|50|75}`: counts or their means over `TAUS`, and plain F1, 0..1.

    F1 has no epsilon here and is 1 for a phrase rightly answered by nothing.
    """
    right = counts.right
    wrong, missed = counts.predicted[:, None] - right, counts.true[:, None] - right
    involved = 2 * right + wrong + missed
    f1 = np.divide(2 * right, involved, out=np.ones(right.shape), where=involved > 0)
    columns = {}
    for name, values in (("TP", right), ("FP", wrong), ("FN", missed), ("F1", f1)):
        columns[f"{name}_50_95"] = values.mean(axis=1)
        columns |= {f"{name}_{suffix}": values[:, idx] for suffix, idx in _SINGLE_TAUS.items()}
    return [{key: float(column[row]) for key, column in columns.items()} for row in range(len(right))]


def _positive_micro_f1(counts: VideoPairCounts) -> FloatArray:
    """(10,) F1 over the pairs that have something to find."""
    positive = counts.true > 0
    right = counts.right.sum(axis=0)  # none is right in a negative pair
    precision = right / (counts.predicted[positive].sum() + _COUNT_EPS)
    recall = right / (counts.true.sum() + _COUNT_EPS)
    return 2 * precision * recall / (precision + recall + _COUNT_EPS)


def _presence_mcc(counts: VideoPairCounts) -> float:
    """Matthews correlation of "something is there" with "something is found"."""
    true, found = counts.true > 0, counts.predicted > 0
    tp, fp = int((true & found).sum()), int((~true & found).sum())
    fn, tn = int((true & ~found).sum()), int((~true & ~found).sum())
    spread = np.sqrt(float((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))
    return float((tp * tn - fp * fn) / (spread + _MCC_EPS))
