"""A run in stages, as data: how long each is, and how its learning rate goes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from typing import Any, Generic, Self, TypeVar

from masklet.training.schedule import rate_factor


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A part of a run with one picture size and one course of the learning rate.

    Attributes:
        name: shown in the log.
        steps: how many.
        image_size: side of the pictures, pixels.
        rate: greatest learning rate.
        warmup: steps in which the rate rises.
        tail: share of the steps in which it falls again.
        final: factor of the rate at the end.
        recognition_factor: the rate of what recognition trains is this many times `rate`.
    """

    name: str
    steps: int
    image_size: int = 224
    rate: float = 1e-3
    recognition_factor: float = 1.0
    warmup: int = 100
    tail: float = 0.5
    final: float = 0.1

    def rate_at(self, step: int) -> float:
        """Learning rate of step 0 .. `steps` - 1."""
        return self.rate * rate_factor(step, steps=self.steps, warmup=self.warmup, tail=self.tail, final=self.final)


S = TypeVar("S", bound=Schedule)


@dataclass(frozen=True, kw_only=True)
class StagedRecipe(Generic[S]):
    """A whole run.

    Attributes:
        preset: configuration that is trained.
        stages: in order.
        seed: of the first weights.
        weight_decay: of matrices.
        clip: greatest gradient norm.
        ema: decay of the averaged weights, which are what is kept in the end.
    """

    preset: str
    stages: tuple[S, ...]
    seed: int = 0
    weight_decay: float = 0.03
    clip: float = 2.0
    ema: float = 0.999

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(stage.steps for stage in self.stages)

    def locate(self, step: int) -> tuple[S, int]:
        """The stage of a step of the run, and its number there."""
        for stage in self.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise IndexError(f"the recipe has {self.steps} steps, there is none numbered {step + self.steps}")

    def up_to(self, step: int) -> Self:
        """The recipe without the stages that have not begun when `step` steps are done."""
        started = 0
        stages = []
        for stage in self.stages:
            if started < step:
                stages.append(stage)
            started += stage.steps
        return replace(self, stages=tuple(stages))

    def shortened(self, factor: float) -> Self:
        """The same stages with `factor` times the steps, at least one each."""
        return replace(
            self,
            stages=tuple(replace(stage, steps=max(1, round(stage.steps * factor))) for stage in self.stages),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionary, ready for JSON."""
        return dataclasses.asdict(self)
