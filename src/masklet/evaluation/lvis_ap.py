"""Average precision over LVIS, by faster-coco-eval's matching (extra `eval`).

Not every picture was looked at for every category. Of a category only those pictures count that have objects of it or
list it under `neg_category_ids`; where it stands under `not_exhaustive_category_ids`, what is not matched is not wrong.
Of each picture the 300 best answers count, whatever their categories.

Unusual: each category is evaluated by itself, with its own pictures. That gives the numbers of one evaluation of all,
whose tables of pictures times categories take 1.4 MB a picture (1,500 pictures: 2.3 GB and 4.4 s instead of 0.6 GB and
1.4 s, most of it the records).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from masklet.errors import DataError, MissingExtraError
from masklet.evaluation.matching import FloatArray
from masklet.evaluation.pair_files import (
    SHAPE_KEYS,
    IouType,
    Record,
    box_of,
    load_json,
    read_predictions,
    read_truth,
    size_of,
    warn_of_strangers,
)
from masklet.evaluation.segmentations import rles_of
from masklet.ops.masks import rle_areas

_log = logging.getLogger(__name__)
MOST_ANSWERS = 300
"""Of a picture, by score."""

FREQUENCIES = ("r", "c", "f")
"""Rare, common, frequent: in how many pictures for training a category is."""

NAMES = (
    *("AP", "AP_50", "AP_75", "AP_small", "AP_medium", "AP_large", "AP_r", "AP_c", "AP_f"),
    *("AR_maxDets@300", "AR_small", "AR_medium", "AR_large"),
)


@dataclass(kw_only=True)
class _Category:
    """What is known of a category, in the evaluator's words."""

    frequency: str
    images: list[dict[str, Any]] = field(default_factory=list)
    objects: list[dict[str, Any]] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)


def evaluate_lvis(
    ground_truth: str | Path | Mapping[str, Any],
    predictions: str | Path | Sequence[Record],
    iou: IouType = "segm",
) -> dict[str, float]:
    """The thirteen numbers of LVIS, 0..1, by name; -1 where there is nothing to measure.

    Sizes of masks are their own, not those of their boxes.

    Args:
        ground_truth: LVIS file, or its content.
        predictions: COCO results file, or its content; may be empty.
        iou: by masks or by boxes.

    Raises:
        DataError: a file is not in its layout, or a mask has another size than its picture.
        MissingExtraError: the package `faster-coco-eval` is not installed.
    """
    curves_of = _evaluator(iou)
    name, content = load_json(ground_truth, "ground truth")
    categories = _read(name, content, predictions, iou)
    seen = [category for category in categories if category.objects]
    if not seen:
        return {f"lvis_eval_{iou}_{key}": -1.0 for key in NAMES}
    curves, recalls = zip(*map(curves_of, seen), strict=True)
    precision, recall = np.stack(curves), np.stack(recalls)  # (K, 10, 101, 4), (K, 10, 4)
    groups = [np.array([category.frequency == letter for category in seen]) for letter in FREQUENCIES]
    values = (
        *(_mean(precision[..., 0]), _mean(precision[:, 0, :, 0]), _mean(precision[:, 5, :, 0])),
        *(_mean(precision[..., size]) for size in (1, 2, 3)),
        *(_mean(precision[group, ..., 0]) for group in groups),
        *(_mean(recall[..., size]) for size in range(4)),
    )
    return {f"lvis_eval_{iou}_{key}": value for key, value in zip(NAMES, values, strict=True)}


def _mean(values: FloatArray) -> float:
    measured = values[values > -1]
    return float(measured.mean()) if measured.size else -1.0


