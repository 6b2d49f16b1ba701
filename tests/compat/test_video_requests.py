"""Sessions of the request interface on scripted videos: the rows of spec/video.md 15.3 that users see, and 9.3."""

from __future__ import annotations

import numpy as np
import pytest

from masklet.errors import InputError, PromptError, VideoError
from masklet.inference.open_video import OpenVideo
from masklet.inference.video_frames import VideoFrames
from scripted_requests import scripted
from scripted_video import EMPTY, A, B, C, changed, rectangle

BOX = {"bounding_boxes": [[0.0, 0.0, 0.25, 0.25]], "bounding_box_labels": [1]}


def always_a(frame):
    return [(A, 0.9)]


def mask_of(*masks):
    return lambda object_id, frame: masks[object_id] if object_id < len(masks) else C


def shown(frames, object_id):
    """The frames on which an object is to be seen."""
    return [frame for frame, outputs in frames.items() if object_id in outputs["out_obj_ids"]]


def areas(outputs):
    return outputs["out_binary_masks"].sum((1, 2)).tolist()


# --- what goes out ----------------------------------------------------------------------------------------------------


def test_form_of_answers(monkeypatch):
    found = scripted(monkeypatch, lambda f: [(A, 0.75), (B, 0.9)] if f < 3 else [], mask_of(A, B))
    for outputs in (found.prompt(2), found.propagate(2, 0)[2]):
        assert outputs["out_obj_ids"].dtype == np.int64
        assert outputs["out_obj_ids"].tolist() == [0, 1]
        assert outputs["out_probs"].dtype == np.float32
        np.testing.assert_array_equal(outputs["out_probs"], np.float32([0.75, 0.9]))
        assert outputs["out_boxes_xywh"].dtype == np.float32
        # Sides are differences of pixel indices.
        np.testing.assert_array_equal(outputs["out_boxes_xywh"] * 16, [[0, 0, 3, 3], [8, 8, 3, 3]])
        assert outputs["out_binary_masks"].dtype == bool
        np.testing.assert_array_equal(outputs["out_binary_masks"], [(A > 0).numpy(), (B > 0).numpy()])
        assert outputs["frame_stats"] == {"num_obj_tracked": 2, "num_obj_dropped": 0}
    found.ask("remove_object", obj_id=0)
    assert found.propagate(2, 0)[2]["frame_stats"] is None  # given out again
    empty = scripted(monkeypatch, lambda f: [], mask_of()).prompt(0)
    shapes = {key: value.shape for key, value in empty.items() if key != "frame_stats"}
    assert shapes == {
        "out_obj_ids": (0,),
        "out_probs": (0,),
        "out_boxes_xywh": (0, 4),
        "out_binary_masks": (0, 16, 16),
    }


def test_detections_without_room_are_counted(monkeypatch):
    policy = changed(max_masklets=1)
    found = scripted(monkeypatch, lambda f: [(A, 0.9), (B, 0.8)], mask_of(A), policy=policy)
    assert found.prompt(0)["frame_stats"] == {"num_obj_tracked": 1, "num_obj_dropped": 1}


@pytest.mark.parametrize(
    ("sights", "expected", "boxes"),
    [
        ((0.5, 0.5), [36, 24], [[0, 0, 5, 5], [6, 0, 3, 5]]),
        ((0.4, 0.6), [24, 36], [[0, 0, 3, 5], [4, 0, 5, 5]]),
        ((0.5, 0.01), [36, 24], [[0, 0, 5, 5], [6, 0, 3, 5]]),
    ],
)
def test_overlaps(monkeypatch, sights, expected, boxes):
    """15.3 row 20, with boxes of the masks that go out; an empty mask is left out."""
    found = scripted(
        monkeypatch,
        lambda f: [(A, 0.9), (B, 0.8), (C, 0.7)] if f == 0 else [],
        mask_of(rectangle(0, 0, 6, 6), rectangle(4, 0, 10, 6), EMPTY),
        frames=5,
        sight=lambda object_id, frame: float(np.log(p := [*sights, 0.5][object_id]) - np.log(1 - p)),
    )
    found.prompt(0)
    outputs = found.propagate()[1]
    assert outputs["out_obj_ids"].tolist() == [0, 1]
    assert areas(outputs) == expected
    np.testing.assert_array_equal(outputs["out_boxes_xywh"] * 16, boxes)


