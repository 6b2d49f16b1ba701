"""Truth and predictions of (picture, phrase) pairs, as SA-Co's files hold them (spec/evaluation.md 1, 3.1).

An entry of `images` is a pair, not a picture: one picture with ten phrases has ten entries, and `image_id` names the
pair everywhere. Boxes are x, y, width, height in whatever unit the files agree on (SA-Co's are fractions of the
picture). Records stay as they were read and are turned into numbers pair by pair, so that files with millions of pairs
of which few have objects stay cheap. Nothing that is handed in is changed.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from masklet.errors import DataError
from masklet.evaluation.segmentations import rles_of
from masklet.ops.masks import rle_areas

_log = logging.getLogger(__name__)

Record = Mapping[str, Any]
PairId = int | str
IouType = Literal["segm", "bbox"]
_NAMED = 10  # ids and records that a message names
SHAPE_KEYS: Mapping[IouType, str] = {"segm": "segmentation", "bbox": "bbox"}
"""Where a record holds what is compared."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """One annotator's file.

    Attributes:
        name: of the file, for messages.
        pairs: entry of `images` by its id, in the order of the file.
        scored: ids of pairs whose objects are all marked (`is_instance_exhaustive`, by default they are).
        category_ids: of the file; records of others count nowhere.
        objects: annotations by pair, crowds left out; pairs without any are absent.
    """

    name: str
    pairs: Mapping[PairId, Record]
    scored: frozenset[PairId]
    category_ids: frozenset[int]
    objects: Mapping[PairId, Sequence[Record]]

    def phrase(self, pair: PairId) -> str:
        """What was asked; the empty text where the file does not say."""
        return str(self.pairs[pair].get("text_input", ""))


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """One model's answers.

    Attributes:
        name: of the file, for messages.
        records: by pair, in the order of the file, whatever their scores.
    """

    name: str
    records: Mapping[PairId, Sequence[Record]]

    def kept(self, pair: PairId, category_ids: frozenset[int], *, score: float) -> list[Record]:
        """The predictions of a pair from `score` on, whose category the truth knows."""
        return [
            record
            for record in self.records.get(pair, ())
            if record["score"] >= score and record["category_id"] in category_ids
        ]


def read_truth(source: str | Path | Mapping[str, Any], *, name: str = "ground truth") -> Truth:
    """The truth in a file or an object that was read already; `name` is what messages call an object.

    Raises:
        DataError: it is not in this layout.
    """
    name, content = load_json(source, name)
    if not isinstance(content, Mapping):
        raise DataError(f"{name}: expected an object with images, annotations and categories, got {_kind(content)}")
    pairs = {image["id"]: image for image in _records(name, content, "images", ("id",))}
    if len(pairs) != len(content["images"]):
        raise DataError(f"{name}: expected every id of images once, got some twice; one entry is one (picture, phrase)")
    categories = frozenset(entry["id"] for entry in _records(name, content, "categories", ("id",)))
    objects: dict[PairId, list[Record]] = {}
    foreign: list[object] = []
    for record in _records(name, content, "annotations", ("image_id", "category_id")):
        if record["category_id"] not in categories or record["image_id"] not in pairs:
            foreign.append(record.get("id", record["image_id"]))
        elif not (record.get("iscrowd") or record.get("is_crowd")):
            objects.setdefault(record["image_id"], []).append(record)
    _warn_of(name, foreign, "annotations with an image or category that the file does not list are left out")
    scored = frozenset(pair for pair, image in pairs.items() if image.get("is_instance_exhaustive", True))
    return Truth(name=name, pairs=pairs, scored=scored, category_ids=categories, objects=objects)


def read_predictions(source: str | Path | Sequence[Record], *, name: str = "predictions") -> Predictions:
    """The predictions in a file or a list that was read already, which may be empty; messages call a list `name`.

    Raises:
        DataError: it is not in this layout, or a score is no finite number.
    """
    name, content = load_json(source, name)
    if isinstance(content, str) or not isinstance(content, Sequence):
        raise DataError(f"{name}: expected a list of predictions, got {_kind(content)}; see docs/evaluate.md")
    records: dict[PairId, list[Record]] = {}
    for idx, record in enumerate(_checked(name, "prediction", content, ("image_id", "category_id", "score"))):
        score = record["score"]
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            raise DataError(f"{name}: score of prediction {idx} must be a finite number, got {score!r}")
        records.setdefault(record["image_id"], []).append(record)
    return Predictions(name=name, records=records)


def warn_of_strangers(truth: Truth, predictions: Predictions) -> None:
    """Warns, with numbers, of predictions that count nowhere."""
    unknown = [pair for pair in predictions.records if pair not in truth.pairs]
    _warn_of(predictions.name, unknown, f"image ids are unknown to {truth.name}, and their predictions do not count")
    foreign = sorted(
        {
            record["category_id"]
            for pair, records in predictions.records.items()
            if pair in truth.pairs
            for record in records
            if record["category_id"] not in truth.category_ids
        },
        key=str,
    )
    _warn_of(predictions.name, foreign, f"category ids are unknown to {truth.name}, and their predictions do not count")


def overlaps(
    predicted: Sequence[Record], true: Sequence[Record], iou: IouType, *, size_hw: tuple[int, int] | None, where: str
) -> npt.NDArray[np.float64]:
    """(D, G) IoU of the masks or boxes of two lists of records; -1 where masks differ in size.

    Args:
        predicted: D records.
        true: G records.
        iou: what overlaps.
        size_hw: of the picture in pixels; polygons need it. None if it is not known.
        where: what the records belong to, for messages.

    Raises:
        DataError: a record has no such mask or box, or one that makes no sense.
    """
    if not predicted or not true:
        return np.zeros((len(predicted), len(true)))
    records = (*predicted, *true)
    wheres = [f"{where}: prediction"] * len(predicted) + [f"{where}: annotation"] * len(true)
    if iou == "bbox":
        boxes = [box_of(one.get("bbox"), own) for one, own in zip(records, wheres, strict=True)]
        both: Any = np.array(boxes, dtype=np.float64)
    else:
        both = rles_of([one.get("segmentation") for one in records], [size_hw] * len(records), wheres)
    sides = both[: len(predicted)], both[len(predicted) :]
    result: npt.NDArray[np.float64] = coco_mask.iou(*sides, [0] * len(true))
    return result


def areas(
    records: Sequence[Record], iou: IouType, *, size_hw: tuple[int, int] | None, where: str
) -> npt.NDArray[np.int64]:
    """(N,) areas of masks or boxes in pixels; boxes with no number above 1 are fractions of the picture."""
    if iou == "segm":
        values = [one.get("segmentation") for one in records]
        return rle_areas(rles_of(values, [size_hw] * len(values), [where] * len(values)))
    boxes = np.array([box_of(one.get("bbox"), where) for one in records], dtype=np.float64).reshape(-1, 4)
    fractions = size_hw is not None and bool((boxes <= 1).all())
    pixels = size_hw[0] * size_hw[1] if size_hw is not None and fractions else 1
    return np.rint(boxes[:, 2] * boxes[:, 3] * pixels).astype(np.int64)


def size_of(pair: Record) -> tuple[int, int] | None:
    """Height and width of a pair's picture in pixels, if its entry says them."""
    return (int(pair["height"]), int(pair["width"])) if "height" in pair and "width" in pair else None


