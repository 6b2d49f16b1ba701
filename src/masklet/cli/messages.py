"""What is said to the user: how an error reads, one line on stderr."""

from __future__ import annotations

import sys

from masklet.errors import MaskletError


def message_of(error: BaseException, *, hint: str = "") -> str:
    """One clear line about an error; `hint` follows where it is a fault of ours."""
    if isinstance(error, MaskletError):
        return str(error)
    if isinstance(error, MemoryError):
        return "out of memory: use a smaller picture, fewer concepts at a time, or --dtype bfloat16"
    if isinstance(error, OSError):
        return f"{error.filename or 'system'}: {error.strerror or error}"
    return f"unexpected {type(error).__name__}: {error}{hint}"


def counted(count: int, thing: str) -> str:
    """`1 frame`, `2 frames`."""
    return f"{count} {thing}{'s' * (count != 1)}"


def say(message: str, level: str = "error") -> None:
    """Writes one line to stderr."""
    sys.stderr.write(f"masklet: {level}: {' '.join(message.split())}\n")
