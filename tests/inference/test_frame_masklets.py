"""What is given out of a frame."""

from __future__ import annotations

import numpy as np
import pytest

from masklet.inference.frame_masklets import FrameMasklets, presented
from masklet.ops.masks import encode_rle, rle_areas
from scripted_video import EMPTY, A, B, rectangle


def frame_of(
    masks: list, tracker: list[float], ids: list[int] | None = None, concepts: list[int] | None = None
) -> FrameMasklets:
    count = len(masks)
    return FrameMasklets(
        object_ids=np.array(ids or range(count), dtype=np.int64),
        concept_idx=np.array(concepts or [0] * count, dtype=np.int64),
        scores=np.linspace(0.9, 0.8, count, dtype=np.float32),
        tracker_scores=np.array(tracker, dtype=np.float32),
        masks=tuple(encode_rle((mask > 0).numpy()) for mask in masks),
    )


LEFT, RIGHT = rectangle(0, 0, 6, 6), rectangle(4, 0, 10, 6)


@pytest.mark.parametrize(
    ("tracker", "areas", "boxes"),
    [
        ((0.5, 0.5), [36, 24], [[0, 0, 6, 6], [6, 0, 10, 6]]),
        ((0.4, 0.6), [24, 36], [[0, 0, 4, 6], [4, 0, 10, 6]]),
        ((0.5, 0.0), [36, 24], [[0, 0, 6, 6], [6, 0, 10, 6]]),
        ((-2.0, 0.3), [24, 36], [[0, 0, 4, 6], [4, 0, 10, 6]]),
    ],
)
def test_who_keeps_the_overlap(tracker: tuple[float, float], areas: list[int], boxes: list[list[int]]) -> None:
    """15.3 row 20, on purpose otherwise: no score erases anyone (there 36/0 and 0/36 in the last two), and boxes are
    those of the masks given out, with the far edge exclusive (there those before the cut)."""
    result = presented(frame_of([LEFT, RIGHT, EMPTY], [*tracker, 0.9]), hidden=[])
    assert result.object_ids.tolist() == [0, 1]
    assert rle_areas(result.masks).tolist() == areas
    assert result.boxes_xyxy.tolist() == boxes
    assert result.scores.tolist() == [np.float32(0.9), np.float32(0.85)]


def test_who_is_hidden_takes_no_pixel() -> None:
    """15.3 row 20: "then 1 hidden with (.1, .9)"."""
    result = presented(frame_of([LEFT, RIGHT], [0.1, 0.9]), hidden=[1, 7])
    assert result.object_ids.tolist() == [0]
    assert rle_areas(result.masks).tolist() == [36]


def test_one_pixel_and_nothing() -> None:
    """15.3 row 20: a mask of one pixel, no mask; and one that is covered wholly is not given out."""
    assert presented(frame_of([rectangle(2, 2, 3, 3)], [0.5]), []).boxes_xyxy.tolist() == [[2, 2, 3, 3]]
    for nothing in (frame_of([], []), frame_of([EMPTY], [0.5])):
        result = presented(nothing, [])
        assert (len(result), result.boxes_xyxy.shape, result.object_ids.shape) == (0, (0, 4), (0,))
    assert presented(frame_of([A, A], [0.5, 0.6]), []).object_ids.tolist() == [1]


def test_ascending_ids_and_ties() -> None:
    """7.1: ids ascending; a tie goes to the lower id, wherever it stood."""
    result = presented(frame_of([RIGHT, B, LEFT], [0.5, 0.5, 0.5], ids=[8, 9, 3]), [])
    assert result.object_ids.tolist() == [3, 8, 9]
    assert rle_areas(result.masks).tolist() == [36, 24, 16]
    assert result.scores.tolist() == [np.float32(one) for one in (0.8, 0.9, 0.85)]


def test_concepts_may_overlap() -> None:
    """Section 12: the output is cut apart within each concept."""
    result = presented(frame_of([LEFT, RIGHT, LEFT], [0.5, 0.6, 0.7], concepts=[0, 0, 1]), [])
    assert rle_areas(result.masks).tolist() == [24, 36, 36]


def test_overlaps_may_stay() -> None:
    frame = frame_of([RIGHT, LEFT, EMPTY, A], [0.1, 0.9, 0.5, 0.5], ids=[3, 1, 2, 4])
    whole = presented(frame, [4], apart=False)
    assert whole.object_ids.tolist() == [1, 3]
    assert rle_areas(whole.masks).tolist() == [36, 36]
