"""What a session does with prompts, and what it refuses (spec/tracker.md 9); numbers of one object beside another's.

That the network is asked rightly is compared with `transformers` in test_tracker_session_parity.py.
"""

from __future__ import annotations

import pytest
import torch

from masklet.errors import InputError, PromptError
from masklet.model.tracker import OUT_OF_SIGHT
from masklet.ops.resize import resized
from session_cases import (
    GRID,
    LOW,
    SIDE,
    SIZE_HW,
    assert_other,
    assert_same,
    clicked,
    masks,
    policy,
    session,
    square,
    tracker,
    watched,
)

HEIGHT, WIDTH = SIZE_HW
MANY = [(4.0 * i + 2, 3.0 * i + 1) for i in range(20)]
KINDS = [i % 3 != 1 for i in range(20)]  # labels as bools


# --- points and boxes -------------------------------------------------------------------------------------------------


def test_places_are_scaled_to_the_input():
    found = session()
    with watched(tracker()) as calls:
        found.click(3, 7, [(45, 15), (90, 60)], [1, 0], box_xyxy=(9, 6, 81, 30))
    points = calls.prompts[0]["points"]
    assert points.labels.tolist() == [[2, 3, 1, 0]]  # the box's corners first
    expected = [[0.1, 0.1], [0.9, 0.5], [0.5, 0.25], [1, 1]]
    torch.testing.assert_close(points.xy_px, torch.tensor([expected]) * SIDE)


def test_sixteen_points():
    """Of twenty clicks the first eight and the last eight count."""
    many, few = session(), session()
    found = many.click(0, 1, MANY, KINDS)
    expected = few.click(0, 1, MANY[:8] + MANY[-8:], KINDS[:8] + KINDS[-8:])
    assert torch.equal(found.masks.mask_logits, expected.masks.mask_logits)
    with watched(tracker()) as calls:
        many.click(0, 1, [(1, 1)], [0], keep_earlier=True)  # the cut is of what is kept
        session(policy(most_points=None)).click(0, 1, MANY, KINDS)
    assert [call["points"].labels.shape[1] for call in calls.prompts] == [16, 20]
    assert calls.prompts[0]["points"].labels[0, -1] == 0


def test_earlier_points():
    found = session()
    with watched(tracker()) as calls:
        found.click(0, 1, box_xyxy=(10, 10, 50, 50))
        found.click(0, 1, [(20, 20)], [1], keep_earlier=True)
        found.click(0, 1, [(30, 20)], [0])
        found.click(0, 1, [(40, 20)], [1], keep_earlier=True)
        found.click(1, 1, [(50, 20)], [1], keep_earlier=True)  # there are none on this frame
    assert [call["points"].labels[0].tolist() for call in calls.prompts] == [[2, 3], [2, 3, 1], [0], [0, 1], [1]]


def test_what_a_click_refines():
    """The mask that the object has on the frame, cut at 32; not that of another object, nor one that was just given."""
    found = session()
    with watched(tracker()) as calls:
        first = found.click(0, 1, [(20, 30)], [1])
        found.click(0, 1, [(25, 30)], [0])  # also of clicks that are replaced
        found.click(0, 2, [(60, 40)], [1])
        found.give_mask(0, 2, square(40, 10, 70, 40))
        found.click(0, 2, [(60, 40)], [1])
        found.give_mask(0, 2, square(40, 10, 70, 40))
        frames = list(found.propagate())
        found.click(0, 2, [(60, 40)], [1])
        found.click(4, 1, [(60, 40)], [0])
    refined = [call["mask_logits"] for call in calls.prompts]
    assert [each is None for each in refined] == [True, False, True, True, False, False]
    assert torch.equal(refined[1], first.masks.mask_logits)
    assert set(refined[4].unique().tolist()) >= {-32.0, 32.0}  # of the given mask, now that it is settled
    assert torch.equal(refined[5][0], masks(frames[4], 1))


def test_a_mask_handed_in_is_refined_on_a_forgotten_frame():
    logits = torch.randn(SIZE_HW, generator=torch.Generator().manual_seed(1)) * 50
    found = session()
    with watched(tracker()) as calls:
        found.click(0, 1, [(20, 30)], [1], refined=logits)
        found.click(0, 1, [(20, 30)], [1], refined=logits)  # the frame is known by now
        session(policy(feed_back=False)).click(0, 1, [(20, 30)], [1], refined=logits)
    given = [call["mask_logits"] for call in calls.prompts]
    assert torch.equal(given[0], logits[None].clamp(-32, 32))
    assert given[1].shape == (1, LOW, LOW)
    assert given[2] is None


