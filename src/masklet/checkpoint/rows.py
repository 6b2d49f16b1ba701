"""The rows from which the name tables of `keymaps.py` are made, and short ways to write them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from masklet.checkpoint.rules import QKV, SAME, Operation

CARRIED: Final = "carried."


@dataclass(frozen=True)
class Row:
    """One row: our names, Meta's, Hugging Face's; an empty tuple where a format has no such entry."""

    ours: tuple[str, ...]
    meta: tuple[str, ...]
    hf: tuple[str, ...]
    meta_op: Operation = SAME
    hf_op: Operation = SAME


def row(ours: str, meta: str, hf: str) -> Row:
    """An entry that differs in its name only."""
    return Row((ours,), (meta,), (hf,))


def carried(meta: str, hf: str) -> Row:
    """An entry that no module of ours owns."""
    return row(CARRIED + meta, meta, hf)


def qkv(hf: str) -> tuple[str, ...]:
    """Names of three projections that are apart."""
    return tuple(f"{hf}.{part}_proj.{{p}}" for part in "qkv")


def fused(ours: str, meta: str, hf: str, *, hf_out: str = "o_proj") -> Iterator[Row]:
    """A PyTorch multi-head attention of Meta's."""
    yield Row((f"{ours}.qkv.{{p}}",), (f"{meta}.in_proj_{{p}}",), qkv(hf), hf_op=QKV)
    yield row(f"{ours}.out.{{p}}", f"{meta}.out_proj.{{p}}", f"{hf}.{hf_out}.{{p}}")


def modules(ours: str, meta: str, hf: str, names: Iterable[tuple[str, str, str]]) -> Iterator[Row]:
    """Modules with a weight and maybe a bias: prefixes, then (ours, Meta's, Hugging Face's) names below them."""
    for our_name, meta_name, hf_name in names:
        yield row(f"{ours}{our_name}.{{p}}", f"{meta}{meta_name}.{{p}}", f"{hf}{hf_name}.{{p}}")
