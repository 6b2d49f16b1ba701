"""The scripted scenarios of spec/video.md 15.3: real rules between a scripted detector and a scripted tracker.

Rows of single rules (14, 16, 17, 20, 21, 24) are with the tests of these rules. Where we deviate on purpose, the test
says so; see docs/decisions/0010-video-rules.md.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest
from torch import Tensor

from masklet.inference.association import NO_CONCEPT
from masklet.inference.policy import VideoPolicy
from masklet.ops.masks import rle_areas
from scripted_video import EMPTY, A, B, C, ScriptedVideo, changed, rectangle


def always(*masks: Tensor) -> Callable[[int, int], Tensor]:
    """A tracker that sees each masklet where it always is."""
    return lambda object_id, frame: masks[object_id]


def shown(frames: dict[int, list[int]], object_id: int) -> list[int]:
    return [frame for frame, ids in frames.items() if object_id in ids]


def given_out(
    video: ScriptedVideo, start: int, steps: int | None = None, backwards: bool = False
) -> dict[int, list[int]]:
    return {frame: one.object_ids.tolist() for frame, one in video.propagate(start, steps, backwards)}


def test_birth() -> None:
    """15.3 row 1: 0.7 is asked as soon as there is a masklet; the score of the birth is kept."""
    bar = rectangle(0, 10, 10, 11)
    script = {0: [(A, 0.6)], 1: [(A, 0.9), (B, 0.69)], 2: [(A, 0.9), (B, 0.7)], 4: [(bar, 0.9)]}
    script[3] = [*script[2], (bar, 0.6)]
    video = ScriptedVideo(script.__getitem__, always(A, B, bar)).steps(*range(5))
    assert video.born == {0: 0, 1: 2, 2: 4}
    assert video.of("scores") == pytest.approx({0: 0.6, 1: 0.7, 2: 0.9})


def test_an_overlap_of_exactly_a_tenth() -> None:
    """15.3 row 2: near, hence not new and kept alive; not matched, hence one less again."""
    bar = rectangle(0, 0, 10, 1)
    video = ScriptedVideo(lambda f: [(bar if f == 0 else rectangle(0, 0, 1, 1), 0.9)], always(bar)).steps(0, 1)
    assert video.born == {0: 0}
    assert video.unmatched == {0: [1]}
    assert video.of("keep_alive") == {0: 29}


def test_an_empty_detection() -> None:
    """15.3 row 3: an overlap of nothing with nothing is 0."""
    video = ScriptedVideo(lambda f: [(EMPTY if f else A, 0.9)], always(EMPTY)).steps(0, 1)
    assert video.born == {0: 0, 1: 1}
    assert video.unmatched == {}
    assert video.of("keep_alive") == {0: 30, 1: 30}


def test_one_detection_for_two_masklets() -> None:
    """15.3 row 4: nothing is assigned one to one; an overlap of exactly a half matches."""
    left, right = rectangle(0, 0, 4, 4), rectangle(4, 0, 8, 4)
    both = rectangle(0, 0, 8, 4)
    video = ScriptedVideo(lambda f: [(both, 0.9)] if f else [(left, 0.9), (right, 0.9)], always(left, right))
    video.steps(0, 1, 2)
    assert video.unmatched == {}
    assert video.pairs == {(0, 1): [1, 2]}
    assert video.of("keep_alive") == {0: 30, 1: 30}
    once = ScriptedVideo(video.detections, video.masks, changed(match_once=True)).steps(0, 1, 2)
    assert once.unmatched == {1: [1, 2]}


def test_near_but_not_matched() -> None:
    """15.3 row 5 and section 5: one more and one less on a frame; at the most 30 -> 30 -> 29."""
    video = ScriptedVideo(lambda f: [(rectangle(0, 0, 4, 1) if f else A, 0.9)], always(A)).steps(0, 1, 2)
    assert video.born == {0: 0}
    assert video.unmatched == {0: [1, 2]}
    assert video.of("keep_alive") == {0: 29}


def test_two_detections_on_one_masklet() -> None:
    """15.3 row 6: they count once."""
    script = {0: [(A, 0.9)], 4: [(A, 0.9), (rectangle(0, 0, 4, 3), 0.9)]}
    video = ScriptedVideo(lambda f: script.get(f, []), always(A), changed(detection_iou=0)).steps(*range(5))
    assert video.of("keep_alive") == {0: 28}
    assert video.unmatched == {0: [1, 2, 3]}


def test_all_masklets_empty() -> None:
    """15.3 row 7: an empty masklet is not unmatched, is there all the same, and is not removed."""
    video = ScriptedVideo(lambda f: [(B, 0.6)] if f else [(A, 0.9)], always(EMPTY)).steps(*range(12))
    assert video.born == {0: 0}
    assert (video.unmatched, video.removals) == ({}, {})
    assert video.of("keep_alive") == {0: 30}
    assert video.of("last_occluded") == {0: 11}
    counting = ScriptedVideo(video.detections, video.masks, changed(keep_alive_counts_empty=True)).steps(*range(12))
    assert counting.of("keep_alive") == {0: 19}


@pytest.mark.parametrize(("last", "gone"), [(4, {1: 12}), (7, {})])
def test_an_object_that_is_lost(last: int, gone: dict[int, int]) -> None:
    """15.3 row 8 and the example of 6.1: removed at the eighth unmatched frame, if that comes within 15 frames."""
    video = ScriptedVideo(lambda f: [(B, 0.9), *([(A, 0.9)] if f <= last else [])], always(B, A), frame_count=30)
    video.step(0)
    frames = given_out(video, 0)
    assert video.removals == gone
    assert shown(frames, 0) == list(range(30))
    assert shown(frames, 1) == ([] if gone else list(range(30)))
    assert video.unmatched == {1: list(range(5, 13)) if gone else list(range(8, 30))}
    assert video.of("keep_alive") == ({0: 30} if gone else {0: 30, 1: 8})


def test_gaps_add_up() -> None:
    """15.3 row 9: a match between them takes nothing back; ids go on."""
    gaps = {1, 2, 3, 4, 9, 10, 11, 12}
    video = ScriptedVideo(lambda f: [] if f in gaps else [(A, 0.9)], always(A, A)).steps(*range(14))
    assert video.removals == {0: 12}
    assert video.log[12].verdict.masklets.keep_alive.tolist() == [26]
    assert video.born == {0: 0, 1: 13}


def test_twins() -> None:
    """15.3 row 10: the younger of two that share detections is removed; two detections count twice."""
    other = rectangle(0, 12, 4, 16)
    a = ScriptedVideo(
        lambda f: [(A, 0.9), *([(other, 0.9)] if f == 2 else [])], lambda i, f: other if i == 1 and f == 2 else A
    ).steps(*range(14))
    assert a.pairs == {(0, 1): list(range(3, 11))}
    assert a.removals == {1: 10}
    b = ScriptedVideo(
        lambda f: [(A, 0.9), (rectangle(0, 0, 4, 3), 0.9)] if f else [(A, 0.9), (B, 0.9)],
        always(A, A),
        changed(detection_iou=0),
    ).steps(*range(8))
    assert b.pairs == {(0, 1): [1, 1, 2, 2, 3, 3, 4, 4]}
    assert b.removals == {1: 4}


def test_backwards() -> None:
    """15.3 row 11: the window lies on the other side; the older masklet is the one with the greater first frame."""
    a = ScriptedVideo(lambda f: [(A, 0.9)] if f >= 17 else [], always(A)).steps(*range(20, 3, -1), backwards=True)
    assert a.removals == {0: 9}
    other = rectangle(0, 12, 4, 16)
    b = ScriptedVideo(
        lambda f: [(A, 0.9), *([(other, 0.9)] if f == 18 else [])], lambda i, f: other if i == 1 and f == 18 else A
    ).steps(*range(20, 5, -1), backwards=True)
    assert set(b.pairs) == {(0, 1)}
    assert b.removals == {1: 10}


def test_both_ways() -> None:
    """15.3 row 12: counts go on over calls; what was given out keeps what it showed."""
    video = ScriptedVideo(lambda f: [(A if f == 5 else B, 0.9)], always(A, B), frame_count=10)
    video.step(5)
    forwards, backwards = given_out(video, 5), given_out(video, 5, backwards=True)
    assert list(forwards) == [5, 6, 7, 8, 9]
    assert list(backwards) == [4, 3, 2, 1, 0]
    assert video.unmatched == {0: [6, 7, 8, 9, 4, 3, 2, 1]}
    assert video.removals == {0: 1}
    assert shown(forwards, 0) == [5, 6, 7, 8, 9]
    assert shown(backwards, 0) == []


def test_passed_twice() -> None:
    """15.3 row 13: a frame that is passed again counts again."""
    video = ScriptedVideo(lambda f: [(A, 0.9)] if f == 0 else [], always(A), frame_count=6)
    video.step(0)
    first, second = given_out(video, 0), given_out(video, 0)
    assert video.unmatched == {0: [1, 2, 3, 4, 5, 1, 2, 3]}
    assert video.removals == {0: 3}
    assert shown(first, 0) == list(range(6))
    assert shown(second, 0) == []


def test_occlusion_in_the_loop() -> None:
    """15.3 row 15: the order of the rules, and what each leaves behind."""

    def masks(object_id: int, frame: int) -> Tensor:
        if object_id == 0:
            return EMPTY if frame == 1 else A
        return A if frame >= 3 else EMPTY if frame == 2 else B

    script = {0: [(A, 0.9), (B, 0.9)], 1: [(B, 0.9)], 2: [(B, 0.9)]}
    video = ScriptedVideo(lambda f: script.get(f, [(A, 0.9)]), masks).steps(*range(6))
    assert video.born == {0: 0, 1: 0, 2: 2}
    for step in video.log[3:]:
        assert step.areas(step.remembered) == {0: 16, 1: 0, 2: 0}
        assert step.sight.tolist() == [10, -10, -10]
        assert rle_areas(step.held.value.masks).tolist() == [16, 0, 16]
    assert video.of("last_occluded") == {0: 1, 1: 5, 2: -1}
    assert video.pairs == {(0, 1): [3, 4, 5], (0, 2): [3, 4, 5]}
    assert video.of("keep_alive") == {0: 30, 1: 30, 2: 30}


def test_a_suppressed_masklet_is_remembered_as_empty() -> None:
    """Trap 6: by the rule of occlusion, also where it would keep its pixels by that of the strongest."""

    def masks(object_id: int, frame: int) -> Tensor:
        if object_id == 0:
            return EMPTY if frame == 1 else A
        return EMPTY if frame == 2 else A + 4 if frame == 3 else B

    script = {0: [(A, 0.9), (B, 0.9)], 1: [(B, 0.9)]}
    step = ScriptedVideo(lambda f: script.get(f, [(A, 0.9)]), masks).steps(*range(4)).log[3]
    assert step.areas(step.remembered) == {0: 16, 1: 0}
    assert rle_areas(step.held.value.masks).tolist() == [16, 0]


@pytest.mark.parametrize(
    ("most", "born", "dropped"),
    [(1, {}, 3), (2, {1: 0.95}, 2), (3, {1: 0.95, 2: 0.85}, 1), (9, {1: 0.75, 2: 0.95, 3: 0.85}, 0)],
)
def test_limit(most: int, born: dict[int, float], dropped: int) -> None:
    """15.3 row 18: the best scores come first, but only when some are left out."""
    found = [(A, 0.9), (B, 0.75), (C, 0.95), (rectangle(8, 0, 12, 4), 0.85)]
    video = ScriptedVideo(lambda f: found if f else found[:1], always(A, B, C, A), changed(max_masklets=most))
    births = video.steps(0, 1).log[1].births
    assert dict(zip(births.object_ids.tolist(), births.scores.tolist(), strict=True)) == pytest.approx(born)
    assert births.dropped == dropped


@pytest.mark.parametrize("delay", [15, 0])
def test_frames_are_held_back(delay: int) -> None:
    """15.3 row 19: (frames passed, frame given out)."""
    video = ScriptedVideo(
        lambda f: [(A, 0.9), *([(B, 0.9)] if f <= 2 else [])],
        always(A, B),
        changed(hotstart_delay=delay, unmatched_frames=min(8, delay), shared_detections=min(8, delay)),
        frame_count=20,
    )
    video.step(0)
    when = [(len(video.log) - 1, frame, one.object_ids.tolist()) for frame, one in video.propagate(0)]
    if delay:
        assert [one[:2] for one in when] == [(15 + k, k) for k in range(6)] + [(20, k) for k in range(6, 20)]
        assert {tuple(one[2]) for one in when} == {(0,)}
    else:
        assert [one[:2] for one in when] == [(k + 1, k) for k in range(20)]
        assert {tuple(one[2]) for one in when} == {(0, 1)}


@pytest.mark.parametrize("steps", [7, 8, 16])
def test_what_a_box_showed_lives_on(steps: int) -> None:
    """15.3 row 22 and 8.3, on purpose otherwise: there all is gone once frame 11 is reached.

    The concept is looked for on the box's frame only, so elsewhere nothing speaks against the masklet.
    """
    video = ScriptedVideo(lambda f: {0: [(A, 0.9)]} if f == 3 else {}, always(A), frame_count=20)
    video.step(3)
    frames = given_out(video, 3, steps)
    assert shown(frames, 0) == list(range(3, 3 + steps + 1))
    assert (video.unmatched, video.removals) == ({}, {})
    assert video.of("keep_alive") == {0: 30}
    text = ScriptedVideo(lambda f: [(A, 0.9)] if f == 3 else [], always(A), frame_count=20)
    text.step(3)
    assert bool(shown(given_out(text, 3, steps), 0)) == (steps == 7)


def test_later_births_cut_earlier_ones() -> None:
    """15.3 row 23: in the masks that the tracker starts from, not in those that are given out."""
    first, second = rectangle(0, 0, 6, 4), rectangle(5, 0, 11, 4)
    video = ScriptedVideo(lambda f: [(first, 0.9), (second, 0.9)], always(first, second))
    step = video.step(0)
    assert [(mask > 0).sum().item() for mask in video.prompted[0].values()] == [20, 24]
    assert rle_areas(step.held.value.masks).tolist() == [24, 24]
    uncut = ScriptedVideo(video.detections, video.masks, changed(births_cut=False))
    uncut.step(0)
    assert [(mask > 0).sum().item() for mask in uncut.prompted[0].values()] == [24, 24]


def test_what_a_masklet_begins_with() -> None:
    """Section 7: logits above 0; section 12, row "mask of a new object": logits of at least 0.5."""
    faint = A.clamp(-0.3, 0.3)
    for upsampled, area in ((True, 16), (False, 0)):
        video = ScriptedVideo(lambda f: [(faint, 0.9)], always(A), changed(births_upsampled=upsampled)).steps(0)
        assert (video.prompted[0][0] > 0).sum() == area


def test_holes() -> None:
    """Sections 4 and 7: filled in what is given out and remembered, not in what a masklet begins with."""
    holed = A.clone()
    holed[1, 1] = -5.0
    video = ScriptedVideo(lambda f: [(holed, 0.9)], always(holed), changed(clean_area=1)).steps(0, 1)
    assert (video.prompted[0][0] > 0).sum() == 15
    assert [rle_areas(step.held.value.masks).tolist() for step in video.log] == [[16], [16]]
    assert video.log[1].areas(video.log[1].remembered) == {0: 16}


def test_hidden_while_the_counter_is_low() -> None:
    """6.1, the rule that is off: a masklet that was unmatched is not shown while keep-alive is 0 or less."""
    policy = changed(hotstart_delay=0, keep_alive_hides=True, keep_alive_start=1, keep_alive_max=1)
    video = ScriptedVideo(lambda f: [] if f in (1, 2) else [(A, 0.9)], always(A), policy, frame_count=6)
    assert given_out(video, 0) == {0: [0], 1: [], 2: [], 3: [], 4: [0], 5: [0]}


@pytest.mark.parametrize("delay", [15, 0])
def test_confirmation(delay: int) -> None:
    """15.3 row 25: shown from its birth on if found on three frames in a row, whatever the delay."""
    policy = changed(confirm=True, hotstart_delay=delay, unmatched_frames=0, shared_detections=0)
    if delay:
        policy = changed(confirm=True)
    video = ScriptedVideo(
        lambda f: [(A, 0.9), *([(B, 0.9)] if f in (3, 4, 6) else []), *([(C, 0.9)] if f >= 3 else [])],
        always(A, B, C),
        policy,
        frame_count=9,
    )
    video.step(0)
    frames = given_out(video, 0)
    assert list(frames) == list(range(9))
    assert shown(frames, 0) == list(range(9))
    assert shown(frames, 1) == []
    assert shown(frames, 2) == list(range(3, 9))


def test_scores() -> None:
    """15.3 row 26: the score is that of the birth; the tracker's is a probability."""
    video = ScriptedVideo(lambda f: [(A, 0.99 if f else 0.75)], always(A), sight=lambda i, f: 2.0, frame_count=4)
    video.step(0)
    frames = dict(video.propagate(0))
    assert [one.scores.tolist() for one in frames.values()] == [[0.75]] * 4
    assert [round(float(one.tracker_scores[0]), 2) for one in frames.values()] == [1.0, 0.88, 0.88, 0.88]