def test_a_click_on_a_passed_frame_reads_memory_if_it_shall():
    """In the direction in which the frame was passed last, and of this object alone."""
    found = clicked()
    list(found.propagate())
    list(found.propagate(8, 3, backwards=True))
    with watched(tracker()) as calls:
        found.click(9, 1, [(20, 30)], [1])
        found.click(10, 2, [(20, 30)], [1], with_memory=True)
        found.click(7, 2, [(20, 30)], [1], with_memory=True)
        found.click(7, 9, [(20, 30)], [1], with_memory=True)  # begins here
    memories = [call["memory"] for call in calls.prompts]
    assert memories[0] is None and memories[3] is None
    assert memories[1].pointers.shape[0] == 1 and len(memories[1].rows) == 7
    assert memories[1].offsets.tolist() == [10, *range(1, 10)]
    assert memories[2].offsets.tolist() == [1, 2, 3, 4]  # frames 8 to 11: backwards frame 0 is ahead
    own = found.buckets[0].tracked[9].masks.pointers[1]
    assert torch.equal(memories[1].pointers[0, 1], own)
    assert torch.equal(memories[1].map_tokens[1][0], found.buckets[0].tracked[9].map_tokens[1])


# --- masks ------------------------------------------------------------------------------------------------------------


def test_a_given_mask_is_the_answer():
    found = session()
    mask = square(10, 20, 60, 50)
    frame = found.give_mask(0, 1, mask)
    logits = found.mask_logits_px(0)
    assert torch.equal(logits[0] > 0, mask) and set(logits.unique().tolist()) == {-1024.0, 1024.0}
    assert torch.equal(frame.masks.mask_logits, resized(mask[None].float() * 2048 - 1024, (LOW, LOW)))
    assert frame.masks.sight_logits.tolist() == [10] and frame.masks.quality.tolist() == [1]
    (after,) = found.propagate(0, 0)
    assert torch.equal(after.masks.mask_logits, frame.masks.mask_logits)
    assert found.mask_logits_px(0).shape == (1, *SIZE_HW)


