"""Video cgF1: are the right masklets found, and is nothing found where nothing is (spec/evaluation.md 2.2, 2.3, 4.3).

One (video, phrase) pair is what an image-phrase pair is for pictures; overlap is that of volumes. The assignment is
made once, on overlap, before any threshold. The epsilons are the official evaluator's; they lower a perfect small set
slightly and keep its published values comparable.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from masklet.evaluation.cgf1 import OVERLAPS, PairCounts, cgf1_values
from masklet.evaluation.matching import FloatArray, assign
from masklet.evaluation.video_files import Pair

_SUFFIXES = {"50_95": "", "50": "@0.5", "75": "@0.75"}  # of keys here -> of `cgf1_values`
_SINGLE = {"50": 0, "75": 5}  # suffix of a key -> position in `OVERLAPS`


def count_pairs(volume_ious: Sequence[tuple[Pair, FloatArray]]) -> PairCounts:
    """The counts of P pairs, in their order.

    Args:
        volume_ious: for each pair (D, G) overlaps of the predictions that count with the true masklets; either may be
            0, and both are for a phrase rightly answered by nothing.
    """
    right = np.zeros((len(volume_ious), len(OVERLAPS)), dtype=np.int64)
    for row, (_, iou) in zip(right, volume_ious, strict=True):
        row[:] = (iou[assign(iou)][:, None] >= OVERLAPS).sum(axis=0)
    shapes = np.array([iou.shape for _, iou in volume_ious], dtype=np.int64).reshape(-1, 2)
    pairs = tuple(pair for pair, _ in volume_ious)
    return PairCounts(pairs=pairs, true=shapes[:, 1], predicted=shapes[:, 0], right=right)


def video_cgf1_values(counts: PairCounts) -> dict[str, float]:
    """`{cgf1_micro|ilmcc|positive_micro_f1}_{50_95|50|75}`: nine fractions; cgF1 and MCC may be negative.

    `ilmcc_50` and `ilmcc_75` are quotients, as published: nan where pmF1 is 0. Without both positive and negative
    pairs, or without any prediction, MCC and with it cgF1 is 0.
    """
    plain = cgf1_values(counts)
    values: dict[str, float] = {}
    for suffix, at in _SUFFIXES.items():
        cgf1, f1 = plain[f"cgF1{at}"], plain[f"positive_micro_F1{at}"]
        quotient = cgf1 / f1 if f1 > 0 else np.nan
        values |= {
            f"cgf1_micro_{suffix}": cgf1,
            f"ilmcc_{suffix}": quotient if at else plain["IL_MCC"],
            f"positive_micro_f1_{suffix}": f1,
        }
    return values


def pair_values(counts: PairCounts) -> list[dict[str, float]]:
    """For each pair `{TP|FP|FN|F1}_{50_95|50|75}`: counts or their means over `OVERLAPS`, and plain F1, 0..1.

    F1 has no epsilon here and is 1 for a phrase rightly answered by nothing.
    """
    right = counts.right
    wrong, missed = counts.predicted[:, None] - right, counts.true[:, None] - right
    involved = 2 * right + wrong + missed
    f1 = np.divide(2 * right, involved, out=np.ones(right.shape), where=involved > 0)
    columns = {}
    for name, values in (("TP", right), ("FP", wrong), ("FN", missed), ("F1", f1)):
        columns[f"{name}_50_95"] = values.mean(axis=1)
        columns |= {f"{name}_{suffix}": values[:, idx] for suffix, idx in _SINGLE.items()}
    return [{key: float(column[row]) for key, column in columns.items()} for row in range(len(right))]