def test_a_mask_of_one_pixel(monkeypatch):
    found = scripted(monkeypatch, lambda f: [(rectangle(2, 2, 3, 3), 0.9)], mask_of(A))
    np.testing.assert_array_equal(found.prompt(0)["out_boxes_xywh"] * 16, [[2, 2, 0, 0]])


def test_scores_are_those_of_birth(monkeypatch):
    """15.3 row 26."""
    found = scripted(
        monkeypatch, lambda f: [(A, 0.99 if f else 0.75)], mask_of(A), frames=4, sight=lambda object_id, frame: 2.0
    )
    found.prompt(0)
    assert [outputs["out_probs"].tolist() for outputs in found.propagate().values()] == [[0.75]] * 4


# --- which frames, and when -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("last", "frames"), [(4, []), (7, list(range(30)))])
def test_an_object_that_is_lost(monkeypatch, last, frames):
    """15.3 row 8: what is removed within its hotstart is hidden on all frames of the pass."""
    found = scripted(monkeypatch, lambda f: [(B, 0.9), *([(A, 0.8)] if f <= last else [])], mask_of(B, A), frames=30)
    found.prompt(0)
    given = found.propagate()
    assert shown(given, 0) == list(range(30))
    assert shown(given, 1) == frames


def test_both_ways(monkeypatch):
    """15.3 row 12, also as one request; frames that were given out keep what they showed."""
    for ways in (["forward", "backward"], ["both"]):
        found = scripted(monkeypatch, lambda f: [(A if f == 5 else B, 0.9)], mask_of(A, B))
        found.prompt(5)
        given = {frame: outputs for way in ways for frame, outputs in found.propagate(way=way).items()}
        assert list(given) == [5, 6, 7, 8, 9, 4, 3, 2, 1, 0]
        assert shown(given, 0) == [5, 6, 7, 8, 9]
        again = found.propagate()
        assert shown(again, 0) == [5, 6, 7, 8, 9]
        assert list(again) == list(range(10))


def test_twice(monkeypatch):
    """15.3 row 13: unmatched frames count again, so that the object is removed in the second pass."""
    found = scripted(monkeypatch, lambda f: [(A, 0.9)] if f == 0 else [], mask_of(A), frames=6)
    found.prompt(0)
    assert shown(found.propagate(), 0) == list(range(6))
    assert shown(found.propagate(), 0) == []


def test_frames_wait(monkeypatch):
    """15.3 row 19: the first comes when 15 were passed, one for each then, the rest at the end."""
    found = scripted(monkeypatch, lambda f: [(A, 0.9), *([(B, 0.8)] if f <= 2 else [])], mask_of(A, B), frames=20)
    found.prompt(0)
    passed = len(found.detected)
    pairs = []
    for answer in found.stream():
        pairs.append((len(found.detected) - passed, answer["frame_index"]))
        assert answer["outputs"]["out_obj_ids"].tolist() == [0]
    assert pairs == [(15 + i, i) for i in range(5)] + [(20, i) for i in range(5, 20)]


def test_confirmation(monkeypatch):
    """15.3 row 25."""
    found = scripted(
        monkeypatch,
        lambda f: [(A, 0.9), *([(B, 0.9)] if f in (3, 4, 6) else []), *([(C, 0.9)] if f >= 3 else [])],
        lambda object_id, frame: (A, B, C, B)[object_id],
        frames=9,
        policy=changed(confirm=True),
    )
    found.prompt(0)
    given = found.propagate()
    assert shown(given, 0) == list(range(9))
    assert shown(given, 1) == []
    assert shown(given, 2) == list(range(3, 9))


FULL, PARTIAL, FETCH = "full", "partial", "fetch"


