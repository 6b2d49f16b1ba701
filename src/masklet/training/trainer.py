"""The loop: a recipe and a folder in, weights out. It can be cut at any moment and goes on from the last state.

Batches and random numbers depend on the step alone, and the state holds everything else, so a run that was cut ends
with the same weights as one that was not.

    folder/state.pt              weights, averages, optimisers, step; replaced every few minutes
    folder/log.jsonl             one line per `LOG_EVERY` steps; seconds on the clock and of this process's cores
    folder/recipe.json           what is trained
    folder/weights.safetensors   averaged weights in float16, written with every state
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from masklet.checkpoint.save import save_native, written_aside
from masklet.config import preset
from masklet.errors import TrainingError
from masklet.model.build import build_model
from masklet.model.detector import Detector
from masklet.runtime import multiplies_bfloat16, resolve_device
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.symbols import COLOURS
from masklet.training.batches import BatchMaker, DenseBatch, PromptBatch
from masklet.training.optimizers import Optimizers
from masklet.training.recipe import DenseSteps, PromptSteps, Recipe
from masklet.training.recognition import RecognitionHeads, recognition_loss
from masklet.training.schedule import rate_factor
from masklet.training.steps import prompt_loss

LOG_EVERY = 50  # steps
SAVE_EVERY = 120.0  # seconds
_FIRST_BOX_SIDE = 0.25  # of the reference boxes, as a fraction of the picture
_SEEDS_PER_STAGE = 10_000_000

T = TypeVar("T")
Report = Callable[[int, str, dict[str, float]], None]


class _Steps(Dataset[DenseBatch | PromptBatch]):
    """The batch of every step of a recipe."""

    def __init__(self, recipe: Recipe, maker: BatchMaker) -> None:
        self.recipe = recipe
        self.maker = maker

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> DenseBatch | PromptBatch:
        stage, stage_step = self.recipe.locate(step)
        seed = self.recipe.stages.index(stage) * _SEEDS_PER_STAGE + stage_step
        if stage.is_dense(stage_step):
            dense = stage.dense or DenseSteps()
            return self.maker.dense(
                seed, images=dense.images, size=stage.image_size, questions=dense.questions, crowd=dense.crowd
            )
        prompts = stage.prompts or PromptSteps()
        return self.maker.prompts(
            seed,
            images=prompts.images,
            size=stage.image_size,
            questions=prompts.questions,
            mask_prompts=prompts.mask_prompts,
            coloured=prompts.coloured,
            shown=prompts.shown,
        )


class Trainer:
    """A run in a folder.

    Args:
        recipe: what to train.
        folder: made if it is not there; with a state in it the run goes on.
        device: where to train.
        sheet: sprites; None takes the installed font's.
        workers: processes that make pictures; 0 makes them in this one.

    Raises:
        TrainingError: the folder holds a run of another recipe.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        *,
        device: str = "auto",
        sheet: SpriteSheet | None = None,
        workers: int = 1,
    ) -> None:
        self.recipe = recipe
        self.folder = folder
        self.device = resolve_device(device)
        self.workers = workers
        config = preset(recipe.preset)
        maker = BatchMaker(config, sheet)
        self.batches = _Steps(recipe, maker)
        torch.manual_seed(recipe.seed)
        self.model = build_model(config, seed=recipe.seed).to(self.device).train()
        self.heads = RecognitionHeads(
            vision_width=config.vision.width, width=config.width, symbols=len(maker.named), colours=len(COLOURS)
        ).to(self.device)
        spread_reference_boxes(self.model)
        self.optimizers = Optimizers({"": self.model, "heads.": self.heads}, weight_decay=recipe.weight_decay)
        self.averages = [parameter.detach().clone() for parameter in self.model.parameters()]
        self.step = 0
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self._open_folder()

    def run(self, *, seconds: float | None = None, report: Report | None = None) -> bool:
        """Trains until the recipe is done, or for `seconds` of this call.

        Args:
            seconds: stop (with the state saved) after this time; None for no limit.
            report: called with (step, name of the stage, averaged terms) whenever a line is logged.

        Returns:
            Whether the recipe is done.

        Raises:
            TrainingError: the loss is no finite number; the last state lies in the folder.
        """
        began = saved = time.monotonic()
        already, cpu_already = self.seconds, self.cpu_seconds - time.process_time()
        sums: dict[str, list[float]] = {}
        for batch in self._loader():
            for name, value in self._train_step(_moved(batch, self.device)).items():
                sums.setdefault(name, []).append(value)
            self.step += 1
            now = time.monotonic()
            self.seconds = already + now - began
            self.cpu_seconds = cpu_already + time.process_time()
            if self.step % LOG_EVERY == 0:
                terms = {name: sum(values) / len(values) for name, values in sums.items()}
                sums.clear()
                self._log(terms)
                if report is not None:
                    report(self.step, self.recipe.locate(self.step - 1)[0].name, terms)
            if now - saved > SAVE_EVERY:
                self.save()
                saved = now
            if seconds is not None and now - began > seconds:
                break
        self.save()
        return self.step >= self.recipe.steps

    def save(self) -> None:
        """Writes state and weights."""
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "recipe": self._begun(self.step),
            "model": self.model.state_dict(),
            "heads": self.heads.state_dict(),
            "averages": self.averages,
            "optimizers": self.optimizers.state_dict(),
        }
        with written_aside(self.folder / "state.pt") as aside:
            torch.save(state, aside)
        save_native(self.averaged_model(), self.folder / "weights.safetensors", torch.float16)

    def averaged_model(self) -> Detector:
        """A model with the averaged weights."""
        model = build_model(self.model.config)
        with torch.no_grad():
            for parameter, average in zip(model.parameters(), self.averages, strict=True):
                parameter.copy_(average)
        return model

    def _begun(self, step: int) -> str:
        """What must not change any more: the recipe without stages that have not begun."""
        return json.dumps(self.recipe.up_to(step).to_dict())

    def _open_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        state_path = self.folder / "state.pt"
        if state_path.exists():
            state = torch.load(state_path, map_location=self.device, weights_only=True)
            if state["recipe"] != self._begun(state["step"]):
                raise TrainingError(
                    f"{self.folder} holds a run whose stages so far differ from this recipe (see its recipe.json): "
                    "choose another folder"
                )
            self.step = state["step"]
            self.seconds, self.cpu_seconds = state["seconds"], state["cpu_seconds"]
            self.model.load_state_dict(state["model"])
            self.heads.load_state_dict(state["heads"])
            self.averages = state["averages"]
            self.optimizers.load_state_dict(state["optimizers"])
        self._drop_lines_after(self.step)
        description = json.dumps(self.recipe.to_dict(), indent=2) + "\n"
        (self.folder / "recipe.json").write_text(description, encoding="utf-8")

    def _drop_lines_after(self, step: int) -> None:
        """Takes lines out of the log that a cut run wrote after its last state: those steps come again."""
        path = self.folder / "log.jsonl"
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            # A line that the cut left unfinished is no JSON.
            whole = [line for line in lines if line.endswith("\n")]
            with written_aside(path) as aside:
                aside.write_text("".join(line for line in whole if json.loads(line)["step"] <= step), encoding="utf-8")

    def _loader(self) -> Iterator[DenseBatch | PromptBatch]:
        return iter(
            DataLoader(
                self.batches,
                batch_size=None,
                sampler=range(self.step, self.recipe.steps),
                num_workers=self.workers,
                prefetch_factor=4 if self.workers else None,
            )
        )

    def _train_step(self, batch: DenseBatch | PromptBatch) -> dict[str, float]:
        stage, stage_step = self.recipe.locate(self.step)
        torch.manual_seed(self.step)
        kind = self.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=multiplies_bfloat16(self.device)):
            if isinstance(batch, DenseBatch):
                dense = stage.dense or DenseSteps()
                loss, terms = recognition_loss(
                    self.model,
                    self.heads,
                    batch,
                    masks=dense.masks,
                    exemplars=dense.exemplars,
                    counter_examples=dense.counter_examples,
                )
            else:
                prompts = stage.prompts or PromptSteps()
                loss, terms = prompt_loss(self.model, self.heads, batch, prompts, self.recipe.settings)
        loss.backward()
        factor = rate_factor(stage_step, steps=stage.steps, warmup=stage.warmup, tail=stage.tail, final=stage.final)
        rate = stage.rate * factor
        norm = self.optimizers.step(rate=rate, recognition_rate=rate * stage.recognition_factor, clip=self.recipe.clip)
        values = {name: float(term) for name, term in {**terms, "loss": loss.detach(), "norm": norm}.items()}
        if not torch.isfinite(norm):
            raise TrainingError(
                f"the gradient is not finite at step {self.step} (loss {values['loss']}); the last state is in "
                f"{self.folder}: lower the rate and go on from there"
            )
        self._average()
        return {**values, "rate": rate}

    @torch.no_grad()
    def _average(self) -> None:
        # Early weights are worth nothing, so the average is short at first.
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.averages, list(self.model.parameters()), 1 - decay)

    def _log(self, terms: dict[str, float]) -> None:
        stage, stage_step = self.recipe.locate(self.step - 1)
        line = {
            "step": self.step,
            "stage": stage.name,
            "stage_step": stage_step + 1,
            "seconds": round(self.seconds, 1),
            "cpu_seconds": round(self.cpu_seconds, 1),
            **{name: float(f"{value:.4g}") for name, value in sorted(terms.items())},
        }
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
            log.flush()
            os.fsync(log.fileno())


@torch.no_grad()
def spread_reference_boxes(model: Detector) -> None:
    """Puts the queries' first boxes on a grid; at random most of them start far from any object."""
    table = model.decoder.reference_boxes.weight  # (Q, 4) logits
    rows = max(1, int(len(table) ** 0.5))
    columns = -(-len(table) // rows)
    places = torch.arange(len(table), device=table.device)
    x = (places % columns + 0.5) / columns
    y = (torch.div(places, columns, rounding_mode="floor") + 0.5) / rows
    side = torch.full_like(x, _FIRST_BOX_SIDE)
    table.copy_(torch.logit(torch.stack((x, y, side, side), dim=-1)))


def _moved(value: T, device: torch.device) -> T:
    """A dataclass of tensors on another device."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)  # type: ignore[return-value]
    if not is_dataclass(value):
        return value
    parts: dict[str, Any] = {part.name: _moved(getattr(value, part.name), device) for part in fields(value)}
    return replace(value, **parts)  # type: ignore[type-var]