def test_the_network_sees_a_given_mask_at_its_own_size(monkeypatch):
    seen = []
    original = tracker().prompt_mask
    monkeypatch.setattr(
        tracker(), "prompt_mask", lambda f, m, **rest: (seen.append((m, rest)), original(f, m, **rest))[1]
    )
    mask = torch.rand(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    found = session()
    found.give_mask(0, 1, mask.numpy())
    assert torch.equal(found.mask_logits_px(0)[0] > 0, mask > 0.5)  # what is shown is binary at the video's size
    session(policy(masks_at_input_size=True)).give_mask(0, 1, mask)
    assert torch.equal(seen[0][0], resized(mask[None], (16 * GRID, 16 * GRID)))  # not binary
    assert torch.equal(seen[1][0], resized(mask[None], (SIDE, SIDE)))
    assert [rest for _, rest in seen] == [{"ambiguous": False}, {"ambiguous": True}]


def test_the_last_mask_on_a_frame_wins():
    found = session()
    first, second = square(0, 0, 50, 60), square(40, 0, 90, 60)
    found.give_mask(0, 1, first)
    found.click(0, 3, [(45, 30)], [1])
    clicks = masks(found.shown(0), 3)
    found.give_mask(0, 2, second)
    logits = found.mask_logits_px(0)
    assert torch.equal(logits[0] > 0, first & ~second)
    assert torch.equal(logits[2] > 0, second)
    assert torch.equal(masks(found.shown(0), 3), clicks)  # what was clicked is not cut
    found.give_mask(1, 1, first)
    assert torch.equal(found.mask_logits_px(1)[0] > 0, first)  # other frames do not count


def test_a_mask_replaces_points_and_points_a_mask():
    found = session()
    found.click(0, 1, [(20, 30)], [1])
    found.give_mask(0, 1, square(10, 10, 30, 30))
    assert found.buckets[0].prompts[0][1].points is None
    found.click(0, 1, [(20, 30)], [1], keep_earlier=True)
    assert found.buckets[0].prompts[0][1].points.labels.tolist() == [[1]]


def test_an_empty_mask_is_out_of_sight():
    found = session()
    found.give_mask(0, 1, torch.zeros(SIZE_HW))
    (frame,) = found.propagate(0, 0)
    assert frame.masks.sight_logits.tolist() == [-10]
    assert torch.equal(frame.masks.pointers, tracker().no_pointer.weight)


# --- what is remembered of prompted frames ----------------------------------------------------------------------------


def test_objects_prompted_on_different_frames():
    """Each frame is a prompted one for both; the one that was not mentioned is empty, in sight, without a pointer."""
    found = session()
    found.click(0, 1, [(20, 30)], [1])
    found.click(5, 2, [(60, 40)], [1])
    with watched(tracker()) as calls:
        next(found.propagate())
    (bucket,) = found.buckets
    assert list(bucket.prompted) == [0, 5]
    for frame_idx, absent in ((0, 1), (5, 0)):
        record = bucket.prompted[frame_idx]
        assert (record.masks.mask_logits[absent] == OUT_OF_SIGHT).all()
        assert (record.masks.mask_logits[1 - absent] > 0).any()
        assert record.masks.sight_logits[absent] == 10 and record.masks.quality[absent] == 0
        assert torch.equal(record.masks.pointers[absent], tracker().no_pointer.weight[0])
    assert [call["binary"] for call in calls.encoded] == [True, True]
    assert calls.encoded[0]["sight"][1] == 10
    assert (calls.encoded[0]["masks"][1] <= -10).all()


def test_masks_are_kept_apart_in_memory_only():
    apart, overlapping = clicked(), clicked(policy(masks_apart=False))
    with watched(tracker()) as calls:
        one, other = list(apart.propagate(0, 1)), list(overlapping.propagate(0, 1))
    kept, whole = calls.encoded[0]["masks"], calls.encoded[2]["masks"]
    assert ((kept > 0).sum(0) <= 1).all() and ((whole > 0).sum(0) > 1).any()
    assert torch.equal(kept.amax(0), whole.amax(0))
    assert torch.equal(one[0].masks.mask_logits, other[0].masks.mask_logits)
    assert_other(one[1].masks.mask_logits, other[1].masks.mask_logits)


def test_together_as_alone():
    """Objects of a bucket, where they are not kept apart, and each in a session of its own."""
    rules = policy(masks_apart=False)
    whole = list(clicked(rules).propagate(0, 6))
    for object_id, say in {
        1: lambda one: one.click(0, 1, [(20, 30)], [1]),
        2: lambda one: one.click(0, 2, [(60, 40), (5, 5)], [1, 0]),
        3: lambda one: one.give_mask(0, 3, square(40, 10, 70, 40)),
    }.items():
        alone = session(rules)
        say(alone)
        for frame, expected in zip(whole, alone.propagate(0, 6), strict=True):
            assert_same(masks(frame, object_id), masks(expected, object_id))
    assert_other(masks(whole[6], 1), masks(whole[6], 3))


def test_a_frame_set_right_is_a_prompted_one():
    """The others keep the masks that they have there."""
    found = clicked()
    frames = list(found.propagate())
    answer = found.click(6, 1, [(70, 10)], [1])
    assert torch.equal(masks(answer, 2), masks(frames[6], 2))
    again = list(found.propagate(6))
    (bucket,) = found.buckets
    assert set(bucket.prompted) == {0, 6} and 6 not in bucket.tracked
    assert torch.equal(masks(again[0], 1), masks(answer, 1))
    assert torch.equal(masks(again[0], 3), masks(frames[6], 3))
    assert torch.equal(bucket.prompted[6].masks.sight_logits[1], frames[6].masks.sight_logits[1])
    assert_other(masks(again[1], 1), masks(frames[7], 1))
    with watched(tracker()) as calls:
        list(found.propagate(6, 0))  # passing it again leaves it as it is
    assert not calls.memories and not calls.encoded
    list(found.propagate(0))
    assert torch.equal(masks(found.shown(6), 1), masks(answer, 1))


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"points_xy": [(1, 2)]}, "got points_xy without labels"),
        ({"labels": [1]}, "got labels without points_xy"),
        ({}, "at least one point or a box, got neither"),
        ({"points_xy": [], "labels": []}, "got neither"),
        ({"points_xy": [(1, 2), (3, 4)], "labels": [1]}, "2 points and 1 labels"),
        ({"points_xy": [(1, 2)], "labels": [2]}, "must be 1 .* or 0 .*, got 2"),
        ({"points_xy": [(1, float("nan"))], "labels": [1]}, "a click must be 2 finite numbers"),
        ({"points_xy": [1, 2], "labels": [1, 1]}, "a click must be 2 numbers"),
        ({"points_xy": 5, "labels": 1}, "must be lists or arrays, got 5"),
        ({"points_xy": [(91, 2)], "labels": [1]}, "a click must lie in the picture of 90 x 60"),
        ({"box_xyxy": (10, 10, 5, 20)}, "reversed"),
        ({"box_xyxy": (10, 10, 10, 20)}, "must have an area"),
        ({"box_xyxy": (95, 10, 99, 20)}, "a box must overlap"),
        ({"box_xyxy": (1, 2, 3)}, "a box must be 4 finite numbers"),
        ({"box_xyxy": (1, 2, 30, 40), "keep_earlier": True}, "keep_earlier=False"),
    ],
)
def test_clicks_that_cannot_be_used(given, message):
    found = clicked()
    with pytest.raises(PromptError, match=message):
        found.click(0, 4, **given)
    assert found.object_ids == (1, 2, 3) and len(found.buckets) == 1


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(1, 6, 9), r"shape \(1, 6, 9\)"),
        (torch.zeros(0, 9), "at least one pixel"),
        (torch.full((6, 9), 2.0), "values from 2 to 2"),
        (torch.full((6, 9), -4.0), "use mask > 0 for logits"),
        (torch.full((6, 9), float("nan")), "bool or 0..1"),
        ("mask.png", "must be an array"),
    ],
)
def test_masks_that_cannot_be_used(mask, message):
    found = session()
    with pytest.raises(PromptError, match=message):
        found.give_mask(0, 1, mask)
    with pytest.raises(PromptError, match=message):
        found.begin(0, {1: mask})
    assert found.object_ids == () and found.buckets == ()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda one: one.click(12, 1, [(1, 1)], [1]), "frame_idx must be from 0 to 11, got 12"),
        (lambda one: one.give_mask(-1, 1, square(0, 0, 9, 9)), "frame_idx must be from 0 to 11, got -1"),
        (lambda one: one.click(0, -1, [(1, 1)], [1]), "object_id must be 0 or more, got -1"),
        (lambda one: one.follow(12), "got 12"),
        (lambda one: one.propagate(12), "got 12"),
        (lambda one: one.propagate(steps=-1), "steps must be 0 or more, got -1"),
        (lambda one: one.clear(0, 9), r"one of those that are followed \[1, 2, 3\], got 9"),
        (lambda one: one.remove(9), "got 9"),
        (lambda one: one.demote(9, 0, window=16), "got 9"),
        (lambda one: one.correct(0, {9: square(0, 0, 9, 9)}), "got 9"),
        (lambda one: one.correct(4, {1: square(0, 0, 9, 9)}), "nothing is remembered of frame 4"),
        (lambda one: one.promote(4, [1]), "nothing is remembered of frame 4"),
        (lambda one: one.begin(0, {1: square(0, 0, 9, 9)}), "must have a new id, got 1"),
        (lambda one: one.remember(0, torch.zeros(2, 9, 9), torch.zeros(2)), "each of 3 objects, got 2"),
        (lambda one: one.remember(4, torch.zeros(3, 9, 9), torch.zeros(3)), "nothing is remembered of frame 4"),
    ],
)
def test_calls_that_cannot_be_answered(call, message):
    with pytest.raises(InputError, match=message):
        call(clicked())


