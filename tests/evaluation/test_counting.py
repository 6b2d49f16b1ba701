"""Counting: errors, and masks that are one object."""

from __future__ import annotations

from typing import Any

import pytest

from masklet.evaluation.counting import count_objects, counting_scores
from pair_cases import rectangle


def test_errors() -> None:
    found = counting_scores([1, 4, 0, 7], [1, 2, 3, 7])
    assert found.to_dict() == {"pairs": 4, "mean_absolute_error": 1.25, "accuracy": 0.5}
    assert counting_scores([], []).to_dict() == {"pairs": 0, "mean_absolute_error": None, "accuracy": None}


GROUP, MEMBER, OTHER = rectangle((0, 0, 20, 10)), rectangle((2, 2, 5, 5)), rectangle((30, 0, 5, 5))


@pytest.mark.parametrize(
    ("masks", "scores", "count"),
    [
        ([], [], 0),
        ([MEMBER, OTHER], [0.9, 0.8], 2),
        ([MEMBER, OTHER], [0.9, 0.5], 1),  # exactly one half does not count
        ([GROUP, MEMBER, OTHER], [0.9, 0.8, 0.7], 2),
        ([MEMBER, GROUP], [0.7, 0.8], 1),
        ([rectangle((0, 0, 10, 10)), rectangle((5, 0, 10, 10))], [0.9, 0.8], 2),  # a half is not more than a half
        ([rectangle((0, 0, 10, 10)), rectangle((4, 0, 10, 10))], [0.9, 0.8], 1),
        # The middle one goes for the first, so the last one, which only touches the middle one, stays.
        ([rectangle((0, 0, 10, 9)), rectangle((4, 0, 10, 9)), rectangle((8, 0, 10, 9))], [0.9, 0.8, 0.7], 2),
    ],
)
def test_objects(masks: list[Any], scores: list[float], count: int) -> None:
    assert count_objects(masks, scores) == count
