"""Scores on clips: examples of spec/evaluation.md 7 as clips, and where an object is clicked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from follow_cases import predictor
from label_map_cases import PREDICTED, TRUE, Labels
from masklet.evaluation.clip_answers import follow_clicks, follow_phrases
from masklet.evaluation.clip_scores import (
    Click,
    FrameMasks,
    correcting_click,
    count_named,
    first_clicks,
    middle_of,
    score_given,
)
from masklet.evaluation.hota import HotaCounts
from masklet.evaluation.jaccard_boundary import ObjectScore
from masklet.inference.open_video import OpenVideo
from masklet.inference.policy import VideoPolicy
from masklet.inference.video_predictor import VideoPredictor
from masklet.model.build import build_model
from masklet.ops.masks import encode_rle
from masklet.synthetic.cast import Actor
from masklet.synthetic.clips import Clip
from masklet.synthetic.phrases import Question
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.world import EVALUATION, make_clip
from video_cases import HEIGHT, WIDTH, BoxXywh, filled


def clip_of(label_maps: Labels) -> Clip:
    """Without a picture."""
    return Clip(
        frames=np.zeros((*label_maps.shape, 3), dtype=np.uint8),
        label_maps=label_maps.astype(np.uint8),
        instances=(Actor(symbol_idx=0, colour=None),) * int(label_maps.max()),
        kind="gentle",
        symbols=(),
    )


def coded(label_maps: Labels, label: int) -> FrameMasks:
    return [encode_rle(labels == label) if (labels == label).any() else None for labels in label_maps]


def boxes(*boxes_xywh: BoxXywh | None) -> FrameMasks:
    return [None if box is None else encode_rle(filled(box)) for box in boxes_xywh]


def question(*instances: int) -> Question:
    return Question(phrase="cat", kind="name", instances=instances)


# --- given ------------------------------------------------------------------------------------------------------------


def test_example_e_as_given_objects() -> None:
    scores = score_given(clip_of(TRUE), [coded(PREDICTED, 1), coded(PREDICTED, 2)])
    assert [score.object_id for score in scores] == [1, 2]
    assert [score.j for score in scores] == pytest.approx([48.888889, 40.909091], abs=1e-6)
    assert [score.f for score in scores] == pytest.approx([39.956140, 50.0], abs=1e-6)


def test_an_instance_that_only_the_ends_show_has_no_score() -> None:
    label_maps = np.zeros((4, 20, 30), dtype=np.uint8)
    label_maps[0, :5, :5] = label_maps[3, :5, :5] = 1
    label_maps[:, 10:15, 10:15] = 2
    perfect = [coded(label_maps, 1), coded(label_maps, 2)]
    assert score_given(clip_of(label_maps), perfect) == [ObjectScore(object_id=2, j=100.0, f=100.0)]


def test_the_middle_of_a_mask_is_in_it() -> None:
    square = np.zeros((20, 30), dtype=np.bool_)
    square[2:7, 10:15] = True
    assert middle_of(square) == (12.5, 4.5)
    ring = square.copy()
    ring[4, 12] = False  # where the mean is
    x, y = middle_of(ring)
    assert ring[int(y), int(x)]
    # To the edge of the picture it is not far either: depth 3 in the middle row, columns 2 to 6.
    assert middle_of(np.ones((5, 9), dtype=np.bool_)) == (2.5, 2.5)


def test_the_widest_mistake_is_set_right() -> None:
    truth, found = np.zeros((2, 20, 30), dtype=np.bool_)
    truth[5:10, 5:10] = True
    assert correcting_click(found, truth) == ((7.5, 7.5), 1)
    found[5:10, 5:22] = True  # 5 high and 12 wide too far
    point_xy, label = correcting_click(found, truth) or ((0.0, 0.0), 1)
    assert (point_xy, label) == ((12.5, 7.5), 0)
    assert correcting_click(truth, truth) is None


def test_objects_are_clicked_where_they_come_into_sight() -> None:
    label_maps = np.zeros((4, 20, 30), dtype=np.uint8)
    label_maps[2:, 0:5, 20:27] = 2
    label_maps[:3, 10:13, 0:3] = 1
    assert first_clicks(clip_of(label_maps)) == [
        Click(frame_idx=0, point_xy=(1.5, 11.5)),
        Click(frame_idx=2, point_xy=(22.5, 2.5)),
    ]


# --- named ------------------------------------------------------------------------------------------------------------


def example_d() -> Clip:
    """Of spec/evaluation.md 7.5: A stays for four frames, B for two."""
    label_maps = np.zeros((4, HEIGHT, WIDTH), dtype=np.uint8)
    label_maps[:, 0:10, 0:10] = 1
    label_maps[:2, 0:10, 20:30] = 2
    return clip_of(label_maps)


def total(clip: Clip, pairs: Sequence[tuple[Question, Sequence[FrameMasks]]]) -> dict[str, float]:
    return sum((count_named(clip, *pair) for pair in pairs), HotaCounts.none()).values()


def test_example_d_as_phrases() -> None:
    whole, low, b = (0, 0, 10, 10), (0, 0, 10, 8), (20, 0, 10, 10)
    cat = [boxes(whole, whole, low, low), boxes(b, None, None, None), boxes(None, b, None, None)]
    dog = [boxes((5, 5, 5, 5), None, None, None)]
    values = total(example_d(), [(question(0, 1), cat), (question(), dog), (question(), [])])
    expected = {"HOTA": 0.779656, "DetA": 0.791980, "AssA": 0.767544}
    assert {key: values[key] for key in expected} == pytest.approx(expected, abs=1e-6)


def test_nothing_asked_for_and_nothing_found_count_nothing() -> None:
    counts = count_named(example_d(), question(), [])
    assert not (counts.true_positives + counts.false_negatives + counts.false_positives).any()


# --- what a predictor follows -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip(sheet: SpriteSheet) -> Clip:
    return make_clip(EVALUATION, 3, (60, 80), 6, kind="gentle", sheet=sheet)[0]


def test_objects_are_followed_from_their_click_on(clip: Clip) -> None:
    clicks = [Click(frame_idx=1, point_xy=(30.5, 20.5)), Click(frame_idx=3, point_xy=(50.5, 40.5))]
    # Untrained weights that see an object wherever a click is; two on one place would cut each other.
    following = VideoPredictor(build_model("test", seed=8), policy=VideoPolicy(masks_apart=False))
    found = follow_clicks(following, clip, clicks)
    assert [[rle is not None for rle in masks] for masks in found] == [
        [False] + [True] * 5,
        [False] * 3 + [True] * 3,
    ]
    # As by hand: the second one comes when the third frame was passed.
    with following.open(clip.frames) as video:
        video.click(1, [(30.5, 20.5)], object_id=7)
        results = video.propagate(1)
        by_hand = [next(results), next(results)]
        video.click(3, [(50.5, 40.5)], object_id=9)
        by_hand += results
    assert [result.frame_idx for result in by_hand] == [1, 2, 3, 4, 5]
    for result in by_hand:
        assert result.rle() == [masks[result.frame_idx] for masks in found if masks[result.frame_idx] is not None]
    assert follow_clicks(following, clip, []) == []


def test_corrections_follow_the_first_click_at_once(clip: Clip) -> None:
    following = VideoPredictor(build_model("test", seed=8))
    clicks = first_clicks(clip)[:1]
    ((frame_idx, point_xy),) = [(click.frame_idx, click.point_xy) for click in clicks]
    found = follow_clicks(following, clip, clicks, corrections=2)
    truth = clip.masks(0)[frame_idx]
    points, labels = [point_xy], [1]
    with following.open(clip.frames) as video:
        for _ in range(2):
            first = video.click(frame_idx, points, labels, object_id=0)
            assert len(first) == 1
            correction = correcting_click(first.masks[0], truth)
            assert correction is not None
            points, labels = [*points, correction[0]], [*labels, correction[1]]
        video.click(frame_idx, points, labels, object_id=0)
        by_hand = [result.rle() for result in video.propagate(frame_idx)]
    assert labels != [1, 1, 1]
    assert [[] if rle is None else [rle] for rle in found[0][frame_idx:]] == by_hand
    assert found != follow_clicks(following, clip, clicks)


def test_what_is_not_shown_is_missing(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    """Untrained weights that see nothing: the correction is where the first click was."""
    asked: list[tuple[float, float]] = []
    click = OpenVideo.click

    def watched(self: OpenVideo, frame_idx: int, points: list[tuple[float, float]], *rest: Any, **more: Any) -> Any:
        asked.extend(points)
        result = click(self, frame_idx, points, *rest, **more)
        assert len(result) == 0
        return result

    monkeypatch.setattr(OpenVideo, "click", watched)
    clicks = first_clicks(clip)[:1]
    follow_clicks(VideoPredictor(build_model("test", seed=4)), clip, clicks, corrections=1)
    assert asked == [clicks[0].point_xy] * 2


def test_phrases_are_followed_together(clip: Clip) -> None:
    phrases = ["dog", "red car"]
    found = follow_phrases(predictor(), clip, phrases)
    assert len(found) == 2 and all(found)
    with predictor().open(clip.frames) as video:
        for phrase in phrases:
            video.add_concept(phrase)
        results = list(video.propagate())
    for place, phrase in enumerate(phrases):
        ids = sorted(
            {i for one in results for i, name in zip(one.object_ids, one.concepts, strict=True) if name == phrase}
        )
        assert len(found[place]) == len(ids)
        for masks, object_id in zip(found[place], ids, strict=True):
            expected = [dict(zip(one.object_ids.tolist(), one.rle(), strict=True)).get(object_id) for one in results]
            assert list(masks) == expected
    assert follow_phrases(predictor(), clip, []) == []