def test_following_without_remembering():
    found = clicked()
    found.follow(0)
    found.follow(1, remember=False)
    with pytest.raises(InputError, match="frame 1 was followed without being remembered, and frame 2 reads it"):
        found.follow(2)


def test_a_video_without_an_end():
    found = session(frames=None)
    found.click(3, 1, [(20, 30)], [1])
    with pytest.raises(InputError, match="the length of the video is not known"):
        found.propagate()
    assert [frame.frame_idx for frame in found.propagate(steps=2)] == [3, 4, 5]
    assert [frame.frame_idx for frame in found.propagate(backwards=True)] == [3, 2, 1, 0]


def test_a_box_beyond_the_frame_is_cut(caplog):
    found = session()
    with watched(tracker()) as calls:
        found.click(0, 1, box_xyxy=(-10, -10, 45, 30))
    assert calls.prompts[0]["points"].xy_px[0].tolist() == [[0, 0], [SIDE / 2, SIDE / 2]]
    assert "reaches beyond" in caplog.text


def test_some_are_followed_alone():
    both, alone = session(), session()
    for one in (both, alone):
        one.begin(0, {1: square(10, 10, 40, 40)})
        one.begin(0, {2: square(50, 20, 80, 50)})
        one.follow(0)
    expected = both.follow(1)
    found = alone.follow(1, object_ids=[2])
    assert_same(masks(found, 2), masks(expected, 2))
    assert (masks(found, 1) == OUT_OF_SIGHT).all()  # nothing is known of it here
    assert [sorted(bucket.tracked) for bucket in alone.buckets] == [[], [1]]
    with pytest.raises(InputError, match=r"one of those that are followed \[1, 2\], got 3"):
        alone.follow(2, object_ids=[3])