def _evaluator(iou: IouType) -> Callable[[_Category], tuple[FloatArray, FloatArray]]:
    """What gives precision (10 overlaps, 101 recalls, 4 sizes) and recall (10, 4) of a category."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise MissingExtraError("faster-coco-eval", "eval") from error

    def index(category: _Category, annotations: list[dict[str, Any]]) -> Any:
        coco = COCO()
        numbered = [one | {"id": number + 1} for number, one in enumerate(annotations)]  # one of id 0 never matches
        kinds = [{"id": 1, "frequency": category.frequency}]
        coco.dataset = {"images": category.images, "categories": kinds, "annotations": numbered}
        coco.createIndex()
        return coco

    def curves(category: _Category) -> tuple[FloatArray, FloatArray]:
        sides = index(category, category.objects), index(category, category.answers)
        evaluator = COCOeval_faster(*sides, iou, print_function=_log.debug, lvis_style=True)
        evaluator.params.maxDets = [MOST_ANSWERS]
        evaluator.evaluate()
        evaluator.accumulate()
        return evaluator.eval["precision"][:, :, 0, :, 0], evaluator.eval["recall"][:, 0, :, 0]

    return curves


def _read(name: str, content: Any, predictions: str | Path | Sequence[Record], iou: IouType) -> list[_Category]:
    truth, answers = read_truth(content, name=name), read_predictions(predictions)
    warn_of_strangers(truth, answers)
    categories = {}
    for one in content["categories"]:
        if one.get("frequency") not in FREQUENCIES:
            raise DataError(
                f"{name}: expected LVIS' frequency r, c or f of every category, got {one.get('frequency')!r} of "
                f"category {one['id']}; for COCO's layout use --metric ap"
            )
        categories[one["id"]] = _Category(frequency=one["frequency"])
    for image_id, image in truth.pairs.items():
        where = f"image id {image_id!r} of {name}"
        absent, partial = (_ids(image, key, where) for key in ("neg_category_ids", "not_exhaustive_category_ids"))
        size_hw = size_of(image)
        if size_hw is None:
            raise DataError(f"{where}: expected width and height, got none; add them")
        objects = truth.objects.get(image_id, ())
        known = ({one["category_id"] for one in objects} | set(absent)) & categories.keys()
        for category in known:
            lists = {"neg_category_ids": [1], "not_exhaustive_category_ids": [1] if category in partial else []}
            place = {"id": image_id, "height": size_hw[0], "width": size_hw[1]}
            categories[category].images.append(place | lists)
        for one, shape in zip(objects, _shapes(objects, iou, size_hw, f"{where}: annotation"), strict=True):
            area = {"area": one["area"]} if isinstance(one.get("area"), int | float) else {}
            categories[one["category_id"]].objects.append(shape | area | {"image_id": image_id})
        best = sorted(answers.records.get(image_id, ()), key=lambda one: -one["score"])[:MOST_ANSWERS]
        best = [one for one in best if one["category_id"] in known]
        for one, shape in zip(best, _shapes(best, iou, size_hw, f"{where}: prediction"), strict=True):
            categories[one["category_id"]].answers.append(shape | {"image_id": image_id, "score": one["score"]})
    return list(categories.values())


def _ids(image: Record, key: str, where: str) -> Sequence[Any]:
    found = image.get(key)
    if not isinstance(found, list | tuple):
        raise DataError(
            f"{where}: expected LVIS' list {key!r}, got {'none' if found is None else repr(found)[:60]}; for COCO's "
            "layout use --metric ap"
        )
    return found


def _shapes(records: Sequence[Record], iou: IouType, size_hw: tuple[int, int], where: str) -> list[dict[str, Any]]:
    """What is compared of the records of a picture, with areas in pixels."""
    shapes: list[Any]
    if iou == "bbox":
        shapes = [box_of(one.get("bbox"), where) for one in records]
        areas = [width * height for _, _, width, height in shapes]
    else:
        count = len(records)
        shapes = [*rles_of([one.get("segmentation") for one in records], [size_hw] * count, [where] * count)]
        for shape in shapes:
            if shape["size"] != list(size_hw):
                raise DataError(
                    f"{where}: expected a mask of the size of its picture, {list(size_hw)} (height, width), got "
                    f"{shape['size']}; resize it before it is encoded"
                )
        areas = rle_areas(shapes).tolist()
    return [
        {SHAPE_KEYS[iou]: shape, "area": float(area), "category_id": 1, "iscrowd": 0}
        for shape, area in zip(shapes, areas, strict=True)
    ]
