"""`masklet train` with settings, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command import masklet
from masklet.checkpoint.save import save_native
from masklet.model.build import build_model
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.world import TRAIN
from masklet.synthetic.writer import write_coco

SETTINGS = """
base = "{base}"
[train]
path = "labels"
[validation]
path = "held_out/annotations.json"
[run]
steps = 3
workers = 0
validate_every = 2
"""


@pytest.fixture
def folder(tmp_path: Path, sheet: SpriteSheet, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, seed in (("labels", 3), ("held_out", 50)):
        write_coco(tmp_path / name, count=3, size_hw=(64, 80), seed=seed, split=TRAIN, questions=4, sheet=sheet)
    save_native(build_model("test", seed=0), tmp_path / "tiny.safetensors")
    (tmp_path / "t.toml").write_text(SETTINGS.format(base=tmp_path / "tiny.safetensors"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_labels_to_weights(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = masklet(capsys, "train", "t.toml", "--device", "cpu")
    assert (code, out) == (0, "runs/t/best.safetensors\n")
    lines = [json.loads(line) for line in (folder / "runs/t/validation.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 3]
    code, out, _ = masklet(capsys, "info", "runs/t/best.safetensors", "--json", "--no-hash")
    assert code == 0
    labels = ("--ground-truth", "held_out/annotations.json")
    code, out, _ = masklet(capsys, "evaluate", "--model", "runs/t/best.safetensors", *labels, "--json")
    assert code == 0
    best = max(lines, key=lambda line: line["cgF1"])
    assert json.loads(out)["cgF1_eval_segm_cgF1"] == pytest.approx(best["cgF1"], abs=1e-3)


def test_a_stop_and_going_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ("train", "t.toml", "--out", "here", "--device", "cpu", "--minutes", "0")
    code, out, err = masklet(capsys, *line)
    assert (code, out) == (0, "here/weights.safetensors\n")
    assert "stopped after step 1 of 3; the same line goes on" in err
    masklet(capsys, *line)
    code, out, err = masklet(capsys, *line)
    assert (code, out, "stopped" in err) == (0, "here/best.safetensors\n", False)
    code, _, err = masklet(capsys, *line, "--set", "adapt=heads")
    assert code == 1
    assert "choose another folder" in err


def test_check_tells_what_is_wrong(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = masklet(capsys, "train", "t.toml", "--check")
    assert code == 0
    assert out.count("3 pictures, 12 prompts") == 2
    assert not (folder / "runs").exists()
    sorted((folder / "labels/images").iterdir())[0].unlink()
    code, out, err = masklet(capsys, "train", "t.toml", "--check")
    assert code == 1
    assert "missing-picture" in out
    assert "must be mended before it can be trained on: 1 x missing-picture" in err
    code, out, err = masklet(capsys, "train", "t.toml")
    assert (code, out) == (1, "")
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("t.yaml",), 1, "expected a settings file (.toml), 'default' or 'default-tracker', got 't.yaml'"),
        (("none.toml",), 1, "none.toml: expected a settings file"),
        (("t.toml", "--set", "run.stepz=1"), 1, "unknown names ['stepz']"),
        (("t.toml", "--scale", "2"), 2, "it goes with a recipe"),
        (("default", "--check"), 2, "it goes with a settings file"),
        (("default", "--set", "a=1"), 2, "it goes with a settings file"),
        (("default", "--scale", "0"), 2, "expected a number above 0"),
        (("t.toml", "--set", "train.path=nowhere"), 1, "there is no such file or folder"),
        (("t.toml", "--set", "base=nothing.pt"), 1, "nothing.pt"),
    ],
)
def test_bad_usage(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, message: str
) -> None:
    found, out, err = masklet(capsys, "train", *words)
    assert (found, out) == (code, "")
    assert message in err
    assert err.count("\n") == 1