@pytest.mark.parametrize(
    "calls",
    [
        [
            ((), FULL, range(5, 10)),
            ((None, None, "backward"), FULL, range(4, -1, -1)),
            ((), FETCH, range(10)),
        ],
        [((0,), FULL, range(10)), ((0, None, "backward"), FETCH, range(0))],
        [
            ((2, 3), FULL, range(2, 6)),
            ((8, 3, "backward"), FULL, range(7, 4, -1)),
            ((8, 3, "backward"), FETCH, range(7, 4, -1)),
        ],
        [((), FULL, range(5, 10)), ((), FULL, range(5, 10)), ((), FETCH, range(5, 10))],
        [((9, None, "backward"), FULL, range(8, -1, -1)), ((), FETCH, range(10))],
    ],
)
def test_kinds(monkeypatch, calls):
    """15.3 row 21."""
    found = scripted(monkeypatch, always_a, mask_of(A))
    found.prompt(5)
    assert [found.kind_of(*call) for call, _, _ in calls] == [(kind, list(frames)) for _, kind, frames in calls]


def test_kinds_after_edits(monkeypatch):
    """15.3 row 21b."""
    found = scripted(monkeypatch, always_a, mask_of(A))
    found.prompt(5)
    found.propagate(way="both")
    assert found.click(4, 0)["out_obj_ids"].tolist() == [0]
    assert found.kind_of(4) == (PARTIAL, list(range(4, 10)))
    assert found.kind_of(4, way="backward") == (PARTIAL, [3, 2, 1, 0])
    assert found.kind_of() == (FETCH, list(range(10)))
    assert found.ask("remove_object", obj_id=0) == {"is_success": True}
    given = found.propagate()
    assert list(given) == list(range(10))
    assert shown(given, 0) == []
    assert found.prompt(1)["out_obj_ids"].tolist() == [0]  # begins anew
    assert found.kind_of() == (FULL, list(range(1, 10)))


def test_a_box_lives_on(monkeypatch):
    """15.3 row 22, on purpose otherwise: where nothing is looked for nobody is missing."""
    found = scripted(monkeypatch, always_a, mask_of(A), frames=20)
    for _ in range(2):
        assert found.prompt(3, None, **BOX)["out_obj_ids"].tolist() == [0]
        assert shown(found.propagate(3, 8), 0) == list(range(3, 12))
        assert shown(found.propagate(way="backward"), 0) == [2, 1, 0]


def test_a_film_in_parts(monkeypatch):
    """Frames that were never given out are passed, where the original fetches nothing."""
    found = scripted(monkeypatch, always_a, mask_of(A), frames=12)
    found.prompt(0)
    assert found.kind_of(0, 3) == (FULL, [0, 1, 2, 3])
    assert found.kind_of(3, 4) == (FULL, [3, 4, 5, 6, 7])  # goes on with the last of the part before
    assert found.kind_of(8) == (FULL, [8, 9, 10, 11])
    assert found.kind_of(0) == (FETCH, list(range(12)))


def test_a_pass_that_is_left_does_not_count(monkeypatch):
    found = scripted(monkeypatch, always_a, mask_of(A), policy=changed(hotstart_delay=0))
    found.prompt(0)
    for end in ("close", "cancel", "another"):
        passing = found.stream(0, way="both")
        assert [next(passing)["frame_index"] for _ in range(3)] == [0, 1, 2]
        if end == "close":
            passing.close()
        elif end == "cancel":
            assert found.ask("cancel_propagation") == {"is_success": True}
            assert list(passing) == []
        else:
            assert next(found.stream(0))["frame_index"] == 0
            assert list(passing) == []
    assert found.kind_of(0) == (FULL, list(range(10)))
    assert found.kind_of(0) == (FETCH, list(range(10)))
    found.ask("cancel_propagation")  # nothing is under way
    assert found.kind_of(0) == (FETCH, list(range(10)))


def test_neither_of_two_passes_goes_on(monkeypatch):
    """Cancelled on the last frame forwards, it does not turn round; the first pass was not done."""
    found = scripted(monkeypatch, always_a, mask_of(A), frames=6)
    found.prompt(3)
    passing = found.stream(way="both")
    assert [next(passing)["frame_index"] for _ in range(3)] == [3, 4, 5]
    found.ask("cancel_propagation")
    assert list(passing) == []
    assert [found.kind_of() for _ in range(3)] == [(FULL, [3, 4, 5])] * 2 + [(FETCH, [3, 4, 5])]


