"""cgF1: the worked examples of spec/evaluation.md 7, random cases beside plain loops, and odd files."""

from __future__ import annotations

import copy
import itertools
import json
import math
from typing import Any

import numpy as np
import pytest

from masklet.errors import DataError
from masklet.evaluation.cgf1 import evaluate_cgf1, level_counts
from masklet.ops.masks import decode_rle, encode_rle
from pair_cases import EXAMPLE_A, EXAMPLE_B, EXAMPLE_C, HEIGHT, WIDTH, prediction, truth

# The spec prints eight digits.
TOLERANCE = 1e-6


def values_of(ground_truth: Any, predictions: Any, iou: Any = "segm") -> dict[str, float]:
    files = [ground_truth] if isinstance(ground_truth, dict) else list(ground_truth)
    values, _ = evaluate_cgf1(files, predictions, iou)
    prefix = f"cgF1_eval_{iou}_"
    assert all(name.startswith(prefix) for name in values)
    return {name.removeprefix(prefix): value for name, value in values.items()}


@pytest.mark.parametrize("iou", ["segm", "bbox"])
def test_example_a(iou: str) -> None:
    values = values_of(*EXAMPLE_A, iou)
    assert list(values) == [
        *("cgF1", "precision", "recall", "F1", "positive_macro_F1", "positive_micro_F1", "positive_micro_precision"),
        *("IL_precision", "IL_recall", "IL_F1", "IL_FPR", "IL_MCC"),
        *("cgF1@0.5", "precision@0.5", "recall@0.5", "F1@0.5"),
        *("positive_macro_F1@0.5", "positive_micro_F1@0.5", "positive_micro_precision@0.5"),
        *("cgF1@0.75", "precision@0.75", "recall@0.75", "F1@0.75"),
        *("positive_macro_F1@0.75", "positive_micro_F1@0.75", "positive_micro_precision@0.75"),
    ]
    expected = {
        "cgF1": 0.45709707,
        "precision": 0.47999040,
        "recall": 0.79997333,
        "F1": 0.59993813,
        "positive_macro_F1": 0.68990991,
        "positive_micro_F1": 0.68564572,
        "positive_micro_precision": 0.59998500,
        "IL_precision": 0.66666644,
        "IL_recall": 0.99999950,
        "IL_F1": 0.79999920,
        "IL_FPR": 0.33333322,
        "IL_MCC": 0.66666656,
        "cgF1@0.5": 0.57137950,
        "cgF1@0.75": 0.57137950,
        "precision@0.5": 0.59998800,
        "recall@0.5": 0.99996667,
        "F1@0.5": 0.74993438,
        "positive_macro_F1@0.5": 0.89988501,
        "positive_micro_F1@0.5": 0.85706939,
        "positive_micro_precision@0.5": 0.74998125,
    }
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=TOLERANCE)


def test_example_a_counts() -> None:
    _, counts = evaluate_cgf1([EXAMPLE_A[0]], EXAMPLE_A[1])
    assert counts.true.tolist() == [2, 1, 0, 0, 0]
    assert counts.predicted.tolist() == [3, 1, 1, 0, 0]
    assert counts.right.sum(0).tolist() == [3] * 7 + [1] * 3
    assert level_counts(counts) == {"IL_TP": 2, "IL_FP": 1, "IL_TN": 2, "IL_FN": 0}


def test_example_b_assignment_crowd_and_exclusion() -> None:
    values, counts = evaluate_cgf1([EXAMPLE_B[0]], EXAMPLE_B[1])
    assert counts.pairs == (1, 2, 3)
    assert counts.right.sum(0).tolist() == [2, 1, 1, 1, 1, 1, 0, 0, 0, 0]
    expected = {
        "cgF1": 0.23329544,
        "positive_micro_F1": 0.23329556,
        "precision": 0.23332556,
        "recall": 0.23332556,
        "positive_macro_F1": 0.17497625,
        "IL_MCC": 0.99999950,
        "IL_FPR": 0.0,
        "cgF1@0.5": 0.66659412,
        "positive_micro_F1@0.5": 0.66659445,
        "positive_macro_F1@0.5": 0.49995000,
    }
    found = {name: values[f"cgF1_eval_segm_{name}"] for name in expected}
    assert found == pytest.approx(expected, abs=TOLERANCE)


