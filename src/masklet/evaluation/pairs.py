"""Other labelled data as (picture, phrase) pairs, and a model's answers to pairs.

Three layouts are taken: pairs as they are (entries of `images` have a `text_input`); the data that `masklet synth`
writes, whose `queries` say what is asked of which picture; and plain COCO, where every picture is asked for every
category, so that one without objects is an absent concept. LVIS' lists of categories that were not looked for
(`not_exhaustive_category_ids`, and all but `neg_category_ids` where a picture has such a list) are minded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from masklet.errors import DataError
from masklet.evaluation.pair_files import PairId, Record, Truth
from masklet.inference.frame_result import FrameResult
from masklet.inference.image_predictor import ImagePredictor
from masklet.types import VISUAL, Exemplar

CATEGORY_ID = 1  # of everything, as in SA-Co's files: what differs is the phrase


def as_pairs(content: Mapping[str, Any], *, per_category: bool = False) -> dict[str, Any]:
    """Content of a ground truth file as pairs; what is handed in is not changed.

    Ids of pairs are those of the file, of its queries, or "IMAGE:CATEGORY".

    Args:
        content: of the file.
        per_category: ask every picture for every category although the file has queries of its own.

    Raises:
        DataError: the content is none of the three layouts.
    """
    try:
        if any("text_input" in image for image in content["images"]):
            return dict(content)
        objects: dict[Any, list[Record]] = {}
        for annotation in content["annotations"]:
            objects.setdefault(annotation["image_id"], []).append(annotation)
        rows = (
            _by_query(content, objects)
            if content.get("queries") and not per_category
            else _by_category(content, objects)
        )
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for entry, found in rows:
            images.append(entry)
            annotations += [
                {**one, "id": len(annotations) + number, "image_id": entry["id"], "category_id": CATEGORY_ID}
                for number, one in enumerate(found, start=1)
            ]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"expected ground truth with images, annotations and categories as in docs/evaluate.md ({error!r})"
        ) from error
    return {"images": images, "annotations": annotations, "categories": [{"id": CATEGORY_ID, "name": "object"}]}


def _entry(image: Record, pair: PairId, phrase: str, **more: Any) -> dict[str, Any]:
    kept = {key: image[key] for key in ("file_name", "width", "height") if key in image}
    return kept | {"id": pair, "text_input": phrase, "is_instance_exhaustive": 1} | more


def _by_query(
    content: Mapping[str, Any], objects: Mapping[Any, Sequence[Record]]
) -> Iterable[tuple[dict[str, Any], list[Record]]]:
    images = {image["id"]: image for image in content["images"]}
    for query in content["queries"]:
        here = {one["id"]: one for one in objects.get(query["image_id"], ())}
        exemplars = [
            {"bbox": here[idx]["bbox"], "positive": positive}
            for key, positive in (("positive_exemplar_ids", True), ("negative_exemplar_ids", False))
            for idx in query.get(key, ())
        ]
        entry = _entry(images[query["image_id"]], query["id"], query["phrase"], exemplars=exemplars)
        yield entry, [here[idx] for idx in query["annotation_ids"]]


def _by_category(
    content: Mapping[str, Any], objects: Mapping[Any, Sequence[Record]]
) -> Iterable[tuple[dict[str, Any], list[Record]]]:
    for image in content["images"]:
        found: dict[Any, list[Record]] = {}
        for one in objects.get(image["id"], ()):
            found.setdefault(one["category_id"], []).append(one)
        asked = set(found) | set(image["neg_category_ids"]) if "neg_category_ids" in image else None
        unmarked = set(image.get("not_exhaustive_category_ids", ()))
        for category in content["categories"]:
            if asked is None or category["id"] in asked:
                entry = _entry(image, f"{image['id']}:{category['id']}", category["name"])
                entry["is_instance_exhaustive"] = int(category["id"] not in unmarked)
                entry |= {"picture_id": image["id"], "category_id": category["id"]}
                yield entry, found.get(category["id"], [])


@dataclass(frozen=True, kw_only=True)
class PairAnswers:
    """What a model says to pairs.

    Attributes:
        predictions: records as in a prediction file, with boxes in the unit of the truth.
        presence: 0..1 by pair.
    """

    predictions: list[dict[str, Any]]
    presence: dict[PairId, float]


def answer_pairs(
    predictor: ImagePredictor,
    truth: Truth,
    folder: Path,
    *,
    threshold: float | None = None,
    on_picture: Callable[[], None] = lambda: None,
) -> PairAnswers:
    """Asks a model for every pair; a picture is encoded once.

    Args:
        predictor: the model.
        truth: says what to ask of which picture; its objects are not looked at, except for the unit of their boxes.
        folder: that `file_name` is relative to.
        threshold: as in `ImagePredictor.segment`.
        on_picture: called after each picture.

    Raises:
        DataError: a pair has no picture or no phrase.
        ImageError: a picture cannot be read.
    """
    pictures: dict[str, list[PairId]] = {}
    for pair, entry in truth.pairs.items():
        if not entry.get("file_name") or not entry.get("text_input"):
            raise DataError(
                f"{truth.name}: to ask a model every entry of images needs file_name and text_input, {pair!r} has not"
            )
        pictures.setdefault(entry["file_name"], []).append(pair)
    fractions = boxes_are_fractions(truth)
    category_id = min(truth.category_ids, default=CATEGORY_ID)
    predictions: list[dict[str, Any]] = []
    presence: dict[PairId, float] = {}
    for name, pairs in pictures.items():
        for pair, result in _asked(predictor, folder / name, [(pair, truth.pairs[pair]) for pair in pairs], threshold):
            presence[pair] = result.presence
            found = _records(pair, result, fractions=fractions)
            predictions += [{**record, "category_id": category_id} for record in found]
        on_picture()
    return PairAnswers(predictions=predictions, presence=presence)


def by_picture(predictions: Iterable[Record], truth: Truth) -> list[dict[str, Any]]:
    """Predictions for pairs that `as_pairs` made of categories, as predictions for the data set's own ids."""
    entries = truth.pairs
    return [
        {
            **one,
            "image_id": entries[one["image_id"]].get("picture_id", one["image_id"]),
            "category_id": entries[one["image_id"]].get("category_id", one["category_id"]),
        }
        for one in predictions
    ]


