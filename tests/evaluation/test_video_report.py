"""All keys of a report on SA-Co/VEval, the worked example, and what does and does not change the values."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from masklet.errors import DataError, InputError
from masklet.evaluation.video_files import read_video_ground_truth
from masklet.evaluation.video_report import IouType, evaluate_video
from video_cases import CAT, COW, DOG, Record, example_d, ground_truth, masklet, random_files

HOTA_KEYS = ("HOTA", "DetA", "AssA", "DetRe", "DetPr", "AssRe", "AssPr", "LocA", "OWTA")
TETA_KEYS = ("teta", "loc_a", "assoc_a", "cls_a", "loc_re", "loc_pr", "assoc_re", "assoc_pr", "cls_re", "cls_pr")
SUFFIXES = ("50_95", "50", "75")
CGF1_KEYS = tuple(f"demo_{key}_{at}" for key in ("cgf1_micro", "ilmcc", "positive_micro_f1") for at in SUFFIXES)
ALL_KEYS = {
    *CGF1_KEYS,
    *TETA_KEYS,
    *(f"all_phrase_{key}" for key in HOTA_KEYS),
    *(f"phrase_ap_{at}" for at in SUFFIXES),
    "mAP_50_95",
}
# spec/evaluation.md 7.5
EXAMPLE_D = {
    "demo_cgf1_micro_50_95": 0.19997030,
    "demo_positive_micro_f1_50_95": 0.39994081,
    "demo_ilmcc_50_95": 0.49999975,
    "demo_cgf1_micro_50": 0.39995980,
    "demo_positive_micro_f1_50": 0.79992000,
    "demo_cgf1_micro_75": 0.19996790,
    "demo_positive_micro_f1_75": 0.39993601,
    "all_phrase_HOTA": 0.779656,
    "all_phrase_DetA": 0.791980,
    "all_phrase_AssA": 0.767544,
    "all_phrase_DetRe": 0.947368,
    "all_phrase_DetPr": 0.812030,
    "all_phrase_AssRe": 0.780702,
    "all_phrase_AssPr": 0.960526,
    "all_phrase_LocA": 0.943860,
    "all_phrase_OWTA": 0.851951,
}
EXAMPLE_D_TETA = {"teta": 89.861, "loc_a": 92.5, "assoc_a": 77.083, "cls_a": 100.0}
EXAMPLE_D_AP = {"phrase_ap_50_95": 0.50396, "phrase_ap_50": 1.0, "phrase_ap_75": 0.50495}


@pytest.mark.parametrize("kind", ["mask", "bbox"])
@pytest.mark.parametrize("absent", ["null", "zeros"])
def test_example_d(kind: str, absent: str, tmp_path: Path) -> None:
    truth, predictions = example_d()
    if absent == "zeros":
        for record in (*truth["annotations"], *predictions):
            empty = {"size": [20, 40], "counts": [800]}
            record["segmentations"] = [one or empty for one in record["segmentations"]]
            record["bboxes"] = [one or [0, 0, 0, 0] for one in record["bboxes"]]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "predictions.json").write_text(json.dumps(predictions))
    report = evaluate_video(tmp_path / "truth.json", tmp_path / "predictions.json", name="toy")

    assert set(report.scores) == {f"toy_{kind}_{key}" for kind in ("mask", "bbox") for key in ALL_KEYS}
    scores = {key.removeprefix(f"toy_{kind}_"): value for key, value in report.scores.items()}
    for expected, tolerance in ((EXAMPLE_D, 1e-6), (EXAMPLE_D_TETA, 1e-3), (EXAMPLE_D_AP, 5e-6)):
        assert {key: scores[key] for key in expected} == pytest.approx(expected, abs=tolerance)
    assert all(type(value) is float for value in report.scores.values())

    cat, dog, cow = report.video_np_results
    assert [(one["video_id"], one["category_id"]) for one in (cat, dog, cow)] == [(1, CAT), (1, DOG), (1, COW)]
    assert [cat[f"{kind}_{key}_50_95"] for key in ("TP", "FP", "FN", "F1")] == pytest.approx([1, 2, 1, 0.4])
    assert (dog[f"{kind}_FP_50_95"], dog[f"{kind}_F1_50_95"], cow[f"{kind}_F1_50_95"]) == (1, 0, 1)
    assert {f"{kind}_{key}" for key in HOTA_KEYS} <= set(cat)
    assert report.counts[kind].right.tolist()[0] == [2, *[1] * 8, 0]


def test_one_kind_of_overlap_gives_the_same_as_both() -> None:
    truth, predictions = random_files(1)
    both = evaluate_video(truth, predictions)
    for kind in ("mask", "bbox"):
        one = evaluate_video(truth, predictions, iou=(kind,))
        assert one.scores == pytest.approx(
            {key: value for key, value in both.scores.items() if key.startswith(f"video_{kind}_")}, nan_ok=True
        )
        assert list(one.counts) == [kind]


@pytest.mark.parametrize("iou", [(), "mask", ("mask", "mask"), ("segm",)])
def test_other_kinds_of_overlap_are_refused(iou: Any) -> None:
    with pytest.raises(InputError, match="iou must be some of"):
        evaluate_video(*example_d(), iou=iou)


def test_empty_predictions() -> None:
    truth, _ = example_d()
    scores = evaluate_video(truth, [], iou=("mask",)).scores
    not_a_number = {f"video_mask_demo_ilmcc_{at}" for at in ("50", "75")}
    assert {key for key, value in scores.items() if math.isnan(value)} == not_a_number
    assert scores["video_mask_all_phrase_LocA"] == 1
    assert {value for key, value in scores.items() if key not in not_a_number and "LocA" not in key} == {0.0}


def test_pairs_with_neither_annotation_nor_prediction_have_no_hota() -> None:
    cat, dog, cow = evaluate_video(example_d()[0], []).video_np_results
    assert "mask_HOTA" in cat and "mask_HOTA" not in dog and "mask_HOTA" not in cow
    assert dog["mask_F1_50_95"] == 1


def test_no_positives() -> None:
    truth = ground_truth([], [(1, CAT), (1, DOG)])
    scores = evaluate_video(truth, [masklet(CAT, {0: (1, 1, 5, 5)}, score=0.9)], iou=("mask",)).scores
    assert scores["video_mask_demo_cgf1_micro_50_95"] == scores["video_mask_demo_positive_micro_f1_50_95"] == 0
    assert scores["video_mask_phrase_ap_50_95"] == scores["video_mask_mAP_50_95"] == -1
    assert scores["video_mask_all_phrase_HOTA"] == scores["video_mask_teta"] == 0


def test_nothing_at_all() -> None:
    report = evaluate_video({"videos": [], "categories": [], "annotations": [], "video_np_pairs": []}, [])
    assert len(report.scores) == 2 * len(ALL_KEYS) and report.video_np_results == []


def test_without_a_list_of_pairs_there_is_no_cgf1() -> None:
    truth, predictions = example_d()
    del truth["video_np_pairs"]
    report = evaluate_video(truth, predictions)
    assert report.counts == {} and not [key for key in report.scores if "_demo_" in key]
    assert report.scores["video_mask_all_phrase_HOTA"] == pytest.approx(0.779656, abs=1e-6)
    assert len(report.video_np_results) == 3 and "mask_F1_50_95" not in report.video_np_results[0]


def test_half_a_score_is_kept_but_not_by_hota() -> None:
    truth = ground_truth([masklet(CAT, {0: (1, 1, 5, 5)})], [(1, CAT), (1, DOG)])

    def scores(score: float) -> dict[str, float]:
        found = evaluate_video(truth, [masklet(CAT, {0: (1, 1, 5, 5)}, score=score)], iou=("mask",)).scores
        return {key: found[f"video_mask_{key}"] for key in ("demo_positive_micro_f1_50", "teta", "all_phrase_HOTA")}

    assert scores(0.5) == pytest.approx({"demo_positive_micro_f1_50": 0.99985, "teta": 100, "all_phrase_HOTA": 0})
    assert scores(0.49999) == dict.fromkeys(scores(0.5), 0.0)
    assert scores(0.50001)["all_phrase_HOTA"] == 1


def test_a_pair_that_was_not_asked_about_counts_when_it_is_predicted() -> None:
    truth, predictions = example_d()
    truth["video_np_pairs"] = [pair for pair in truth["video_np_pairs"] if pair["category_id"] != DOG]
    with_dog = evaluate_video(truth, predictions, iou=("mask",))
    assert with_dog.counts["mask"].pairs == ((1, CAT), (1, DOG), (1, COW))
    without = evaluate_video(truth, predictions[:3], iou=("mask",))
    assert without.counts["mask"].pairs == ((1, CAT), (1, COW))


def test_predictions_of_unknown_videos_and_phrases_change_nothing() -> None:
    truth, predictions = example_d()
    strange = [masklet(CAT, {0: (1, 1, 5, 5)}, video_id=4, score=0.9), masklet(77, {0: (1, 1, 5, 5)}, score=0.9)]
    assert evaluate_video(truth, [*strange, *predictions]).scores == evaluate_video(truth, predictions).scores


def test_the_same_masklet_twice_is_once_wrong() -> None:
    truth = ground_truth([masklet(CAT, {0: (1, 1, 5, 5)})], [(1, CAT), (1, DOG)])
    one = masklet(CAT, {0: (1, 1, 5, 5)}, score=0.9)
    report = evaluate_video(truth, [one, one], iou=("mask",))
    assert report.video_np_results[0]["mask_TP_50"] == report.video_np_results[0]["mask_FP_50"] == 1
    assert report.scores["video_mask_all_phrase_DetA"] == pytest.approx(0.5)
    assert report.scores["video_mask_phrase_ap_50"] == pytest.approx(1.0)  # found before the copy is wrong


def test_a_masklet_that_is_nowhere_is_wrong_as_a_masklet_but_in_no_frame() -> None:
    truth = ground_truth([masklet(CAT, {0: (1, 1, 5, 5)})], [(1, CAT), (1, DOG)])
    report = evaluate_video(truth, [masklet(DOG, {}, score=0.9)], iou=("mask", "bbox"))
    for kind in ("mask", "bbox"):
        assert report.video_np_results[1][f"{kind}_FP_50"] == 1
    assert report.scores["video_mask_all_phrase_DetPr"] == 0
    assert report.counts["mask"].predicted.tolist() == [0, 1]


def test_crowds_are_no_objects_for_cgf1_and_no_mistakes_for_ap() -> None:
    truth = ground_truth([masklet(CAT, {0: (1, 1, 5, 5)}, iscrowd=1)], [(1, CAT)])
    report = evaluate_video(truth, [masklet(CAT, {0: (1, 1, 5, 5)}, score=0.9)], iou=("mask",))
    assert report.video_np_results[0]["mask_FP_50"] == 1 and report.video_np_results[0]["mask_TP_50"] == 0
    assert report.scores["video_mask_phrase_ap_50"] == -1
    assert report.scores["video_mask_all_phrase_HOTA"] == 1  # HOTA knows no crowds


def test_masks_of_another_size_are_refused() -> None:
    truth, predictions = example_d()
    predictions[1]["segmentations"][0] = {"size": [40, 20], "counts": [3, 5, 792]}
    with pytest.raises(
        DataError, match=r"segmentations\[0\] of record 1 of predictions: expected a run-length code of 40 x 20 "
    ):
        evaluate_video(truth, predictions)


def shuffled(seed: int, truth: Record, predictions: list[Record]) -> tuple[Record, list[Record]]:
    rng = np.random.default_rng(seed)
    turned = {key: [records[idx] for idx in rng.permutation(len(records))] for key, records in truth.items()}
    return turned, [predictions[idx] for idx in rng.permutation(len(predictions))]


@pytest.mark.parametrize("seed", range(15))
def test_the_order_of_records_is_of_no_matter(seed: int) -> None:
    truth, predictions = random_files(seed)
    before = copy.deepcopy((truth, predictions))
    straight, turned = evaluate_video(truth, predictions), evaluate_video(*shuffled(seed, truth, predictions))
    assert (truth, predictions) == before
    # At TETA's threshold 0 masklets that never overlap may be partners, and nothing says which.
    tied = {key: 100 / 20 for key in straight.scores if "_assoc_" in key or key.endswith("_teta")}
    for key, value in straight.scores.items():
        assert turned.scores[key] == pytest.approx(value, abs=tied.get(key, 1e-9), nan_ok=True), key
    assert turned.video_np_results == [pytest.approx(one) for one in straight.video_np_results]


@pytest.mark.parametrize("seed", range(15))
def test_the_truth_as_prediction_is_perfect(seed: int) -> None:
    made, _ = random_files(seed)
    there = [one for one in made["annotations"] if any(one["bboxes"]) and one["category_id"] != COW]
    there.append(masklet(DOG, {0: (2, 3, 4, 5)}, frames=made["videos"][0]["length"]))
    asked = [(pair["video_id"], pair["category_id"]) for pair in made["video_np_pairs"]]
    truth = ground_truth(there, asked, frames=made["videos"][0]["length"], videos=len(made["videos"]))
    report = evaluate_video(truth, [one | {"score": 0.51 + 0.4 / n} for n, one in enumerate(truth["annotations"], 1)])
    for kind in ("mask", "bbox"):
        for key in ("demo_cgf1_micro_50_95", "all_phrase_HOTA", "phrase_ap_50_95", "mAP_50_95"):
            assert report.scores[f"video_{kind}_{key}"] == pytest.approx(1, abs=2e-3), key  # cgF1 has epsilons
        assert report.scores[f"video_{kind}_loc_a"] == 100


def test_ground_truth_may_be_read_before() -> None:
    truth, predictions = example_d()
    assert (
        evaluate_video(read_video_ground_truth(truth), predictions).scores == evaluate_video(truth, predictions).scores
    )


def test_kinds_are_named() -> None:
    kinds: tuple[IouType, ...] = ("mask", "bbox")
    assert set(evaluate_video(*example_d(), iou=kinds).counts) == set(kinds)
