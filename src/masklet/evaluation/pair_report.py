"""Figures of (picture, phrase) pairs for the terminal, and all about them for the HTML report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from masklet.errors import ImageError
from masklet.evaluation.breakdown import by_phrase, by_size, kept_and_true, precision_recall, worst_pairs
from masklet.evaluation.cgf1 import PairCounts, level_counts
from masklet.evaluation.counting import CountingScores, count_objects, counting_scores
from masklet.evaluation.html_report import Failure, html_report
from masklet.evaluation.pair_files import IouType, PairId, Predictions, Record, Truth, size_of
from masklet.evaluation.presence import PresenceScores, presence_scores
from masklet.evaluation.segmentations import rle_of
from masklet.media.images import Pixels, read_image
from masklet.ops.masks import Rle, rle_boxes
from masklet.render.overlay import Drawn, draw_overlay

WORST = 12  # pairs that a report shows
_GREY = 160  # of the ground where there is no picture
_CURVES = (0.5, 0.75)


def count_of_pairs(truth: Truth, predictions: Predictions, pairs: Sequence[PairId]) -> CountingScores:
    """Errors in counting objects of each pair, where of two masks that mostly cover each other one counts."""
    predicted, true = [], []
    for pair in pairs:
        records = predictions.kept(pair, truth.category_ids, score=0.0)
        rles = _rles(records, size_of(truth.pairs[pair]))
        predicted.append(count_objects(rles, [record["score"] for record in records]))
        true.append(len(truth.objects.get(pair, ())))
    return counting_scores(predicted, true)


def presence_of_pairs(
    truth: Truth, predictions: Predictions, pairs: Sequence[PairId], presence: Mapping[PairId, float] | None = None
) -> PresenceScores:
    """How well the presence of the concept is told.

    Args:
        truth: what is there.
        predictions: the greatest score of a pair stands for its presence where that is not given.
        pairs: which count.
        presence: the model's own scores, 0..1.
    """
    if presence is None:
        best = {pair: max(record["score"] for record in records) for pair, records in predictions.records.items()}
        presence = {pair: best.get(pair, 0.0) for pair in pairs}
    return presence_scores([presence[pair] for pair in pairs], [bool(truth.objects.get(pair)) for pair in pairs])


def figures_table(values: Mapping[str, float | None]) -> str:
    """Figures by name as lines of text; a name with "@" stands beside that without, if there is one."""
    split = {name: name.partition("@") if name.partition("@")[0] in values else (name, "", "") for name in values}
    columns = list(dict.fromkeys(column for _, _, column in split.values()))
    names = list(dict.fromkeys(name for name, _, _ in split.values()))
    width = max(map(len, names), default=0)
    lines = []
    if len(columns) > 1:
        lines.append(" " * width + "".join(f"  {'at ' + column if column else 'mean':>8}" for column in columns))
    for name in names:
        cells = [values.get(f"{name}@{column}" if column else name, "") for column in columns]
        texts = ["-" if cell is None else f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in cells]
        lines.append((f"{name:<{width}}" + "".join(f"  {text:>8}" for text in texts)).rstrip())
    return "\n".join(lines)


def levels_line(counts: PairCounts) -> str:
    """How often the concept was there, and found."""
    tp, fp, tn, fn = level_counts(counts).values()
    return (
        f"{len(counts.pairs)} pairs; concept there: {tp} found, {fn} missed; not there: {tn} rejected, "
        f"{fp} with something found"
    )


def pair_report(
    annotators: Sequence[Truth],
    predictions: Predictions,
    counts: PairCounts,
    values: Mapping[str, float | None],
    *,
    iou: IouType,
    facts: Mapping[str, str],
    folder: Path | None,
) -> str:
    """The HTML report.

    Args:
        annotators: the truth.
        predictions: the answers.
        counts: as `evaluate_cgf1` gave them.
        values: figures that are shown first.
        iou: what was compared.
        facts: what was compared with what, for the heading.
        folder: of the pictures; None draws the worst answers on grey.
    """
    curves = {
        f"overlap {overlap:g}": precision_recall(annotators, predictions, counts, iou, overlap=overlap)
        for overlap in _CURVES
    }
    return html_report(
        title="How good the answers are",
        facts={**facts, "result": levels_line(counts)},
        values=values,
        curves=curves,
        sizes=by_size(annotators, predictions, counts, iou),
        phrases=by_phrase(annotators, counts),
        failures=[_failure(annotators, predictions, counts, row, folder) for row in worst_pairs(counts, WORST)],
    )


def _failure(
    annotators: Sequence[Truth], predictions: Predictions, counts: PairCounts, row: int, folder: Path | None
) -> Failure:
    pair, truth = counts.pairs[row], annotators[counts.annotator_of(row)]
    entry, size_hw = truth.pairs[pair], size_of(truth.pairs[pair])
    found, objects = kept_and_true(truth, predictions, pair)
    right = int(counts.right[row, 0])
    caption = (
        f"{truth.phrase(pair) or pair} in {entry.get('file_name', pair)}: {right} right, {len(found) - right} wrong, "
        f"{len(objects) - right} missed"
    )
    image = _picture(entry, size_hw, folder)
    if image is None or not all("segmentation" in one for one in (*found, *objects)):
        return Failure(caption=caption, truth=None, answer=None)
    pictures = []
    for records in (objects, found):
        rles = _rles(records, size_hw)
        drawn = [_drawn(rle, one.get("score", 1.0)) for rle, one in zip(rles, records, strict=True)]
        pictures.append(draw_overlay(image, [one for one in drawn if tuple(one.rle["size"]) == image.shape[:2]]))
    return Failure(caption=caption, truth=pictures[0], answer=pictures[1])


def _picture(entry: Record, size_hw: tuple[int, int] | None, folder: Path | None) -> Pixels | None:
    if folder is not None and "file_name" in entry:
        try:
            return read_image(folder / entry["file_name"])
        except ImageError:
            pass  # a report without this picture is better than none
    return None if size_hw is None else np.full((*size_hw, 3), _GREY, dtype=np.uint8)


def _drawn(rle: Rle, score: float) -> Drawn:
    x0, y0, x1, y1 = rle_boxes([rle])[0].tolist()
    return Drawn(rle=rle, box_xyxy=(x0, y0, x1, y1), name="", score=score)


def _rles(records: Sequence[Record], size_hw: tuple[int, int] | None) -> list[Rle]:
    return [rle_of(record.get("segmentation"), size_hw, f"image id {record['image_id']!r}") for record in records]