def test_what_ends_a_pass(monkeypatch):
    found = scripted(monkeypatch, always_a, mask_of(A), policy=changed(hotstart_delay=0))
    found.prompt(0)
    passing = found.stream(0)
    next(passing)
    found.prompt(5)
    assert list(passing) == []
    assert list(found.propagate()) == [5, 6, 7, 8, 9]  # nothing of the old pass was kept


# --- clicks -----------------------------------------------------------------------------------------------------------


def test_one_object_is_set_right(monkeypatch):
    """The others are given out as they were, and what overlaps is put apart anew."""
    parts = {0: rectangle(0, 0, 4, 4), 1: B}
    found = scripted(monkeypatch, lambda f: [(A, 0.9), (B, 0.8)], lambda object_id, frame: parts[object_id], frames=6)
    found.prompt(0)
    before = found.propagate(way="both")
    assert areas(before[2]) == [16, 16]
    parts[1] = rectangle(2, 0, 10, 4)
    found.tracker.forget()
    outputs = found.click(3, 1, points=[[0.25, 0.5], [1.0, 0.0]], labels=[1, 0])
    (_, frame, object_id, points, labels, rest) = next(move for move in found.tracker.log if move[0] == "click")
    assert (frame, object_id, points, labels) == (3, 1, [(4, 8), (16, 0)], [1, 0])
    assert not rest["keep_earlier"]
    # The mask that was given out is what the clicks refine, for a frame that the tracker has forgotten.
    np.testing.assert_array_equal(rest["refined"].numpy(), np.where((B > 0).numpy(), 10, -10))
    assert ("demote", 1, 3, 16) in found.tracker.log  # which the rules of clicks ask for
    assert outputs["frame_stats"] is None
    assert areas(outputs) == [8, 32]  # a click is surer than the tracker
    np.testing.assert_array_equal(outputs["out_probs"], np.float32([0.9, 1]))

    given = found.propagate(3)
    assert list(given) == [3, 4, 5]
    assert [areas(frame) for frame in given.values()] == [[8, 32], [16, 24], [16, 24]]
    np.testing.assert_array_equal(given[5]["out_probs"], np.float32([0.9, 1]))
    earlier = found.propagate(3, way="backward")
    assert [areas(frame) for frame in earlier.values()] == [[16, 24]] * 3
    fetched = found.propagate(0)
    assert [areas(frame) for frame in fetched.values()] == [[16, 24]] * 3 + [[8, 32]] + [[16, 24]] * 2
    assert {frame["out_probs"][1] for frame in fetched.values()} == {1}


def test_scores_of_an_object_that_was_set_right(monkeypatch):
    """They are 1 on all frames, also those that are not passed again."""
    found = scripted(monkeypatch, lambda f: [(A, 0.9), (B, 0.8)], mask_of(A, B))
    found.prompt(0)
    found.propagate(way="both")
    found.click(5, 1)
    assert found.kind_of(5, 1) == (PARTIAL, [5, 6])
    assert found.kind_of(5, 1, "backward") == (PARTIAL, [4])
    given = found.propagate(0)
    assert list(given) == list(range(10))
    assert {tuple(outputs["out_probs"]) for outputs in given.values()} == {(np.float32(0.9), 1)}


def test_clicks_without_a_text(monkeypatch):
    """The original fails on a frame that was never processed."""
    found = scripted(monkeypatch, lambda f: 1 / 0, mask_of(EMPTY, A, B), frames=5)
    assert found.click(3, 2, clear_old_points=False)["out_obj_ids"].tolist() == [2]
    assert found.tracker.log[0][-1]["keep_earlier"]
    assert found.tracker.log[0][-1]["refined"] is None
    assert found.click(1, 1)["out_obj_ids"].tolist() == [1]
    assert list(found.propagate(1)) == [1, 2, 3, 4]
    assert list(found.propagate(1, way="backward")) == [0]
    given = found.propagate(0)
    assert [outputs["out_obj_ids"].tolist() for outputs in given.values()] == [[1, 2]] * 5
    assert {tuple(outputs["out_probs"]) for outputs in given.values()} == {(1, 1)}
    found.click(0, 7)  # a third one, later
    assert found.kind_of(0, 1) == (PARTIAL, [0, 1])
    found.ask("remove_object", obj_id=1)
    found.ask("remove_object", obj_id=2)
    found.ask("remove_object", obj_id=7)
    assert [outputs["out_obj_ids"].tolist() for outputs in found.propagate(0).values()] == [[]] * 5


