"""`masklet train`: makes a model from a recipe; a run that was cut goes on where it stopped."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from masklet.errors import InputError


def train(
    recipe: Annotated[str, typer.Argument(help="What to train: default, the built-in model on its synthetic world.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the run; one that holds a run is continued. [runs/RECIPE]")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0, help="Stop after this time, state saved.")
    ] = None,
    scale: Annotated[
        float, typer.Option("--scale", help="Times the steps of every stage; below 1 for a quick try.")
    ] = 1.0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
) -> None:
    """Train a model. Prints the folder's weights file at the end; run the same line again after a cut."""
    # Imported here: the other verbs need none of it.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from masklet.runtime import resolve_device
    from masklet.training.loop import Loop
    from masklet.training.recipe import RECIPES
    from masklet.training.world_task import WorldTask

    if recipe not in RECIPES:
        raise InputError(f"recipe must be one of {sorted(RECIPES)}, got {recipe!r}")
    if not scale > 0:
        raise InputError(f"--scale must be above 0, got {scale}")
    chosen = RECIPES[recipe] if scale == 1 else RECIPES[recipe].shortened(scale)
    place = resolve_device(device)
    loop = Loop(WorldTask(chosen, device=place), out or Path("runs") / recipe, device=place)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("loss {task.fields[loss]}"))
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(recipe, total=chosen.steps, completed=loop.step, loss="-")

        def report(step: int, stage: str, terms: dict[str, float]) -> None:
            progress.update(task, completed=step, description=stage, loss=f"{terms['loss']:.2f}")

        done = loop.run(seconds=None if minutes is None else minutes * 60, report=report)
    if not done:
        sys.stderr.write(f"stopped after step {loop.step} of {chosen.steps}; the same line goes on\n")
    sys.stdout.write(f"{loop.folder / 'weights.safetensors'}\n")