def test_example_c_three_annotators() -> None:
    values, counts = evaluate_cgf1(EXAMPLE_C[0], EXAMPLE_C[1])
    assert counts.pairs == (1, 2, 3)
    assert counts.right.sum(0).tolist() == [3] * 7 + [2, 2, 1]
    expected = {
        "cgF1": 0.86658735,
        "positive_micro_F1": 0.86658778,
        "precision": 0.86663778,
        "recall": 0.86663778,
        "positive_macro_F1": 0.82489876,
        "IL_MCC": 0.99999950,
        "cgF1@0.5": 0.99991617,
        "positive_macro_F1@0.5": 0.99987501,
    }
    found = {name: values[f"cgF1_eval_segm_{name}"] for name in expected}
    assert found == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize(
    ("annotator", "pairs", "expected"),
    [
        (0, 4, {"cgF1": 0.479937, "IL_MCC": 1.0}),
        (1, 4, {"cgF1": 0.0, "positive_micro_F1": 0.759922, "IL_MCC": 0.0}),
        (2, 3, {"cgF1": 0.599937, "IL_MCC": 1.0}),
    ],
)
def test_example_c_one_annotator(annotator: int, pairs: int, expected: dict[str, float]) -> None:
    values, counts = evaluate_cgf1([EXAMPLE_C[0][annotator]], EXAMPLE_C[1])
    assert len(counts.pairs) == pairs
    found = {name: values[f"cgF1_eval_segm_{name}"] for name in expected}
    assert found == pytest.approx(expected, abs=1e-6)


POSITIVE, BOTH = truth({1: [(0, 0, 10, 10)]}), truth({1: [(0, 0, 10, 10)], 2: []})
PERFECT = prediction(1, (0, 0, 10, 10), 0.9)


@pytest.mark.parametrize(
    ("ground_truth", "predictions", "expected"),
    [
        (BOTH, [], (0, 0, 0, -1)),
        (POSITIVE, [PERFECT], (0, 0.99985001, 0, 0.99985001)),
        (BOTH, [PERFECT], (0.99984901, 0.99985001, 0.99999900, 0.99985001)),
        (BOTH, [PERFECT | {"category_id": 2}], (0, 0, 0, -1)),
        (BOTH, [PERFECT | {"score": 0.5}], (0.99984901, 0.99985001, 0.99999900, 0.99985001)),
        (BOTH, [PERFECT | {"score": 0.49999}], (0, 0, 0, -1)),
        (truth({}), [], (0, 0, 0, -1)),
    ],
    ids=["none predicted", "positives only", "perfect", "foreign category", "score 0.5", "score below", "no pairs"],
)
def test_edge_values(ground_truth: Any, predictions: Any, expected: tuple[float, ...]) -> None:
    values = values_of(ground_truth, predictions)
    names = ("cgF1", "positive_micro_F1", "IL_MCC", "positive_macro_F1")
    assert tuple(values[name] for name in names) == pytest.approx(expected, abs=TOLERANCE)


def test_overlap_of_exactly_a_threshold_counts() -> None:
    half = values_of(BOTH, [prediction(1, (0, 0, 10, 5), 0.9)])
    assert half["positive_micro_F1@0.5"] == pytest.approx(0.99985001, abs=TOLERANCE)
    assert half["positive_micro_F1"] == pytest.approx(0.099985, abs=TOLERANCE)
    nine_tenths = values_of(BOTH, [prediction(1, (0, 0, 10, 9), 0.9)])
    assert nine_tenths["positive_micro_F1"] == pytest.approx(0.9 * 0.99985001, abs=TOLERANCE)


def test_what_a_prediction_of_another_size_counts() -> None:
    """pycocotools calls such an overlap -1: the pair is assigned and never right."""
    other = np.zeros((HEIGHT + 1, WIDTH), dtype=np.bool_)
    other[:10, :10] = True
    _, counts = evaluate_cgf1([BOTH], [PERFECT | {"segmentation": encode_rle(other)}])
    assert (counts.true.tolist(), counts.predicted.tolist(), counts.right.sum()) == ([1, 0], [1, 0], 0)


