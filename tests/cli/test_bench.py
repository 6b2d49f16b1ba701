"""`masklet bench`: what it prints, and how it goes wrong."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from command import masklet, on_terminal
from confident import picture
from masklet import __version__
from masklet.checkpoint import save_native
from masklet.cli import bench as verb
from masklet.inference import speed, speed_trial
from masklet.inference.untrained import FOUND
from masklet.model.build import build_model
from masklet.synthetic import sample

MADE = functools.cache(sample.sample_picture)
CLIP = functools.cache(sample.sample_clip)
QUICK = ("--random", "test", "--dtype", "float32", "--device", "cpu", "--threads", "1")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which the test stands; two runs of each work are enough."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(speed, "MOST_RUNS", 2)
    monkeypatch.setattr(sample, "sample_picture", MADE)
    monkeypatch.setattr(sample, "sample_clip", CLIP)
    return tmp_path


def test_a_table_and_what_to_choose(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    code, out, err = masklet(capsys, "bench", *QUICK, "--dtype", "fp32", "--concepts", "3", "--concepts", "1")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    lines = [line.strip("│ \n").split("│") for line in out.splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in line] for line in lines]
    assert [line[:3] + line[5:] for line in cells] == [
        ["pictures", "1", "float32", "1", str(FOUND)],
        ["pictures", "3", "float32", "1", str(3 * FOUND)],
        ["video frames", "1", "float32", "1", "3"],
    ]
    for line in cells:
        assert float(line[3]) * float(line[4]) == pytest.approx(1, rel=0.05)
    for said in (
        "1280 x 960 pixels",
        "1 thread;",
        "0.3 million parameters",
        "random weights",
        f"masklet {__version__}",
    ):
        assert said in out
    assert "\nfastest: --dtype" not in out  # there is nothing to compare
    assert not list(place.iterdir())


def test_json_is_one_document_with_all_figures(
    capsys: pytest.CaptureFixture[str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed_trial, "workers_for", lambda _: 2)
    Image.fromarray(picture(50, 70)).save("mine.png")
    save_native(build_model("test", seed=0), place / "tiny.safetensors")
    before = {path.name for path in place.iterdir()}
    arguments = ("--model", "tiny.safetensors", "--concepts", "2", "--dtype", "float32", "--dtype", "bfloat16")
    code, out, err = masklet(capsys, "bench", "mine.png", *arguments, "--json", "--device", "cpu")
    assert (code, err, out.count("\n")) == (0, "", 1)
    document = json.loads(out)
    assert document["picture"] == "mine.png, 70 x 50 pixels"
    assert (document["masklet"], document["torch"], document["device"]) == (__version__, torch.__version__, "cpu")
    assert document["threads"] == torch.get_num_threads()
    assert document["processor"]
    assert (document["model"], document["weights"]) == ("test", "tiny.safetensors")
    rows = document["rows"]
    assert [(row["kind"], row["concepts"], row["dtype"]) for row in rows] == [
        (kind, concepts, dtype)
        for kind, concepts in (("picture", 2), ("list", 2), ("frame", 1))
        for dtype in ("float32", "bfloat16")
    ]
    for row in rows:
        assert row["runs"] == 1
        assert row["per_second"] == pytest.approx(1 / row["seconds"], rel=0.01)
        assert row["failure"] is None
    assert document["advice"][0].startswith("fastest: --dtype ")
    assert {path.name for path in place.iterdir()} == before


def test_threads_are_for_this_run_only(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    used, before = [], torch.get_num_threads()
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    monkeypatch.setattr(speed_trial.SpeedTrial, "run", lambda *_, **__: used.append(torch.get_num_threads()))
    for wanted in ("1", "3"):
        masklet(capsys, "bench", "--random", "test", "--threads", wanted)
    assert used == [1, 3]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("load", "said"), [(1.9, False), (2.1, True), (None, False)])
def test_a_busy_machine_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, load: float | None, said: bool
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(verb, "_load", lambda: load)
    document = json.loads(masklet(capsys, "bench", *QUICK, "--concepts", "1", "--json")[1])
    assert document["load"] == load
    assert any("busy before (load 2.1 on 4 cores)" in note for note in document["notes"]) == said


def test_what_had_no_time_is_told_with_a_hint(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = speed.expected_s

    def expected(one: speed.Timed, others: list[speed.Timed]) -> float | None:
        late = one.work.concepts == 16 or (one.work.kind == "frame" and one.work.dtype == "bfloat16")
        return 999.0 if late else real(one, others)

    monkeypatch.setattr(speed, "expected_s", expected)
    code, out, _ = masklet(capsys, "bench", *QUICK, "--dtype", "bfloat16", "--concepts", "1", "--concepts", "16")
    assert code == 0
    assert "│       16 │" not in out
    (line,) = [line for line in out.splitlines() if " - " in line]
    assert "bfloat16" in line
    assert "note: no time for 3 of 6 figures: all fit in about --seconds " in out


def test_what_is_not_possible_here_is_said_and_the_rest_is_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, concepts: int) -> int:
        raise RuntimeError("not implemented for 'Half'")

    monkeypatch.setattr(speed_trial._Format, "_picture", broken)
    code, out, _ = masklet(capsys, "bench", *QUICK, "--concepts", "1")
    assert code == 0
    assert "float32, a picture, 1 concept: not possible here: not implemented for 'Half'" in " ".join(out.split())
    monkeypatch.setattr(speed_trial._Format, "_open_video", lambda self: broken(self, 1))
    code, out, err = masklet(capsys, "bench", *QUICK, "--concepts", "1")
    assert (code, out) == (1, "")
    assert err == "masklet: error: float32: not implemented for 'Half'\n"


def test_ctrl_c_shows_what_there_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(self: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(speed_trial._Format, "_open_video", stopped)
    code, out, err = masklet(capsys, "bench", *QUICK, "--concepts", "1", "--json")
    assert code == 130
    assert [row["seconds"] is None for row in json.loads(out)["rows"]] == [False, True]
    assert "stopped" in err


# --- how it goes wrong ------------------------------------------------------------------------------------------------

USAGE = {
    "threads": (["--threads", "0"], "greater than or equal to 1"),
    "more threads than cores": (["--threads", "100000"], "the cores of this machine, got 100000"),
    "concepts": (["--concepts", "0"], "greater than or equal to 1"),
    "no time": (["--seconds", "0"], "--seconds: expected a number above 0, got 0"),
    "time that is no number": (["--seconds", "nan"], "got nan"),
    "two models": (["--random", "test", "--model", "sam3.pt"], "give one of them"),
}
FAILURES = {
    "dtype": (["--dtype", "int4"], "dtype must be auto, float32, bfloat16, float16 or int8, got 'int4'"),
    "device": (["--device", "abacus"], "device must be auto, cpu, cuda, cuda:N or mps, got 'abacus'"),
    "no such picture": (["gone.jpg"], "gone.jpg: expected a picture, there is no such file"),
    "no picture": (["letter.jpg"], "letter.jpg: expected a picture"),
    "no such model": (["--model", "gone.pt"], "gone.pt: there is no such file or folder"),
    "a preset without weights": (["--model", "sam3"], "measure without one: --random sam3"),
    "the public model": (["--model", "facebook/sam3"], "measure without one: --random sam3"),
    "no preset": (["--random", "sam4"], "preset must be one of"),
    "too many concepts": (["--random", "test", "--concepts", "9999"], "concepts: expected 1 to "),
    "too little time": (["--random", "test", "--seconds", "1e-9"], "--seconds 1e-09 is too short"),
}


@pytest.mark.parametrize(("arguments", "message"), USAGE.values(), ids=USAGE.keys())
def test_bad_usage_is_one_line_and_2(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    code, out, err = masklet(capsys, "bench", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


@pytest.mark.parametrize(("arguments", "message"), FAILURES.values(), ids=FAILURES.keys())
def test_what_cannot_be_measured_is_one_line_and_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    Path("letter.jpg").write_text("Dear Sir or Madam,")
    monkeypatch.setenv("HF_HUB_CACHE", "nowhere")
    monkeypatch.delenv("MASKLET_SAM3_CHECKPOINT", raising=False)
    code, out, err = masklet(capsys, "bench", *arguments)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert message in err


# --- on a terminal ----------------------------------------------------------------------------------------------------


def test_a_bar_on_a_terminal_that_says_what_is_done() -> None:
    seen = on_terminal("bench", *QUICK, "--concepts", "1", "--seconds", "1", columns=100)
    assert "a picture, 1 concept" in seen
    assert "pictures" in seen


@pytest.mark.parametrize(("value", "text"), [(0.01234, "0.0123"), (1.234, "1.23"), (12.34, "12.3"), (1234.0, "1234")])
def test_three_digits(value: float, text: str) -> None:
    assert verb._short(value) == text


def test_help_fits_a_terminal_and_names_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = masklet(capsys, "bench", "--help")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    for option in ("model", "random", "dtype", "concepts", "threads", "device", "seconds", "json"):
        assert f"--{option} " in out
