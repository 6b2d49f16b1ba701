"""The command as a process: exit codes, one clear line on stderr, quick help."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from command import masklet
from masklet import __version__
from masklet.checkpoint import load_detector, save_native
from masklet.cli import main
from masklet.cli.convert import FormatName, format_for
from masklet.model.build import build_model


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_native(build_model("test", seed=0), path)
    return path


def test_as_a_process_help_and_version_do_not_load_torch() -> None:
    code = (
        "import sys\nfrom masklet.cli.main import run\n"
        "sys.argv = ['masklet', '{}']\n"
        "try:\n    run()\nexcept SystemExit as stop:\n    assert stop.code == 0, stop.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    for option, expected in (("--help", "convert"), ("--version", f"masklet {__version__}")):
        done = subprocess.run(
            [sys.executable, "-c", code.format(option)], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout


def test_no_verb_shows_the_help_and_every_verb_on_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = masklet(capsys)
    assert (code, err) == (0, "")
    assert out == masklet(capsys, "--help")[1]
    assert "..." not in out.partition("Commands:")[2]  # how a description that is cut would end


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "nonsense"),
        (["info"], "FILE"),
        (["info", "a", "b"], "b"),
        (["info", "--wrong", "a"], "--wrong"),
        (["convert", "a", "b", "--to", "onnx"], "onnx"),
    ],
)
def test_bad_usage_is_one_line_and_2(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    code, out, err = masklet(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("masklet: error: ")
    assert message in err
    assert "--help" in err


def test_failure_is_one_line_and_1(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = masklet(capsys, "info", tmp_path / "missing.pt")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "missing.pt" in err
    assert "Traceback" not in err


def test_traceback_when_asked_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = masklet(capsys, "--debug", "info", tmp_path / "missing.pt")
    assert code == 1
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("masklet: error: ")
    monkeypatch.setenv("MASKLET_DEBUG", "1")
    assert "Traceback" in masklet(capsys, "info", tmp_path / "missing.pt")[2]
    monkeypatch.delenv("MASKLET_DEBUG")
    assert "Traceback" not in masklet(capsys, "info", tmp_path / "missing.pt")[2]


def test_a_fault_of_our_own_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main._report(KeyError("x")) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "fault of masklet" in err


def test_info(capsys: pytest.CaptureFixture[str], checkpoint: Path) -> None:
    code, out, err = masklet(capsys, "info", checkpoint)
    assert (code, err) == (0, "")
    parameters = sum(p.numel() for p in build_model("test", seed=0).parameters())
    assert f"{parameters:,}" in out
    assert "native" in out
    code, out, _ = masklet(capsys, "info", checkpoint, "--json", "--no-hash")
    document = json.loads(out)
    assert (code, document["total_parameters"], document["sha256"]) == (0, parameters, None)
    assert document["config"]["name"] == "test"


def test_convert_there_and_back(capsys: pytest.CaptureFixture[str], checkpoint: Path, tmp_path: Path) -> None:
    source = checkpoint
    for target in ("sam3.pt", "folder", "back.safetensors"):
        code, out, err = masklet(capsys, "convert", source, tmp_path / target)
        assert (code, out) == (0, ""), err
        assert target in err
        source = tmp_path / target
    expected = load_detector(checkpoint).state_dict()
    found = load_detector(tmp_path / "back.safetensors").state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    code, _, err = masklet(capsys, "convert", checkpoint, tmp_path / "back.safetensors")
    assert code == 1
    assert "must not exist" in err
    assert masklet(capsys, "convert", checkpoint, tmp_path / "back.safetensors", "--overwrite")[0] == 0


def test_convert_knows_the_format_by_the_ending() -> None:
    endings = {"a.safetensors": "native", "a.pt": "meta", "a.pth": "meta", "folder": "huggingface"}
    assert {name: format_for(Path(name)).value for name in endings} == endings
    assert {f.value for f in FormatName} == set(endings.values())


def test_warnings_of_the_package_are_one_line_on_stderr(
    capsys: pytest.CaptureFixture[str], checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import logging

    from masklet.cli import info

    def noisy(*_: object) -> None:
        logging.getLogger("masklet.somewhere").warning("two\nlines")

    monkeypatch.setattr(info, "_print", noisy)
    code, out, err = masklet(capsys, "info", checkpoint)
    assert (code, out, err) == (0, "", "masklet: warning: two lines\n")
    assert not logging.getLogger("masklet").handlers


def test_a_pipe_that_closes_early_is_no_fault(checkpoint: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "from masklet.cli.main import run; run()", "info", str(checkpoint), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 1
    assert error == b""
