"""The part of YAML in which data.yaml files are written; everything is text.

    key: value              value: plain, in "double" (JSON's escapes) or 'single' quotes ('' is one quote)
    key: [a, 'b, c']        lists and mappings in one line or over several
    key: {0: a, 1: b}
    key:                    a block of  - a  or of  0: a, indented or (for -) not
      0: a
    # comments, and --- or ... alone on a line

No anchors, tags, multi-line strings or nesting below that: an unknown construction is an error, not a guess. Values
are not turned into numbers or truth values, so that a class may be called `no` or `1`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from masklet.errors import DataError

Value = str | list[str] | dict[str, str]

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|' + r"'(?:[^']|'')*'")
# A quote within a word is none: it is a dog's.
_QUOTED_WITHIN = re.compile(rf"(?<![^\s\[{{,])(?:{_QUOTED.pattern})")
_COMMENT = re.compile(r"(^|\s)#.*$")
_SPECIAL = ("&", "*", "!", "|", ">", "%", "@", "`")


def parse_yaml(text: str, path: Path) -> dict[str, Value]:
    """The keys of a document and their values.

    Args:
        text: the document.
        path: where it comes from, for messages.

    Raises:
        DataError: something beyond the part that is read here; names the line.
    """
    document: dict[str, Value] = {}
    lines = [(number, _without_comment(line)) for number, line in enumerate(text.splitlines(), start=1)]
    lines = [(number, line) for number, line in lines if line.strip() and line.strip() not in ("---", "...")]
    index = 0
    while index < len(lines):
        number, line = lines[index]
        index += 1
        if line[0] in " \t-":
            raise _error(path, number, line)
        key, rest = _pair(line, path, number)
        if rest.startswith(("[", "{")):
            while not _closed(rest):
                if index == len(lines):
                    raise _error(path, number, line)
                rest += " " + lines[index][1].strip()
                index += 1
            document[key] = _flow(rest, path, number)
        elif rest:
            document[key] = _scalar(rest, path, number)
        else:
            first = index
            while index < len(lines) and (lines[index][1][0] in " \t" or lines[index][1].startswith("-")):
                index += 1
            document[key] = _block(lines[first:index], path)
    return document


def _block(lines: list[tuple[int, str]], path: Path) -> Value:
    """Items of a list or mapping, all indented alike; an empty text if there are none."""
    if not lines:
        return ""
    indents = {len(line) - len(line.lstrip()) for _, line in lines}
    if len(indents) > 1:
        raise _error(path, *lines[1])
    if all(re.match(r"-(\s|$)", line.strip()) for _, line in lines):
        return [_scalar(line.strip()[1:].strip(), path, number) for number, line in lines]
    pairs = {}
    for number, line in lines:
        key, rest = _pair(line.strip(), path, number)
        if key in pairs:
            raise _error(path, number, line)
        pairs[key] = _scalar(rest, path, number)
    return pairs


def _flow(text: str, path: Path, number: int) -> Value:
    inner = text[1:-1].strip()
    if text[-1] != {"[": "]", "{": "}"}[text[0]]:
        raise _error(path, number, text)
    items = [item.strip() for item in _split(inner, ",")]
    if items and not items[-1]:
        items.pop()  # a comma at the end, or nothing at all
    if text[0] == "[":
        return [_scalar(item, path, number) for item in items]
    pairs = [_pair(item, path, number) for item in items]
    return {key: _scalar(rest, path, number) for key, rest in pairs}


def _pair(text: str, path: Path, number: int) -> tuple[str, str]:
    found = re.match(rf"({_QUOTED.pattern}|[^:]+?)\s*:(?:\s+(.*)|)$", text)
    if found is None:
        raise _error(path, number, text)
    return _scalar(found[1], path, number), (found[2] or "").strip()


def _scalar(text: str, path: Path, number: int) -> str:
    if text.startswith(('"', "'")):
        if not _QUOTED.fullmatch(text):
            raise _error(path, number, text)
        if text[0] == "'":
            return text[1:-1].replace("''", "'")
        try:
            value: str = json.loads(text)
        except ValueError as error:
            raise _error(path, number, text) from error
        return value
    if text.startswith((*_SPECIAL, "[", "{", "- ")) or ": " in text:
        raise _error(path, number, text)
    return text


def _split(text: str, separator: str) -> list[str]:
    """Parts between separators outside quotes."""
    parts, start, index = [], 0, 0
    while index < len(text):
        quoted = _QUOTED.match(text, index) if text[start:index].strip() == "" else None
        if quoted:
            index = quoted.end()
        elif text[index] == separator:
            parts.append(text[start:index])
            start = index = index + 1
        else:
            index += 1
    return [*parts, text[start:]]


def _closed(text: str) -> bool:
    return _QUOTED_WITHIN.sub("", text).rstrip().endswith(("]", "}"))


def _without_comment(line: str) -> str:
    """The line up to a # outside quotes that is at its begin or follows a blank."""
    masked = _QUOTED_WITHIN.sub(lambda found: "x" * len(found[0]), line)
    comment = _COMMENT.search(masked)
    return (line[: comment.start()] if comment else line).rstrip()


def _error(path: Path, number: int, text: str) -> DataError:
    return DataError(
        f"{path}, line {number}: expected 'key: value', a list or a mapping as data.yaml files have them, got "
        f"{text.strip()[:60]!r}; write it as docs/data.md shows"
    )
