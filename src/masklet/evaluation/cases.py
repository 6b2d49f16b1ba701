"""What is to be scored: labels beside the answers of a file or of a model, in all the layouts that are taken."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from masklet.data.open import open_dataset
from masklet.evaluation.pair_files import PairId, Predictions, Record, Truth, load_json, read_predictions, read_truth
from masklet.evaluation.pairs import CATEGORY_ID, answer_pairs, as_pairs, by_picture
from masklet.evaluation.validation import dataset_pairs
from masklet.inference.image_predictor import ImagePredictor

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Case:
    """Labels and answers.

    Attributes:
        annotators: the labels as pairs of picture and phrase, one for each file.
        predictions: answers to these pairs.
        presence: the model's own presence scores; None where only a file of predictions is known.
        labels: content of the first file as it is.
        answers: predictions with the ids of `labels`.
    """

    annotators: Sequence[Truth]
    predictions: Predictions
    presence: Mapping[PairId, float] | None
    labels: Mapping[str, Any]
    answers: Sequence[Record]


def case_of_files(ground_truth: Sequence[Path], predictions: Path, *, per_category: bool) -> Case:
    """Labels beside a file of predictions.

    Args:
        ground_truth: one file for each annotator.
        predictions: file.
        per_category: every image and category is a pair; else every entry of `images` is one (or every query of a
            file that has them), and categories are not told apart, as the published evaluator has it.

    Raises:
        DataError: a file is not in its layout.
    """
    name, answers = load_json(predictions, "predictions")
    labels = [_labels(path) for path in ground_truth]
    if not per_category:
        read = read_predictions(answers, name=name)
        annotators = [
            read_truth(as_pairs(one) if _has_queries(one) else one, name=str(path))
            for one, path in zip(labels, ground_truth, strict=True)
        ]
        _warn_of_categories(annotators[0])
        return Case(annotators=annotators, predictions=read, presence=None, labels=labels[0], answers=answers)
    read_predictions(answers, name=name)  # a record without ids is found here
    pairs = [
        {**one, "image_id": f"{one['image_id']}:{one['category_id']}", "category_id": CATEGORY_ID} for one in answers
    ]
    return Case(
        annotators=[
            read_truth(as_pairs(one, per_category=True), name=str(path))
            for one, path in zip(labels, ground_truth, strict=True)
        ],
        predictions=read_predictions(pairs, name=name),
        presence=None,
        labels=labels[0],
        answers=answers,
    )


def case_of_model(
    ground_truth: Sequence[Path],
    predictor: ImagePredictor,
    folder: Path,
    *,
    per_category: bool,
    threshold: float | None,
    progress: Callable[[int], Callable[[], None]],
) -> Case:
    """Labels beside what a model answers; plain COCO labels are asked category by category.

    Args:
        ground_truth: one file for each annotator.
        predictor: the model.
        folder: that file names are relative to.
        per_category: ask so although the labels say what to ask.
        threshold: as in `ImagePredictor.segment`.
        progress: is told the number of pictures and gives what is called after each.

    Raises:
        DataError: a file is not in its layout, or has no phrases.
        ImageError: a picture cannot be read.
    """
    labels = [_labels(path) for path in ground_truth]
    annotators = [
        read_truth(as_pairs(one, per_category=per_category), name=str(path))
        for one, path in zip(labels, ground_truth, strict=True)
    ]
    pictures = len({entry.get("file_name") for entry in annotators[0].pairs.values()})
    found = answer_pairs(predictor, annotators[0], folder, threshold=threshold, on_picture=progress(pictures))
    return Case(
        annotators=annotators,
        predictions=read_predictions(found.predictions),
        presence=found.presence,
        labels=labels[0],
        answers=by_picture(found.predictions, annotators[0]),
    )


def _labels(path: Path) -> Any:
    """Content of a file of labels; a folder, or YOLO's data.yaml, is read as a data set, whose prompts are pairs."""
    if path.is_dir() or path.suffix in (".yaml", ".yml"):
        return dataset_pairs(open_dataset(path))
    return load_json(path, "ground truth")[1]


def _has_queries(labels: object) -> bool:
    return isinstance(labels, Mapping) and bool(labels.get("queries"))


def _warn_of_categories(truth: Truth) -> None:
    if len(truth.category_ids) > 1 and not any("text_input" in entry for entry in truth.pairs.values()):
        _log.warning(
            "%s: %d categories and no text_input: they are not told apart; --per-category makes a pair of every image "
            "and category",
            truth.name,
            len(truth.category_ids),
        )
