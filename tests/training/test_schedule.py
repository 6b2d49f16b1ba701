"""Learning rates over a run beside hand-computed values and those of spec/training.md 7.3."""

from __future__ import annotations

import math

import pytest

from masklet.training.schedule import inverse_square_root, rate_factor


def test_rate_rises_stays_and_falls_as_a_cosine() -> None:
    def factor(step: int) -> float:
        return rate_factor(step, steps=100, warmup=10, tail=0.5, final=0.2)

    assert factor(0) == pytest.approx(0.1)
    assert factor(9) == factor(30) == factor(49) == 1
    assert factor(75) == pytest.approx(0.2 + 0.8 * 0.5)  # middle of the tail
    assert factor(99) == pytest.approx(0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * 49 / 50)))
    assert rate_factor(0, steps=1, warmup=0, tail=1.0, final=0.0) == 1


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.0),
        (1, 4.0e-6),
        (10, 4.0e-5),
        (20, 8.0e-5),
        (21, 7.8072e-5),
        (40, 5.65685e-5),
        (80, 4.0e-5),
        (500, 1.6e-5),
        (980, 1.142857e-5),
        (990, 5.685352e-6),
        (999, 5.659685e-7),
    ],
)
def test_released_schedule(step: int, rate: float) -> None:
    factor = inverse_square_root(step, steps=1000, warmup=20, timescale=20, cooldown=20)
    assert 8e-5 * factor == pytest.approx(rate, rel=2e-6)  # the table has five to seven digits


def test_released_schedule_without_rise_and_end() -> None:
    factors = [inverse_square_root(step, steps=3, warmup=0, timescale=1, cooldown=0) for step in range(3)]
    assert factors == pytest.approx([1, 2**-0.5, 3**-0.5])
