"""The command in this process or on a terminal, for tests of what a user sees."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from masklet.cli import main

COMMAND = [sys.executable, "-m", "masklet"]


def masklet(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `masklet ARGUMENTS`."""
    before, sys.argv = sys.argv, ["masklet", *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as stop:
            main.run()
    finally:
        sys.argv = before
    out = capsys.readouterr()
    assert isinstance(stop.value.code, int)
    return stop.value.code, out.out, out.err


class Verb:
    """`masklet VERB ARGUMENTS` in this process, of one model in float32.

    Attributes:
        weights: the file of the model.
        chosen: the arguments that name the model.
    """

    def __init__(self, name: str, capsys: pytest.CaptureFixture[str], weights: Path) -> None:
        self.name, self.capsys, self.weights = name, capsys, weights
        self.chosen = ["--model", str(weights), "--dtype", "float32"]

    def __call__(self, *arguments: str | Path, model: bool = True) -> tuple[int, str, str]:
        """Exit code, stdout and stderr; without `model` the arguments name one, or none is needed."""
        return masklet(self.capsys, self.name, *arguments, *(self.chosen if model else []))


def on_terminal(*arguments: str, columns: int = 80) -> str:
    """What a user sees of `masklet ARGUMENTS` on a terminal so wide, which must go well."""
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=end,
        stdout=end,
        stderr=end,
        env=os.environ | {"COLUMNS": str(columns), "TERM": "xterm"},
    )
    os.close(end)
    seen = b""
    try:
        while part := os.read(terminal, 65536):
            seen += part
    except OSError:  # how a terminal says that the other side is gone
        pass
    os.close(terminal)
    assert process.wait(60) == 0, seen
    return seen.decode()
