"""Presence: hand-computed cases, and the area under the curve beside all comparisons of a positive with a negative."""

from __future__ import annotations

import numpy as np
import pytest

from masklet.evaluation.presence import presence_scores


def test_by_hand() -> None:
    found = presence_scores([0.9, 0.8, 0.5, 0.4, 0.1], [True, False, True, True, False]).to_dict()
    bins = (abs(0.9 - 1), abs(0.8 - 0), abs(0.5 - 1), abs(0.4 - 1), abs(0.1 - 0))
    assert found == pytest.approx(
        {
            "pairs": 5,
            "positives": 3,
            "accuracy": 3 / 5,
            "precision": 2 / 3,
            "recall": 2 / 3,
            "specificity": 1 / 2,
            "auc": 4 / 6,
            "brier": (0.01 + 0.64 + 0.25 + 0.36 + 0.01) / 5,
            "calibration_error": sum(bins) / 5,
        }
    )


def test_scores_of_one_bin_make_up_for_each_other() -> None:
    assert presence_scores([0.7, 0.7, 0.7, 0.7], [True, True, True, False]).calibration_error == pytest.approx(0.05)
    assert presence_scores([1.0, 0.0], [True, False]).calibration_error == 0


@pytest.mark.parametrize(
    ("scores", "there", "none"),
    [
        ([], [], {"accuracy", "precision", "recall", "specificity", "auc", "brier", "calibration_error"}),
        ([0.9], [True], {"specificity", "auc"}),
        ([0.1], [False], {"precision", "recall", "auc"}),
    ],
)
def test_rates_of_nothing(scores: list[float], there: list[bool], none: set[str]) -> None:
    found = presence_scores(scores, there).to_dict()
    assert {name for name, value in found.items() if value is None} == none


def test_area_beside_all_comparisons() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        count = int(rng.integers(2, 30))
        scores = rng.integers(0, 6, count) / 5
        there = rng.random(count) < 0.5
        found = presence_scores(scores, there).auc
        wins = [(a > b) + 0.5 * (a == b) for a in scores[there] for b in scores[~there]]
        assert found == pytest.approx(np.mean(wins)) if wins else found is None
