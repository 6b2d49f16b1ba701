"""LVIS' average precision: small cases by hand, COCO's numbers where both mean the same, files that are none."""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from masklet.errors import DataError, MissingExtraError
from masklet.evaluation.coco_ap import evaluate_ap
from masklet.evaluation.lvis_ap import NAMES, evaluate_lvis
from masklet.ops.masks import encode_rle

SIZE_HW = (120, 160)
BOX, OTHER = (10, 10, 20, 30), (60, 50, 30, 30)


def mask(box: Sequence[int]) -> Any:
    pixels = np.zeros(SIZE_HW, dtype=np.bool_)
    x, y, width, height = box
    pixels[y : y + height, x : x + width] = True
    return encode_rle(pixels)


def truth(
    objects: Sequence[tuple[int, int, Sequence[int]]],
    *,
    absent: Mapping[int, list[int]] | None = None,
    partial: Mapping[int, list[int]] | None = None,
    frequencies: str = "rcf",
    images: int = 2,
) -> dict[str, Any]:
    """Labels of (picture, category, xywh)."""
    lists = {"neg_category_ids": absent or {}, "not_exhaustive_category_ids": partial or {}}
    return {
        "images": [
            {"id": number, "height": SIZE_HW[0], "width": SIZE_HW[1]}
            | {key: value.get(number, []) for key, value in lists.items()}
            for number in range(1, images + 1)
        ],
        "categories": [{"id": number + 1, "frequency": letter} for number, letter in enumerate(frequencies)],
        "annotations": [
            {"id": number, "image_id": image, "category_id": category, "bbox": list(box), "segmentation": mask(box)}
            | {"area": box[2] * box[3]}
            for number, (image, category, box) in enumerate(objects)
        ],
    }


def answer(image: int, category: int, box: Sequence[int], score: float) -> dict[str, Any]:
    own = {"image_id": image, "category_id": category, "score": score}
    return own | {"bbox": list(box), "segmentation": mask(box)}


def values_of(labels: Any, answers: Any, iou: Any = "segm") -> dict[str, float]:
    return {key.removeprefix(f"lvis_eval_{iou}_"): value for key, value in evaluate_lvis(labels, answers, iou).items()}


FOUND = answer(1, 1, BOX, 0.5)


@pytest.mark.parametrize("iou", ["segm", "bbox"])
@pytest.mark.parametrize(
    ("absent", "partial", "wrong", "ap"),
    [  # A wrong answer that comes first makes half of what is found right, at every recall.
        ({}, {}, answer(2, 1, BOX, 0.9), 1.0),  # nobody looked for it in that picture
        ({2: [1]}, {}, answer(2, 1, BOX, 0.9), 0.5),
        ({2: [1]}, {2: [1]}, answer(2, 1, BOX, 0.9), 1.0),
        ({2: [2]}, {2: [2]}, answer(2, 1, BOX, 0.9), 1.0),
        ({}, {}, answer(1, 1, OTHER, 0.9), 0.5),
        ({}, {1: [1]}, answer(1, 1, OTHER, 0.9), 1.0),  # there may be more of them
        ({}, {1: [2]}, answer(1, 1, OTHER, 0.9), 0.5),
        ({1: [2]}, {}, answer(1, 2, OTHER, 0.9), 1.0),  # another category, which has no objects at all
        ({}, {}, answer(1, 1, BOX, 0.4), 1.0),  # it comes last
    ],
)
def test_what_was_not_looked_for_is_not_wrong(iou: Any, absent: Any, partial: Any, wrong: Any, ap: float) -> None:
    values = values_of(truth([(1, 1, BOX)], absent=absent, partial=partial), [wrong, FOUND], iou)
    assert list(values) == list(NAMES)
    assert [values[name] for name in ("AP", "AP_50", "AP_75", "AP_r", "AP_small")] == pytest.approx([ap] * 5)
    assert [values[name] for name in ("AP_c", "AP_f", "AP_medium", "AR_large")] == [-1] * 4
    assert values["AR_maxDets@300"] == 1


