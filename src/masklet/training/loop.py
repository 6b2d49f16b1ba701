"""The loop: a task and a folder in, weights out. It can be cut at any moment and goes on from the last state.

What is trained, on what and how is the task's business. Batches and random numbers depend on the step alone, and the
state holds everything else, so a run that was cut ends with the same weights as one that was not.

    folder/state.pt              weights, averages, optimisers, step; replaced every few minutes
    folder/log.jsonl             one line per `LOG_EVERY` steps; seconds on the clock and of this process's cores
    folder/recipe.json           what is trained
    folder/weights.safetensors   averaged weights, written with every state
    folder/best.safetensors      those with the best validation so far, if there is one
    folder/validation.jsonl      one line per validation
    folder/tensorboard/          the figures of both for TensorBoard, if wanted
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from masklet.checkpoint.save import written_aside
from masklet.errors import MissingExtraError, TrainingError
from masklet.model.detector import Detector
from masklet.runtime import multiplies_bfloat16
from masklet.training.distributed import Processes
from masklet.training.groups import learning_parameters

LOG_EVERY = 50  # steps
SAVE_EVERY = 120.0  # seconds
SAVING_SHARE = 20  # times as long between two savings as one takes, at least

T = TypeVar("T")
Report = Callable[[int, str, dict[str, float]], None]
Validate = Callable[[Detector], dict[str, float]]
"""Figures of a model on data that it is not trained on; the first one says which model is best."""


class Task(Protocol):
    """What a run trains. Everything that a step needs follows from its number.

    Attributes:
        model: whose averaged weights are kept, on the device of the run.
        modules: all that is trained and saved, by name, the model among them.
        steps: of the whole run.
        ema: decay of the averaged weights; 0 keeps the last ones.
        loads_after: what stands before the name of the written file when it is loaded: "" or a base and a plus sign.
    """

    model: Detector
    modules: Mapping[str, nn.Module]
    steps: int
    ema: float
    loads_after: str

    def finished(self, learned: Mapping[str, Tensor]) -> Detector:
        """A plain model with these values of what learns, by `groups.learning_parameters`; it may share memory."""

    def write(self, learned: Mapping[str, Tensor], path: Path) -> None:
        """The file that such a model is loaded from."""

    def batches(self) -> Dataset[Sequence[Any]]:
        """The batches of every step, by its number, whose gradients are averaged; made in worker processes."""

    def stage(self, step: int) -> tuple[str, int]:
        """Name of the stage of a step, and its number there."""

    def loss(self, batch: Any, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of one batch of a step, and its parts for the log."""

    def clip(self) -> Tensor:
        """Limits the gradients; gives their norm before."""

    def update(self, step: int) -> float:
        """Changes the weights by their gradients, which are gone then; gives the rate."""

    def made_of(self, step: int) -> str:
        """What the batches of a step are made of, for messages."""

    def optimizer_state(self) -> Any:
        """State of the optimisers."""

    def load_optimizer_state(self, state: Any) -> None:
        """The inverse of `optimizer_state`."""

    def description(self) -> dict[str, Any]:
        """What is trained, as JSON can hold it."""

    def begun(self, step: int) -> str:
        """What must not change any more once `step` steps are done."""


