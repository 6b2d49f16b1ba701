"""What the evaluations of a model share: the conditions that their figures belong to, and a sign of life."""

from __future__ import annotations

import argparse
import hashlib
import platform
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from masklet.checkpoint.hub import find_weights
from masklet.model.detector import Detector
from masklet.model.int8 import numbers_of
from masklet.synthetic.sprites import SpriteSheet

_DIGITS = 16  # of the hashes

T = TypeVar("T")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Which model is evaluated, how it runs, and where its figures go."""
    parser.add_argument("--model", default="default", help="name or checkpoint (default: %(default)s)")
    parser.add_argument(
        "--dtype", default="float32", help="auto, float32, bfloat16, float16 or int8 (default: %(default)s)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all counts and rates there as well")
    parser.add_argument("--record", action="store_true", help="append a line to results.jsonl")


def conditions(name: str, model: Detector, sheet: SpriteSheet) -> dict[str, Any]:
    """What was measured, and by what; nothing that tells one user's machine from another of its kind.

    Args:
        name: by which the model was loaded; of a file its last part is written down.
        model: that was loaded.
        sheet: that drew the pictures.
    """
    path = find_weights(name)
    return {
        "model": path.name if Path(name).exists() else name,
        "weights": hashlib.sha256(path.read_bytes()).hexdigest()[:_DIGITS] if path.is_file() else None,
        "sprites": sheet.source_hash[:_DIGITS],
        "dtype": numbers_of(model),
        "device": model.device.type,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "python": platform.python_version(),
    }


def with_progress(things: Iterable[T], count: int, what: str) -> Iterator[T]:
    """The `count` things one at a time; progress goes to a terminal only."""
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        yield from progress.track(things, total=count, description=what)