def test_rebirth() -> None:
    """15.3 row 27: ids are not used again; without masklets 0.7 is not asked."""
    script = {0: [(A, 0.9)], 5: [(A, 0.6)]}
    policy = changed(hotstart_delay=4, unmatched_frames=2, shared_detections=2)
    video = ScriptedVideo(lambda f: script.get(f, []), always(A, A), policy).steps(*range(9))
    assert video.born == {0: 0, 1: 5}
    assert video.removals == {0: 2, 1: 7}


# --- beyond the rows --------------------------------------------------------------------------------------------------


def test_concepts_do_not_touch_each_other() -> None:
    """Section 12, row "association": each concept's masks are on a plane of their own, ids are common."""
    both = {4: [(A, 0.9), (rectangle(0, 0, 4, 3), 0.6)], 7: [(A, 0.6)]}
    policy = changed(detection_iou=0)
    video = ScriptedVideo(lambda f: both, always(A, A, A), policy, frame_count=12)
    step = video.step(0)
    assert step.births.concept_idx.tolist() == [4, 4, 7]
    assert step.births.object_ids.tolist() == [0, 1, 2]
    assert [(mask > 0).sum().item() for mask in video.prompted[0].values()] == [4, 12, 16]
    video.steps(*range(1, 9))
    assert set(video.pairs) == {(0, 1)}
    assert video.removals == {1: 4}
    assert video.log[-1].areas(video.log[-1].remembered) == {0: 16, 2: 16}