class Loop:
    """A run in a folder.

    Args:
        task: what to train; its modules stand on `device`.
        folder: made if it is not there; with a state in it the run goes on.
        device: where to train.
        workers: processes that make batches; 0 makes them in this one.
        validate: measures the averaged weights; None does not.
        validate_every: steps between two validations; the last step has one as well.
        processes: that train together, each with its own batches; the first one writes the files. None: this one alone.
        tensorboard: also write curves for TensorBoard.

    Raises:
        TrainingError: the folder holds a run of another task.
        MissingExtraError: `tensorboard` without the package tensorboardX.
    """

    def __init__(
        self,
        task: Task,
        folder: Path,
        *,
        device: torch.device,
        workers: int = 1,
        validate: Validate | None = None,
        validate_every: int = 500,
        processes: Processes | None = None,
        tensorboard: bool = False,
    ) -> None:
        self.task = task
        self.processes = Processes() if processes is None else processes
        self.validate = validate
        self.validate_every = validate_every
        self.folder = folder
        self.device = device
        self.workers = workers
        self.averages = {name: values.clone() for name, values in _values(task.model).items()}
        self.step = 0
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self._open_folder()
        self._curves = _curves(folder / "tensorboard", self.step) if tensorboard and self.processes.first else None
        self._loss: nn.Module = _Loss(task)
        if self.processes.group is not None:
            # Which parameters a batch needs depends on what it asks.
            self._loss = DistributedDataParallel(self._loss, find_unused_parameters=True)

    def run(self, *, seconds: float | None = None, report: Report | None = None) -> bool:
        """Trains until the task is done, or for `seconds` of this call.

        Args:
            seconds: stop (with the state saved) after this time; None for no limit.
            report: called with (step, name of the stage, averaged terms) whenever a line is logged.

        Returns:
            Whether the task is done.

        Raises:
            TrainingError: the gradient is no finite number, or a worker has died; the last state lies in the folder.
            OutputError: a file cannot be written.
        """
        began = saved = time.monotonic()
        saving = 0.0
        already, cpu_already = self.seconds, self.cpu_seconds - time.process_time()
        sums: dict[str, list[float]] = {}
        for batches in self._loader():
            for name, value in self._train_step(batches).items():
                sums.setdefault(name, []).append(value)
            self.step += 1
            if self.validate is not None and (self.step % self.validate_every == 0 or self.step == self.task.steps):
                if self.processes.first:
                    self._validate(self.validate)
                self.processes.wait()
            now = time.monotonic()
            self.seconds = already + now - began
            self.cpu_seconds = cpu_already + time.process_time()
            if self.step % LOG_EVERY == 0 and self.processes.first:
                terms = {name: sum(values) / len(values) for name, values in sums.items()}
                sums.clear()
                self._log(terms)
                if report is not None:
                    report(self.step, self.task.stage(self.step - 1)[0], terms)
            if now - saved > max(SAVE_EVERY, SAVING_SHARE * saving) and self.processes.first:
                self.save()
                saved = time.monotonic()
                saving = saved - now
            if seconds is not None and self.processes.agree(now - began > seconds):
                break
        if self.processes.first:
            self.save()
        if self._curves is not None:
            self._curves.close()
        self.processes.wait()
        return self.step >= self.task.steps

    def save(self) -> None:
        """Writes state and weights."""
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "recipe": self.task.begun(self.step),
            **{name: _values(module) for name, module in self.task.modules.items()},
            "averages": self.averages,
            "optimizers": self.task.optimizer_state(),
        }
        with written_aside(self.folder / "state.pt") as aside:
            torch.save(state, aside)
        self.task.write(self.averages, self.folder / "weights.safetensors")

    def _open_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        state_path = self.folder / "state.pt"
        if state_path.exists():
            state = torch.load(state_path, map_location=self.device, weights_only=True)
            if state["recipe"] != self.task.begun(state["step"]):
                raise TrainingError(
                    f"{self.folder} holds a run whose stages so far differ from this recipe (see its recipe.json): "
                    "choose another folder"
                )
            self.step = state["step"]
            self.seconds, self.cpu_seconds = state["seconds"], state["cpu_seconds"]
            with torch.no_grad():
                for name, module in self.task.modules.items():
                    for own, values in _values(module).items():
                        values.copy_(state[name][own])
            self.averages = state["averages"]
            self.task.load_optimizer_state(state["optimizers"])
        self.processes.wait()  # all have read the state
        if not self.processes.first:
            return
        for name in ("log.jsonl", "validation.jsonl"):
            _drop_lines_after(self.folder / name, self.step)
        description = json.dumps(self.task.description(), indent=2) + "\n"
        (self.folder / "recipe.json").write_text(description, encoding="utf-8")

    def _loader(self) -> Iterator[Any]:
        loader = DataLoader(
            self.task.batches(),
            batch_size=None,
            sampler=range(self.step, self.task.steps),
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
        )
        try:
            yield from loader
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            self.save()  # all steps so far are sound
            raise TrainingError(
                f"a process that makes batches has died at step {self.step}, perhaps for want of memory: the same line "
                f"goes on from {self.folder}; fewer workers or smaller pictures need less"
            ) from error

    def _train_step(self, batches: Sequence[Any]) -> dict[str, float]:
        torch.manual_seed(self.step)
        sums: dict[str, float] = {}
        for number, batch in enumerate(batches):
            # Gradients travel between processes once a step.
            with contextlib.nullcontext() if number == len(batches) - 1 else self._quiet():
                with torch.autocast(self.device.type, torch.bfloat16, enabled=multiplies_bfloat16(self.device)):
                    loss, terms = self._loss(_moved(batch, self.device), self.step)
                (loss / len(batches)).backward()
            for name, term in {**terms, "loss": loss.detach()}.items():
                sums[name] = sums.get(name, 0.0) + float(term) / len(batches)
        norm = self.task.clip()
        if not torch.isfinite(norm):
            if self.processes.first and all(bool(torch.isfinite(one).all()) for one in self.task.model.parameters()):
                self.save()
            raise TrainingError(
                f"the gradient is not finite at step {self.step} (loss {sums['loss']:g}, made of "
                f"{self.task.made_of(self.step)}); the last sound state is in {self.folder}: look at that data, or go "
                "on from there with a lower rate"
            )
        rate = self.task.update(self.step)
        self._average()
        return {**sums, "norm": float(norm), "rate": rate}

    def _quiet(self) -> contextlib.AbstractContextManager[None]:
        if not isinstance(self._loss, DistributedDataParallel):
            return contextlib.nullcontext()
        quiet: contextlib.AbstractContextManager[None] = self._loss.no_sync()
        return quiet

    @torch.no_grad()
    def _average(self) -> None:
        # Early weights are worth nothing, so the average is short at first.
        decay = min(self.task.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.averages.values()), list(_values(self.task.model).values()), 1 - decay)

    def _validate(self, validate: Validate) -> None:
        """Measures the averaged weights and keeps them if they are the best so far."""
        figures = validate(self.task.finished(self.averages))
        name, value = next(iter(figures.items()))
        path = self.folder / "validation.jsonl"
        earlier = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        if all(value > json.loads(line).get(name, -math.inf) for line in earlier):
            self.task.write(self.averages, self.folder / "best.safetensors")
        _append(path, {"step": self.step, **figures})
        self._draw("validation", figures)

    def _log(self, terms: dict[str, float]) -> None:
        stage, stage_step = self.task.stage(self.step - 1)
        line = {
            "step": self.step,
            "stage": stage,
            "stage_step": stage_step + 1,
            "seconds": round(self.seconds, 1),
            "cpu_seconds": round(self.cpu_seconds, 1),
            **{name: float(f"{value:.4g}") for name, value in sorted(terms.items())},
        }
        _append(self.folder / "log.jsonl", line)
        self._draw("training", terms)

    def _draw(self, group: str, figures: Mapping[str, float]) -> None:
        if self._curves is not None:
            for name, value in figures.items():
                self._curves.add_scalar(f"{group}/{name}", value, self.step)


