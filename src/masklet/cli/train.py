"""`masklet train`: makes a model from a recipe, or fine-tunes one; a run that was cut goes on where it stopped."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from masklet.cli.messages import say
from masklet.errors import DataError, InputError

if TYPE_CHECKING:
    import torch

    from masklet.data.dataset import Dataset
    from masklet.training.distributed import Processes
    from masklet.training.loop import Loop, Report, Task
    from masklet.training.settings import Source

_DETECTOR, _TRACKER = "default", "default-tracker"


def train(
    what: Annotated[
        str,
        typer.Argument(
            help="Settings (.toml) to fine-tune by; 'default' or 'default-tracker', the built-in model's two parts.",
            metavar="WHAT",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder of the run; one with a run goes on. [runs/WHAT]")
    ] = None,
    base: Annotated[
        str, typer.Option("--base", metavar="M", help="For 'default-tracker': the model that detects.")
    ] = "default",
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change a setting: --set run.steps=100.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only look at the data: what is wrong with it.")] = False,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0, help="Stop after this time, state saved.")
    ] = None,
    scale: Annotated[
        float, typer.Option("--scale", help="For a built-in: times the steps of every stage; below 1 for a quick try.")
    ] = 1.0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
) -> None:
    """Train a model, or fine-tune one on your own labels.

    Prints what to load at the end; run the same line again after a cut.
    """
    # Imported here: the other verbs need none of it.
    from masklet.training.distributed import joined
    from masklet.training.loop import Loop

    tunes = what.endswith(".toml")
    if not tunes and what not in (_DETECTOR, _TRACKER):
        raise InputError(f"expected a settings file (.toml), {_DETECTOR!r} or {_TRACKER!r}, got {what!r}")
    if base != "default" and what != _TRACKER:
        raise typer.BadParameter(f"it goes with {_TRACKER!r}; settings have their own `base`.", param_hint="--base")
    if tunes and scale != 1:
        raise typer.BadParameter("it goes with a recipe; use --set run.steps=N.", param_hint="--scale")
    if not tunes and (changes or check):
        raise typer.BadParameter("it goes with a settings file.", param_hint="--set" if changes else "--check")
    if not scale > 0:
        raise typer.BadParameter(f"expected a number above 0, got {scale}.", param_hint="--scale")
    folder = out or Path("runs") / Path(what).stem
    with joined(device) as (processes, place):
        if tunes:
            loop = _tune(Path(what), changes or [], folder, place, processes, check=check)
        else:
            loop = Loop(_recipe(what, base, scale, place, processes), folder, device=place, processes=processes)
        if loop is None:
            return
        with _progress(loop, Path(what).stem) as report:
            done = loop.run(seconds=None if minutes is None else minutes * 60, report=report)
    if not processes.first:
        return
    if not done:
        sys.stderr.write(f"stopped after step {loop.step} of {loop.task.steps}; the same line goes on\n")
    best = loop.folder / "best.safetensors"
    sys.stdout.write(f"{loop.task.loads_after}{best if best.exists() else loop.folder / 'weights.safetensors'}\n")


def _recipe(name: str, base: str, scale: float, device: torch.device, processes: Processes) -> Task:
    if name == _DETECTOR:
        if processes.world_size > 1:
            raise InputError(f"{name} is trained by one process, got {processes.world_size}; start it without torchrun")
        from masklet.training.recipe import DEFAULT_RECIPE
        from masklet.training.world_task import WorldTask

        return WorldTask(DEFAULT_RECIPE if scale == 1 else DEFAULT_RECIPE.shortened(scale), device=device)
    from masklet.checkpoint import load_model
    from masklet.training.follow_task import DEFAULT_TRACKER_RECIPE, FollowTask

    recipe = DEFAULT_TRACKER_RECIPE if scale == 1 else DEFAULT_TRACKER_RECIPE.shortened(scale)
    model = load_model(base, device="cpu", dtype="float32")
    return FollowTask(recipe, model, device=device, processes=processes)


def _tune(
    path: Path, changes: list[str], folder: Path, device: torch.device, processes: Processes, *, check: bool
) -> Loop | None:
    """The run that the settings describe; None if only its data was to be looked at."""
    from masklet.checkpoint import describe, load_model
    from masklet.checkpoint.hub import find_weights
    from masklet.evaluation.validation import validator
    from masklet.training.loop import Loop
    from masklet.training.settings import read_settings
    from masklet.training.tune_task import TuneTask

    settings = read_settings(path, changes)
    weights = find_weights(settings.base)
    # The labels first: a large model takes its time to load.
    queries = describe(weights, with_hash=False).config.decoder.queries
    checked = functools.partial(_checked, base=path.parent, queries=queries, loud=check, speaks=processes.first)
    data = checked(settings.train)
    held_out = None if settings.validation is None else checked(settings.validation)
    replay = None if settings.replay is None else checked(settings.replay)
    if check:
        return None
    model = load_model(weights, device=device, dtype="float32", image_size=settings.run.image_size)
    return Loop(
        TuneTask(settings, model, data, processes, replay=replay, weights=weights),
        folder,
        device=device,
        workers=settings.run.workers,
        validate=None if held_out is None else validator(held_out),
        validate_every=settings.run.validate_every,
        processes=processes,
        tensorboard=settings.run.tensorboard,
    )


def _checked(source: Source, *, base: Path, queries: int, loud: bool, speaks: bool) -> Dataset:
    """A data set that can be trained on; if this process `speaks`, what is wrong with it is told, with `loud` in full.

    Raises:
        DataError: something that must be mended first.
    """
    from masklet.data.check import check_dataset, findings_table
    from masklet.data.open import open_dataset

    dataset = open_dataset(
        base / source.path,
        format=source.format,
        pictures=None if source.pictures is None else base / source.pictures,
        negatives=source.negatives,
        split=source.split,
    )
    findings = check_dataset(dataset, most_instances=queries)
    prompts = [prompt for picture in dataset for prompt in picture.prompts]
    absent = sum(1 for prompt in prompts if not prompt.instance_idx)
    counts = (
        f"{len(dataset)} pictures, {len(prompts)} prompts ({absent} of absent concepts), "
        f"{len(dataset.vocabulary)} phrases"
    )
    if loud and speaks:
        sys.stdout.write(f"{dataset.source}: {counts}\n{findings_table(findings)}\n")
    elif findings and speaks:
        say(f"{dataset.source}: {sum(one.count for one in findings)} findings; --check shows them", "note")
    fatal = [finding for finding in findings if finding.severity == "fatal"]
    if fatal:
        kinds = ", ".join(f"{one.count} x {one.kind}" for one in fatal)
        raise DataError(f"{dataset.source}: must be mended before it can be trained on: {kinds}; --check shows where")
    return dataset


@contextmanager
def _progress(loop: Loop, name: str) -> Iterator[Report]:
    """A bar on stderr if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("loss {task.fields[loss]}"))
    console = Console(stderr=True)
    shown = sys.stderr.isatty() and loop.processes.first
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not shown) as progress:
        task = progress.add_task(name, total=loop.task.steps, completed=loop.step, loss="-")

        def report(step: int, stage: str, terms: dict[str, float]) -> None:
            progress.update(task, completed=step, description=stage, loss=f"{terms['loss']:.2f}")

        yield report