def box_of(box: Any, where: str) -> list[float]:
    """The four numbers of a record's `bbox`.

    Raises:
        DataError: they are none; `where` says of what.
    """
    try:
        numbers = [float(value) for value in box]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise DataError(f"{where}: expected a bbox of four finite numbers x, y, width, height, got {box!r}")
    return numbers


def load_json(source: str | Path | Any, what: str) -> tuple[str, Any]:
    """Name for messages, and content."""
    if not isinstance(source, str | Path):
        return what, source
    try:
        return str(source), json.loads(Path(source).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{source}: expected a file with the {what}, it cannot be read ({error.strerror})") from error
    except ValueError as error:  # also wrong UTF-8
        raise DataError(f"{source}: expected JSON, got something else ({error})") from error


def _records(name: str, content: Mapping[str, Any], key: str, keys: Sequence[str]) -> Sequence[Record]:
    if not isinstance(content.get(key), Sequence) or isinstance(content[key], str):
        raise DataError(f"{name}: expected a list {key!r}, got {_kind(content.get(key))}")
    return list(_checked(name, f"entry of {key}", content[key], keys))


def _checked(name: str, what: str, records: Sequence[Any], keys: Sequence[str]) -> Iterable[Record]:
    for idx, record in enumerate(records):
        missing = [key for key in keys if not isinstance(record, Mapping) or record.get(key) is None]
        if missing:
            raise DataError(f"{name}: expected {', '.join(keys)} in every {what}, number {idx} has no {missing[0]!r}")
        yield record


def _warn_of(name: str, items: Sequence[object], what: str) -> None:
    if items:
        first = ", ".join(map(str, items[:_NAMED])) + (" ..." if len(items) > _NAMED else "")
        _log.warning("%s: %d %s: %s", name, len(items), what, first)


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__