class _Loss(nn.Module):
    """A task's loss as a module, which is what PyTorch distributes."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(task.modules)
        self._task = task

    def forward(self, batch: Any, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        return self._task.loss(batch, step)


def _curves(folder: Path, step: int) -> Any:
    """A writer that takes back what a cut run wrote after `step`."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise MissingExtraError("tensorboardX", "train") from None
    # The name of a file is the second in which it was begun.
    return SummaryWriter(str(folder), purge_step=step, filename_suffix=f".{step}")


def _values(module: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in learning_parameters(module).items()}


def _append(path: Path, line: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")
        log.flush()
        os.fsync(log.fileno())


def _drop_lines_after(path: Path, step: int) -> None:
    """Takes lines out of a log that a cut run wrote after its last state: those steps come again."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        # A line that the cut left unfinished is no JSON.
        whole = [line for line in lines if line.endswith("\n")]
        with written_aside(path) as aside:
            aside.write_text("".join(line for line in whole if json.loads(line)["step"] <= step), encoding="utf-8")


def _moved(value: T, device: torch.device) -> T:
    """A dataclass of tensors on another device."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)  # type: ignore[return-value]
    if not is_dataclass(value):
        return value
    parts: dict[str, Any] = {part.name: _moved(getattr(value, part.name), device) for part in fields(value)}
    return replace(value, **parts)  # type: ignore[type-var]