def boxes_are_fractions(truth: Truth) -> bool:
    """Whether the boxes of a file are fractions of the picture, as SA-Co's are, and not pixels."""
    values = [value for objects in truth.objects.values() for one in objects for value in one.get("bbox", ())]
    return bool(values) and max(values) <= 1


def _asked(
    predictor: ImagePredictor, path: Path, pairs: Sequence[tuple[PairId, Record]], threshold: float | None
) -> Iterable[tuple[PairId, FrameResult]]:
    """Results of the pairs of one picture: those without exemplars together, the others one by one."""
    features = predictor.encode(path)
    plain = [(pair, entry) for pair, entry in pairs if not entry.get("exemplars")]
    if plain:
        phrases = [entry["text_input"] for _, entry in plain]
        for (pair, _), result in zip(plain, predictor.segment(features, phrases, threshold=threshold), strict=True):
            yield pair, result
    for pair, entry in pairs:
        if entry.get("exemplars"):
            exemplars = [_exemplar(one) for one in entry["exemplars"]]
            phrase = None if entry["text_input"] == VISUAL else entry["text_input"]
            yield pair, predictor.segment(features, phrase, exemplars=exemplars, threshold=threshold)


def _exemplar(one: Record) -> Exemplar:
    x, y, width, height = one["bbox"]
    return Exemplar((x, y, x + width, y + height), positive=one["positive"])


def _records(pair: PairId, result: FrameResult, *, fractions: bool) -> Iterable[dict[str, Any]]:
    height, width = result.image_size_hw
    scale = (1 / width, 1 / height) if fractions else (1.0, 1.0)
    for box, score, rle in zip(result.boxes_xyxy.tolist(), result.scores.tolist(), result.rle(), strict=True):
        x0, y0, x1, y1 = box
        yield {
            "image_id": pair,
            "bbox": [x0 * scale[0], y0 * scale[1], (x1 - x0) * scale[0], (y1 - y0) * scale[1]],
            "segmentation": rle,
            "score": score,
        }