# --- random cases beside plain loops ----------------------------------------------------------------------------------


def plain_loops(files: list[Any], predictions: list[Any], iou: str) -> dict[str, float]:
    """spec/evaluation.md 2.1 to 2.5 as one reads it: masks as arrays, every assignment tried."""
    thresholds = np.linspace(0.5, 0.95, 10)
    totals = {name: np.zeros(10) for name in ("tp", "fp", "fn", "pmfp", "local")}
    level = {"tp": 0, "fp": 0, "tn": 0, "fn": 0}
    qualified = 0
    exhaustive = [{image["id"]: image["is_instance_exhaustive"] for image in file["images"]} for file in files]
    for image in files[0]["images"]:
        if not all(flags[image["id"]] for flags in exhaustive):
            continue
        best = None
        for file in files:
            result = one_pair(image["id"], file, predictions, iou, thresholds)
            if best is None or (
                best["f1"] is not None and (result["f1"] is None or result["f1"].mean() > best["f1"].mean())
            ):
                best = result
        assert best is not None
        there, found = best["there"], best["found"]
        level[("t" if there == found else "f") + ("p" if found else "n")] += 1
        for name in ("tp", "fp", "fn"):
            totals[name] += best[name]
        if there:
            totals["pmfp"] += best["fp"]
            totals["local"] += best["f1"]
            qualified += found
    tp, fp, fn, pmfp = (totals[name] for name in ("tp", "fp", "fn", "pmfp"))
    precision, recall, positive = tp / (tp + fp + 1e-4), tp / (tp + fn + 1e-4), tp / (tp + pmfp + 1e-4)
    mcc = (level["tp"] * level["tn"] - level["fp"] * level["fn"]) / (
        math.sqrt(
            (level["tp"] + level["fp"])
            * (level["tp"] + level["fn"])
            * (level["tn"] + level["fp"])
            * (level["tn"] + level["fn"])
        )
        + 1e-6
    )
    pm_f1 = 2 * positive * recall / (positive + recall + 1e-4)
    return {
        "cgF1": (pm_f1 * mcc).mean(),
        "IL_MCC": mcc,
        "F1": (2 * precision * recall / (precision + recall + 1e-4)).mean(),
        "positive_macro_F1": (totals["local"] / qualified).mean() if qualified else -1,
        "positive_micro_F1": pm_f1.mean(),
        "cgF1@0.75": pm_f1[5] * mcc,
        "IL_FPR": level["fp"] / (level["fp"] + level["tn"] + 1e-6),
    }


def agrees_more(f1: Any, best: Any) -> bool:
    return best is not None and (f1 is None or f1.mean() > best.mean())


def one_pair(pair: int, file: Any, predictions: list[Any], iou: str, thresholds: Any) -> dict[str, Any]:
    objects = [one for one in file["annotations"] if one["image_id"] == pair and not one["iscrowd"]]
    found = [one for one in predictions if one["image_id"] == pair and one["score"] >= 0.5 and one["category_id"] == 1]
    overlap = [[overlap_of(one, other, iou) for other in objects] for one in found]
    pairs = best_pairs(overlap, len(found), len(objects))
    tp = np.array([sum(value >= threshold for value in pairs) for threshold in thresholds], dtype=float)
    fp, fn = len(found) - tp, len(objects) - tp
    precision, recall = tp / (tp + fp + 1e-4), tp / (tp + fn + 1e-4)
    f1 = 2 * precision * recall / (precision + recall + 1e-4) if objects or found else None
    return {"tp": tp, "fp": fp, "fn": fn, "f1": f1, "there": bool(objects), "found": bool(found)}


def best_pairs(overlap: list[list[float]], found: int, objects: int) -> list[float]:
    if found < objects:
        overlap = [list(column) for column in zip(*overlap, strict=True)] if overlap else []
        found, objects = objects, found
    choices = itertools.permutations(range(found), objects)
    return max(([overlap[row][column] for column, row in enumerate(rows)] for rows in choices), key=sum)


