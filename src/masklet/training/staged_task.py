"""What tasks that follow a recipe in stages share: optimisers, rates, and what a run says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from masklet.checkpoint.load import with_state
from masklet.checkpoint.save import save_native
from masklet.model.detector import Detector
from masklet.training.optimizers import Optimizers
from masklet.training.stages import StagedRecipe

R = TypeVar("R", bound=StagedRecipe[Any])

SEEDS_PER_STAGE = 10_000_000
"""The seed of a batch is this many times the number of its stage, plus the number of its step there."""


class StagedTask(Generic[R]):
    """A model trained by a recipe: the part of `loop.Task` that does not depend on what is learned.

    Args:
        recipe: what to train.
        model: on the device of the run; what needs no gradient stays.
        helpers: what is trained beside it and thrown away in the end, by name.
    """

    material: ClassVar[str]
    """What batches are made of, for messages."""

    def __init__(self, recipe: R, model: Detector, helpers: Mapping[str, nn.Module] | None = None) -> None:
        helpers = helpers or {}
        self.recipe = recipe
        self.model = model
        self.modules: Mapping[str, nn.Module] = {"model": model, **helpers}
        trained = {"": model, **{f"{name}.": helper for name, helper in helpers.items()}}
        self._optimizers = Optimizers(trained, weight_decay=recipe.weight_decay)
        self.steps = recipe.steps
        self.ema = recipe.ema
        self.loads_after = ""

    def finished(self, learned: Mapping[str, Tensor]) -> Detector:
        """See `Task`."""
        return with_state(self.model.config, {**self.model.state_dict(), **learned})

    def write(self, learned: Mapping[str, Tensor], path: Path) -> None:
        """A native file; see `Task`."""
        save_native(self.finished(learned), path, torch.float16)

    def stage(self, step: int) -> tuple[str, int]:
        """Name and number; see `Task`."""
        stage, stage_step = self.recipe.locate(step)
        return stage.name, stage_step

    def made_of(self, step: int) -> str:
        """Stage and number; see `Task`."""
        return "{} of stage {!r}, number {}".format(self.material, *self.stage(step))

    def clip(self) -> Tensor:
        """See `Task`."""
        return self._optimizers.clip(self.recipe.clip)

    def update(self, step: int) -> float:
        """The rate; see `Task`."""
        stage, stage_step = self.recipe.locate(step)
        rate = stage.rate_at(stage_step)
        self._optimizers.step(rate=rate, recognition_rate=rate * stage.recognition_factor)
        return rate

    def optimizer_state(self) -> list[dict[str, Any]]:
        """See `Task`."""
        return self._optimizers.state_dict()

    def load_optimizer_state(self, state: list[dict[str, Any]]) -> None:
        """See `Task`."""
        self._optimizers.load_state_dict(state)

    def description(self) -> dict[str, Any]:
        """The recipe; see `Task`."""
        return self.recipe.to_dict()

    def begun(self, step: int) -> str:
        """The recipe without stages that have not begun; see `Task`."""
        return json.dumps(self.recipe.up_to(step).to_dict())
