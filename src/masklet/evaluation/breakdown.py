"""Where a model is right and wrong on (picture, phrase) pairs: by phrase, by size, and the worst pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from masklet.evaluation.cgf1 import KEPT_SCORE, PairCounts
from masklet.evaluation.coco_ap import precision_at_recall
from masklet.evaluation.matching import Comparison, FloatArray, assign
from masklet.evaluation.pair_files import IouType, PairId, Predictions, Record, Truth, areas, overlaps, size_of
from masklet.evaluation.tally import SIZES, Tally, tally_sizes


def by_phrase(annotators: Sequence[Truth], counts: PairCounts) -> dict[str, Tally]:
    """Right, wrong and missed objects at an overlap of 0.5 of each phrase, those with most mistakes first."""
    rows: dict[str, Tally] = {}
    columns = (counts.pairs, counts.true.tolist(), counts.predicted.tolist(), counts.right[:, 0].tolist())
    for pair, true, predicted, right in zip(*columns, strict=True):
        tally = Tally(
            prompts=1,
            absent=int(not true),
            rejected=int(not true and not predicted),
            true_positives=right,
            false_positives=predicted - right,
            false_negatives=true - right,
        )
        phrase = annotators[0].phrase(pair)
        rows[phrase] = rows.get(phrase, Tally()) + tally
    return dict(sorted(rows.items(), key=lambda row: -(row[1].false_positives + row[1].false_negatives)))


def by_size(
    annotators: Sequence[Truth], predictions: Predictions, counts: PairCounts, iou: IouType
) -> dict[str, Tally]:
    """The same by `tally.SIZES`: a right or missed object by its own size, a wrong prediction by its own."""
    rows = {size: Tally() for size in SIZES}
    for row in np.flatnonzero(counts.true + counts.predicted).tolist():
        pair, truth = counts.pairs[row], annotators[counts.annotator_of(row)]
        for size, tally in tally_sizes(_compare(truth, predictions, pair, iou)).items():
            rows[size] += tally
    return rows


def worst_pairs(counts: PairCounts, limit: int) -> list[int]:
    """Rows of at most `limit` pairs with mistakes at an overlap of 0.5, most first."""
    mistakes = counts.true + counts.predicted - 2 * counts.right[:, 0]
    order = np.argsort(-mistakes, kind="stable")[:limit]
    return [int(row) for row in order if mistakes[row]]


def precision_recall(
    annotators: Sequence[Truth], predictions: Predictions, counts: PairCounts, iou: IouType, *, overlap: float
) -> FloatArray:
    """(101,) precision over all scores at recall 0, 0.01, ..., 1, objects of all phrases taken together."""
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 1}]}
    answers = []
    for row, pair in enumerate(counts.pairs):
        truth = annotators[counts.annotator_of(row)]
        content["images"].append({**truth.pairs[pair], "id": pair})
        content["annotations"] += [{**one, "image_id": pair, "category_id": 1} for one in truth.objects.get(pair, ())]
        answers += [{**one, "category_id": 1} for one in predictions.kept(pair, truth.category_ids, score=0.0)]
    return precision_at_recall(content, answers, iou, overlap=overlap)


def kept_and_true(truth: Truth, predictions: Predictions, pair: PairId) -> tuple[list[Record], list[Record]]:
    """The predictions that count, and the true objects, of one pair."""
    return predictions.kept(pair, truth.category_ids, score=KEPT_SCORE), list(truth.objects.get(pair, ()))


def _compare(truth: Truth, predictions: Predictions, pair: PairId, iou: IouType) -> Comparison:
    found, objects = kept_and_true(truth, predictions, pair)
    size_hw = size_of(truth.pairs[pair])
    where = f"image id {pair!r}"
    values = overlaps(found, objects, iou, size_hw=size_hw, where=where)
    chosen = assign(values)
    return Comparison(
        predicted_areas=areas(found, iou, size_hw=size_hw, where=where),
        true_areas=areas(objects, iou, size_hw=size_hw, where=where),
        predicted_idx=chosen[0],
        true_idx=chosen[1],
        mask_ious=values[chosen],
        box_ious=values[chosen],
    )
