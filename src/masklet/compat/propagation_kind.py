"""What a propagation does after what was done before: look, follow some objects, or give out again (spec/video.md 9.3).

    history = (Pass("full", None, 0), Edit(3))
    next_pass(history, start=None, frame_count=80, is_sought=True)      Pass("partial", {3}, None)

    full       every frame is passed: things are looked for, everybody is followed
    partial    the objects that were placed or set right are followed alone, the others are given out again
    fetch      nothing is computed

Unlike in the original, a session in which something is looked for begins with a full pass, also if objects were
clicked or removed before; there, every frame but the prompted one would fail or be empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["full", "partial", "fetch"]


@dataclass(frozen=True)
class Edit:
    """An object was placed or set right by clicks, or removed."""

    object_id: int
    removed: bool = False


@dataclass(frozen=True)
class Pass:
    """A propagation in one direction.

    Attributes:
        kind: what it did.
        object_ids: whom a partial one followed.
        start: first frame, as it was asked for; None is not 0.
    """

    kind: Kind
    object_ids: frozenset[int]
    start: int | None


def next_pass(history: Sequence[Edit | Pass], start: int | None, *, frame_count: int, is_sought: bool) -> Pass:
    """What the next propagation does.

    Args:
        history: edits and passes since the last text or box, in order.
        start: its first frame; None: not said.
        frame_count: frames of the video.
        is_sought: a text or a box is looked for.
    """
    passes = [done for done in history if isinstance(done, Pass)]
    if not history or (is_sought and not passes):
        return Pass("full", frozenset(), start)
    last = history[-1]
    if isinstance(last, Pass):
        before = history[-2] if len(history) > 1 else None
        is_second = isinstance(before, Pass) and before.kind != "fetch"
        if last.kind == "fetch" or is_second or last.start in (0, frame_count - 1):
            return Pass("fetch", frozenset(), start)
        return Pass(last.kind, last.object_ids, start)  # the other direction
    edited = _edited(history)
    return Pass("partial", edited, start) if edited else Pass("fetch", frozenset(), start)


def _edited(history: Sequence[Edit | Pass]) -> frozenset[int]:
    """The objects that were placed or set right since the last pass, and are still there."""
    edited: set[int] = set()
    removed: set[int] = set()
    for done in reversed(history):
        if isinstance(done, Pass):
            break
        if done.removed:
            removed.add(done.object_id)
        elif done.object_id not in removed:
            edited.add(done.object_id)
    return frozenset(edited)
