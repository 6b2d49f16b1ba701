"""The page about data says what the code does: its example files are read, its list of kinds is whole."""

from __future__ import annotations

import re
from pathlib import Path

from masklet.data.check import KINDS
from masklet.data.coco import read_coco
from masklet.data.open import FORMATS
from masklet.data.yaml_subset import parse_yaml

PAGE = (Path(__file__).resolve().parents[2] / "docs/data.md").read_text(encoding="utf-8")


def block(start: str) -> str:
    found = re.search(rf"^```\w+\n({re.escape(start)}.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_the_coco_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "set.json").write_text(block("{"), encoding="utf-8")
    (picture,) = read_coco(tmp_path / "set.json")
    assert [(prompt.phrase, prompt.instance_idx) for prompt in picture.prompts] == [
        ("red apple", (0,)),
        ("the apple on the left", (1,)),
        ("green apple", ()),
    ]


def test_the_yaml_file_is_read() -> None:
    assert parse_yaml(block("path:"), Path("data.yaml")) == {
        "path": ".",
        "train": "images/train",
        "val": "images/val",
        "names": ["red apple", "dog"],
    }


def test_kinds_and_formats_are_listed() -> None:
    fatal, counted = (
        re.findall(r"`([\w-]+)`", line) for line in PAGE.splitlines() if line.startswith(("| fatal", "| counted"))
    )
    assert {kind: severity for kind, (severity, _) in KINDS.items()} == (
        dict.fromkeys(fatal, "fatal") | dict.fromkeys(counted, "counted")
    )
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == list(FORMATS)