def test_a_concept_is_answered_as_if_it_were_alone() -> None:
    """Deviation from 5, "M counts those of other prompts": the first of a concept need not score 0.7."""

    def found(frame: int) -> dict[int, list[tuple[Tensor, float]]]:
        return {0: [(A, 0.9)], 1: [(B, 0.6)] if frame else []}

    masks = always(A, B)
    assert ScriptedVideo(found, masks).steps(0, 1).born == {0: 0, 1: 1}
    assert ScriptedVideo(found, masks, changed(shared_start=True)).steps(0, 1).born == {0: 0}


def test_a_click_works_without_a_prompt_and_on_a_frame_never_passed() -> None:
    """8.4 and traps 18 and 30, on purpose otherwise: there neither is possible."""
    video = ScriptedVideo(lambda f: {}, always(A), frame_count=20)
    video.click(0, 7, A, NO_CONCEPT)
    frames = given_out(video, 7)
    assert frames == {frame: [0] for frame in range(7, 20)}
    assert video.of("scores") == {0: 1.0}


def test_what_a_user_placed_is_not_taken_away() -> None:
    """Trap 30: a clicked object in a video with text is compared with detections, but no rule removes it."""
    video = ScriptedVideo(lambda f: [(B, 0.9)], always(B, A, A, A), changed(confirm=True), frame_count=20)
    video.step(0)
    video.click(3, 0, A)
    frames = given_out(video, 0)
    assert frames == {frame: [0, 3] for frame in range(20)}
    assert video.unmatched == {3: list(range(20))}
    assert video.masklets.next_id == 4


