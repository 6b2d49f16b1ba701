"""The order of frames, when they are given out, and who is hidden on them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masklet.inference.hold_back import HeldBack, HeldFrame, frame_order, hide, hold_back, release_all
from masklet.inference.policy import VideoPolicy

POLICY = VideoPolicy()
AT_ONCE = VideoPolicy.without_disambiguation()


@pytest.mark.parametrize(
    ("start", "steps", "backwards", "expected"),
    [
        (5, None, False, [5, 6, 7, 8, 9]),
        (5, None, True, [4, 3, 2, 1, 0]),
        (0, None, False, list(range(10))),
        (0, None, True, []),
        (2, 3, False, [2, 3, 4, 5]),
        (8, 3, True, [7, 6, 5]),
        (9, None, True, [8, 7, 6, 5, 4, 3, 2, 1, 0]),
        (3, 0, False, [3]),
        (3, 0, True, []),
        (9, 4, False, [9]),
        (1, 4, True, [0]),
    ],
)
def test_order_of_frames(start: int, steps: int | None, backwards: bool, expected: list[int]) -> None:
    """9.1 and 15.3 row 21, the ranges: `steps` frames beyond the start, which is not passed again backwards."""
    assert list(frame_order(start, steps, frame_count=10, backwards=backwards)) == expected


def test_a_video_of_one_frame() -> None:
    assert list(frame_order(0, None, frame_count=1)) == [0]
    assert list(frame_order(0, None, frame_count=1, backwards=True)) == []
    held, ready = hold_back(HeldBack(), HeldFrame(0, "only"), removed=[], policy=POLICY)
    assert ready == ()
    assert release_all(held, POLICY) == (HeldFrame(0, "only"),)
    assert release_all(HeldBack(), POLICY) == ()


def test_a_removal_is_seen_on_all_frames_that_wait() -> None:
    """7.1 and 9.2: the frames given out before keep what they showed."""
    policy = replace(POLICY, hotstart_delay=3, unmatched_frames=3, shared_detections=3)
    held: HeldBack[str] = HeldBack()
    given_out: list[HeldFrame[str]] = []
    for frame_idx, name in enumerate("abcde"):
        frame = HeldFrame(frame_idx, name, frozenset([9]) if name == "b" else frozenset())
        held, ready = hold_back(held, frame, removed=[4] if name == "d" else [], policy=policy)
        given_out.extend(ready)
        assert len(held) <= 2
    assert [(frame.value, sorted(frame.hidden)) for frame in given_out] == [("a", []), ("b", [4, 9]), ("c", [4])]
    held = hide(held, [7])
    assert [(frame.value, sorted(frame.hidden)) for frame in release_all(held, policy)] == [("d", [4, 7]), ("e", [7])]
    assert hide(held, []) is held


def test_waiting_for_a_confirmation() -> None:
    """6.6: what was not confirmed two frames later is hidden; the last frames ask the last. Also without a delay."""
    policy = replace(AT_ONCE, confirm=True)
    unconfirmed = [{1}, {1}, {1, 2}, {2}, {2, 3}, {3}]
    held: HeldBack[None] = HeldBack()
    given_out: list[HeldFrame[None]] = []
    for frame_idx, ids in enumerate(unconfirmed):
        held, ready = hold_back(held, HeldFrame(frame_idx, None, unconfirmed=frozenset(ids)), removed=[], policy=policy)
        given_out.extend(ready)
        assert [frame.frame_idx for frame in ready] == ([frame_idx - 2] if frame_idx >= 2 else [])
    given_out.extend(release_all(held, policy))
    assert [sorted(frame.hidden) for frame in given_out] == [[1, 2], [2], [2, 3], [3], [3], [3]]


@given(
    st.lists(st.tuples(st.sets(st.integers(0, 5)), st.sets(st.integers(0, 5))), max_size=25),
    st.integers(0, 6),
    st.booleans(),
)
@settings(max_examples=80, derandomize=True, deadline=None)
def test_holding_back_as_it_is_told(events: list[tuple[set[int], set[int]]], delay: int, backwards: bool) -> None:
    """9.2 with a buffer, a set of removed ids that only grows, and ids that do not come again."""
    policy = VideoPolicy(hotstart_delay=delay, unmatched_frames=0, shared_detections=0)
    order = list(range(len(events)))[:: -1 if backwards else 1]
    buffer, removed, told = [], set(), []
    held: HeldBack[set[int]] = HeldBack()
    given_out: list[tuple[int, set[int]]] = []
    ids = set(range(6))
    for frame_idx, (gone, hidden) in zip(order, events, strict=True):
        there, gone = set(ids), gone & ids
        buffer.append((frame_idx, there, hidden))
        removed |= gone
        while buffer and (len(buffer) >= max(delay, 1) or frame_idx == order[-1]):
            first, shown, without = buffer.pop(0)
            told.append((first, shown - without - removed))
        frame = HeldFrame(frame_idx, there, frozenset(hidden))
        held, ready = hold_back(held, frame, removed=gone, policy=policy)
        given_out += [(one.frame_idx, one.value - one.hidden) for one in ready]
        ids -= gone
    given_out += [(one.frame_idx, one.value - one.hidden) for one in release_all(held, policy)]
    assert given_out == told