def overlap_of(one: Any, other: Any, iou: str) -> float:
    if iou == "segm":
        first, second = decode_rle(one["segmentation"]), decode_rle(other["segmentation"])
        return float((first & second).sum() / max((first | second).sum(), 1))
    (ax, ay, aw, ah), (bx, by, bw, bh) = one["bbox"], other["bbox"]
    shared = max(0, min(ax + aw, bx + bw) - max(ax, bx)) * max(0, min(ay + ah, by + bh) - max(ay, by))
    return float(shared / (aw * ah + bw * bh - shared))


def random_case(rng: np.random.Generator) -> tuple[list[Any], list[Any]]:
    """One to three annotators who mostly agree, and predictions near what they say."""

    def near(box: Any) -> Any:
        x, y, width, height = (int(value + rng.choice([-1, 0, 0, 0, 1])) for value in box)
        return (min(max(x, 0), 24), min(max(y, 0), 9), min(max(width, 5), 16), min(max(height, 5), 11))

    pairs = range(1, int(rng.integers(5, 10)))
    places = {
        pair: [tuple(rng.integers((0, 0, 7, 5), (24, 9, 16, 11))) for _ in range(rng.choice([0, 0, 1, 2, 3]))]
        for pair in pairs
    }
    files = []
    for _ in range(rng.integers(1, 4)):
        seen = {pair: [near(box) for box in boxes if rng.random() < 0.9] for pair, boxes in places.items()}
        crowds = {pair: [(2, 2, 9, 9)] for pair in pairs if rng.random() < 0.1}
        files.append(truth(seen, crowds=crowds, unmarked=[pair for pair in pairs if rng.random() < 0.05]))
    predictions = [
        prediction(pair, near(box), float(rng.choice([0.3, 0.5, 0.7, 0.9])), category_id=int(rng.random() < 0.95))
        for pair, boxes in places.items()
        for box in [*boxes, *[(5, 5, 5, 5)] * int(rng.integers(0, 2))]
        if rng.random() < 0.9
    ]
    return files, predictions


@pytest.mark.parametrize("iou", ["segm", "bbox"])
def test_random_cases_beside_plain_loops(iou: str) -> None:
    rng = np.random.default_rng(3)
    seen = set()
    for _ in range(200):
        files, predictions = random_case(rng)
        expected = plain_loops(files, predictions, iou)
        values = values_of(files, predictions, iou)
        assert {name: values[name] for name in expected} == pytest.approx(expected, abs=1e-9)
        seen.add(round(expected["cgF1"], 3))
    assert len(seen) > 100  # the cases differ


# --- files ------------------------------------------------------------------------------------------------------------


def test_files_and_order_and_nothing_changed(tmp_path: Any) -> None:
    files, predictions = EXAMPLE_C
    before = copy.deepcopy(EXAMPLE_C)
    expected = values_of(files, predictions)
    assert before == EXAMPLE_C

    shuffled = copy.deepcopy(list(files))
    for name, file in zip("abc", shuffled, strict=True):
        file["images"].reverse()
        file["annotations"].reverse()
        (tmp_path / f"{name}.json").write_text(json.dumps(file))
    (tmp_path / "p.json").write_text(json.dumps(predictions[::-1]))
    from_files, _ = evaluate_cgf1([tmp_path / f"{name}.json" for name in "abc"], tmp_path / "p.json")
    assert list(from_files.values()) == pytest.approx(list(expected.values()), abs=1e-12)


@pytest.mark.parametrize("form", ["polygon", "counts"])
def test_other_forms_of_masks(form: str) -> None:
    x, y, width, height = 3, 2, 10, 6
    runs = [x * HEIGHT + y, *[height, HEIGHT - height] * (width - 1), height]
    runs.append(WIDTH * HEIGHT - sum(runs))
    other: Any = {
        "polygon": [[x, y, x + width, y, x + width, y + height, x, y + height]],
        "counts": {"size": [HEIGHT, WIDTH], "counts": runs},
    }[form]
    file = truth({1: [(x, y, width, height)], 2: []})
    perfect = prediction(1, (x, y, width, height), 0.9)
    expected = values_of(file, [perfect])
    file["annotations"][0]["segmentation"] = other
    assert values_of(file, [perfect | {"segmentation": other}]) == pytest.approx(expected)