def test_a_removal_by_the_user_leaves_nothing() -> None:
    """8.5 and trap 31, on purpose otherwise: there entries of the id stay behind. Frames that wait hide it."""
    video = ScriptedVideo(lambda f: [(A if f else B, 0.9), *([] if f else [(A, 0.9)])], always(A, A, A), frame_count=20)
    video.step(0)
    stream = video.propagate(0)
    frame, first = next(stream)  # after 15 frames, on the eighth of which masklet 1 went
    assert (frame, first.object_ids.tolist()) == (0, [0])
    assert video.removals == {1: 8}
    video.remove(0)
    assert (len(video.masklets), dict(video.masklets.shared)) == (0, {})
    rest = dict(stream)
    assert [one.object_ids.tolist() for one in rest.values()] == [[]] * 14 + [[2]] * 5
    assert list(rest) == list(range(1, 20))


def test_a_twin_of_what_the_user_removed_stays() -> None:
    """8.5: also where a younger masklet had shared enough detections, and is young again backwards."""
    other = rectangle(0, 12, 4, 16)
    video = ScriptedVideo(
        lambda f: [(A, 0.9), *([(other, 0.9)] if f < 20 else [])], lambda i, f: other if i == 1 and f < 20 else A
    ).steps(*range(30))
    assert video.masklets.shared == {(0, 1): 8}
    assert video.removals == {}
    kept = deepcopy(video)
    video.remove(0)
    assert video.steps(14, 13, backwards=True).removals == {}
    assert kept.steps(14, 13, backwards=True).removals == {1: 14}


