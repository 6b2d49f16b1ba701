"""`masklet bench`: how fast a model is on this machine, and what to choose."""

from __future__ import annotations

import io
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from masklet import __version__
from masklet.cli import options
from masklet.cli.messages import counted, say
from masklet.cli.values import refuse

if TYPE_CHECKING:
    import torch

    from masklet.inference.speed import Row
    from masklet.inference.speed_trial import SpeedTrial, Subject
    from masklet.model.detector import Detector

_CONCEPTS = (1, 4, 16)
_FEW = 3  # runs
_EVERYDAY = (
    *("person", "car", "tree", "window", "chair", "table", "bottle", "bag"),
    *("dog", "cat", "flower", "building", "bicycle", "book", "cup", "sign"),
)


def bench(
    image: Annotated[
        str | None, typer.Argument(help="Picture to measure on. [one is made]", metavar="IMAGE", show_default=False)
    ] = None,
    model: options.Model = "default",
    random: Annotated[
        str | None,
        typer.Option("--random", metavar="PRESET", help="Without a checkpoint: random weights of sam3 or default."),
    ] = None,
    dtype: Annotated[
        list[str] | None,
        typer.Option("--dtype", metavar="T", help="Number format; may be repeated. [all that suit the machine]"),
    ] = None,
    concepts: Annotated[
        list[int] | None,
        typer.Option("--concepts", metavar="N", min=1, help="How many to ask for; may be repeated. [1, 4, 16]"),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", metavar="N", min=1, help="Of the processor. [PyTorch's own choice]")
    ] = None,
    device: options.Device = "auto",
    seconds: Annotated[float, typer.Option("--seconds", metavar="S", help="Time to measure for.")] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document with all figures.")] = False,
) -> None:
    """Measure the speed on this machine, and advise what to choose.

    From the file of a picture to masks, in several number formats and for several concepts; and video, frame by frame.
    Nothing is written.
    """
    if not 0 < seconds < math.inf:  # false for NaN as well
        raise typer.BadParameter(f"expected a number above 0, got {seconds:g}.", param_hint="--seconds")
    refuse({"--random": random is not None and model != "default"}, "it stands in for --model; give one of them.")
    # Imported here: help needs none of it.
    import torch

    from masklet.errors import InputError
    from masklet.inference.speed_trial import SpeedTrial
    from masklet.runtime import device_name, known_dtypes, name_of_numbers, resolve_device

    place = resolve_device(device)
    names = list(dict.fromkeys(name_of_numbers(one, place) for one in dtype or known_dtypes(place)))
    loaders = {name: _loader(random or model, place, name, untrained=random is not None) for name in names}
    subject, picture = _subject(image, untrained=random is not None)
    trial = SpeedTrial(loaders, subject, concepts=sorted(set(concepts or _CONCEPTS)))
    with _threads(threads) as used:
        facts = {
            "masklet": __version__,
            "torch": torch.__version__,
            "device": str(place),
            "processor": device_name(place),
            "threads": used,
            "load": _load(),
            "weights": f"random weights of {random}" if random is not None else model,
            "picture": picture,
            "clip": f"made, {_size(subject.frames.shape[1:3])}, 1 concept, {len(subject.boxes_xyxy)} objects followed",
        }
        try:
            with _progress(seconds) as before:
                trial.run(seconds, before=before)
        except KeyboardInterrupt:
            if any(row.seconds for row in trial.rows()):
                _show(trial, facts, auto=name_of_numbers("auto", place), as_json=as_json)
            say("stopped; other figures were not measured", "note")
            raise
    if not any(row.seconds for row in trial.rows()):
        failures = [f"{row.dtype}: {row.failure}" for row in trial.rows() if row.failure]
        raise InputError(failures[0] if failures else f"--seconds {seconds:g} is too short even to load the model")
    _show(trial, facts, auto=name_of_numbers("auto", place), as_json=as_json)


def _loader(name: str, device: torch.device, dtype: str, *, untrained: bool) -> Callable[[], Detector]:
    """Gives the model in a number format; what can be wrong with a name is found out now."""
    from masklet.checkpoint import load_model
    from masklet.checkpoint.hub import DEFAULT_MODEL, PUBLIC_MODEL, find_weights
    from masklet.config import PRESETS, preset
    from masklet.errors import CheckpointError
    from masklet.inference.untrained import untrained_model

    if untrained:
        preset(name)
        return lambda: untrained_model(name, device=device, dtype=dtype)
    try:
        weights = find_weights(name, download=False)
    except CheckpointError as error:
        stand_in = {PUBLIC_MODEL: "sam3"}.get(name, name)
        if stand_in not in PRESETS or stand_in == DEFAULT_MODEL:
            raise
        raise CheckpointError(
            f"--model {name}: its weights are not on this machine; give the path of a checkpoint, or measure without "
            f"one: --random {stand_in}"
        ) from error
    return lambda: load_model(weights, device=device, dtype=dtype)


def _subject(image: str | None, *, untrained: bool) -> tuple[Subject, str]:
    """What is looked at, and how the picture is described."""
    from PIL import Image

    from masklet.inference.speed_trial import Subject
    from masklet.inference.untrained import THRESHOLD
    from masklet.media.images import read_image
    from masklet.synthetic.sample import known_names, sample_clip, sample_picture

    first: tuple[str, ...] = _EVERYDAY
    if image is not None:
        description = f"{image}, {_size(read_image(image).shape[:2])}"
    else:
        made = sample_picture()
        first = made.names
        things = "things" if made.drawn else "discs (the symbols' font is not installed)"
        description = f"made, {_size(made.size_hw)}, JPEG of {len(made.jpeg) / 1e6:.1f} MB, {made.things} {things}"
    clip = sample_clip()
    subject = Subject(
        read=lambda: Image.open(io.BytesIO(made.jpeg)) if image is None else image,
        concepts=tuple(dict.fromkeys((*first, *known_names()))),
        frames=clip.frames,
        boxes_xyxy=clip.boxes_xyxy,
        clip_concept=clip.name,
        threshold=THRESHOLD if untrained else None,
    )
    return subject, description


def _size(size_hw: Sequence[int]) -> str:
    return f"{size_hw[1]} x {size_hw[0]} pixels"


def _load() -> float | None:
    """How many programs wanted a core in the last minute, on average; None where nobody knows."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


@contextmanager
def _threads(count: int | None) -> Iterator[int]:
    """Lets PyTorch use so many threads in the block; gives how many it uses.

    Raises:
        BadParameter: more than there are cores, which is slower than as many.
    """
    import torch

    before, cores = torch.get_num_threads(), os.cpu_count() or 1
    if count is not None and count > cores:
        raise typer.BadParameter(
            f"expected 1 to {cores}, the cores of this machine, got {count}.", param_hint="--threads"
        )
    torch.set_num_threads(count or before)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


# --- what the user sees -----------------------------------------------------------------------------------------------


@contextmanager
def _progress(seconds: float) -> Iterator[Callable[[str], None]]:
    """A bar of the time on stderr if that is a terminal; gives a function that names what is done now."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = BarColumn(bar_width=20), TimeElapsedColumn(), TextColumn("{task.description}", markup=False)
    start = time.perf_counter()
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("", total=seconds)
        yield lambda what: progress.update(task, completed=time.perf_counter() - start, description=what, refresh=True)


def _show(trial: SpeedTrial, facts: dict[str, Any], *, auto: str, as_json: bool) -> None:
    from masklet.inference.speed import advice

    rows = trial.rows()
    facts |= {"model": trial.model_name, "parameters": trial.parameters}
    notes, advised = _notes(trial, rows, facts["load"]), advice(rows, auto=auto)
    if as_json:
        document = facts | {"rows": [_plain(row) for row in rows], "advice": advised, "notes": notes}
        sys.stdout.write(f"{json.dumps(document)}\n")
    else:
        _print(facts, rows, advised, notes)


def _notes(trial: SpeedTrial, rows: Sequence[Row], load: float | None) -> list[str]:
    from masklet.inference.speed_trial import label, round_up

    notes = list(trial.notes)
    cores = os.cpu_count() or 1
    if load is not None and load > cores / 2:
        busy = f"the machine was busy before (load {load:g} on {counted(cores, 'core')})"
        notes.append(f"{busy}: when it is free figures are better, and the advice may be another")
    notes += [f"{label(row)}: not possible here: {row.failure}" for row in rows if row.failure]
    late = sum(row.seconds is None and row.failure is None for row in rows)
    if late:
        more = f"all fit in about --seconds {round_up(trial.needed_s())}, fewer with --dtype and --concepts"
        notes.append(f"no time for {late} of {len(rows)} figures: {more}")
    if any(row.seconds is not None and row.runs < _FEW for row in rows):
        notes.append(f"rows with fewer than {_FEW} runs are rough; more --seconds make them better")
    if not any(row.found for row in rows if row.kind == "picture"):
        notes.append("nothing was found on the picture; what is found takes a little longer")
    return notes


def _plain(row: Row) -> dict[str, Any]:
    """For JSON, four digits."""
    values = {"kind": row.kind, "dtype": row.dtype, "concepts": row.concepts, "at_once": row.at_once, "runs": row.runs}
    figures = {"seconds": row.seconds, "per_second": row.per_second, "found": row.found}
    short = {name: None if value is None else float(f"{value:.4g}") for name, value in figures.items()}
    return values | short | {"failure": row.failure}


def _print(facts: dict[str, Any], rows: Sequence[Row], advised: Sequence[str], notes: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    lines = Table.grid(padding=(0, 2))
    where = (
        f"{facts['processor']}, {counted(facts['threads'], 'thread')}"
        if facts["device"] == "cpu"
        else facts["processor"]
    )
    lines.add_row("machine", f"{where}; masklet {facts['masklet']}, torch {facts['torch']}")
    size = f"{facts['parameters'] / 1e6:.1f} million parameters"
    lines.add_row("model", f"{facts['weights']}, {size}, on {facts['device']}")
    lines.add_row("picture", f"{facts['picture']}; from the file to masks as run-length codes")
    lines.add_row("video", f"{facts['clip']}; from pixels to masks")
    table = Table("", "concepts", "number format", "a second", "seconds", "runs", "found")
    for column in (table.columns[1], *table.columns[3:]):
        column.justify = "right"
    before: tuple[str, int] | None = None
    measured = {(row.kind, row.concepts) for row in rows if row.seconds is not None}
    for row in rows:
        if (row.kind, row.concepts) not in measured:
            continue
        same = (row.kind, row.concepts) == before
        if before is not None and not same:
            table.add_section()
        before = (row.kind, row.concepts)
        figures = ["-"] * 4
        if row.seconds is not None and row.per_second is not None:
            figures = [_short(row.per_second), _short(row.seconds), str(row.runs), f"{row.found:g}"]
        table.add_row("" if same else _what(row), "" if same else str(row.concepts), row.dtype, *figures)
    console = Console(markup=False, highlight=False)
    console.print(lines, table)
    for sentence in (*advised, *(f"note: {note}" for note in notes)):
        console.print(sentence)


def _what(row: Row) -> str:
    return {"picture": "pictures", "list": f"a list of {row.at_once}", "frame": "video frames"}[row.kind]


def _short(value: float) -> str:
    """Three digits: 0.0123, 1.23, 12.3, 123."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"
