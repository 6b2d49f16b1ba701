"""Where the time goes: seconds by stage, measured only while somebody asks.

with timed_stages() as seconds:
    predictor.segment(...)
seconds   # {"decode": 0.01, "encode": 0.2, "detect": 0.1, "masks": 0.02}
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_running: ContextVar[dict[str, float] | None] = ContextVar("stages", default=None)


@contextmanager
def timed_stages() -> Iterator[dict[str, float]]:
    """Seconds by stage of what this thread does in the block; filled as it runs, in the order of first use."""
    token = _running.set({})
    try:
        seconds = _running.get()
        assert seconds is not None
        yield seconds
    finally:
        _running.reset(token)


def being_timed() -> bool:
    """Whether somebody measures in this thread."""
    return _running.get() is not None


@contextmanager
def stage(name: str, device: torch.device | None = None) -> Iterator[None]:
    """Adds the time of the block to the stage `name`; free while nobody measures.

    Args:
        name: "decode", "encode", "detect", "masks", "write".
        device: where the block computes: an accelerator is waited for, but only when the time is wanted.
    """
    seconds = _running.get()
    if seconds is None:
        yield
        return
    _wait(device)
    start = time.perf_counter()
    try:
        yield
    finally:
        _wait(device)
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start


def _wait(device: torch.device | None) -> None:
    if device is not None and device.type != "cpu":
        torch.accelerator.synchronize(device)