def test_model_pixels(monkeypatch):
    found = scripted(monkeypatch, always_a, mask_of(A))
    side = found.predictor.model.detector.backbone.config.vision.image_size
    found.click(0, 0, points=[[side / 2, side]], rel_coordinates=False)
    assert found.tracker.log[0][3] == [(8, 16)]


def test_a_text_is_looked_for_after_clicks(monkeypatch):
    """Also where the first thing said after the text is a click, or a removal; the original fails or gives nothing."""
    found = scripted(monkeypatch, lambda f: [(A, 0.9), (B, 0.8)], mask_of(A, B, C))
    found.prompt(0)
    found.click(0, 1)
    assert found.kind_of() == (FULL, list(range(10)))
    found.prompt(0)
    found.ask("remove_object", obj_id=1)
    assert found.kind_of() == (FULL, list(range(10)))


def test_an_object_that_a_rule_removed_can_be_taken_out(monkeypatch):
    found = scripted(monkeypatch, lambda f: [(A if f == 5 else B, 0.9)], mask_of(A, B))
    found.prompt(5)
    found.propagate(way="both")
    assert found.tracker.object_ids == (1,)
    found.ask("remove_object", obj_id=0)
    assert shown(found.propagate(), 0) == []
    found.click(2, 0)  # and comes back
    assert found.kind_of(2) == (PARTIAL, list(range(2, 10)))


# --- texts and boxes --------------------------------------------------------------------------------------------------


def test_a_text_begins_anew(monkeypatch):
    found = scripted(monkeypatch, always_a, mask_of(A))
    found.prompt(0, "cat")
    found.click(0, 9)
    found.propagate()
    outputs = found.prompt(3, "dog")
    assert outputs["out_obj_ids"].tolist() == [0]
    assert outputs["out_probs"].tolist() == [np.float32(0.9)]
    assert list(found.propagate()) == list(range(3, 10))


