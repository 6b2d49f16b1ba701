"""Average precision over a COCO data set, by pycocotools' own evaluator (spec/evaluation.md 5).

Every picture is asked for every category, and scores compete across phrases. Unlike for cgF1, boxes are in pixels,
crowd regions excuse what covers them, and no score is cut off.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from masklet.errors import DataError
from masklet.evaluation.matching import FloatArray
from masklet.evaluation.pair_files import SHAPE_KEYS, IouType, Record, box_of, load_json, size_of
from masklet.evaluation.segmentations import rles_of
from masklet.ops.masks import rle_areas

RANKED_ABOVE = 0.01
"""Score of answers that a model is asked for: what lies below costs nearly all masks and changes precision hardly."""

NAMES = (
    *("AP", "AP_50", "AP_75", "AP_small", "AP_medium", "AP_large"),
    *("AR_maxDets@1", "AR_maxDets@10", "AR_maxDets@100", "AR_small", "AR_medium", "AR_large"),
)


def evaluate_ap(
    ground_truth: str | Path | Mapping[str, Any],
    predictions: str | Path | Sequence[Record],
    iou: IouType = "segm",
    *,
    positives_only: bool = False,
) -> dict[str, float]:
    """The twelve numbers of COCO's evaluator, 0..1, by name; -1 where there is nothing to measure.

    Args:
        ground_truth: COCO file, or its content.
        predictions: COCO results file, or its content; may be empty.
        iou: by masks or by boxes.
        positives_only: leave out predictions of categories that their picture has no object of ("AP+").

    Raises:
        DataError: a file is not in COCO's layout.
    """
    name, content = load_json(ground_truth, "ground truth")
    answers_name, answers = load_json(predictions, "predictions")
    if not isinstance(content, Mapping) or not all(key in content for key in ("images", "annotations", "categories")):
        raise DataError(f"{name}: expected COCO's layout with images, annotations and categories")
    if isinstance(answers, str) or not isinstance(answers, Sequence):
        raise DataError(f"{answers_name}: expected a list of predictions, got {type(answers).__name__}")
    try:
        names = (name, answers_name)
        stats = _evaluated(content, answers, iou, positives_only=positives_only, names=names).stats
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"{answers_name}: expected image_id, category_id, score and {SHAPE_KEYS[iou]} in every prediction, and as "
            f"much in {name}; could not compare them ({error!r})"
        ) from error
    return {f"coco_eval_{iou}_{key}": float(value) for key, value in zip(NAMES, stats, strict=True)}


def precision_at_recall(
    content: Mapping[str, Any], answers: Sequence[Record], iou: IouType, *, overlap: float
) -> FloatArray:
    """(101,) precision at recall 0, 0.01, ..., 1, meaned over the categories that have objects; 0 without any.

    Args:
        content: of a ground truth file.
        answers: predictions.
        iou: by masks or by boxes.
        overlap: from which a prediction is right, one of 0.5, 0.55, ..., 0.95.
    """
    evaluator = _evaluated(content, answers, iou, positives_only=False)
    idx = int(np.abs(evaluator.params.iouThrs - overlap).argmin())
    curves = evaluator.eval["precision"][idx, :, :, 0, -1]  # (101, categories), all sizes, most detections
    curves = curves[:, (curves >= 0).all(0)]
    result: FloatArray = curves.mean(1) if curves.size else np.zeros(len(evaluator.params.recThrs))
    return result


def _evaluated(
    content: Mapping[str, Any],
    answers: Sequence[Record],
    iou: IouType,
    *,
    positives_only: bool,
    names: tuple[str, str] = ("ground truth", "predictions"),
) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):  # it prints as it goes
        truth = _index(content, iou, names[0])
        results = _results(truth, answers, iou, positives_only=positives_only, name=names[1])
        evaluator = COCOeval(truth, results, iou)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


def _index(content: Mapping[str, Any], iou: IouType, name: str) -> COCO:
    """An index of a copy with checked masks, whose annotations are numbered from 1: one of id 0 would never match."""
    sizes = {image["id"]: size_of(image) for image in content["images"]}
    annotations = [
        dict(annotation) | {"id": number + 1, "iscrowd": int(annotation.get("iscrowd") or 0)}
        for number, annotation in enumerate(content["annotations"])
    ]
    masked = [
        one
        for one in annotations
        if one["image_id"] in sizes and (iou == "segm" or ("area" not in one and one.get("segmentation")))
    ]
    _read_masks(masked, sizes, [f"{name}: annotations[{one['id'] - 1}]" for one in masked])
    for one in annotations:
        if "area" not in one:
            one["area"] = float(one["bbox"][2] * one["bbox"][3])
    coco = COCO()
    coco.dataset = {key: content[key] for key in ("images", "categories")} | {"annotations": annotations}
    coco.createIndex()
    return coco


def _results(truth: COCO, answers: Sequence[Record], iou: IouType, *, positives_only: bool, name: str) -> COCO:
    known = {(one["image_id"], one["category_id"]) for one in truth.dataset["annotations"]}
    sizes = {image["id"]: size_of(image) for image in truth.dataset["images"]}
    kept, wheres = [], []
    for number, answer in enumerate(answers):
        picture = answer["image_id"]
        if picture in sizes and (not positives_only or (picture, answer["category_id"]) in known):
            # The other shape would be taken for what is compared.
            keys = ("image_id", "category_id", "score")
            kept.append({key: answer[key] for key in keys} | {SHAPE_KEYS[iou]: answer.get(SHAPE_KEYS[iou])})
            wheres.append(f"{name}: prediction {number}")
    if iou == "segm":
        _read_masks(kept, sizes, wheres)
    else:
        for one, where in zip(kept, wheres, strict=True):
            one["bbox"] = box_of(one["bbox"], where)
    if kept:
        return truth.loadRes(kept)
    empty = COCO()
    empty.dataset = truth.dataset | {"annotations": []}
    empty.createIndex()
    return empty


def _read_masks(
    records: Sequence[dict[str, Any]], sizes: Mapping[Any, tuple[int, int] | None], wheres: Sequence[str]
) -> None:
    """Puts a checked code and, where there is none, its area into records of listed pictures."""
    values = [one.get("segmentation") for one in records]
    rles = rles_of(values, [sizes[one["image_id"]] for one in records], wheres)
    for one, rle, area in zip(records, rles, rle_areas(rles).tolist(), strict=True):
        one["segmentation"] = rle
        one.setdefault("area", float(area))
