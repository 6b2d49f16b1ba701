"""`masklet synth`: synthetic labelled pictures and clips with exact masks, as COCO-style files."""

from __future__ import annotations

import functools
import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from masklet.errors import InputError


class SplitName(StrEnum):
    """Which half of the world."""

    TRAIN = "train"
    EVALUATION = "evaluation"


class ImageFormat(StrEnum):
    """How pictures are stored."""

    JPEG = "jpeg"
    PNG = "png"


def synth(
    out: Annotated[Path, typer.Option("--out", help="Folder to make; must not exist or be empty.")],
    count: Annotated[int, typer.Option("--count", min=0, help="Number of pictures or clips.")] = 100,
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, metavar="N", help="Clips of so many frames instead of pictures.")
    ] = None,
    size: Annotated[str, typer.Option("--size", help="Side in pixels, or WIDTHxHEIGHT.")] = "336",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Number of the first scene.")] = 0,
    split: Annotated[
        SplitName, typer.Option("--split", help="Which half of the world; never train on evaluation.")
    ] = SplitName.TRAIN,
    questions: Annotated[
        int | None, typer.Option("--questions", min=0, help="Questions for each. [6 for a picture, 2 for a clip]")
    ] = None,
    image_format: Annotated[
        ImageFormat, typer.Option("--format", help="How pictures are stored; png keeps every pixel.")
    ] = ImageFormat.JPEG,
) -> None:
    """Make synthetic labelled pictures or clips, with exact masks.

    The folder holds images, a COCO-style file with the masks, and questions with their answers.
    """
    # Imported here: the other verbs need none of it.
    from rich.console import Console
    from rich.progress import Progress

    from masklet.synthetic.clip_writer import write_clips
    from masklet.synthetic.world import SPLITS
    from masklet.synthetic.writer import write_coco

    write = write_coco if frames is None else functools.partial(write_clips, frames=frames)
    if questions is None:
        questions = 6 if frames is None else 2
    console = Console(stderr=True)
    with Progress(console=console, disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("scenes" if frames is None else "clips", total=count)
        write(
            out,
            count=count,
            size_hw=parse_size(size),
            seed=seed,
            split=SPLITS[split.value],
            questions=questions,
            image_format=image_format.value,
            on_progress=lambda done: progress.update(task, completed=done),
        )
    console.print(f"{count} {'pictures' if frames is None else 'clips'} in {out}")


def parse_size(size: str) -> tuple[int, int]:
    """(height, width) of "336" or "640x480" (width first, as cameras say it).

    Raises:
        InputError: not of that form, or a side below 32 or above 8192 pixels.
    """
    found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", size.strip())
    width = int(found[1]) if found else 0
    height = int(found[2] or found[1]) if found else 0
    if not (32 <= width <= 8192 and 32 <= height <= 8192):
        raise InputError(f"--size must be a side or WIDTHxHEIGHT with 32 to 8192 pixels a side, got {size!r}")
    return height, width
