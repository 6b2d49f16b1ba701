"""What a session forgets: nothing that a pass still reads, and enough that memory does not grow with the film."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from masklet.inference.bucket import Way
from session_cases import BLINKING, STEADY, Film, policy, session, square, tracker, watched

LONG = 300
# Maps and pointers of 15 frames behind and 15 beside the beginning, the neighbours, and 4 prompted frames on each side.
MOST_TRACKED, MOST_PROMPTED = 2 * 16, 2 * 4 + 2


def long_pass(*, forget, select, sight):
    """Two objects that are set right by a detector on every 16th frame; masks of every frame, and what is kept then."""
    found = session(policy(select=select, forget=forget), frames=LONG, sight=sight)
    found.click(0, 1, [(20, 30)], [1])
    found.begin(0, {2: square(40, 10, 70, 40)})
    masks, kept = [], []
    for frame_idx in range(LONG):
        masks.append(found.follow(frame_idx).masks.mask_logits)
        if frame_idx % 16 == 0:
            left = frame_idx * 7 % 40
            found.correct(frame_idx, {1: square(left, 10, left + 30, 40)})
        kept.append([(len(bucket.prompted), len(bucket.tracked), len(bucket.prompts)) for bucket in found.buckets])
    return masks, kept


@pytest.mark.parametrize(("select", "sight"), [(False, STEADY), (True, BLINKING)])
def test_bounded_memory_gives_the_same_numbers(select, sight):
    masks, kept = long_pass(forget=True, select=select, sight=sight)
    expected, everything = long_pass(forget=False, select=select, sight=sight)
    assert all(torch.equal(one, other) for one, other in zip(masks, expected, strict=True))
    most = [[max(numbers) for numbers in zip(*bucket, strict=True)] for bucket in zip(*kept, strict=True)]
    assert most[0][0] <= MOST_PROMPTED and most[1][0] == 1
    assert all(tracked <= MOST_TRACKED for _, tracked, _ in most)
    assert max(prompts for _, _, prompts in most) <= MOST_PROMPTED
    if not select:
        assert kept[200] == kept[296]  # the same place between two corrections: nothing grows
    assert everything[-1][1][1] == LONG - 1 and everything[-1][0][0] == LONG // 16 + 1
    seen = torch.cat([(mask > 0).flatten(1).any(1) for mask in masks])
    assert seen.any() and (select != bool(seen.all()))


@pytest.mark.parametrize("select", [False, True])
def test_corrections_on_every_frame(select):
    """As where detections lead: prompted frames are forgotten as tracked ones are."""
    found = session(policy(select=select), frames=LONG)
    found.begin(0, {1: square(10, 10, 40, 40)})
    kept = []
    for frame_idx in range(LONG):
        found.follow(frame_idx)
        found.correct(frame_idx, {1: square(10, 10, 40, 40)})
        (bucket,) = found.buckets
        kept.append((len(bucket.prompted), len(bucket.tracked), len(bucket.prompts)))
    assert kept[-1] == kept[100] and max(prompted for prompted, _, _ in kept) <= MOST_TRACKED


@pytest.mark.parametrize("select", [False, True])
def test_both_ways_from_where_it_began(select):
    """Forwards from the middle, then backwards from there, then on from the end: as if everything had been kept."""

    def played(forget):
        found = session(policy(select=select, forget=forget), frames=120, sight=BLINKING if select else STEADY)
        for frame_idx in range(40, 100, 10):
            found.click(frame_idx, 1, [(20 + frame_idx / 10, 30)], [1])
        order = [*found.propagate(40, 60), *found.propagate(40, backwards=True)]
        return found, [frame.masks.mask_logits for frame in order]

    found, masks = played(True)
    _, expected = played(False)
    assert all(torch.equal(one, other) for one, other in zip(masks, expected, strict=True))
    assert len(found.buckets[0].tracked) <= MOST_TRACKED


def test_a_pass_taken_up_again():
    """Where it was left, in the same direction, it goes on as if it had not been left."""
    whole, left = (session(frames=80) for _ in range(2))
    for one in (whole, left):
        one.click(0, 1, [(20, 30)], [1])
    expected = [frame.masks.mask_logits for frame in whole.propagate()]
    found = [frame.masks.mask_logits for frame in (*left.propagate(0, 39), *left.propagate(40))]
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert left.buckets[0].way == Way(0, 79, backwards=False)
    list(left.propagate(78, 1, backwards=True))
    assert left.buckets[0].way == Way(78, 77, backwards=True)


def test_what_is_seen_once():
    """Without a way back half as much is kept, and the pass gives the same."""
    once, whole = session(policy(both_ways=False), frames=None), session(policy(forget=False), frames=None)
    for one in (once, whole):
        one.click(0, 1, [(20, 30)], [1])
    for found, expected in zip(once.propagate(steps=60), whole.propagate(steps=60), strict=True):
        assert torch.equal(found.masks.mask_logits, expected.masks.mask_logits)
        assert len(once.buckets[0].tracked) <= 15


def test_maps_of_a_users_prompts_are_laid_aside_and_made_again():
    """A pass that begins among prompted frames of long ago reads the maps that it would have read."""
    film = Film(tracker())
    found, whole = session(frames=200, film=film), session(policy(forget=False), frames=200)
    for one in (found, whole):
        for frame_idx in range(0, 100, 10):
            one.click(frame_idx, 1, [(20 + frame_idx / 10, 30)], [1])
        list(one.propagate(0, 180))
    (bucket,), (kept,) = found.buckets, whole.buckets
    aside = [t for t, record in bucket.prompted.items() if record.map_tokens is None]
    assert aside == [40, 50] and list(bucket.prompted) == list(kept.prompted)
    assert set(bucket.prompts) == set(range(0, 100, 10))
    before = film.seen[40]
    with watched(tracker()) as calls:
        next(found.propagate(45))
    assert film.seen[40] == before + 1
    assert [call["binary"] for call in calls.encoded] == [True, True, False]
    read = {len(each): each for each in (calls.memories[0].map_tokens,)}[4]  # no tracked frame is left there
    for t, tokens in zip((40, 50, 30, 60), read, strict=True):
        assert torch.equal(tokens, kept.prompted[t].map_tokens)


def test_detections_are_forgotten_with_their_maps():
    found = session(frames=400)
    found.begin(0, {1: square(10, 10, 40, 40)})
    for frame_idx in range(300):
        found.follow(frame_idx)
        if frame_idx % 20 == 0:
            found.correct(frame_idx, {1: square(10, 10, 40, 40)})
    (bucket,) = found.buckets
    assert set(bucket.prompted) == set(bucket.prompts) == {0, 20, 40, 60, 220, 240, 260, 280}
    assert all(record.map_tokens is not None for record in bucket.prompted.values())


def test_a_click_on_a_forgotten_frame_leaves_the_others_alone():
    """They would learn that they are not there. So the object goes on in a bucket of its own."""
    found, without = (session(frames=80) for _ in range(2))
    for one in (found, without):
        one.click(0, 1, [(20, 30)], [1])
        one.click(0, 2, [(60, 30)], [1])
        list(one.propagate(0, 70))
    with watched(tracker()) as calls:
        found.click(30, 1, [(50, 20)], [1])
    assert calls.prompts[0]["mask_logits"] is None  # there is no mask to refine
    assert [bucket.object_ids for bucket in found.buckets] == [(2,), (1,)]
    assert found.object_ids == (1, 2)
    others, own = found.buckets
    assert list(others.prompted) == [0] and set(own.pending) == {30} and list(own.prompted) == [0]
    after = list(found.propagate(71))
    for frame, expected in zip(after, without.propagate(71), strict=True):
        assert frame.object_ids == (1, 2)
        torch.testing.assert_close(frame.masks.mask_logits[1], expected.masks.mask_logits[1], rtol=1e-3, atol=1e-3)
    assert set(found.buckets[1].prompted) == {0, 30}
    # On a frame that is remembered it stays with the others.
    without.click(75, 1, [(50, 20)], [1])
    assert [bucket.object_ids for bucket in without.buckets] == [(1, 2)]


def test_prompts_that_wait_are_never_forgotten():
    found = session(frames=200)
    found.click(0, 1, [(20, 30)], [1])
    frames = found.propagate(0, 150)
    for _ in range(100):
        next(frames)
    found.click(5, 1, [(20, 30)], [1])
    found.click(150, 1, [(20, 30)], [1])
    next(frames)
    (bucket,) = found.buckets
    assert list(bucket.prompted) == [0, 5, 150]
    assert set(bucket.prompts) == {0, 5, 150}


def test_everything_can_be_kept():
    found = session(replace(policy(), forget=False), frames=60)
    found.click(0, 1, [(20, 30)], [1])
    list(found.propagate())
    assert len(found.buckets[0].tracked) == 59
