"""The part of YAML that data.yaml files are written in."""

from __future__ import annotations

from pathlib import Path

import pytest

from masklet.data.yaml_subset import parse_yaml
from masklet.errors import DataError

PATH = Path("data.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("# only\n\n---\n", {}),
        ("train: ../train/images\nnc: 3\n", {"train": "../train/images", "nc": "3"}),
        ("a: x # why\nb: x#y\nc: '#z'  # why\n", {"a": "x", "b": "x#y", "c": "#z"}),
        ("names: ['it''s', \"a \\\"b\\\" \\u00e9\", no, 1]", {"names": ["it's", 'a "b" é', "no", "1"]}),
        ("names: ['a, b', c]", {"names": ["a, b", "c"]}),
        ("names: []\nb: {}", {"names": [], "b": {}}),
        ("names: [a,\n  b, # two\n\n  'c]',\n]\nnc: 3", {"names": ["a", "b", "c]"], "nc": "3"}),
        ("names: {0: red apple, 1: 'x: y'}", {"names": {"0": "red apple", "1": "x: y"}}),
        (
            "names:\n  0: a\n  1: 'b # c'\n\n  # no\n  2: d\nb: 3",
            {"names": {"0": "a", "1": "b # c", "2": "d"}, "b": "3"},
        ),
        ("names:\n- a\n- 'b'\nnc: 2", {"names": ["a", "b"], "nc": "2"}),
        ("names:\n  - a\n  - b-c", {"names": ["a", "b-c"]}),
        ("names:\n\t- a", {"names": ["a"]}),
        ("empty:\nb: c", {"empty": "", "b": "c"}),
        ("url: https://example.org/x", {"url": "https://example.org/x"}),
        ("café: naïve", {"café": "naïve"}),
        ("lists: it's a dog's\n", {"lists": "it's a dog's"}),
        ("don't: x # can't\n", {"don't": "x"}),
    ],
)
def test_what_is_read(text: str, expected: object) -> None:
    assert parse_yaml(text, PATH) == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("just text", 1),
        ("a: 1\n  b: 2", 2),
        ("a:\n  - b\n    - c", 3),
        ("a:\n  b:\n    c: d", 3),
        ("a: &x 1", 1),
        ("a: !!python/object/apply:os.system ['ls']", 1),
        ("a: |\n  text", 1),
        ("a: [b", 1),
        ("a: [b}", 1),
        ("a: [[b], c]", 1),
        ("a: 'b", 1),
        ('a: "\\q"', 1),
        ("a:\n  0: b\n  0: c", 3),
        ("a: b: c", 1),
        ("- a\n- b", 1),
        ("a:\n  0: b\n  - c", 3),
    ],
)
def test_what_is_not_read_names_its_line(text: str, line: int) -> None:
    with pytest.raises(DataError, match=rf"data\.yaml, line {line}: expected 'key: value'"):
        parse_yaml(text, PATH)
