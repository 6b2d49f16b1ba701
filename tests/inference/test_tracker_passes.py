"""Passes of a session, objects that come and go, and following frame by frame for a detector (spec/tracker.md 9)."""

from __future__ import annotations

import pytest
import torch

from masklet.errors import InputError
from masklet.inference import tracker_steps
from masklet.inference.tracker_steps import track
from masklet.model.memory_bank import recall
from masklet.model.tracker import OUT_OF_SIGHT
from masklet.ops.resize import resized
from session_cases import (
    BLINKING,
    FRAMES,
    GRID,
    LOW,
    SIDE,
    SIZE_HW,
    Film,
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

# --- passes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, range(2, FRAMES)),
        ({"start": 4}, range(4, FRAMES)),
        ({"steps": 0}, [2]),
        ({"start": 5, "steps": 3}, [5, 6, 7, 8]),
        ({"start": FRAMES - 1, "steps": 99}, [FRAMES - 1]),
        ({"backwards": True}, [2, 1, 0]),
        ({"start": 0, "backwards": True}, [0]),
        ({"start": 5, "steps": 2, "backwards": True}, [5, 4, 3]),
        ({"start": 1, "steps": 9, "backwards": True}, [1, 0]),
    ],
)
def test_frames_of_a_pass(given, expected):
    found = session()
    found.click(7, 1, [(20, 30)], [1])
    found.click(2, 2, [(20, 30)], [1])
    assert found.prompted_frames == [2, 7]
    assert [frame.frame_idx for frame in found.propagate(**given)] == list(expected)


def test_objects_go_through_the_network_in_parts(monkeypatch):
    """Together as many as there is room for on a processor; nothing else changes."""
    expected = list(clicked().propagate())
    for room, parts in ((2 * GRID**2, [2, 1]), (1, [1, 1, 1])):
        monkeypatch.setattr(tracker_steps, "_TOKENS_AT_ONCE", room)
        found = clicked()
        with watched(tracker()) as calls:
            frames = list(found.propagate())
        # Objects that begin together share what they recall.
        assert [len(memory.pointers) for memory in calls.memories] == parts * (FRAMES - 1)
        assert [len(call["masks"]) for call in calls.encoded[-len(parts) :]] == parts
        for one, other in zip(frames, expected, strict=True):
            for object_id in one.object_ids:
                assert_same(masks(one, object_id), masks(other, object_id))


def test_a_pass_can_be_left_and_taken_up():
    whole = [frame.masks.mask_logits for frame in clicked().propagate()]
    found, parts = clicked(), []
    for start, steps in ((0, 3), (4, 0), (5, None)):
        parts += [frame.masks.mask_logits for frame in found.propagate(start, steps)]
    left = iter(clicked().propagate())
    assert torch.equal(next(left).masks.mask_logits, whole[0])
    left.close()
    assert all(torch.equal(one, other) for one, other in zip(parts, whole, strict=True))


def test_frames_passed_again_are_tracked_anew():
    found = clicked()
    first = list(found.propagate())
    found.click(0, 1, [(80, 50)], [0])
    second = list(found.propagate())
    assert_other(masks(second[3], 1), masks(first[3], 1))
    third = list(found.propagate())
    assert_same(masks(third[3], 1), masks(second[3], 1))


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(("select", "expected"), [(False, [68, 136, 204, 512]), (True, [68, 132, 200, 508])])
def test_key_counts_of_the_specification(select, expected, backwards):
    """As tokens of a grid of 8 cells and four tokens a pointer."""
    found = session(policy(select=select), frames=20)
    found.click(19 if backwards else 0, 1, [(20, 30)], [1])
    with watched(tracker()) as calls:
        list(found.propagate(backwards=backwards))
    counts = [64 * len(memory.map_tokens) + 4 * memory.pointers.shape[1] for memory in calls.memories]
    assert len(counts) == 19
    assert [*counts[:3], counts[-1]] == expected


