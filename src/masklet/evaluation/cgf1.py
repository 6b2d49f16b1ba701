"""cgF1 of SAM 3 over (picture, phrase) pairs: is the concept found, and are its objects right (spec/evaluation.md 2).

Everything follows from three counts of each pair: true objects, kept predictions, and right ones at ten overlaps. To
choose among annotators and to sum up are operations on arrays of these.

Unusual: objects are matched once, by greatest total overlap and before any threshold (`matching.assign`); true crowd
regions are taken away before, so that a prediction on one is wrong; and the small constants in the denominators are
those of the published evaluator, which lower a perfect score a little (0.99985 for one object).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from masklet.errors import DataError
from masklet.evaluation.matching import Comparison, FloatArray, IntArray, assign
from masklet.evaluation.pair_files import (
    IouType,
    PairId,
    Predictions,
    Record,
    Truth,
    overlaps,
    read_predictions,
    read_truth,
    size_of,
    warn_of_strangers,
)

KEPT_SCORE = 0.5  # predictions count from this score on
OVERLAPS: FloatArray = np.linspace(0.5, 0.95, 10)  # inclusive; the ninth is a little less than 0.9
_REPORTED = {"0.5": 0, "0.75": 5}  # overlaps that are reported on their own
_OBJECTS_EPSILON, _PAIRS_EPSILON = 1e-4, 1e-6
_UNDEFINED = -1.0


@dataclass(frozen=True, kw_only=True)
class PairCounts:
    """Counts of N pairs.

    Attributes:
        pairs: N ids, of (picture, phrase) or (video, phrase).
        true: (N,) true objects, crowds left out.
        predicted: (N,) kept predictions.
        right: (N, 10) kept predictions that are right, at each of `OVERLAPS`.
        annotator: (N,) place of the file that the predictions were compared with; None for the only one.
    """

    pairs: tuple[Any, ...]
    true: IntArray
    predicted: IntArray
    right: IntArray
    annotator: IntArray | None = None

    def annotator_of(self, row: int) -> int:
        """Place of the file that pair number `row` was compared with."""
        return 0 if self.annotator is None else int(self.annotator[row])

    @property
    def f1(self) -> FloatArray:
        """(N, 10) of each pair by itself, 0..1; NaN where nothing is there and nothing was found."""
        precision = self.right / (self.predicted[:, None] + _OBJECTS_EPSILON)
        recall = self.right / (self.true[:, None] + _OBJECTS_EPSILON)
        f1 = _harmonic(precision, recall, _OBJECTS_EPSILON)
        f1[(self.true == 0) & (self.predicted == 0)] = np.nan
        return f1


def evaluate_cgf1(
    ground_truth: Sequence[str | Path | Mapping[str, Any]],
    predictions: str | Path | Sequence[Record],
    iou: IouType = "segm",
) -> tuple[dict[str, float], PairCounts]:
    """cgF1 and its parts, with the names and numbers of the published evaluator.

    Args:
        ground_truth: one file (or object) for each annotator, one or more. With several, each pair is compared with the
            annotator with whom the predictions agree most.
        predictions: file or list of records.
        iou: by masks or by boxes.

    Returns:
        `cgF1_eval_...` values by name (spec/evaluation.md 2.4), and the counts behind them.

    Raises:
        DataError: a file is not in the layout, or the annotators' files do not list the same pairs.
    """
    if not ground_truth:
        raise DataError("expected one file of ground truth or more, got none")
    counts = count_files([read_truth(source) for source in ground_truth], read_predictions(predictions), iou)
    return named_values(counts, iou), counts


def count_files(annotators: Sequence[Truth], predictions: Predictions, iou: IouType) -> PairCounts:
    """The counts of files that were read; warns of predictions that do not count.

    Raises:
        DataError: as `evaluate_cgf1`.
    """
    warn_of_strangers(annotators[0], predictions)
    pairs = scored_pairs(annotators)
    return best_annotator([count_pairs(truth, predictions, pairs, iou) for truth in annotators])


def named_values(counts: PairCounts, iou: IouType) -> dict[str, float]:
    """`cgf1_values` with the published evaluator's prefix."""
    return {f"cgF1_eval_{iou}_{name}": value for name, value in cgf1_values(counts).items()}


def scored_pairs(annotators: Sequence[Truth]) -> tuple[PairId, ...]:
    """Pairs that count: all objects are marked in the first file, and no other file says otherwise.

    Raises:
        DataError: the files do not list the same pairs.
    """
    first = annotators[0]
    for other in annotators[1:]:
        strange = first.pairs.keys() ^ other.pairs.keys()
        if strange:
            raise DataError(
                f"annotators must list the same image ids: {first.name} and {other.name} differ in {len(strange)}, "
                f"for example {next(iter(strange))!r}"
            )
    return tuple(pair for pair in first.pairs if all(pair in truth.scored for truth in annotators))


