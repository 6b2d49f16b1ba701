import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from masklet.cli.synth import synth
from masklet.errors import InputError
from masklet.synthetic import writer
from masklet.synthetic.sprites import SpriteSheet


@pytest.fixture
def command(sheet: SpriteSheet, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """The verb alone, with the small sprites instead of the font."""
    monkeypatch.setattr(writer, "default_sheet", lambda: sheet)
    app = typer.Typer()
    app.command()(synth)
    return app


def test_the_verb_writes_a_data_set_and_prints_nothing_on_stdout(command: typer.Typer, tmp_path: Path) -> None:
    out = tmp_path / "set"
    options = ["--count", "3", "--size", "70x48", "--seed", "5", "--split", "evaluation", "--questions", "2"]
    result = CliRunner().invoke(command, ["--out", str(out), *options])
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "3 pictures" in result.stderr
    document = json.loads((out / "annotations.json").read_text())
    assert [(image["width"], image["height"], image["seed"]) for image in document["images"]] == [
        (70, 48, 5),
        (70, 48, 6),
        (70, 48, 7),
    ]
    assert document["info"]["split"] == "evaluation"
    assert len(document["queries"]) == 6


@pytest.mark.parametrize("wrong", [["--count", "-1"], ["--split", "test"], ["--format", "gif"]])
def test_bad_usage_is_exit_code_2(command: typer.Typer, tmp_path: Path, wrong: list[str]) -> None:
    assert CliRunner().invoke(command, ["--out", str(tmp_path / "set"), *wrong]).exit_code == 2
    assert CliRunner().invoke(command, []).exit_code == 2


def test_a_bad_size_is_a_named_error(command: typer.Typer, tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["--out", str(tmp_path / "set"), "--size", "huge"])
    assert isinstance(result.exception, InputError)