def test_several_boxes(monkeypatch):
    boxes = {"bounding_boxes": [[0.5, 0.5, 0.25, 0.25], [0, 0, 0.25, 0.5]], "bounding_box_labels": [0, 1]}
    found = scripted(monkeypatch, always_a, mask_of(A))
    for text, sought in ((None, [2]), ("visual", [2]), ("thing", list(range(10)))):
        assert found.prompt(2, text, **boxes)["out_obj_ids"].tolist() == [0]
        (concept,) = found.predictor._sessions["s"]._video._concepts
        (exemplars,) = concept.exemplars.values()
        assert [(one.box_xyxy, one.positive) for one in exemplars] == [((0, 0, 4, 8), True), ((8, 8, 12, 12), False)]
        assert [frame for frame in range(10) if concept.is_sought_on(frame)] == sought


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frame_index": 10, "text": "dog"}, "frame_index must be from 0 to 9, got 10"),
        ({"frame_index": -1, "text": "dog"}, "got -1"),
        ({"frame_index": "2", "text": "dog"}, "frame_index must be a whole number, got '2'"),
        ({}, "needs a text, bounding_boxes or points"),
        ({"text": "visual"}, "needs a text, bounding_boxes or points"),
        ({"text": "  "}, "at least one visible character"),
        ({"text": 7}, "text must be words, got 7"),
        ({"bounding_boxes": [[0, 0, 0.5, 0.5]]}, "go together"),
        ({"bounding_box_labels": [1]}, "go together"),
        ({"bounding_boxes": [[0, 0, 0.5, 0.5]], "bounding_box_labels": [1, 1]}, "1 bounding_boxes and 2 labels"),
        ({"bounding_boxes": [], "bounding_box_labels": []}, r"shape \(N, 4\), N at least 1"),
        ({"bounding_boxes": [[0, 0, 200, 100]], "bounding_box_labels": [1]}, "fractions 0..1"),
        ({"bounding_boxes": [[0, 0, 0.5, float("nan")]], "bounding_box_labels": [1]}, "fractions 0..1"),
        ({"bounding_boxes": [[0, 0, 0.5]], "bounding_box_labels": [1]}, r"\(N, 4\)"),
        ({"bounding_boxes": ["box"], "bounding_box_labels": [1]}, "rows of 4 numbers"),
        ({"bounding_boxes": [[0, 0, 0.5, 0.5]], "bounding_box_labels": [0]}, "counter-examples alone"),
        ({"points": [[0.5, 0.5]], "point_labels": [1]}, "points, point_labels and obj_id go together"),
        ({"points": [[0.5, 0.5]], "obj_id": 1}, "points, point_labels and obj_id go together"),
        ({"points": [[0.5, 0.5]], "point_labels": [1], "obj_id": 1, "text": "dog"}, "points go without text"),
        ({"points": [[0.5, 0.5]], "point_labels": [1], "obj_id": "1"}, "obj_id must be a whole number, got '1'"),
        ({"points": [[50, 50]], "point_labels": [1], "obj_id": 1}, "points must be x, y as fractions"),
        ({"points": [[0.5, 0.5]], "point_labels": [1], "obj_id": 1, "frame_index": 10}, "from 0 to 9"),
    ],
)
def test_prompts_that_cannot_be(monkeypatch, fields, message):
    """Section 8: an AssertionError, and an InputError with a clear line; unlike in the original nothing is lost."""
    found = scripted(monkeypatch, always_a, mask_of(A))
    found.prompt(0, "cat")
    with pytest.raises(AssertionError, match=message) as caught:
        found.ask("add_prompt", **{"frame_index": 0, **fields})
    assert isinstance(caught.value, InputError)
    assert "\n" not in str(caught.value)
    assert shown(found.propagate(), 0) == list(range(10))


def test_clicks_that_cannot_be(monkeypatch):
    found = scripted(monkeypatch, always_a, mask_of(A), policy=changed(max_masklets=1))
    found.prompt(0)
    with pytest.raises(PromptError, match="must have an area"):
        found.prompt(0, bounding_boxes=[[0, 0, 0, 0.5]], bounding_box_labels=[1])
    with pytest.raises(InputError, match="at most 1 objects are followed"):  # the original gives another kind of answer
        found.click(0, 5)
    with pytest.raises(InputError, match="object_id must be 0 or more"):
        found.click(0, -1)
    with pytest.raises(AssertionError, match=r"obj_id must be one of the objects that are followed \[0\], got 3"):
        found.ask("remove_object", obj_id=np.int64(3))


def test_passes_that_cannot_be(monkeypatch):
    found = scripted(monkeypatch, always_a, mask_of(A))
    with pytest.raises(RuntimeError, match="No prompts are received on any frames"):
        found.propagate()
    found.prompt(0)
    with pytest.raises(ValueError, match="invalid propagation direction: 'up'"):
        found.propagate(way="up")
    with pytest.raises(AssertionError, match="start_frame_index must be from 0 to 9, got 10"):
        found.propagate(10)
    with pytest.raises(AssertionError, match="max_frame_num_to_track must be 0 or more, got -1"):
        found.propagate(0, -1)
    assert found.ask("reset_session") == {"is_success": True}
    with pytest.raises(RuntimeError, match="No prompts are received on any frames"):
        found.propagate(0)


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        ({}, KeyError, "a request must have 'type', got only nothing"),
        ({"type": "explode", "session_id": "none"}, RuntimeError, "invalid request type: 'explode'; expected one of"),
        ({"type": "add_prompt"}, KeyError, "a request must have 'session_id', got only 'type'"),
        ({"type": "add_prompt", "session_id": "none"}, RuntimeError, "Cannot find session none; it might have expired"),
        ({"type": "add_prompt", "session_id": "s", "text": "dog"}, KeyError, "must have 'frame_index'"),
        ({"type": "remove_object", "session_id": "s"}, KeyError, "must have 'obj_id'"),
        ({"type": "start_session"}, KeyError, "must have 'resource_path'"),
        ({"type": "close_session"}, KeyError, "must have 'session_id'"),
        *(
            ({"type": kind, "session_id": "none"}, RuntimeError, "Cannot find session none")
            for kind in ("remove_object", "reset_session", "cancel_propagation")
        ),
    ],
)
def test_requests_that_cannot_be(monkeypatch, request_, error, message):
    found = scripted(monkeypatch, always_a, mask_of(A))
    with pytest.raises(error, match=message) as caught:
        found.predictor.handle_request(request_)
    assert isinstance(caught.value, InputError)


