"""COCO's average precision: the worked example of spec/evaluation.md 7.7, and what must not matter."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from masklet.errors import DataError
from masklet.evaluation.coco_ap import NAMES, evaluate_ap
from masklet.ops.masks import encode_rle

TOLERANCE = 5e-7  # the spec prints six digits


def mask(box: list[int]) -> Any:
    pixels = np.zeros((100, 200), dtype=np.bool_)
    x, y, width, height = box
    pixels[y : y + height, x : x + width] = True
    return encode_rle(pixels)


def ground_truth(*, first_id: int = 1) -> dict[str, Any]:
    rows = [(1, 1, [10, 10, 40, 40]), (1, 1, [100, 10, 40, 40]), (1, 2, [150, 50, 20, 20]), (2, 1, [10, 10, 100, 80])]
    return {
        "images": [{"id": number, "width": 200, "height": 100, "file_name": f"{number}.jpg"} for number in (1, 2)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": first_id + number, "image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3]}
            | {"iscrowd": 0, "segmentation": mask(box)}
            for number, (image, category, box) in enumerate(rows)
        ],
    }


PREDICTIONS = [
    {"image_id": image, "category_id": category, "bbox": box, "score": score, "segmentation": mask(box)}
    for image, category, box, score in (
        (1, 1, [10, 10, 40, 36], 0.9),
        (1, 1, [100, 10, 40, 40], 0.6),
        (1, 1, [60, 60, 20, 20], 0.5),
        (1, 2, [150, 50, 20, 20], 0.3),
        (2, 2, [10, 10, 100, 80], 0.7),
        (2, 1, [10, 10, 100, 80], 0.2),
    )
]
ALL = (0.678713, 0.707921, 0.707921, 1, 0.944224, -1, 0.816667, 0.983333, 0.983333)


@pytest.mark.parametrize("iou", ["bbox", "segm"])
@pytest.mark.parametrize("first_id", [0, 1, 50])
def test_worked_example(iou: Any, first_id: int) -> None:
    """Rectangles, so that masks give what boxes give; an object numbered 0 is matched like any other."""
    values = evaluate_ap(ground_truth(first_id=first_id), PREDICTIONS, iou)
    assert list(values) == [f"coco_eval_{iou}_{name}" for name in NAMES]
    assert list(values.values())[:9] == pytest.approx(ALL, abs=TOLERANCE)


def test_of_positives_only() -> None:
    values = evaluate_ap(ground_truth(), PREDICTIONS, "bbox", positives_only=True)
    expected = (0.928713, 0.957921, 0.957921, *ALL[3:])
    assert list(values.values())[:9] == pytest.approx(expected, abs=TOLERANCE)


def test_nothing_is_printed_or_changed(capsys: pytest.CaptureFixture[str]) -> None:
    truth, predictions = ground_truth(), copy.deepcopy(PREDICTIONS)
    for annotation in truth["annotations"]:
        del annotation["area"], annotation["iscrowd"]
    before = copy.deepcopy((truth, predictions))
    values = evaluate_ap(truth, predictions, "segm")
    assert (truth, predictions) == before
    assert values["coco_eval_segm_AP"] == pytest.approx(ALL[0], abs=TOLERANCE)
    assert capsys.readouterr() == ("", "")


def test_no_predictions_and_no_objects() -> None:
    assert evaluate_ap(ground_truth(), [])["coco_eval_segm_AP"] == 0
    nothing = ground_truth() | {"annotations": []}
    assert evaluate_ap(nothing, PREDICTIONS)["coco_eval_segm_AP"] == -1
    stranger = [PREDICTIONS[0] | {"image_id": 99}]
    assert evaluate_ap(ground_truth(), stranger)["coco_eval_segm_AP"] == 0


def labelled(**changed: Any) -> dict[str, Any]:
    labels = ground_truth()
    labels["annotations"][0] |= changed
    return labels


def test_masks_in_all_forms() -> None:
    truth, predictions = ground_truth(), copy.deepcopy(PREDICTIONS)
    for form in (outline, runs):
        for one in (*truth["annotations"], *predictions):
            one["segmentation"] = form(one["bbox"])
        values = evaluate_ap(truth, predictions, "segm")
        assert list(values.values())[:9] == pytest.approx(ALL, abs=TOLERANCE)


def outline(box: list[int]) -> list[list[int]]:
    x, y, width, height = box
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def runs(box: list[int]) -> dict[str, Any]:
    pixels = np.zeros((100, 200), dtype=np.int64)
    x, y, width, height = box
    pixels[y : y + height, x : x + width] = 1
    ends = np.flatnonzero(np.diff(pixels.T.ravel(), append=2)) + 1
    return {"size": [100, 200], "counts": np.diff(ends, prepend=0).tolist()}


def test_labels_of_pictures_that_are_not_listed_do_not_count() -> None:
    labels = ground_truth()
    labels["annotations"].append(labels["annotations"][0] | {"image_id": 99, "segmentation": None})
    assert list(evaluate_ap(labels, PREDICTIONS).values())[:9] == pytest.approx(ALL, abs=TOLERANCE)


@pytest.mark.parametrize(
    ("truth", "predictions", "message"),
    [
        ({"images": []}, [], "ground truth: expected COCO's layout"),
        (ground_truth(), {}, "predictions: expected a list of predictions, got dict"),
        (
            ground_truth(),
            [{"image_id": 1, "category_id": 1, "score": 1.0}],
            "predictions: prediction 0: expected a segmentation, got none",
        ),
        *(
            (ground_truth(), [PREDICTIONS[0] | {"segmentation": {"size": [100, 200], "counts": counts}}], message)
            for counts, message in (
                ("3", "predictions: prediction 0: expected a run-length code of 20000 pixels, got a damaged one"),
                ([3, 4], "predictions: prediction 0: expected runs of 0 or more that sum to 20000"),
            )
        ),
        (labelled(segmentation=[[1, 2, 3]]), [], "ground truth: annotations\\[0\\]: expected corners"),
        (labelled(segmentation=None), [], "ground truth: annotations\\[0\\]: expected a segmentation, got none"),
        (ground_truth(), [{"category_id": 1}], "expected image_id"),
    ],
)
def test_bad_files(truth: Any, predictions: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluate_ap(truth, predictions)
