"""The bank's rules beside the worked numbers of spec/tracker.md 7 and a literal transcription of its text."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from masklet.config import SAM3
from masklet.model.memory_bank import (
    BankRules,
    MapRead,
    PointerRead,
    Remembered,
    frame_score,
    nearest_prompted,
    read,
    recall,
    seen_well,
    within_reach,
)
from masklet.types import MemoryEntry

PLAIN, SELECT = BankRules(select=False), BankRules(select=True)
GOOD, BAD = 0.5, 0.01


def tracked(*frames, bad=()):
    return dict.fromkeys(frames, GOOD) | dict.fromkeys(bad, BAD)


# --- prompted frames --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame_idx", "prompted", "expected"),
    [
        (5, (0, 1, 2, 3, 4, 14), (4, 14, 3, 2)),  # not the nearest four
        (40, (0, 16, 32, 48, 64, 80), (32, 48, 16, 64)),  # equally far: the one that came to be first
        (40, (64, 0, 16, 32, 48, 80), (32, 48, 64, 16)),
        (100, (0, 16, 32, 48, 64, 80), (80, 64, 48, 32)),
        (0, (0, 1, 2, 3, 4), (0, 1, 2, 3)),  # this frame counts as one from here on
        (9, (3, 1, 7, 30), (3, 1, 7, 30)),
        (9, (), ()),
    ],
)
def test_prompted_frames_that_are_read(frame_idx, prompted, expected):
    assert nearest_prompted(frame_idx, prompted, 4) == expected


def test_prompted_frames_have_the_last_row_however_far():
    found = recall(500, Remembered(prompted=[0, 499], tracked={}, frames=900), PLAIN)
    assert found.maps[:2] == (MapRead(0, 6), MapRead(499, 6))
    assert found.pointers == (PointerRead(0, 500), PointerRead(499, 1))


def test_prompted_frames_ahead_give_maps_but_no_pointers():
    remembered = Remembered(prompted=[2, 9], tracked={}, frames=20)
    assert [one.frame_idx for one in recall(5, remembered, PLAIN).pointers] == [2]
    assert [one.frame_idx for one in recall(5, remembered, PLAIN, backwards=True).pointers] == [9]
    for backwards in (False, True):
        assert [one.frame_idx for one in recall(5, remembered, PLAIN, backwards=backwards).maps] == [2, 9]
        here = recall(9, remembered, PLAIN, backwards=backwards).pointers
        assert PointerRead(9, 0) in here


def test_prompted_frames_that_were_not_chosen_serve_as_ordinary_memory():
    """Frames 0 and 1 are beyond the four, and within reach."""
    remembered = Remembered(prompted=[0, 1, 2, 3, 4, 14], tracked={}, frames=20)
    found = recall(5, remembered, PLAIN)
    assert found.maps == (*(MapRead(t, 6) for t in (4, 14, 3, 2)), MapRead(1, 3), MapRead(0, 4))
    assert found.pointers == (*(PointerRead(t, 5 - t) for t in (4, 3, 2)), PointerRead(1, 4), PointerRead(0, 5))
    theirs = recall(5, remembered, BankRules(select=False, huggingface=True))
    assert theirs.maps == found.maps
    assert set(theirs.pointers) == set(found.pointers)
    far = Remembered(prompted=[0, 20, 40, 60, 80], tracked={}, frames=200)
    assert [one.frame_idx for one in recall(100, far, PLAIN).pointers] == [80, 60, 40, 20]
    rules = BankRules(select=False, huggingface=True)
    assert [one.frame_idx for one in recall(100, far, rules).pointers] == [0, 20, 40, 60, 80]


# --- tracked frames ---------------------------------------------------------------------------------------------------


def key_counts(rules, *, backwards):
    """Tokens on each frame of a video of 20 with a grid of 8 cells and 4 tokens a pointer, from one click on."""
    order = list(range(20))[:: -1 if backwards else 1]
    counts, scores = [], {}
    for frame_idx in order[1:]:
        remembered = Remembered(prompted=order[:1], tracked=scores, frames=20)
        found = recall(frame_idx, remembered, rules, backwards=backwards)
        counts.append(64 * len(found.maps) + 4 * len(found.pointers))
        scores = scores | {frame_idx: GOOD}
    return counts


@pytest.mark.parametrize("backwards", [False, True])
def test_key_counts_of_the_specification(backwards):
    assert key_counts(PLAIN, backwards=backwards)[:3] == [68, 136, 204]
    assert key_counts(PLAIN, backwards=backwards)[-1] == 512  # 7 maps, 16 pointers
    assert key_counts(SELECT, backwards=backwards)[:3] == [68, 132, 200]
    assert key_counts(SELECT, backwards=backwards)[-1] == 508


def test_largest_memory_of_the_specification():
    """Selection off: 7 maps and 16 pointers after one prompt; 10 and 19 after four."""
    one = recall(50, Remembered(prompted=[0], tracked=tracked(*range(1, 50)), frames=99), PLAIN)
    assert (len(one.maps), len(one.pointers)) == (7, 16)
    four = recall(50, Remembered(prompted=[0, 10, 20, 30], tracked=tracked(*range(31, 50)), frames=99), PLAIN)
    assert (len(four.maps), len(four.pointers)) == (10, 19)


def test_rows_and_offsets_without_selection():
    found = recall(9, Remembered(prompted=[0], tracked=tracked(*range(1, 9)), frames=30), PLAIN)
    assert found.maps == (MapRead(0, 6), *(MapRead(9 - away, away - 1) for away in range(1, 7)))
    assert found.pointers == (PointerRead(0, 9), *(PointerRead(9 - away, away) for away in range(1, 9)))
    missing = recall(9, Remembered(prompted=[0], tracked=tracked(5, 8), frames=30), PLAIN)
    assert missing.maps == (MapRead(0, 6), MapRead(8, 0), MapRead(5, 3))


def test_rows_backwards():
    found = recall(4, Remembered(prompted=[9], tracked=tracked(5, 6, 7, 8), frames=30), PLAIN, backwards=True)
    assert found.maps == (MapRead(9, 6), MapRead(5, 0), MapRead(6, 1), MapRead(7, 2), MapRead(8, 3))
    assert found.pointers[:2] == (PointerRead(9, 5), PointerRead(5, 1))


@pytest.mark.parametrize(("backwards", "expected"), [(False, [20, 18, 15, 12, 9, 6]), (True, [22, 24, 27, 30, 33, 36])])
def test_stride(backwards, expected):
    """The neighbour always, then every third frame of the video."""
    rules = replace(PLAIN, stride=3)
    found = recall(21, Remembered(prompted=[21], tracked=tracked(*range(60)), frames=60), rules, backwards=backwards)
    assert [one.frame_idx for one in found.maps[1:]] == expected


def test_horizon_of_short_and_endless_videos():
    for frames, horizon, pointers in ((8, 8, 7), (16, 16, 7), (900, 16, 7), (None, 16, 7), (1, 2, 1)):
        found = recall(7, Remembered(prompted=[], tracked=tracked(*range(7)), frames=frames), PLAIN)
        assert (found.horizon, len(found.pointers)) == (horizon, pointers)
    far = recall(40, Remembered(prompted=[], tracked=tracked(*range(40)), frames=None), PLAIN)
    assert len(far.pointers) == 15


# --- selection --------------------------------------------------------------------------------------------------------


def well(frame_idx, scores, frames=30, *, backwards=False, rules=SELECT):
    return seen_well(frame_idx, Remembered(prompted=[0], tracked=scores, frames=frames), rules, backwards=backwards)


def test_frames_that_were_seen_well():
    assert well(0, {}) == []
    assert well(1, {}) == [0]  # the neighbour, whatever it is
    assert well(2, tracked(1)) == [1]
    assert well(6, tracked(1, 3, 4, bad=(2, 5))) == [1, 3, 4, 5]  # a bad neighbour is there all the same
    assert well(6, tracked(0, 1)) == [1, 5]  # frame 0 is never looked at
    assert well(29, {}, backwards=True) == []
    assert well(26, tracked(27, 29, bad=(28,)), backwards=True) == [29, 27]  # the last frame counts backwards
    assert well(26, tracked(28), backwards=True, frames=None) == [28, 27]


def test_as_many_as_there_are_pointers():
    assert well(29, tracked(*range(1, 29))) == list(range(14, 29))
    assert well(29, tracked(*range(1, 28), bad=(28,))) == [*range(13, 28), 28]
    assert well(7, tracked(*range(1, 7)), frames=8) == list(range(1, 7))
    assert well(9, tracked(*range(1, 9)), frames=5) == [5, 6, 7, 8]


def test_ranks_instead_of_distances_and_never_the_oldest_pointer():
    remembered = Remembered(prompted=[0], tracked=tracked(1, 2, 3, 8, bad=(4, 5, 6, 7, 9)), frames=30)
    found = recall(10, remembered, SELECT)
    # Seen well: 1, 2, 3, 8, and 9 as the neighbour.
    assert found.maps == (MapRead(0, 6), *(MapRead(t, row) for row, t in enumerate((9, 8, 3, 2, 1))))
    assert found.pointers == (PointerRead(0, 10), *(PointerRead(t, rank) for rank, t in enumerate((9, 8, 3, 2), 1)))


def test_a_neighbour_of_which_nothing_is_remembered_is_passed_over():
    found = recall(4, Remembered(prompted=[3], tracked=tracked(1, 2), frames=30), SELECT)
    assert found.maps == (MapRead(3, 6), MapRead(2, 1), MapRead(1, 2))
    assert found.pointers == (PointerRead(3, 1), PointerRead(2, 2))


def test_score_of_a_frame():
    """Mean certainty times mean quality, over all objects: not the mean of the products."""
    sight, quality = torch.tensor([2.0, 0.0, -3.0]), torch.tensor([0.9, 0.6, 0.3])
    certainty = 2 / (1 + math.exp(-2)) - 1
    assert frame_score(sight, quality) == pytest.approx(certainty / 3 * 0.6)
    assert frame_score(-sight.abs(), quality) == 0


# --- the text of the specification, literally -------------------------------------------------------------------------


def literal_valid(frame, non_conditioning, frames, *, reverse, rules):
    """`frame_filter` of section 7.3."""
    sign, r = -1 if reverse else 1, rules.stride
    if frame == (frames - 1 if reverse else 0):
        return []
    valid = []
    for i in range(frame + 1, frames, r) if reverse else range(frame - 1, 0, -r):
        if non_conditioning.get(i, 0.0) > 0.01:
            valid.insert(0, i)
        if len(valid) >= min(frames, 16) - 1:
            break
    return valid if frame - sign in valid else [*valid, frame - sign]


def literal_index(frame, t_rel, valid, *, reverse, rules):
    """The frame of a map; None where there is none."""
    r = rules.stride
    if rules.select:
        return valid[-t_rel] if t_rel <= len(valid) else None
    if t_rel == 1:
        return frame + 1 if reverse else frame - 1
    if reverse:
        return math.ceil((frame + 2) / r) * r + (t_rel - 2) * r
    return ((frame - 2) // r) * r - (t_rel - 2) * r


def literal(frame, conditioning, non_conditioning, frames, *, reverse, rules):
    """Sections 7.1 to 7.4: maps as (frame, t_rel, 0 for conditioning) and pointers as (frame, offset)."""
    sign = -1 if reverse else 1
    selected = set(nearest_prompted(frame, conditioning, 4))
    there = {*non_conditioning, *(t for t in conditioning if t not in selected)}
    valid = literal_valid(frame, non_conditioning, frames, reverse=reverse, rules=rules)
    maps = {(t, 0) for t in selected}
    for t_rel in range(1, 7):
        index = literal_index(frame, t_rel, valid, reverse=reverse, rules=rules)
        if index in there:
            maps.add((index, t_rel))
    pointers = {(t, abs(frame - t)) for t in selected if (t >= frame if reverse else t <= frame)}
    for d in range(1, min(frames, 16)):
        if rules.select and d >= len(valid):
            break
        index = valid[-d] if rules.select else frame - sign * d
        if index in there:
            pointers.add((index, d))
    return maps, pointers


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_the_text_taken_literally(data):
    frames = data.draw(st.integers(2, 40))
    places = st.integers(0, frames - 1)
    prompted = data.draw(st.lists(places, unique=True, max_size=8))
    scores = data.draw(st.dictionaries(places, st.sampled_from([0.0, BAD, 0.02, GOOD]), max_size=40))
    scores = {t: score for t, score in scores.items() if t not in prompted}
    frame, reverse = data.draw(places), data.draw(st.booleans())
    rules = BankRules(select=data.draw(st.booleans()), stride=data.draw(st.integers(1, 3)))
    maps, pointers = literal(frame, prompted, scores, frames, reverse=reverse, rules=rules)
    remembered = Remembered(prompted=prompted, tracked=scores, frames=frames)
    found = recall(frame, remembered, rules, backwards=reverse)
    assert {(one.frame_idx, (one.row + 1) % 7) for one in found.maps} == maps
    assert {tuple(one) for one in found.pointers} == pointers
    assert (len(found.maps), len(found.pointers)) == (len(maps), len(pointers))


# --- reach ------------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.data())
def test_what_is_out_of_reach_is_never_read(data):
    """A pass that forgets after every frame reads what one does that keeps everything."""
    frames = data.draw(st.sampled_from([9, 30, None]))
    last = 29 if frames is None else frames - 1
    rules = BankRules(
        select=data.draw(st.booleans()),
        stride=data.draw(st.integers(1, 3)),
        maps=data.draw(st.integers(2, 7)),
        pointers=data.draw(st.integers(2, 16)),
        conditioning_maps=data.draw(st.integers(1, 4)),
        huggingface=data.draw(st.booleans()),
    )
    backwards = data.draw(st.booleans())
    prompted = data.draw(st.lists(st.integers(0, last), unique=True, min_size=1, max_size=9))
    before = data.draw(st.sets(st.integers(0, last), max_size=9)) - set(prompted)
    score = st.sampled_from([0.0, BAD, 0.02, GOOD])
    whole = {t: data.draw(score) for t in before}
    few, left = dict(whole), list(prompted)
    order = range(last, -1, -1) if backwards else range(last + 1)
    for frame_idx in order:
        if frame_idx not in prompted:
            every = Remembered(prompted=prompted, tracked=whole, frames=frames)
            some = Remembered(prompted=left, tracked=few, frames=frames)
            expected = recall(frame_idx, every, rules, backwards=backwards)
            found = recall(frame_idx, some, rules, backwards=backwards)
            assert set(found.maps) == set(expected.maps)  # their order does not count
            assert set(found.pointers) == set(expected.pointers)
            whole[frame_idx] = few[frame_idx] = data.draw(score)
        following = frame_idx + (-1 if backwards else 1)
        some = Remembered(prompted=left, tracked=few, frames=frames)
        kept = within_reach(following, some, rules, backwards=backwards)
        # What lies ahead and is not prompted is passed anew.
        ahead = {t for t in few if (t < following if backwards else t > following)}
        few = {t: value for t, value in few.items() if t in kept or t in ahead}
        left = [t for t in left if t in kept]


def test_how_much_is_within_reach():
    """The bound does not depend on the length of the video."""
    for select in (False, True):
        remembered = Remembered(prompted=[0, *range(1, 900, 16)], tracked=tracked(*range(2, 1000, 3)), frames=None)
        kept = within_reach(1000, remembered, BankRules(select=select))
        assert len(kept & set(remembered.prompted)) == 4
        assert len(kept - set(remembered.prompted)) <= 16


# --- reading ----------------------------------------------------------------------------------------------------------


def entry(value):
    return MemoryEntry(map_tokens=torch.full((2, 9, 4), float(value)), pointers=torch.full((2, 8), float(value)))


def test_what_is_read():
    remembered = Remembered(prompted=[0], tracked=tracked(1, 2), frames=30)
    memory = read(recall(3, remembered, PLAIN), {t: entry(t) for t in range(3)})
    assert [int(each[0, 0, 0]) for each in memory.map_tokens] == [0, 2, 1]
    assert memory.rows.tolist() == [6, 0, 1]
    assert memory.pointers.shape == (2, 3, 8) and memory.pointers[0, :, 0].tolist() == [0, 2, 1]
    assert memory.offsets.tolist() == [3, 1, 2]
    assert memory.horizon == 16


def test_a_prompt_ahead_is_read_without_pointers():
    memory = read(recall(1, Remembered(prompted=[5], tracked={}, frames=9), PLAIN), {5: entry(5)})
    assert memory.pointers.shape == (2, 0, 8) and memory.offsets.shape == (0,)
    assert memory.horizon == 9


def test_rules_of_a_model():
    config = replace(SAM3.tracker, maps=4, pointers=8, conditioning_maps=2)
    assert BankRules.of(SAM3.tracker, select=True) == SELECT
    rules = BankRules.of(config, select=False)
    found = recall(30, Remembered(prompted=[0, 1, 2], tracked=tracked(*range(3, 30)), frames=99), rules)
    assert [one.row for one in found.maps] == [3, 3, 0, 1, 2]
    assert len(found.pointers) == 2 + 7
