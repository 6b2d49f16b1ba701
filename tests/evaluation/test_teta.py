"""TETA beside a loop that follows the rules of spec/evaluation.md 4.5 one after the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import reduce

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from masklet.evaluation.matching import IntArray
from masklet.evaluation.teta import ALPHAS, CLASS_ALPHAS, TetaCounts, teta_counts, teta_values
from masklet.evaluation.video_files import VideoMasklet, read_video_ground_truth, read_video_predictions
from masklet.evaluation.volume import FrameOverlaps, mask_overlaps
from video_cases import CAT, COW, DOG, example_d, ground_truth, masklet, random_files

Video = tuple[FrameOverlaps, IntArray, IntArray]
A, B = (0, 0, 10, 10), (20, 0, 10, 10)
KEYS = ("teta", "loc_a", "assoc_a", "cls_a", "loc_re", "loc_pr", "assoc_re", "assoc_pr", "cls_re", "cls_pr")


def categories(masklets: Sequence[VideoMasklet]) -> IntArray:
    return np.array([one.category_id for one in masklets], dtype=np.int64)


def videos_of(content: object, predicted: object, least: float = 0.5) -> list[Video]:
    truth = read_video_ground_truth(content)  # type: ignore[arg-type]
    found = [one for one in read_video_predictions(predicted, truth) if one.score >= least]  # type: ignore[arg-type]
    videos = []
    for video_id, video in truth.videos.items():
        d = [one for one in found if one.video_id == video_id]
        g = [one for one in truth.masklets if one.video_id == video_id]
        videos.append((mask_overlaps(d, g, video.frame_count), categories(d), categories(g)))
    return videos


def values_of(videos: Sequence[Video]) -> dict[str, float]:
    total: dict[int, list[TetaCounts]] = defaultdict(list)
    for video in videos:
        for category, counts in teta_counts(*video).items():
            total[category].append(counts)
    return teta_values({category: reduce(TetaCounts.__add__, parts) for category, parts in total.items()})


def slow_matches(
    iou: np.ndarray, d_there: np.ndarray, g_there: np.ndarray, ds: list[int], gs: list[int]
) -> list[tuple[int, int, int]]:
    """(frame, prediction, true one) of every assigned pair among `ds` and `gs`."""
    frames = len(iou)
    fit = np.zeros(iou.shape[1:])
    for d in ds:
        for g in gs:
            soft = 0.0
            for frame in range(frames):
                rivals = iou[frame, d, gs].sum() + iou[frame, ds, g].sum() - iou[frame, d, g]
                soft += iou[frame, d, g] / rivals if rivals > 1e-15 else 0.0
            lives = d_there[:, d].sum() + g_there[:, g].sum()
            fit[d, g] = soft / (lives - soft) if lives > soft else 0.0
    matches = []
    for frame in range(frames):
        here_d, here_g = [d for d in ds if d_there[frame, d]], [g for g in gs if g_there[frame, g]]
        weight = np.array([[fit[d, g] * iou[frame, d, g] for d in here_d] for g in here_g])
        if weight.size:
            rows, columns = linear_sum_assignment(-weight)
            matches += [(frame, here_d[c], here_g[r]) for r, c in zip(rows, columns, strict=True)]
    return matches


def slow_teta(videos: Sequence[Video]) -> dict[str, float]:
    eps = np.finfo(float).eps
    sums: dict[int, dict[str, np.ndarray]] = defaultdict(lambda: defaultdict(lambda: np.zeros(20)))
    for overlaps, d_cat, g_cat in videos:
        iou, d_there, g_there = overlaps.frame_iou(), overlaps.predicted_present, overlaps.true_present
        frames, predictions, objects = iou.shape
        everyone = slow_matches(iou, d_there, g_there, list(range(predictions)), list(range(objects)))
        given = {(f, d): g for f, d, g in everyone if iou[f, d, g] >= 0.5}  # rule 1
        for c in sorted({*d_cat.tolist(), *g_cat.tolist()}):
            row, gs = sums[c], [g for g in range(objects) if g_cat[g] == c]
            candidates = {  # rule 2
                (f, d)
                for f in range(frames)
                for d in range(predictions)
                if any(iou[f, d, g] >= 0.5 for g in gs) and given.get((f, d), gs[0]) in gs
            }
            tracks = sorted({d for _, d in candidates})
            matches = slow_matches(iou, d_there, g_there, tracks, gs)
            for at, alpha in enumerate(ALPHAS):  # rule 3
                kept = [(f, d, g) for f, d, g in matches if iou[f, d, g] >= alpha - eps]
                row["tp"][at] += len(kept)
                row["fn"][at] += sum(g_there[:, g].sum() for g in gs) - len(kept)
                row["fp"][at] += len(candidates - {(f, d) for f, d, _ in kept})
                for d in tracks:
                    for g in gs:
                        m = sum(1 for match in kept if match[1:] == (d, g))
                        nd, ng = d_there[:, d].sum(), g_there[:, g].sum()
                        row["assoc_a"][at] += m * m / max(nd + ng - m, 1)
                        row["assoc_re"][at] += m * m / max(ng, 1)
                        row["assoc_pr"][at] += m * m / max(nd, 1)
                if alpha < 0.5 - eps:
                    continue
                row["ctp"][at] += sum(d_cat[d] == c for _, d, _ in kept)  # rule 4
                row["cfn"][at] += sum(d_cat[d] != c for _, d, _ in kept)
                matched = {(f, d) for f, d, _ in kept}
                for d in range(predictions):
                    if d_cat[d] == c and d not in tracks:
                        row["cfp"][at] += d_there[:, d].sum()
                    elif d_cat[d] == c:
                        close = [f for f in range(frames) if any(iou[f, d, g] >= alpha - eps for g in gs)]
                        row["cfp"][at] += sum((f, d) not in matched for f in close)
    rows = []
    for row in sums.values():
        tp, fn, fp, ctp, cfn, cfp = (row[key] for key in ("tp", "fn", "fp", "ctp", "cfn", "cfp"))
        if not (tp + fn + fp).any():
            continue
        loc, cls = (
            [t / np.maximum(x, 1) for x in (t + n + p, t + n, t + p)] for t, n, p in ((tp, fn, fp), (ctp, cfn, cfp))
        )
        association = [row[key] / np.maximum(tp, 1) for key in ("assoc_a", "assoc_re", "assoc_pr")]
        means = [100 * value.mean() for value in (*loc, *association)] + [100 * value[10:].mean() for value in cls]
        rows.append(means)
    la, lr, lp, aa, ar, ap, ca, cr, cp = np.mean(rows, axis=0) if rows else np.zeros(9)
    return dict(zip(KEYS, ((la + aa + ca) / 3, la, aa, ca, lr, lp, ar, ap, cr, cp), strict=True))


@pytest.mark.parametrize("seed", range(120))
def test_against_the_loop(seed: int) -> None:
    videos = videos_of(*random_files(seed), least=0.2)
    assert values_of(videos) == pytest.approx(slow_teta(videos), abs=5.1e-4)  # rounded to 3 decimals


def test_example_d() -> None:
    values = values_of(videos_of(*example_d()))
    assert tuple(values) == KEYS
    first_four = {key: values[key] for key in KEYS[:4]}
    assert first_four == pytest.approx({"teta": 89.861, "loc_a": 92.5, "assoc_a": 77.083, "cls_a": 100.0}, abs=1e-3)


def test_the_truth_itself_is_perfect() -> None:
    content, _ = random_files(0)
    assert content["annotations"]
    perfect = [record | {"score": 1.0} for record in content["annotations"] if any(record["bboxes"])]
    values = values_of(videos_of(content, perfect))
    assert values["loc_a"] == values["assoc_a"] == 100


def one_cat(*predicted: dict[str, object]) -> dict[str, float]:
    """Values where a cat stays in one place for four frames."""
    truth = ground_truth([masklet(CAT, dict.fromkeys(range(4), A))], [(1, CAT), (1, DOG), (1, COW)])
    return values_of(videos_of(truth, list(predicted)))


def test_a_wrong_name_is_wrong_for_class_only() -> None:
    values = one_cat(masklet(DOG, dict.fromkeys(range(4), A), score=0.9))
    assert (values["loc_a"], values["assoc_a"], values["cls_a"]) == (100, 100, 0)
    assert values["teta"] == pytest.approx(200 / 3, abs=1e-3)


def test_something_else_elsewhere_costs_nothing() -> None:
    right = masklet(CAT, dict.fromkeys(range(4), A), score=0.9)
    assert one_cat(right, masklet(DOG, {0: B}, score=0.9)) == one_cat(right)


def test_a_cat_elsewhere_is_wrong_for_class_in_each_of_its_frames() -> None:
    values = one_cat(masklet(CAT, dict.fromkeys(range(4), A), score=0.9), masklet(CAT, {0: B, 1: B}, score=0.9))
    assert values["loc_a"] == 100
    assert values["cls_a"] == pytest.approx(100 * 4 / 6, abs=1e-3) and values["cls_re"] == 100


def test_the_same_masklet_twice_is_once_wrong() -> None:
    one = masklet(CAT, dict.fromkeys(range(4), A), score=0.9)
    values = one_cat(one, one)
    assert (values["loc_a"], values["loc_pr"], values["cls_a"], values["assoc_a"]) == (50, 50, 50, 100)


def test_nothing_found_nothing_there() -> None:
    assert one_cat() == dict.fromkeys(KEYS, 0.0)
    assert teta_values({}) == dict.fromkeys(KEYS, 0.0)
    nothing_there = videos_of(ground_truth([], [(1, CAT)]), [masklet(CAT, {0: A}, score=0.9)])
    assert values_of(nothing_there) == dict.fromkeys(KEYS, 0.0)  # no phrase has anything to find


def test_thresholds() -> None:
    assert len(ALPHAS) == 20 and len(CLASS_ALPHAS) == 10
    assert ALPHAS[0] == 0 and CLASS_ALPHAS[0] == pytest.approx(0.5, abs=1e-15)