def test_streams_that_cannot_be(monkeypatch):
    found = scripted(monkeypatch, always_a, mask_of(A))
    handle = found.predictor.handle_stream_request
    for wrong in ("add_prompt", "explode"):
        with pytest.raises(RuntimeError, match=f"invalid request type: '{wrong}'"):
            list(handle({"type": wrong, "session_id": "s", "frame_index": 0}))
    with pytest.raises(RuntimeError, match="invalid request type: 'propagate_in_video'"):
        found.ask("propagate_in_video")
    with pytest.raises(RuntimeError, match="Cannot find session none"):
        list(handle({"type": "propagate_in_video", "session_id": "none"}))
    with pytest.raises(KeyError, match="session_id"):
        list(handle({"type": "propagate_in_video"}))


def test_sessions(monkeypatch, caplog):
    found = scripted(monkeypatch, always_a, mask_of(A))
    handle, clip = found.predictor.handle_request, np.zeros((4, 16, 16, 3), dtype=np.uint8)
    names = [
        handle({"type": "start_session", "resource_path": clip, "session_id": given})["session_id"]
        for given in ("", None)
    ]
    assert len(set(names)) == 2
    assert all(len(name) == 36 for name in names)
    found.prompt(9)
    assert found.ask("start_session", resource_path=clip) == {"session_id": "s"}  # in place of the old one
    with pytest.raises(AssertionError, match="from 0 to 3"):
        found.prompt(9)
    assert found.ask("close_session") == {"is_success": True}
    with pytest.raises(RuntimeError, match="Cannot find session s"):
        found.prompt(0)
    assert not caplog.records
    assert found.ask("close_session") == {"is_success": True}
    assert "there is none of that name" in caplog.text
    handle({"type": "reset_session", "session_id": names[0], "frame": 3})
    assert "a request of type reset_session has no 'frame', which changes nothing" in caplog.text


def test_shutdown(monkeypatch):
    found = scripted(monkeypatch, always_a, mask_of(A))
    other = scripted(monkeypatch, always_a, mask_of(A))
    found.prompt(0)
    passing = found.stream()
    found.predictor.shutdown()
    for call in (lambda: found.prompt(0), lambda: found.ask("close_session"), found.propagate, lambda: list(passing)):
        with pytest.raises(RuntimeError, match="cannot handle request after the predictor has shutdown"):
            call()
    assert other.prompt(0)["out_obj_ids"].tolist() == [0]  # each predictor has sessions of its own


def test_videos_that_cannot_be(monkeypatch, tmp_path):
    found = scripted(monkeypatch, always_a, mask_of(A))
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "none.mp4", tmp_path / "empty"):
        with pytest.raises(VideoError, match=path.name):
            found.ask("start_session", resource_path=str(path))
    with monkeypatch.context() as patch:
        patch.setattr(VideoFrames, "passed", lambda self, order: iter(()))
        with pytest.raises(VideoError, match="frame 2 cannot be decoded; give the prompt on another"):
            found.prompt(2)
    assert found.prompt(2)["out_obj_ids"].tolist() == [0]  # the session of that name is still there
    with monkeypatch.context() as patch:
        patch.setattr(OpenVideo, "frame_count", None)  # as of a pipe or camera
        with pytest.raises(VideoError, match="whose frames can be read in any order"):
            found.ask("start_session", resource_path=np.zeros((2, 16, 16, 3), dtype=np.uint8))