def test_no_detection_and_no_masklet() -> None:
    """Section 4, "M = 0 -> empty tensors": frames without anything, and a video of one frame."""
    for found in ([], {}):
        video = ScriptedVideo(lambda f, found=found: found, always(), frame_count=1)
        assert given_out(video, 0) == {0: []}
    assert given_out(ScriptedVideo(lambda f: [(A, 0.6)], always(A), frame_count=1), 0) == {0: [0]}


def test_backwards_mirrors_forwards() -> None:
    """6.1 is the same from either end, reconditioning (absolute index) and occlusion (6.3) aside."""
    rng = np.random.default_rng(3)
    shapes = [rectangle(x, y, x + 5, y + 4) for x in (0, 3, 8) for y in (0, 2, 9)]
    last = 29
    script = [
        [(shapes[k], float(rng.uniform(0.51, 1))) for k in rng.choice(9, rng.integers(0, 5), replace=False)]
        for _ in range(last + 1)
    ]
    paths = rng.integers(0, 9, (200, last + 1))
    policy = changed(occlusion_iou=0, recondition_every=0, hotstart_delay=9, unmatched_frames=3, shared_detections=3)
    forwards = ScriptedVideo(lambda f: script[f], lambda i, f: shapes[paths[i, f]], policy)
    mirrored = ScriptedVideo(lambda f: script[last - f], lambda i, f: shapes[paths[i, last - f]], policy)
    forwards.steps(*range(last + 1))
    mirrored.steps(*range(last, -1, -1), backwards=True)
    assert len(forwards.removals) > 5
    assert mirrored.removals == {one: last - frame for one, frame in forwards.removals.items()}
    assert mirrored.born == {one: last - frame for one, frame in forwards.born.items()}
    assert mirrored.of("keep_alive") == forwards.of("keep_alive")
    assert mirrored.masklets.shared == forwards.masklets.shared


def test_what_is_remembered_does_not_grow() -> None:
    """A camera that runs on: objects come and go, all that is kept belongs to those that are there."""
    rng = np.random.default_rng(5)
    shapes = [rectangle(x, y, x + 4, y + 4) for x in (0, 2, 8, 12) for y in (0, 2, 8, 12)]
    video = ScriptedVideo(
        lambda f: [(shapes[k], 0.9) for k in rng.choice(16, 4, replace=False)],
        lambda i, f: shapes[i % 16],
        VideoPolicy(clean_area=0, unmatched_frames=4),
        frame_count=300,
    )
    frames = 0
    for _ in video.propagate(0):
        frames += 1
        there = set(video.masklets.ids())
        assert len(video.held) <= 15
        assert all(there.issuperset(pair) for pair in video.masklets.shared)
        assert all(max(one.hidden, default=0) < video.masklets.next_id for one in video.held.frames)
        video.log = video.log[-1:]
        video.tracker.forget()
    assert frames == 300
    assert video.masklets.next_id > 60
    assert len(video.masklets) < 40
