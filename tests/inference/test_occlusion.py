"""Which of two masklets on one object is emptied."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from masklet.inference.association import NO_CONCEPT
from masklet.inference.lifecycle import JUST_BORN, NEVER, Masklets
from masklet.inference.occlusion import occluded_twins
from masklet.inference.policy import VideoPolicy
from masklet.ops.masks import mask_iou
from scripted_video import EMPTY, A, rectangle

POLICY = VideoPolicy()


def masklets_of(last: list[int], concepts: list[int] | None = None, by_user: tuple[int, ...] = ()) -> Masklets:
    count = len(last)
    return replace(
        Masklets(),
        object_ids=np.arange(count),
        concept_idx=np.array(concepts or [0] * count, dtype=np.int64),
        last_occluded=np.array(last, dtype=np.int64),
        by_user=np.isin(np.arange(count), by_user),
    )


def emptied(
    masks: list[torch.Tensor],
    last: list[int],
    *,
    backwards: bool = False,
    removed: tuple[int, ...] = (),
    concepts: list[int] | None = None,
    by_user: tuple[int, ...] = (),
    policy: VideoPolicy = POLICY,
) -> list[int]:
    stack = torch.stack(masks) > 0 if masks else torch.zeros(0, 4, 5, dtype=torch.bool)
    chosen = occluded_twins(
        stack,
        masklets_of(last, concepts, by_user),
        np.isin(np.arange(len(masks)), removed),
        backwards=backwards,
        policy=policy,
    )
    found: list[int] = np.flatnonzero(chosen).tolist()
    return found


@pytest.mark.parametrize("first", [-1, 3, 7])
@pytest.mark.parametrize("second", [-1, 3, 7])
def test_two_equal_masks(first: int, second: int) -> None:
    """15.3 row 14, the whole table: which of two is emptied."""
    forwards = {(3, 7): [1], (7, 3): [0]}
    backwards = {(-1, 3): [0], (-1, 7): [0], (3, 7): [0], (3, -1): [1], (7, -1): [1], (7, 3): [1]}
    assert emptied([A, A], [first, second]) == forwards.get((first, second), [])
    assert emptied([A, A], [first, second], backwards=True) == backwards.get((first, second), [])


def test_one_that_is_emptied_still_empties_others() -> None:
    """15.3 row 14: bars at x + 0..9; the first and the third overlap by 8 of 12."""
    bars = [rectangle(x, 0, x + 10, 1) for x in (0, 1, 2)]
    assert emptied(bars, [1, 3, 5]) == [1, 2]


@pytest.mark.parametrize(("threshold", "acts"), [(0.7, True), (0.71, False), (0.0, False)])
def test_an_overlap_of_exactly_the_threshold(threshold: float, acts: bool) -> None:
    """15.3 row 14: exactly 0.7 acts; 0 is off."""
    masks = [rectangle(0, 0, 10, 1), rectangle(0, 0, 7, 1)]
    policy = replace(POLICY, occlusion_iou=threshold)
    assert emptied(masks, [1, 2], policy=policy) == ([1] if acts else [])


def test_one_that_is_removed_on_this_frame() -> None:
    """6.3: it counts as occluded last of all, in a video of any length, if it has passed no frame since its birth."""
    assert emptied([A, A], [5, JUST_BORN], removed=(1,)) == [1]
    assert emptied([A, A], [200_000, JUST_BORN], removed=(1,)) == [1]
    assert emptied([A, A], [5, JUST_BORN]) == []
    assert emptied([A, A], [5, NEVER], removed=(1,)) == []
    assert emptied([A, A], [5, 3], removed=(1,)) == [0]
    assert emptied([A, A], [5, JUST_BORN], removed=(1,), backwards=True) == [0]


def test_what_is_left_alone() -> None:
    """6.3: other concepts, empty masks, one masklet, none; and, on purpose, what a user placed."""
    assert emptied([A, A], [3, 7], concepts=[0, 1]) == []
    assert emptied([A, A], [3, 7], concepts=[NO_CONCEPT] * 2) == [1]
    assert emptied([EMPTY, EMPTY], [3, 7]) == []
    assert emptied([A], [3]) == []
    assert emptied([], []) == []
    assert emptied([A, A, A], [3, 7, 9], by_user=(1,)) == [2]


@given(st.data())
@settings(max_examples=80, derandomize=True, deadline=None)
def test_pair_by_pair(data: st.DataObject) -> None:
    """The text of 6.3, line by line."""
    count = data.draw(st.integers(0, 5))

    def several(values: st.SearchStrategy) -> list:
        return data.draw(st.lists(values, min_size=count, max_size=count))

    masks = [rectangle(x, 0, x + 10, 2) for x in several(st.integers(0, 4))]
    last, concepts = several(st.sampled_from([JUST_BORN, NEVER, 0, 3, 7])), several(st.integers(-1, 1))
    removed = [k for k, gone in enumerate(several(st.booleans())) if gone]
    backwards = data.draw(st.booleans())
    effective = [one if one != JUST_BORN else 100_000 if k in removed else NEVER for k, one in enumerate(last)]
    expected = set()
    for i in range(count):
        for j in range(i + 1, count):
            iou = mask_iou(masks[i][None] > 0, masks[j][None] > 0)
            if concepts[i] != concepts[j] or float(iou) < 0.7:
                continue
            for one, other in ((i, j), (j, i)):
                mine, theirs = effective[one], effective[other]
                if theirs > -1 and (mine < theirs if backwards else mine > theirs):
                    expected.add(one)
    assert emptied(masks, last, backwards=backwards, removed=tuple(removed), concepts=concepts) == sorted(expected)