def test_frequencies_and_overlaps() -> None:
    labels = truth([(1, 1, BOX), (1, 2, BOX), (2, 3, BOX), (1, 4, BOX)], frequencies="rcfc")
    answers = [
        FOUND,
        answer(1, 2, OTHER, 0.9),
        answer(1, 2, BOX, 0.8),
        answer(2, 3, OTHER, 0.3),
        answer(1, 4, (10, 10, 20, 22), 0.3),  # overlap 22 / 30, right at five of ten
    ]
    values = values_of(labels, answers)
    expected = {"AP_r": 1, "AP_c": (0.5 + 0.5) / 2, "AP_f": 0, "AP": (1 + 0.5 + 0 + 0.5) / 4}
    expected |= {"AP_50": (1 + 0.5 + 0 + 1) / 4, "AP_75": (1 + 0.5 + 0 + 0) / 4, "AR_maxDets@300": 2.5 / 4}
    assert {name: values[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize(("others", "ap"), [(299, 1.0), (300, 0.0)])
def test_a_picture_has_300_answers_whatever_their_categories(others: int, ap: float) -> None:
    crowd = [answer(1, 1 + number % 2, OTHER, 0.9) | {"category_id": 3} for number in range(others)]
    assert values_of(truth([(1, 1, BOX)]), [*crowd, FOUND])["AP"] == ap


def test_no_answers_and_no_objects() -> None:
    assert values_of(truth([(1, 1, BOX)]), [])["AP"] == 0
    assert set(values_of(truth([]), [FOUND]).values()) == {-1.0}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("iou", ["segm", "bbox"])
def test_coco_says_the_same_where_everything_was_looked_for(seed: int, iou: Any) -> None:
    rng = np.random.default_rng(seed)

    def boxes(count: int) -> list[list[int]]:
        sizes = rng.choice([8, 20, 40, 100], (count, 1)) + rng.integers(0, 9, (count, 2))
        return [[*rng.integers(0, 50, 2).tolist(), *size] for size in sizes.tolist()]

    objects = [(int(rng.integers(1, 5)), int(rng.integers(1, 4)), box) for box in boxes(25)]
    answers = []
    for image, category, (x, y, width, height) in objects * 3:
        moved = [x + int(rng.integers(0, 4)), y, width, max(2, height - int(rng.integers(0, 9)))]
        answers.append(answer(image, category if rng.random() < 0.8 else 1, moved, round(float(rng.random()), 2)))
    everything = {image: [1, 2, 3] for image in range(1, 5)}
    labels = truth(objects, absent=everything, images=4)
    coco = evaluate_ap(labels, answers, iou)
    both = {name: name for name in NAMES if name[-2:] not in ("_r", "_c", "_f")} | {"AR_maxDets@300": "AR_maxDets@100"}
    found = values_of(labels, answers, iou)
    assert 0.1 < found["AP"] < 0.9
    expected = {name: coco[f"coco_eval_{iou}_{other}"] for name, other in both.items()}
    assert {name: found[name] for name in both} == pytest.approx(expected, abs=1e-12)


def test_strangers_are_counted_and_nothing_is_changed(caplog: pytest.LogCaptureFixture) -> None:
    labels, answers = truth([(1, 1, BOX)]), [FOUND, answer(9, 1, BOX, 0.9), answer(1, 77, BOX, 0.9)]
    before = copy.deepcopy((labels, answers))
    with caplog.at_level(logging.WARNING):
        assert values_of(labels, answers)["AP"] == 1
    assert [record.getMessage().partition(", and")[0] for record in caplog.records] == [
        "predictions: 1 image ids are unknown to ground truth",
        "predictions: 1 category ids are unknown to ground truth",
    ]
    assert (labels, answers) == before


def without(table: str, key: str) -> dict[str, Any]:
    labels = truth([(1, 1, BOX)])
    del labels[table][0][key]
    return labels


@pytest.mark.parametrize(
    ("labels", "answers", "message"),
    [
        (without("images", "neg_category_ids"), [], "image id 1 .*'neg_category_ids', got none; .* use --metric ap"),
        (without("images", "not_exhaustive_category_ids"), [], "'not_exhaustive_category_ids', got none"),
        (without("images", "width"), [], "expected width and height, got none"),
        (without("categories", "frequency"), [], "expected LVIS' frequency r, c or f .* got None of category 1"),
        (truth([]), {}, "expected a list of predictions"),
        (truth([(1, 1, BOX)]), [FOUND | {"segmentation": None}], "image id 1 .* prediction: expected a segmentation"),
        (
            truth([(1, 1, BOX)]),
            [FOUND | {"segmentation": encode_rle(np.ones((9, 8), dtype=np.bool_))}],
            r"prediction: expected a mask of the size of its picture, \[120, 160\] .* got \[9, 8\]",
        ),
    ],
)
def test_files_that_cannot_be_used(labels: Any, answers: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluate_lvis(labels, answers)


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(MissingExtraError, match=r"faster-coco-eval.*masklet\[eval\]"):
        evaluate_lvis(truth([]), [])
