"""The command in this process, for tests of what a user sees."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from masklet.cli import main


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
