"""What verbs that work for long have in common: a place for results, a model, a progress bar."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from masklet import __version__
from masklet.errors import OutputError

if TYPE_CHECKING:
    from masklet.model.detector import Detector


def check_folder(folder: Path) -> None:
    """Finds out before the work whether there is a place for its results.

    Raises:
        OutputError: there is none.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error}); choose another --out") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: cannot be written (no permission); choose another --out")


def loaded_model(name: str, device: str, dtype: str) -> tuple[Detector, dict[str, Any]]:
    """A model, and what answers depend on because of it: results of other ones are not taken for finished.

    Args:
        name: as `load_model` takes it.
        device: as `load_model` takes it.
        dtype: as `load_model` takes it.
    """
    from masklet.checkpoint import load_model
    from masklet.checkpoint.adapter import split_adapters
    from masklet.checkpoint.hub import find_weights
    from masklet.inference.picture_run import file_stamp
    from masklet.model.int8 import numbers_of

    weights = find_weights(name)
    base, adapters = split_adapters(weights)
    model = load_model(weights, device=device, dtype=dtype)
    settings = {
        "masklet": __version__,
        "weights": [file_stamp(Path(path)) for path in (base, *adapters)],
        "dtype": numbers_of(model),
    }
    return model, settings


@contextmanager
def progress_bar(total: int | None, *, as_json: bool) -> Iterator[Callable[[str], None]]:
    """A bar on stderr if that is a terminal; gives a function that counts one picture or frame, and names it.

    Args:
        total: how many there are; None if nobody knows.
        as_json: documents go to stdout.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    on_terminal = sys.stdout.isatty()
    with Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
        console=Console(stderr=True),
        # What goes to stdout must pass over the bar if both share the terminal; else it is nothing to the bar. JSON
        # would be broken into lines of the terminal's width.
        redirect_stdout=on_terminal,
        disable=not sys.stderr.isatty() or (as_json and on_terminal),
        transient=True,
    ) as progress:
        task = progress.add_task("", total=total)
        yield lambda name: progress.update(task, advance=1, description=name[-30:])
