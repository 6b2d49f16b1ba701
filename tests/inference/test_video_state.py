"""What a video remembers: as a value, as a file, and through whatever ends a pass."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import masklet
from follow_cases import POLICY, ask, clip, documents, predictor
from full_disk import full_disk
from masklet.errors import DataError, InputError, OutputError, VideoError
from masklet.inference import video_state
from masklet.inference.video_predictor import VideoPredictor
from masklet.inference.video_state import VideoState, read_state, write_state
from masklet.model.build import build_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def whole() -> list[dict[str, Any]]:
    """What an uncut pass gives."""
    with predictor().open(clip()) as video:
        ask(video)
        return documents(video.propagate(pixels=False))


def cut_after(count: int, path: Path, **how: Any) -> list[dict[str, Any]]:
    """The first results of a pass, whose state is then in the file."""
    with predictor().open(clip()) as video:
        ask(video)
        results = video.propagate(**how)
        first = [next(results).to_dict() for _ in range(count)]
        write_state(video.state(), path, {"note": count})
        return first


def gone_on(path: Path) -> list[dict[str, Any]]:
    with predictor().open(clip()) as video:
        video.restore(read_state(path, CPU)[0])
        return documents(video.go_on(pixels=False))


def test_much_happens_in_the_clip(whole: list[dict[str, Any]]) -> None:
    seen = {one["object_id"] for document in whole for one in document["detections"]}
    assert len(whole) == 12
    assert len(seen) >= 5
    assert len({len(document["detections"]) for document in whole}) > 2


# The first frame is given out when the fourth has been passed; from the ninth on they come all at once, from the end.
@pytest.mark.parametrize("count", [1, 2, 6, 9, 10, 11, 12])
def test_a_pass_goes_on_from_a_file_as_if_it_had_not_been_cut(
    whole: list[dict[str, Any]], count: int, tmp_path: Path
) -> None:
    assert cut_after(count, tmp_path / "state") + gone_on(tmp_path / "state") == whole


@pytest.mark.parametrize(
    "how", [{"start": 6, "direction": "both"}, {"direction": "backward"}, {"start": 2, "steps": 7}]
)
def test_other_ways_through_a_video(how: dict[str, Any], tmp_path: Path) -> None:
    with predictor().open(clip()) as video:
        ask(video)
        expected = documents(video.propagate(**how))
    assert cut_after(5, tmp_path / "state", **how) + gone_on(tmp_path / "state") == expected


def test_prompts_given_after_a_state_are_not_in_it(whole: list[dict[str, Any]]) -> None:
    with predictor().open(clip()) as video:
        ask(video)
        results = video.propagate(pixels=False)
        first = [next(results).to_dict() for _ in range(3)]
        state = video.state()
        video.click(8, [(10, 50)], object_id=1)
        video.add_concept("cat")
        next(results)
        video.restore(state)
        assert video.concepts == ("dog",)
        assert first + documents(video.go_on(pixels=False)) == whole


def test_pixels_are_read_again(tmp_path: Path) -> None:
    cut_after(2, tmp_path / "state")
    assert (tmp_path / "state").stat().st_size < 400_000
    with predictor().open(clip()) as video:
        video.restore(read_state(tmp_path / "state", CPU)[0])
        for number, result in enumerate(video.go_on(), start=2):
            assert np.array_equal(result.source, clip()[number])


def test_every_field_of_what_is_remembered_is_in_the_file(tmp_path: Path) -> None:
    cut_after(2, tmp_path / "state")
    with predictor().open(clip()) as video:
        ask(video)
        video.add_exemplar(9, masklet.Exemplar((3, 4, 30, 40)))
        results = video.propagate()
        next(results)
        video.click(5, box_xyxy=(5, 5, 40, 40))  # an answer that waits
        state = video.state()
    write_state(state, tmp_path / "state", {"lines": 7, "what": "x"})
    again, note = read_state(tmp_path / "state", CPU)
    assert note == {"lines": 7, "what": "x"}
    assert_equal(again, state)


def assert_equal(mine: Any, theirs: Any) -> None:
    assert type(mine) is type(theirs)
    if isinstance(mine, torch.Tensor):
        assert mine.dtype == theirs.dtype
        assert torch.equal(mine, theirs)
    elif isinstance(mine, np.ndarray):
        assert mine.dtype == theirs.dtype
        assert np.array_equal(mine, theirs)
    elif dataclasses.is_dataclass(mine):
        for field in dataclasses.fields(mine):
            assert_equal(getattr(mine, field.name), getattr(theirs, field.name))
    elif isinstance(mine, dict):
        assert list(mine) == list(theirs)
        for key in mine:
            assert_equal(mine[key], theirs[key])
    elif isinstance(mine, tuple | list):
        assert len(mine) == len(theirs)
        for one, other in zip(mine, theirs, strict=True):
            assert_equal(one, other)
    else:
        assert mine == theirs


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (lambda: predictor(max_masklets=5).open(clip()), "rules"),
        (lambda: predictor().open(clip(11)), "video (11 frames of 90 x 60)"),
        (lambda: predictor().open(clip(), image_size=56), "image size (56)"),
        (lambda: VideoPredictor(build_model("test", seed=4), policy=POLICY).open(clip()), "model"),
    ],
)
def test_a_state_of_something_else_is_refused(other: Any, what: str, tmp_path: Path) -> None:
    cut_after(2, tmp_path / "state")
    with other() as video, pytest.raises(InputError) as refusal:
        video.restore(read_state(tmp_path / "state", CPU)[0])
    assert f"expected a state with the same {what}" in str(refusal.value)


class Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("executed"),))


def test_files_that_hold_no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "state"
    cut_after(2, path)
    sound = path.read_bytes()
    good = torch.load(path, weights_only=True)
    bad: dict[str, Any] = {
        "missing": None,
        "empty": b"",
        "half": sound[: len(sound) // 2],
        "evil": pickle.dumps(Evil(), protocol=2),
        "other": {"format": "masklet-video-state 0"},
        "no state": good | {"state": ("Way", [["first", 1], ["last", 2], ["backwards", False]])},
        "unknown kind": good | {"state": ("Popen", [["args", "ls"]])},
        "unknown field": good | {"state": (good["state"][0], [*good["state"][1], ["more", 1]])},
        "missing field": good | {"state": (good["state"][0], good["state"][1][1:])},
        "list": [1, 2],
    }
    for name, content in bad.items():
        path.unlink(missing_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            torch.save(content, path)
        with pytest.raises(DataError, match=r"expected the state of a video, it cannot be read.*; begin anew"):
            read_state(path, CPU)
        assert not Path("executed").exists(), name


def test_a_full_disk_leaves_the_state_before(tmp_path: Path) -> None:
    cut_after(2, tmp_path / "state")
    before = (tmp_path / "state").read_bytes()
    state, _ = read_state(tmp_path / "state", CPU)
    with full_disk(10_000), pytest.raises(OutputError, match="state"):
        write_state(state, tmp_path / "state", {})
    assert (tmp_path / "state").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_all_that_a_state_can_hold_is_known() -> None:
    """A class that a field of a known one names is known too, so that no state fails to be written."""
    text = " ".join(str(field.type) for kind in video_state._KINDS.values() for field in dataclasses.fields(kind))
    local = {name for name, value in vars(video_state).items() if dataclasses.is_dataclass(value)}
    assert local == set(video_state._KINDS)
    assert VideoState.__name__ in local
    assert "Any" not in text


# --- what ends a pass -------------------------------------------------------------------------------------------------


def broken_clip(sound: int) -> list[Any]:
    return [*clip()[:sound], *clip(3, size_hw=(40, 40))]


def test_what_was_passed_is_given_out_before_an_error() -> None:
    with predictor().open(broken_clip(7)) as video:
        ask(video)
        results, seen = video.propagate(pixels=False), []
        with pytest.raises(VideoError, match="frame 7: expected 90 x 60 pixels as the frames before, got 40 x 40"):
            seen.extend(result.frame_idx for result in results)
        assert seen == [0, 1, 2, 3, 4, 5, 6]
        with pytest.raises(VideoError, match="frame 7"):  # it does not look as if it had ended well
            list(video.go_on())


def test_what_waits_can_be_asked_for() -> None:
    with predictor().open(clip()) as video:
        ask(video)
        results = video.propagate()
        assert next(results).frame_idx == 0
        assert [result.frame_idx for result in video.waiting()] == [1, 2, 3]
        assert list(video.go_on()) == []


def test_removing_an_object_hides_it_on_frames_that_wait() -> None:
    with predictor().open(clip()) as video:
        ask(video)
        results = video.propagate()
        shown = set(next(results).object_ids.tolist()) | set(video.object_ids)
        gone = min(shown)
        video.remove(gone)
        assert all(gone not in result.object_ids for result in results)


def test_a_reset_drops_what_waits() -> None:
    with predictor().open(clip()) as video:
        ask(video)
        results = video.propagate()
        next(results)
        video.reset()
        left = list(results)
        assert [result.frame_idx for result in left] == [4, 5, 6, 7, 8, 9, 10, 11]
        assert not any(len(result) for result in left)


def test_backward_begins_at_the_last_frame() -> None:
    with predictor().open(clip()) as video:
        video.add_concept("dog")
        assert [result.frame_idx for result in video.propagate(direction="backward")] == list(range(11, -1, -1))
    with predictor().open(clip()) as video:
        video.click(5, [(40, 30)])
        assert [result.frame_idx for result in video.propagate(direction="both")] == [*range(5, 12), *range(4, -1, -1)]
