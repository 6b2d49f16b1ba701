"""pHOTA and the matching below it, beside a loop that follows spec/evaluation.md 4.4 word by word."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from masklet.evaluation.frame_matching import match_frames
from masklet.evaluation.hota import ALPHAS, HotaCounts, hota_counts
from masklet.evaluation.video_files import VideoMasklet, read_video_ground_truth, read_video_predictions
from masklet.evaluation.volume import FrameOverlaps, box_overlaps, mask_overlaps
from video_cases import example_d

KEYS = ("HOTA", "DetA", "AssA", "DetRe", "DetPr", "AssRe", "AssPr", "LocA", "OWTA")


def moving_boxes(rng: np.random.Generator, count: int, frames: int, near: list[VideoMasklet]) -> list[VideoMasklet]:
    """Masklets that come and go; most are near one of `near`."""
    made = []
    for _ in range(count):
        if near and rng.random() < 0.8:
            shift = np.tile(rng.integers(-3, 4, (frames, 2)), 2)
            boxes = near[rng.integers(len(near))].boxes_xyxy + shift + 5
        else:
            corner = rng.integers(5, 25, 2) + np.cumsum(rng.integers(-2, 3, (frames, 2)), axis=0)
            boxes = np.concatenate((corner, corner + rng.integers(4, 20, 2)), axis=1).astype(np.float64)
        boxes[rng.random(frames) < 0.3] = 0
        rles = tuple({"size": [1, 1], "counts": "01"} if box.any() else None for box in boxes)
        made.append(
            VideoMasklet(video_id=1, category_id=1, score=1.0, is_crowd=False, rles=rles, boxes_xyxy=boxes)  # type: ignore[arg-type]
        )
    return made


def random_overlaps(rng: np.random.Generator) -> FrameOverlaps:
    frames, objects, predictions = rng.integers((1, 0, 0), (9, 5, 6)).tolist()
    true = moving_boxes(rng, objects, frames, near=[])
    return box_overlaps(moving_boxes(rng, predictions, frames, near=true), true, frames)


def slow_hota(pairs: list[FrameOverlaps]) -> dict[str, float]:
    """All pairs combined, with loops over frames, masklets and thresholds."""
    rows = []
    matched = [slow_matches(one) for one in pairs]
    for alpha in np.arange(0.05, 0.99, 0.05):
        tp = fn = fp = 0
        weighted: dict[str, float] = defaultdict(float)
        for one, matches in zip(pairs, matched, strict=True):
            together: dict[tuple[int, int], int] = defaultdict(int)
            kept = [match for match in matches if match[3] >= alpha - np.finfo(float).eps]
            for _, d, g, iou in kept:
                together[d, g] += 1
                weighted["LocA"] += iou
            for (d, g), count in together.items():
                np_, ng = int(one.predicted_present[:, d].sum()), int(one.true_present[:, g].sum())
                weighted["AssA"] += count * count / (ng + np_ - count)
                weighted["AssRe"] += count * count / ng
                weighted["AssPr"] += count * count / np_
            tp += len(kept)
            fn += int(one.true_present.sum()) - len(kept)
            fp += int(one.predicted_present.sum()) - len(kept)
        row = {key: weighted[key] / max(tp, 1) for key in ("AssA", "AssRe", "AssPr")}
        row["LocA"] = weighted["LocA"] / tp if tp else 1.0
        row["DetA"], row["DetRe"], row["DetPr"] = (tp / max(n, 1) for n in (tp + fn + fp, tp + fn, tp + fp))
        row["HOTA"] = math.sqrt(row["DetA"] * row["AssA"])
        row["OWTA"] = math.sqrt(row["DetRe"] * row["AssA"])
        rows.append(row)
    return {key: sum(row[key] for row in rows) / len(rows) for key in KEYS}


def slow_matches(overlaps: FrameOverlaps) -> list[tuple[int, int, int, float]]:
    """(frame, prediction, true one, overlap) of every pair that is assigned."""
    iou = overlaps.frame_iou()
    frames, predictions, objects = iou.shape
    potential = np.zeros((predictions, objects))
    for frame in range(frames):
        for d in range(predictions):
            for g in range(objects):
                rivals = sum(iou[frame, d, :]) + sum(iou[frame, :, g]) - iou[frame, d, g]
                potential[d, g] += iou[frame, d, g] / rivals if rivals > 1e-15 else 0.0
    matches = []
    for frame in range(frames):
        there_d = [d for d in range(predictions) if overlaps.predicted_present[frame, d]]
        there_g = [g for g in range(objects) if overlaps.true_present[frame, g]]
        weight = np.zeros((len(there_g), len(there_d)))
        for row, g in enumerate(there_g):
            for column, d in enumerate(there_d):
                lives = overlaps.true_present[:, g].sum() + overlaps.predicted_present[:, d].sum()
                weight[row, column] = potential[d, g] / (lives - potential[d, g]) * iou[frame, d, g]
        for row, column in zip(*linear_sum_assignment(-weight), strict=True):
            d, g = there_d[column], there_g[row]
            matches.append((frame, d, g, float(iou[frame, d, g])))
    return matches


@pytest.mark.parametrize("seed", range(220))
def test_values_of_some_pairs_against_the_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = [random_overlaps(rng) for _ in range(rng.integers(1, 4))]
    values = sum((hota_counts(one) for one in pairs), HotaCounts.none()).values()
    assert tuple(values) == KEYS
    assert values == pytest.approx(slow_hota(pairs), abs=1e-12)


def test_example_d() -> None:
    content, predicted = example_d()
    truth = read_video_ground_truth(content)
    cats = [one for one in read_video_predictions(predicted, truth) if one.category_id == 1]
    dogs = [one for one in read_video_predictions(predicted, truth) if one.category_id == 2]
    cat = hota_counts(mask_overlaps(cats, truth.masklets, 4))
    total = cat + hota_counts(mask_overlaps(dogs, [], 4))
    # By hand, spec/evaluation.md 7.5: 16 thresholds to 0.80 and 3 above.
    assert total.true_positives.tolist() == [6] * 16 + [4] * 3
    assert total.false_positives.tolist() == [1] * 16 + [3] * 3
    assert total.false_negatives.tolist() == [0] * 16 + [2] * 3
    assert (total.association / total.true_positives).tolist() == pytest.approx([5 / 6] * 16 + [5 / 12] * 3)
    assert total.values() == pytest.approx(
        {
            "HOTA": 0.779656,
            "DetA": 0.791980,
            "AssA": 0.767544,
            "DetRe": 0.947368,
            "DetPr": 0.812030,
            "AssRe": 0.780702,
            "AssPr": 0.960526,
            "LocA": 0.943860,
            "OWTA": 0.851951,
        },
        abs=5e-7,  # half a unit of the last printed digit
    )


def test_nothing_found_and_nothing_there() -> None:
    nothing = dict.fromkeys(KEYS, 0.0) | {"LocA": 1.0}
    assert HotaCounts.none().values() == nothing
    assert hota_counts(mask_overlaps([], [], 3)).values() == nothing
    true = read_video_ground_truth(example_d()[0]).masklets
    missed = hota_counts(mask_overlaps([], true, 4))
    assert missed.values() == nothing and missed.false_negatives.tolist() == [6] * len(ALPHAS)
    wrong = hota_counts(mask_overlaps(true, [], 4))
    assert wrong.values() == nothing and wrong.false_positives.tolist() == [6] * len(ALPHAS)


def test_the_truth_itself_is_perfect() -> None:
    true = read_video_ground_truth(example_d()[0]).masklets
    assert hota_counts(mask_overlaps(true, true, 4)).values() == dict.fromkeys(KEYS, 1.0)


def test_the_same_masklet_twice_is_once_right_and_once_wrong() -> None:
    true = read_video_ground_truth(example_d()[0]).masklets[:1]
    counts = hota_counts(mask_overlaps([*true, *true], true, 4))
    assert set(counts.true_positives) == {4} and set(counts.false_positives) == {4}
    assert counts.values()["AssA"] == 1.0  # never the other of the two


def test_a_partner_for_the_whole_video_is_kept_in_a_frame_where_another_is_closer() -> None:
    # Prediction 0 follows the object in frames 0-3, prediction 1 is on it in frame 3 only, and there more exactly.
    iou = np.zeros((4, 2, 1))
    iou[:, 0, 0] = [0.9, 0.9, 0.9, 0.6]
    iou[3, 1, 0] = 0.8
    matches = match_frames(iou, iou[:, :, 0] > 0, np.ones((4, 1), dtype=np.bool_))
    assert matches.predicted_idx.tolist() == [0] * 4
    assert matches.frame_idx.tolist() == [0, 1, 2, 3] and matches.iou.tolist() == [0.9, 0.9, 0.9, 0.6]


def test_an_overlap_at_a_threshold_reaches_it() -> None:
    matches = match_frames(np.full((1, 1, 1), 0.8), np.ones((1, 1), np.bool_), np.ones((1, 1), np.bool_))
    assert matches.kept(ALPHAS).tolist() == [[True] * 16 + [False] * 3]
