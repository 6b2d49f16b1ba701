"""How learning rates change over the steps of a run: factors of a base rate. Pure functions."""

from __future__ import annotations

import math


def rate_factor(step: int, *, steps: int, warmup: int, tail: float, final: float) -> float:
    """Factor of the learning rate: linear from 0 to 1, constant, then half a cosine down to `final`.

    Args:
        step: 0 .. steps - 1.
        steps: of the stage.
        warmup: steps of the rise.
        tail: share of the steps that the cosine takes, 0..1.
        final: factor at the end.
    """
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    start = steps * (1 - tail)
    if step < start:
        return rise
    progress = (step - start) / max(1.0, steps - start)
    return rise * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress)))


def inverse_square_root(step: int, *, steps: int, warmup: int, timescale: int, cooldown: int) -> float:
    """Factor of the learning rate as released (spec/training.md 7.3): up, down with 1 / sqrt, and linear to the end.

    The first step has a factor of 0.

    Args:
        step: 0 .. steps - 1.
        steps: of the run.
        warmup: steps of the linear rise.
        timescale: steps after the rise in which the rate falls to 1 / sqrt(2).
        cooldown: steps at the end in which what is left falls to 0.
    """
    factor = (timescale / (step + timescale - warmup)) ** 0.5 if step > warmup else 1.0
    if warmup:
        factor *= min(1.0, step / warmup)
    if cooldown:
        factor *= min(1.0, (steps - step) / cooldown)
    return factor