def test_selection_shows():
    """With an object that comes and goes, frames on which it is out of sight are not read."""
    passes = []
    for select in (False, True):
        found = session(policy(select=select), sight=BLINKING, frames=40)
        found.click(0, 1, [(20, 30)], [1])
        passes.append(list(found.propagate()))
    one, other = passes
    seen = torch.cat([frame.masks.sight_logits > 0 for frame in other])
    assert seen.any() and not seen.all()
    assert any(not torch.equal(a.masks.mask_logits, b.masks.mask_logits) for a, b in zip(one, other, strict=True))
    out_of_sight = {frame.frame_idx for frame in other if frame.masks.sight_logits <= 0}
    assert len(out_of_sight) > 5 and set(found.buckets[0].tracked) & out_of_sight <= {39}  # but as the next neighbour


def test_each_frame_is_looked_at_once():
    film = Film(tracker())
    found = session(film=film)
    found.click(0, 1, [(20, 30)], [1])
    found.click(0, 1, [(22, 30)], [1])
    next(found.propagate())
    found.click(0, 2, [(60, 30)], [1])
    found.begin(0, {3: square(5, 5, 20, 20)})
    assert film.seen == {0: 1}
    list(found.propagate(1))
    assert set(film.seen.values()) == {1}


def test_maps_are_kept_small():
    found = clicked(policy(map_dtype=torch.bfloat16))
    frames = list(found.propagate())
    assert {record.map_tokens.dtype for record in found.buckets[0].tracked.values()} == {torch.bfloat16}
    assert found.buckets[0].prompted[0].map_tokens.dtype == torch.bfloat16
    whole = next(clicked().propagate())
    assert torch.equal(frames[0].masks.mask_logits, whole.masks.mask_logits)


# --- objects come and go ----------------------------------------------------------------------------------------------


def test_an_object_that_comes_later():
    """In a bucket of its own, which leaves the others alone, and follows from its frame on."""
    found, without = clicked(), clicked()
    for one in (found, without):
        list(one.propagate(0, 4))
    answer = found.click(4, 9, [(80, 10)], [1])
    found.give_mask(4, 8, square(0, 0, 20, 20))
    assert answer.object_ids == (1, 2, 3, 9)
    after, others = list(found.propagate(4)), list(without.propagate(4))
    assert [bucket.object_ids for bucket in found.buckets] == [(1, 2, 3), (9, 8)]
    for frame, other in zip(after, others, strict=True):
        assert frame.object_ids == (1, 2, 3, 9, 8)
        assert_same(frame.masks.mask_logits[:3], other.masks.mask_logits)
    assert torch.equal(masks(after[0], 9), masks(answer, 9))
    assert list(found.buckets[1].prompted) == [4]
    own = session(policy(shared_buckets=False))
    own.click(0, 1, [(20, 30)], [1])
    own.click(0, 2, [(60, 30)], [1])
    assert [bucket.object_ids for bucket in own.buckets] == [(1,), (2,)]