def test_what_counts_nowhere_is_said(caplog: pytest.LogCaptureFixture) -> None:
    stray = copy.deepcopy(BOTH)
    stray["annotations"].append(stray["annotations"][0] | {"id": 9, "image_id": 77})
    values_of(stray, [PERFECT, PERFECT | {"image_id": 5}, PERFECT | {"category_id": 3}])
    assert [record.getMessage() for record in caplog.records] == [
        "ground truth: 1 annotations with an image or category that the file does not list are left out: 9",
        "predictions: 1 image ids are unknown to ground truth, and their predictions do not count: 5",
        "predictions: 1 category ids are unknown to ground truth, and their predictions do not count: 3",
    ]


@pytest.mark.parametrize(
    ("ground_truth", "predictions", "message"),
    [
        ([], [], "expected one file of ground truth or more"),
        ([[]], [], "ground truth: expected an object with images, annotations and categories, got list"),
        ([{"images": []}], [], "ground truth: expected a list 'categories', got nothing"),
        ([truth({1: []}) | {"images": [{}]}], [], "no 'id'"),
        ([truth({1: []}) | {"images": [{"id": 1}, {"id": 1}]}], [], "every id of images once"),
        ([truth({1: []}), truth({1: [], 2: []})], [], "differ in 1, for example 2"),
        ([BOTH], {"annotations": []}, "expected a list of predictions, got dict"),
        ([BOTH], [3], "number 0 has no 'image_id'"),
        ([BOTH], [PERFECT, {"image_id": 1, "score": 1}], "number 1 has no 'category_id'"),
        ([BOTH], [PERFECT | {"score": math.nan}], "score of prediction 0 must be a finite number, got nan"),
        ([BOTH], [PERFECT | {"score": "0.9"}], "score of prediction 0 must be a finite number, got '0.9'"),
        (
            [BOTH],
            [PERFECT | {"segmentation": None}],
            "prediction: expected a segmentation, got none",
        ),
        (
            [BOTH],
            [PERFECT | {"segmentation": {"size": [1]}}],
            "expected a list of polygons [x, y, x, y ...] or {size: [height, width], counts}, got {'size': [1]}",
        ),
        ([BOTH], [{key: PERFECT[key] for key in ("image_id", "category_id", "score")}], "expected a segmentation"),
        ([BOTH], [PERFECT | {"segmentation": {"size": [20, 40], "counts": "3"}}], "run-length code of 800 pixels"),
        ([BOTH], [PERFECT | {"segmentation": [[1, 2, 3]]}], "corners x, y, x, y ..., got 3 numbers"),
    ],
)
def test_files_that_cannot_be_used(ground_truth: Any, predictions: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        evaluate_cgf1(ground_truth, predictions)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_boxes_that_are_none() -> None:
    for box in (None, [1, 2, 3], [0, 0, math.inf, 1], "box"):
        with pytest.raises(DataError, match="expected a bbox of four finite numbers"):
            evaluate_cgf1([BOTH], [PERFECT | {"bbox": box}], "bbox")


def test_polygons_without_a_size() -> None:
    labels = copy.deepcopy(BOTH)
    del labels["images"][0]["width"]
    with pytest.raises(DataError, match="polygons need width and height"):
        evaluate_cgf1([labels], [PERFECT | {"segmentation": [[0, 0, 9, 0, 9, 9]]}])


def test_an_empty_mask_is_a_wrong_answer() -> None:
    empty = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}
    _, counts = evaluate_cgf1([BOTH], [PERFECT, PERFECT | {"segmentation": empty}])
    assert (counts.predicted.tolist(), counts.right[:, 0].tolist()) == ([2, 0], [1, 0])


def test_files_that_cannot_be_read(tmp_path: Any) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        evaluate_cgf1([tmp_path / "none.json"], [])
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DataError, match=r"bad\.json: expected JSON"):
        evaluate_cgf1([BOTH], tmp_path / "bad.json")