def count_pairs(truth: Truth, predictions: Predictions, pairs: Sequence[PairId], iou: IouType) -> PairCounts:
    """The counts of `pairs` beside one annotator's truth."""
    true, predicted = np.zeros((2, len(pairs)), dtype=np.int64)
    right = np.zeros((len(pairs), len(OVERLAPS)), dtype=np.int64)
    for row, pair in enumerate(pairs):
        objects = truth.objects.get(pair, ())
        found = predictions.kept(pair, truth.category_ids, score=KEPT_SCORE)
        true[row], predicted[row] = len(objects), len(found)
        if objects and found:
            where = f"{predictions.name}, image id {pair!r}"
            values = overlaps(found, objects, iou, size_hw=size_of(truth.pairs[pair]), where=where)
            right[row] = _right(values[assign(values)])
    return PairCounts(pairs=tuple(pairs), true=true, predicted=predicted, right=right)


def count_comparisons(comparisons: Mapping[Any, Comparison]) -> PairCounts:
    """The counts of N pairs whose kept predictions are already beside their true objects, by masks."""
    each = comparisons.values()
    return PairCounts(
        pairs=tuple(comparisons),
        true=np.array([len(one.true_areas) for one in each], dtype=np.int64),
        predicted=np.array([len(one.predicted_areas) for one in each], dtype=np.int64),
        right=np.array([_right(one.mask_ious) for one in each], dtype=np.int64).reshape(-1, len(OVERLAPS)),
    )


def best_annotator(each: Sequence[PairCounts]) -> PairCounts:
    """For each pair the counts beside the annotator with whom the predictions agree most (spec/evaluation.md 2.5).

    Nothing found where an annotator saw nothing is better than any F1; ties go to the earlier annotator.
    """
    agreement = np.stack([np.where(np.isnan(counts.f1), np.inf, counts.f1).mean(1) for counts in each])
    chosen, rows = agreement.argmax(0), np.arange(agreement.shape[1])
    return PairCounts(
        pairs=each[0].pairs,
        true=np.stack([counts.true for counts in each])[chosen, rows],
        predicted=np.stack([counts.predicted for counts in each])[chosen, rows],
        right=np.stack([counts.right for counts in each])[chosen, rows],
        annotator=chosen.astype(np.int64),
    )


def cgf1_values(counts: PairCounts) -> dict[str, float]:
    """The 26 values of spec/evaluation.md 2.4 in its order, without the prefix."""
    has_objects, has_found = counts.true > 0, counts.predicted > 0
    right = counts.right.sum(0)
    precision = right / (counts.predicted.sum() + _OBJECTS_EPSILON)
    positive_precision = right / (counts.predicted[has_objects].sum() + _OBJECTS_EPSILON)
    recall = right / (counts.true.sum() + _OBJECTS_EPSILON)
    # Missed positives add nothing to the sum and are not counted: so it is published.
    answered = int((has_objects & has_found).sum())
    macro = counts.f1[has_objects].sum(0) / answered if answered else np.full(len(OVERLAPS), _UNDEFINED)
    positive_f1 = _harmonic(positive_precision, recall, _OBJECTS_EPSILON)
    levels = _level_values(has_objects, has_found)
    curves = {
        "cgF1": positive_f1 * levels["IL_MCC"],
        "precision": precision,
        "recall": recall,
        "F1": _harmonic(precision, recall, _OBJECTS_EPSILON),
        "positive_macro_F1": macro,
        "positive_micro_F1": positive_f1,
        "positive_micro_precision": positive_precision,
    }
    values = {name: float(curve.mean()) for name, curve in curves.items()} | levels
    for suffix, idx in _REPORTED.items():
        values |= {f"{name}@{suffix}": float(curve[idx]) for name, curve in curves.items()}
    return values


def level_counts(counts: PairCounts) -> dict[str, int]:
    """Pairs by whether the concept is there and whether anything was found: `IL_TP`, `IL_FP`, `IL_TN`, `IL_FN`."""
    return _level_counts(counts.true > 0, counts.predicted > 0)


def _right(matched_ious: FloatArray) -> IntArray:
    """(10,) how many of the matched overlaps reach each of `OVERLAPS`."""
    reached: IntArray = (matched_ious[:, None] >= OVERLAPS).sum(0)
    return reached


def _level_counts(there: Any, found: Any) -> dict[str, int]:
    cells = {"TP": there & found, "FP": ~there & found, "TN": ~there & ~found, "FN": there & ~found}
    return {f"IL_{name}": int(cell.sum()) for name, cell in cells.items()}


def _level_values(there: Any, found: Any) -> dict[str, float]:
    tp, fp, tn, fn = _level_counts(there, found).values()
    precision = tp / (tp + fp + _PAIRS_EPSILON)
    recall = tp / (tp + fn + _PAIRS_EPSILON)
    root = float(tp + fp) ** 0.5 * float(tp + fn) ** 0.5 * float(tn + fp) ** 0.5 * float(tn + fn) ** 0.5
    return {
        "IL_precision": precision,
        "IL_recall": recall,
        "IL_F1": float(_harmonic(np.float64(precision), np.float64(recall), _PAIRS_EPSILON)),
        "IL_FPR": fp / (fp + tn + _PAIRS_EPSILON),
        "IL_MCC": (tp * tn - fp * fn) / (root + _PAIRS_EPSILON),
    }


def _harmonic(precision: Any, recall: Any, epsilon: float) -> Any:
    return 2 * precision * recall / (precision + recall + epsilon)