def test_buckets_go_together_where_they_can():
    """Two that began on different frames recall as many maps and pointers on a frame: one call, the same numbers."""
    found = session(frames=40)
    for object_id, start in ((1, 0), (2, 3)):
        found.begin(start, {object_id: square(10 * object_id, 10, 10 * object_id + 30, 40)})
        for frame_idx in range(start + 1, start + 4):
            found.follow(frame_idx)
    with watched(tracker()) as calls:
        list(found.propagate(7, 18))
    assert [len(memory.pointers) for memory in calls.memories[:2]] == [1, 1]  # frame 7: one has fewer pointers
    assert [len(memory.pointers) for memory in calls.memories[-3:]] == [2, 2, 2]
    assert calls.memories[-1].offsets[:, 0].tolist() == [25, 22]
    for bucket in found.buckets:  # what one holds is freed without the other
        record = bucket.tracked[25]
        assert record.map_tokens.untyped_storage().nbytes() == GRID**2 * 4 * 4
        assert record.masks.mask_logits.untyped_storage().nbytes() == LOW**2 * 4
    features = Film(tracker())(26)
    recalls = [recall(26, bucket.remembered(40), policy().bank) for bucket in found.buckets]
    for one, bucket, recalled in zip(
        track(tracker(), features, found.buckets, recalls), found.buckets, recalls, strict=True
    ):
        (alone,) = track(tracker(), features, [bucket], [recalled])
        torch.testing.assert_close(one.mask_logits, alone.mask_logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(one.pointers, alone.pointers, rtol=1e-4, atol=1e-4)


def test_removing_an_object():
    found, without = clicked(policy(masks_apart=False)), session(policy(masks_apart=False))
    without.click(0, 1, [(20, 30)], [1])
    without.give_mask(0, 3, square(40, 10, 70, 40))
    for one in (found, without):
        list(one.propagate(0, 3))
    found.remove(2)
    assert found.object_ids == (1, 3)
    for frame, expected in zip(found.propagate(4), without.propagate(4), strict=True):
        assert frame.object_ids == expected.object_ids
        assert_same(frame.masks.mask_logits, expected.masks.mask_logits)
    storage = found.buckets[0].prompted[0].map_tokens.untyped_storage().nbytes()
    assert storage == 2 * GRID**2 * 4 * 4  # what the third held is freed
    found.remove(1)
    found.remove(3)
    assert found.object_ids == () and found.buckets == ()
    found.click(0, 2, [(20, 30)], [1])  # an id may come again
    assert [frame.object_ids for frame in found.propagate(0, 1)] == [(2,), (2,)]


def test_removing_an_object_takes_its_prompted_frames():
    found = session()
    found.click(0, 1, [(20, 30)], [1])
    found.click(0, 2, [(60, 30)], [1])
    list(found.propagate(0, 8))
    found.click(5, 1, [(30, 30)], [1])
    list(found.propagate(5, 2))
    kept = found.buckets[0].prompted[5]
    found.remove(1)
    (bucket,) = found.buckets
    assert list(bucket.prompted) == [0] and 5 in bucket.tracked
    assert torch.equal(bucket.tracked[5].map_tokens[0], kept.map_tokens[1])  # what is remembered of the other stays


def test_taking_back_what_was_said_of_a_frame():
    found = clicked()
    list(found.propagate(0, 8))
    found.click(6, 1, [(30, 30)], [1])
    found.click(6, 2, [(50, 30)], [1])
    list(found.propagate(6, 2))
    kept = found.buckets[0].prompted[6]
    found.clear(6, 1)
    assert set(found.buckets[0].prompted) == {0, 6}  # something is still said of object 2
    found.clear(6, 3)  # nothing was said of it
    found.clear(6, 2)
    (bucket,) = found.buckets
    assert list(bucket.prompted) == [0] and 6 not in bucket.prompts
    assert torch.equal(bucket.tracked[6].map_tokens, kept.map_tokens)
    assert bucket.tracked[6].backwards is None
    for object_id in (1, 2, 3):
        found.clear(0, object_id)
    (bucket,) = found.buckets
    assert bucket.is_open and not bucket.prompts and found.object_ids == (1, 2, 3)
    with pytest.raises(InputError, match="nothing to follow"):
        found.propagate()
    found.click(3, 9, [(30, 30)], [1])  # joins those that wait
    assert [one.object_ids for one in found.buckets] == [(1, 2, 3, 9)]


def test_taking_back_what_no_pass_has_seen():
    found = session()
    found.click(0, 1, [(20, 30)], [1])
    found.click(4, 1, [(20, 30)], [1])
    found.clear(0, 1)
    assert found.prompted_frames == [4] and set(found.buckets[0].prompts) == {4}
    assert [frame.frame_idx for frame in found.propagate()][:2] == [4, 5]
    found.click(7, 1, [(20, 30)], [1])
    with watched(tracker()) as calls:
        found.clear(7, 1)
        list(found.propagate(7, 0))
    assert len(calls.memories) == 1  # tracked, not prompted


def test_an_object_without_prompts_is_not_known():
    found = clicked()
    list(found.propagate(0, 2))
    found.click(2, 9, [(20, 30)], [1])
    found.clear(2, 9)
    frame = found.follow(3)
    assert frame.object_ids == (1, 2, 3, 9)
    assert (masks(frame, 9) == OUT_OF_SIGHT).all() and frame.masks.sight_logits[3] == OUT_OF_SIGHT
    assert (masks(frame, 1) != OUT_OF_SIGHT).any()


def test_starting_over():
    found = clicked()
    list(found.propagate())
    found.reset()
    assert found.object_ids == () and found.prompted_frames == []
    again = found.click(0, 1, [(20, 30)], [1])
    assert torch.equal(again.masks.mask_logits, session().click(0, 1, [(20, 30)], [1]).masks.mask_logits)


def test_no_objects():
    found = session()
    frame = found.follow(3)
    assert frame.object_ids == () and frame.masks.mask_logits.shape == (0, LOW, LOW)
    assert found.mask_logits_px(3).shape == (0, *SIZE_HW)
    found.begin(0, {})
    found.correct(0, {})
    found.remember(3, torch.zeros(0, LOW, LOW), torch.zeros(0))
    assert found.buckets == ()


# --- one frame after the other, by a detector -------------------------------------------------------------------------


def test_objects_begin_in_buckets():
    found = session()
    found.begin(3, {5: square(0, 0, 50, 60), 2: square(40, 0, 90, 60)})
    found.begin(3, {7: square(0, 0, 90, 60)})  # of another concept: cuts nobody
    assert [bucket.object_ids for bucket in found.buckets] == [(5, 2), (7,)]
    frame = found.follow(3)
    logits = resized(frame.masks.mask_logits, SIZE_HW)
    # A pixel of the small masks is four of the film's.
    assert abs(int((logits[0] > 0).sum()) - 40 * 60) <= 4 * 60
    assert ((logits[:2] > 0).sum(0) <= 1).all() and (logits[2] > 0).all()
    assert frame.masks.sight_logits.tolist() == [10, 10, 10]
    assert all(record.map_tokens is not None for bucket in found.buckets for record in bucket.prompted.values())
    alone = session(policy(shared_buckets=False))
    alone.begin(3, {5: square(0, 0, 50, 60), 2: square(40, 0, 90, 60)})
    assert [bucket.object_ids for bucket in alone.buckets] == [(5,), (2,)]
    assert int((alone.mask_logits_px(3)[0] > 0).sum()) > 45 * 60  # not cut
    mixed = session()
    given = {5: square(0, 0, 50, 60), 7: square(0, 0, 90, 60), 2: square(40, 0, 90, 60)}
    mixed.begin(3, given, groups={5: 0, 7: 1, 2: 0})
    assert (mixed.object_ids, [bucket.object_ids for bucket in mixed.buckets]) == ((5, 7, 2), [(5, 2), (7,)])
    assert torch.equal(mixed.follow(3).masks.mask_logits[[0, 2, 1]], frame.masks.mask_logits)


def test_memory_is_written_later():
    """The tracker's masks by default give what following gives; other masks give another memory."""
    whole, apart, other = session(), session(), session()
    for one in (whole, apart, other):
        one.begin(0, {1: square(10, 10, 40, 40)})
        one.begin(0, {2: square(50, 10, 80, 40)})
    for frame_idx in range(1, 5):
        expected = whole.follow(frame_idx)
        found = apart.follow(frame_idx, remember=False)
        assert apart.buckets[0].tracked[frame_idx].map_tokens is None
        features = Film(tracker())(frame_idx)
        logits = tracker().at_input_size(features, found.masks.mask_logits)
        apart.remember(frame_idx, logits, found.masks.sight_logits)
        assert torch.equal(found.masks.mask_logits, expected.masks.mask_logits)
        other.follow(frame_idx, remember=False)
        other.remember(frame_idx, torch.full((2, 16 * GRID, 16 * GRID), -10.0), torch.full((2,), -10.0))
    changed_by = other.buckets[0].tracked[4].masks.mask_logits - expected.masks.mask_logits[:1]
    assert changed_by.abs().max() > 0.01
    pointer = apart.buckets[1].tracked[3].masks.pointers
    apart.remember(3, torch.zeros(2, SIDE, SIDE), torch.zeros(2))
    assert torch.equal(apart.buckets[1].tracked[3].masks.pointers, pointer)


def test_memory_goes_to_the_objects_in_their_order():
    """Also where the buckets hold them in another."""
    found = clicked()
    list(found.propagate(0, 2))
    found.click(8, 2, [(60, 40)], [1])  # 2 leaves its bucket
    assert [bucket.object_ids for bucket in found.buckets] == [(1, 3), (2,)]
    list(found.propagate(3, 0))
    logits = torch.stack([torch.full((SIDE, SIDE), value) for value in (-9.0, 0.0, 9.0)])
    with watched(tracker()) as calls:
        found.remember(3, logits, torch.tensor([-1.0, 1.0, 2.0]))
    assert calls.encoded[0]["masks"][:, 0, 0].tolist() == [-9, 9, 0]
    assert calls.encoded[0]["sight"].tolist() == [-1, 2, 1]
    assert found.shown(3).object_ids == (1, 2, 3)
    prompted = found.buckets[1].prompted[8].map_tokens
    found.follow(8)
    found.remember(8, logits, torch.tensor([-1.0, 1.0, 2.0]))  # of a prompted frame as well
    assert not torch.equal(found.buckets[1].prompted[8].map_tokens, prompted)


def test_objects_set_right_by_a_detector():
    """The frame becomes a prompted one for the whole bucket, others keep their masks; other buckets are left alone."""
    found = clicked()
    found.follow(0)
    found.begin(0, {8: square(0, 40, 20, 60)})
    frame = found.follow(1)
    found.correct(1, {3: square(50, 10, 80, 40), 1: square(0, 0, 30, 30)})
    first, second = found.buckets
    assert set(first.prompted) == {0, 1} and set(second.prompted) == {0}
    shown = found.shown(1)
    assert torch.equal(masks(shown, 2), masks(frame, 2))
    assert torch.equal(masks(shown, 8), masks(frame, 8))
    assert (masks(shown, 3) == 1024).any()
    assert first.prompted[1].map_tokens is not None
    found.follow(2)
    pointers = found.buckets[1].tracked[2].masks.pointers
    found.promote(2, [8])
    assert set(found.buckets[1].prompted) == {0, 2} and not found.buckets[1].tracked.keys() & {2}
    assert torch.equal(found.buckets[1].prompted[2].masks.pointers, pointers)


def test_what_is_remembered_after_a_correction_does_not_hang_on_a_map_made_before():
    sets_right = {3: square(50, 10, 80, 40), 1: square(0, 0, 30, 30)}
    tokens = []
    for remember in (True, False):
        found = clicked()
        found.follow(0)
        found.follow(1, remember=False)
        found.correct(1, sets_right, remember=remember)
        assert (found.buckets[0].prompted[1].map_tokens is not None) == remember
        found.remember(1, found.shown(1).masks.mask_logits, torch.tensor([1.0, 1.0, 1.0]))
        found.follow(2)
        tokens.append((found.buckets[0].prompted[1].map_tokens, found.buckets[0].tracked[2].map_tokens))
    assert all(torch.equal(one, other) for one, other in zip(*tokens, strict=True))


def test_a_click_outweighs_detections_near_it():
    found = session(policy(forget=False), frames=60)
    found.begin(0, {1: square(0, 0, 30, 30), 2: square(40, 0, 80, 30)})
    for frame_idx in range(1, 41):
        found.follow(frame_idx)
        if frame_idx % 16 == 0:
            found.correct(frame_idx, {1: square(0, 0, 30, 30), 2: square(40, 0, 80, 30)})
    found.click(32, 2, [(50, 10)], [1])
    found.click(20, 1, [(10, 10)], [1])
    found.follow(41)
    found.demote(1, 20, window=4)
    (bucket,) = found.buckets
    # 0 is too far, on 32 a user spoke of the other one.
    assert set(bucket.prompted) == {0, 20, 32} and 16 in bucket.tracked
