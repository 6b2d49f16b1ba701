"""How an entry of a public checkpoint becomes ours and back: rules over name patterns, and the few tensor operations.

A rule pairs a tuple of name patterns of ours with a tuple of patterns of the public format; its operation turns the
tensors of one side into those of the other and works in both directions without changing a bit. In a pattern `{i}`
stands for a number and `{p}` for `weight` or `bias`. Patterns match whole names, never parts of them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from masklet.errors import CheckpointError

Tensors = Sequence[Tensor]
_PLACEHOLDERS: Final = {"{i}": r"(?P<i>0|[1-9]\d*)", "{p}": r"(?P<p>weight|bias)"}


@dataclass(frozen=True)
class Operation:
    """A reversible change of tensors.

    Attributes:
        name: how reports and tables call it.
        decode: tensors of the public format -> ours.
        encode: ours -> tensors of the public format.
        copies: decoding makes new memory (a view of mapped memory otherwise).
    """

    name: str
    decode: Callable[[Tensors], list[Tensor]]
    encode: Callable[[Tensors], list[Tensor]]
    copies: bool = False


def _split_qkv(ours: Tensors) -> list[Tensor]:
    if len(ours[0]) % 3:
        raise CheckpointError(f"a fused q/k/v tensor must have rows divisible by 3, got shape {tuple(ours[0].shape)}")
    return list(ours[0].chunk(3))


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors agree in shape, dtype and every bit; a not-a-number equals itself here."""
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return False
    return torch.equal(*(tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (a, b)))


def _merge_twins(foreign: Tensors) -> list[Tensor]:
    first, second = foreign
    if first.shape != second.shape or (not first.is_meta and not same_bits(first, second)):
        raise CheckpointError("two entries that hold the same tensor twice differ: the file cannot be represented")
    return [first]


def _join_rows(parts: Tensors) -> Tensor:
    """Tensors below each other along the first axis; shapes alone when they have no memory.

    `torch.cat` would do, but for tensors without memory it imports PyTorch's compiler, which takes most of a second.
    """
    first = parts[0]
    if any(part.shape[1:] != first.shape[1:] or part.ndim == 0 for part in parts):
        raise CheckpointError("tensors to be joined must agree in all axes but the first")
    joined = first.new_empty((sum(len(part) for part in parts), *first.shape[1:]))
    for target, part in zip(joined.split([len(part) for part in parts]), parts, strict=True):
        target.copy_(part)
    return joined


def _transpose(tensors: Tensors) -> list[Tensor]:
    return [tensors[0].t()]


def _identity(tensors: Tensors) -> list[Tensor]:
    return list(tensors)


SAME = Operation("same", _identity, _identity)
TABLE = Operation("computed table", _identity, _identity)  # recomputed from the configuration where a format wants it
TRANSPOSE = Operation("transpose", _transpose, _transpose)
QKV = Operation("q, k, v fused", lambda foreign: [_join_rows(foreign)], _split_qkv, copies=True)
LEADING_AXIS = Operation("leading axis", lambda f: [f[0].squeeze(0)], lambda o: [o[0].unsqueeze(0)])
CLASS_ROW = Operation(  # (1, 1 + N, C) <-> (N, C) and the row in front
    "class row cut off",
    lambda f: [f[0][0, 1:], f[0][0, :1]],
    lambda o: [_join_rows((o[1], o[0])).unsqueeze(0)],
)
ROWS = Operation(  # N times (1, C) <-> (N, C)
    "rows joined", lambda f: [_join_rows(f)], lambda o: list(o[0].split(1)), copies=True
)
COLUMN = Operation(  # (N, 1, 1, C) <-> (N, C)
    "middle axes", lambda f: [f[0].squeeze(2).squeeze(1)], lambda o: [o[0][:, None, None]]
)
TWINS = Operation("two equal copies", _merge_twins, lambda o: [o[0], o[0]])


@dataclass(frozen=True)
class Rule:
    """One row of a table: patterns of ours, patterns of the public format, what happens between them."""

    ours: tuple[str, ...]
    foreign: tuple[str, ...]
    operation: Operation = SAME


@dataclass(frozen=True)
class Link:
    """A rule applied to concrete names."""

    ours: tuple[str, ...]
    foreign: tuple[str, ...]
    operation: Operation


@dataclass(frozen=True)
class Links:
    """What a table makes of a set of names.

    Attributes:
        complete: links all of whose names (on the side that was given) are there.
        partial: links of which some names are missing, each with the missing ones.
        unknown: names that no rule covers.
    """

    complete: tuple[Link, ...]
    partial: tuple[tuple[Link, tuple[str, ...]], ...]
    unknown: tuple[str, ...]


class _Side:
    """The patterns of one side of a table; a look-up tries only those of the same outline."""

    def __init__(self, patterns: Iterable[tuple[str, Rule]]) -> None:
        self._by_outline: dict[str, list[tuple[str, Rule]]] = {}
        for pattern, rule in patterns:
            self._by_outline.setdefault(_outline(pattern), []).append((pattern, rule))

    def find(self, name: str) -> tuple[Rule, Mapping[str, str]] | None:
        """The rule that covers `name`, and what its placeholders stand for."""
        for pattern, rule in self._by_outline.get(_outline(name), ()):
            match = _compiled(pattern).fullmatch(name)
            if match:
                return rule, match.groupdict()
        return None


def _outline(name: str) -> str:
    """A name or pattern without its last part, numbers and their placeholders alike."""
    return re.sub(r"\.(\d+|\{i\})(?=\.)", ".#", name).rpartition(".")[0]


@functools.cache  # when a name is looked for: all of them take 0.2 s, and most files need few
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\{[ip]\})", pattern)
    return re.compile("".join(_PLACEHOLDERS.get(part) or re.escape(part) for part in parts))


class KeyMap:
    """The table of one public format; runs forwards (`decode`) and backwards (`encode`)."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        self._foreign = _Side((name, rule) for rule in self.rules for name in rule.foreign)
        self._ours = _Side((name, rule) for rule in self.rules for name in rule.ours)

    def decode(self, names: Iterable[str]) -> Links:
        """The links that cover `names` of the public format."""
        return _links(list(names), self._foreign, lambda link: link.foreign)

    def encode(self, names: Iterable[str]) -> Links:
        """The links that cover `names` of ours."""
        return _links(list(names), self._ours, lambda link: link.ours)


def _links(names: list[str], side: _Side, names_of: Callable[[Link], tuple[str, ...]]) -> Links:
    present = set(names)
    links: dict[Link, None] = {}  # a set that keeps the order of the file
    unknown: list[str] = []
    for name in names:
        found = side.find(name)
        if found is None:
            unknown.append(name)
            continue
        rule, values = found
        links[
            Link(
                tuple(pattern.format(**values) for pattern in rule.ours),
                tuple(pattern.format(**values) for pattern in rule.foreign),
                rule.operation,
            )
        ] = None
    missing = {link: tuple(name for name in names_of(link) if name not in present) for link in links}
    return Links(
        complete=tuple(link for link in links if not missing[link]),
        partial=tuple((link, missing[link]) for link in links if missing[link]),
        unknown=tuple(unknown),
    )
