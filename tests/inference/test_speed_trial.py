"""The trial with tiny models: what is timed, in which order it is loaded, what stays of an interruption."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from confident import picture
from follow_cases import clip
from masklet import build_model
from masklet.config import TEST
from masklet.errors import InputError
from masklet.inference import speed, speed_trial
from masklet.inference.speed_trial import SpeedTrial, Subject, label
from masklet.inference.untrained import FOUND, THRESHOLD, untrained_model
from masklet.model.detector import Detector

SUBJECT = Subject(
    read=lambda: Image.fromarray(picture(60, 90)),
    concepts=("dog", "red bus", "cup"),
    frames=clip(5),
    boxes_xyxy=np.array([[5, 10, 25, 22], [30, 25, 50, 37]], dtype=np.float32),
    clip_concept="dog",
    threshold=THRESHOLD,
)


def loader(dtype: str) -> Callable[[], Detector]:
    return lambda: untrained_model("test", device=torch.device("cpu"), dtype=dtype)


def trial(*dtypes: str, subject: Subject = SUBJECT) -> SpeedTrial:
    return SpeedTrial({dtype: loader(dtype) for dtype in dtypes}, subject, concepts=(1, 3))


@pytest.fixture(autouse=True)
def two_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "MOST_RUNS", 2)


def test_rows_of_pictures_and_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_trial, "workers_for", lambda _: 2)
    one, done = trial("float32", "bfloat16"), []
    one.run(60, before=done.append)
    rows = one.rows()
    works = [("picture", 1), ("picture", 3), ("list", 1), ("frame", 1)]
    assert [(row.kind, row.concepts, row.dtype) for row in rows] == [
        (kind, concepts, dtype) for kind, concepts in works for dtype in ("float32", "bfloat16")
    ]
    assert [row.found for row in rows[::2]] == [FOUND, 3 * FOUND, FOUND, len(SUBJECT.boxes_xyxy)]
    assert all(row.seconds is not None and row.seconds > 0 for row in rows)
    assert [row.at_once for row in rows[::2]] == [1, 1, 4, 1]
    assert done[:3] == ["loading float32", "loading bfloat16", label(rows[0])]
    assert label(rows[3]) == "bfloat16, a picture, 3 concepts"
    assert (one.model_name, one.notes) == ("test", [])
    assert one.parameters > 200_000
    assert 0 < one.needed_s() < 60


def test_large_models_are_held_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[weakref.ref[Detector]] = []

    def load(dtype: str) -> Detector:
        assert not any(model() is not None for model in held)
        model = loader(dtype)()
        held.append(weakref.ref(model))
        return model

    monkeypatch.setattr(speed_trial, "HELD_AT_ONCE", 1000)
    one = SpeedTrial(
        {"float32": lambda: load("float32"), "bfloat16": lambda: load("bfloat16")}, SUBJECT, concepts=(1, 3)
    )
    one.run(60)
    assert len(held) == 2
    assert all(row.seconds for row in one.rows())
    assert one.notes == ["one number format after the other: the model is too large to hold two"]


def test_what_does_not_fit_is_not_loaded_and_the_hint_covers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_trial, "HELD_AT_ONCE", 1000)
    monkeypatch.setattr(speed_trial, "expected_s", lambda one, others: None if one.work.dtype == "float32" else 50.0)

    def never() -> Detector:
        raise AssertionError("loaded")

    one = SpeedTrial({"float32": loader("float32"), "bfloat16": never}, SUBJECT, concepts=(1,))
    one.run(20)
    rows = {(row.kind, row.dtype): row.seconds for row in one.rows()}
    assert rows["picture", "float32"]
    assert rows["picture", "bfloat16"] is None
    assert one.needed_s() > 2 * 3 * 50  # an equal part for each of two, a picture and a frame that is prepared


def test_parameters_are_those_of_the_model_whatever_became_of_them() -> None:
    def smaller() -> Detector:
        model = loader("float32")()
        for module in model.vision_encoder.blocks.modules():
            module._parameters.clear()
        return model

    one = SpeedTrial({"int8": smaller}, SUBJECT, concepts=(1,))
    one.run(1e-9)
    assert one.parameters == sum(p.numel() for p in build_model("test", seed=0).parameters())


def test_no_tracker_no_video() -> None:
    config = replace(TEST, tracker=None, tracker_neck=False)
    one = SpeedTrial({"float32": lambda: build_model(config, seed=0)}, SUBJECT, concepts=(1,))
    one.run(60)
    assert [row.kind for row in one.rows()] == ["picture"]
    assert one.notes == ["the model has no tracker: no video"]


def test_what_was_measured_before_an_interruption_stays() -> None:
    one = trial("float32")
    seen: list[str] = []

    def before(what: str) -> None:
        seen.append(what)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        one.run(60, before=before)
    assert [row.seconds is not None for row in one.rows()] == [True, False, False]


def test_too_many_concepts_and_a_picture_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="concepts: expected 1 to 3, got 4"):
        SpeedTrial({"float32": loader("float32")}, SUBJECT, concepts=(1, 4))
    gone = trial("float32", subject=replace(SUBJECT, read=lambda: tmp_path / "gone.png"))
    gone.run(60)
    failures = {row.kind: row.failure for row in gone.rows()}
    assert failures["frame"] is None
    assert failures["picture"] is not None
    assert "gone.png" in failures["picture"]


def test_a_run_of_video_is_one_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    encode = Detector.encode_patches

    def counted(self: Detector, pixels: torch.Tensor) -> torch.Tensor:
        encoded.append(len(pixels))
        return encode(self, pixels)

    monkeypatch.setattr(Detector, "encode_patches", counted)
    one = speed_trial._Format("float32", loader("float32"), SUBJECT)
    one.open(1)
    one._open_video()
    assert encoded == [1]
    for runs in (2, 3, 4):
        assert one._frame() == len(SUBJECT.boxes_xyxy)
        assert encoded == [1] * runs
    one.close()


def test_a_clip_goes_to_and_fro() -> None:
    frames = np.arange(4, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    endless = speed_trial._ToAndFro(frames)
    assert [int(np.asarray(one)[0, 0, 0]) for one in endless[:9]] == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert len(endless) > 10_000
