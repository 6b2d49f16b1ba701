"""Labels of other layouts as pairs, and a model asked for pairs."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from masklet.errors import DataError
from masklet.evaluation.cgf1 import evaluate_cgf1
from masklet.evaluation.pair_files import read_truth
from masklet.evaluation.pairs import answer_pairs, as_pairs, boxes_are_fractions, by_picture
from masklet.inference.frame_result import FrameResult
from pair_cases import HEIGHT, WIDTH, Xywh, prediction, rectangle, truth


def annotation(number: int, image: int, category: int, box: Xywh = (1, 1, 5, 5), **more: Any) -> dict[str, Any]:
    shape = {"bbox": list(box), "segmentation": rectangle(box), "iscrowd": 0}
    return {"id": number, "image_id": image, "category_id": category} | shape | more


def coco() -> dict[str, Any]:
    return {
        "images": [{"id": 4, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT}, {"id": 9, "file_name": "b.jpg"}],
        "categories": [{"id": 2, "name": "cat"}, {"id": 7, "name": "dog"}],
        "annotations": [annotation(1, 4, 7), annotation(2, 4, 7, (10, 2, 6, 7)), annotation(3, 9, 2, iscrowd=1)],
    }


def test_pairs_stay_as_they_are() -> None:
    pairs = truth({1: [(0, 0, 3, 3)], 2: []})
    assert as_pairs(pairs) == pairs


def test_every_image_and_category_is_a_pair() -> None:
    labels = coco()
    before = copy.deepcopy(labels)
    read = read_truth(as_pairs(labels))
    assert labels == before
    assert {pair: read.phrase(pair) for pair in read.pairs} == {
        "4:2": "cat",
        "4:7": "dog",
        "9:2": "cat",
        "9:7": "dog",
    }
    assert {pair: len(objects) for pair, objects in read.objects.items()} == {"4:7": 2}  # a crowd is no object
    assert len(read.scored) == 4


def test_lists_of_what_was_not_looked_for() -> None:
    labels = coco()
    labels["images"][0] |= {"not_exhaustive_category_ids": [7], "neg_category_ids": []}
    read = read_truth(as_pairs(labels))
    assert list(read.pairs) == ["4:7", "9:2", "9:7"]
    assert read.scored == {"9:2", "9:7"}


def queries() -> dict[str, Any]:
    asked = [
        {"id": 1, "image_id": 4, "phrase": "two dogs", "annotation_ids": [1, 2]},
        {"id": 2, "image_id": 9, "phrase": "dog", "annotation_ids": []},
        {"id": 3, "image_id": 4, "phrase": "visual", "annotation_ids": [1, 2]}
        | {"positive_exemplar_ids": [2], "negative_exemplar_ids": [1]},
    ]
    return coco() | {"queries": asked}


def test_every_query_is_a_pair() -> None:
    read = read_truth(as_pairs(queries()))
    assert {pair: (read.phrase(pair), len(read.objects.get(pair, ()))) for pair in read.pairs} == {
        1: ("two dogs", 2),
        2: ("dog", 0),
        3: ("visual", 2),
    }
    assert read.pairs[3]["exemplars"] == [
        {"bbox": [10, 2, 6, 7], "positive": True},
        {"bbox": [1, 1, 5, 5], "positive": False},
    ]
    assert list(as_pairs(queries(), per_category=True)["images"][0]) == list(as_pairs(coco())["images"][0])


def test_labels_of_no_layout() -> None:
    with pytest.raises(DataError, match="images, annotations and categories"):
        as_pairs({"images": [{}]})


class Model:
    """Finds one rectangle, whatever is asked, and remembers what was asked."""

    def __init__(self, box: Xywh = (1, 1, 5, 5)) -> None:
        self.box = box
        self.encoded: list[str] = []
        self.asked: list[tuple[Any, int, float | None]] = []

    def encode(self, path: Path) -> str:
        self.encoded.append(path.name)
        return path.name

    def segment(self, features: str, concept: Any, *, exemplars: Any = (), threshold: float | None = None) -> Any:
        self.asked.append((concept, len(exemplars), threshold))
        results = [self.result(features, one) for one in (concept if isinstance(concept, list) else [concept])]
        return results if isinstance(concept, list) else results[0]

    def result(self, image: str, concept: str | None) -> FrameResult:
        x, y, width, height = self.box
        return FrameResult(
            image=image,
            image_size_hw=(HEIGHT, WIDTH),
            concept=concept or "visual",
            presence=0.75,
            model="test",
            scores=np.array([0.5], dtype=np.float32),
            boxes_xyxy=np.array([[x, y, x + width, y + height]], dtype=np.float32),
            mask_counts=(rectangle(self.box)["counts"],),
        )


def test_a_model_is_asked_once_for_a_picture() -> None:
    model, done = Model(), []
    read = read_truth(as_pairs(queries()))
    found = answer_pairs(model, read, Path("x"), threshold=0.25, on_picture=lambda: done.append(1))  # type: ignore[arg-type]
    assert model.encoded == ["a.jpg", "b.jpg"]
    assert model.asked == [(["two dogs"], 0, 0.25), (None, 2, 0.25), (["dog"], 0, 0.25)]
    assert len(done) == 2
    assert found.presence == {1: 0.75, 2: 0.75, 3: 0.75}
    assert found.predictions == [prediction(pair, (1.0, 1.0, 5.0, 5.0), 0.5) for pair in (1, 3, 2)]


@pytest.mark.parametrize("iou", ["segm", "bbox"])
def test_answers_fit_the_labels_whatever_their_unit(iou: Any) -> None:
    """A perfect model is perfect beside boxes in pixels, and beside fractions with another category id."""
    pixels = truth({1: [(1, 1, 5, 5)], 2: []})
    fractions = copy.deepcopy(pixels) | {"categories": [{"id": 5, "name": "object"}]}
    for one in fractions["annotations"]:
        x, y, width, height = one["bbox"]
        one |= {"bbox": [x / WIDTH, y / HEIGHT, width / WIDTH, height / HEIGHT], "category_id": 5}
    for labels, is_fraction in ((pixels, False), (fractions, True)):
        read = read_truth(labels)
        assert boxes_are_fractions(read) == is_fraction
        found = answer_pairs(Model(), read, Path("x"))  # type: ignore[arg-type]
        _, counts = evaluate_cgf1([labels], found.predictions, iou)
        assert counts.right.tolist() == [[1] * 10, [0] * 10]


def test_ids_of_the_data_set_come_back() -> None:
    read = read_truth(as_pairs(coco()))
    found = answer_pairs(Model(), read, Path("x"))  # type: ignore[arg-type]
    ids = [(one["image_id"], one["category_id"]) for one in by_picture(found.predictions, read)]
    assert ids == [(4, 2), (4, 7), (9, 2), (9, 7)]


def test_pairs_without_picture_or_phrase() -> None:
    read = read_truth(truth({1: []}) | {"images": [{"id": 1, "text_input": "dog"}]})
    with pytest.raises(DataError, match="needs file_name and text_input, 1 has not"):
        answer_pairs(Model(), read, Path("x"))  # type: ignore[arg-type]
