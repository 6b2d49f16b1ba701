"""`masklet segment`: every instance of some concepts on some pictures, to files or as JSON lines."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from masklet import __version__
from masklet.cli.messages import message_of, say
from masklet.errors import OutputError, PromptError

if TYPE_CHECKING:
    from masklet.inference.picture_run import Ask, Outcome
    from masklet.types import Exemplar


def segment(
    images: Annotated[list[str], typer.Argument(help="Pictures, folders and patterns.", metavar="IMAGE")],
    concept: Annotated[
        list[str] | None, typer.Option("--concept", "-c", metavar="TEXT", help="What to find; may be repeated.")
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option("--box", metavar="X0,Y0,X1,Y1[,LABEL]", help="Example in pixels; LABEL 0: a counter-example."),
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option("--point", metavar="X,Y[,LABEL]", help="A place on an example, in pixels; needs -c."),
    ] = None,
    mask: Annotated[
        list[Path] | None, typer.Option("--mask", metavar="FILE", help="Mask of an example; acts as its tight box.")
    ] = None,
    exemplar_from: Annotated[
        Path | None,
        typer.Option("--exemplar-from", metavar="FILE", help="Picture the examples lie on, if another (experimental)."),
    ] = None,
    threshold: Annotated[
        list[float] | None,
        typer.Option("--threshold", metavar="T", help="Least score; once, or for each -c. [the model's]"),
    ] = None,
    nms: Annotated[
        float | None,
        typer.Option("--nms", metavar="IOU", help="Mask overlap of duplicates; 1: keep all. [the model's]"),
    ] = None,
    nms_across: Annotated[bool, typer.Option("--nms-across", help="Keep only the best concept of an object.")] = False,
    model: Annotated[
        str, typer.Option("--model", metavar="M", help="Checkpoint file or folder, or a name.")
    ] = "default",
    image_size: Annotated[
        int | None,
        typer.Option("--image-size", metavar="PX", help="Side of the model's input, a multiple of 14. [the model's]"),
    ] = None,
    device: Annotated[str, typer.Option("--device", metavar="D", help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    dtype: Annotated[str, typer.Option("--dtype", metavar="T", help="auto, float32, bfloat16 or float16.")] = "auto",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder for the results. [out; with --json nothing is written]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document per picture and concept.")] = False,
    yolo: Annotated[bool, typer.Option("--yolo", help="Also write OUT/yolo, polygons in YOLO's format.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Do pictures again that an earlier run finished.")] = False,
    max_megapixels: Annotated[
        float | None, typer.Option("--max-megapixels", metavar="N", help="Larger pictures are refused.")
    ] = None,
) -> None:
    """Find and cut out everything that you name or show.

    Results go to OUT/PICTURE/CONCEPT: overlay, masks, labels, JSON; OUT/annotations.json has them all (COCO). Run the
    same line again after an interruption: finished pictures are not done twice.
    """
    # Imported here: help needs none of it.
    from masklet.inference.picture_run import run_pictures, write_annotations
    from masklet.media.find_images import find_images
    from masklet.media.images import MAX_PIXELS

    concepts, thresholds = _concepts(concept, shown=bool(box or mask), clicked=bool(point)), list(threshold or ())
    if len(thresholds) not in (0, 1, len(concepts)):
        raise typer.BadParameter(f"give it once, or for each of {len(concepts)} concepts.", param_hint="--threshold")
    _check_fractions(thresholds, "--threshold")
    _check_fractions([] if nms is None else [nms], "--nms")
    if max_megapixels is not None and not 0 < max_megapixels < math.inf:  # false for NaN as well
        raise typer.BadParameter(f"expected a number above 0, got {max_megapixels:g}.", param_hint="--max-megapixels")
    if yolo and as_json and out is None:
        raise typer.BadParameter("with --json it needs --out.", param_hint="--yolo")
    exemplars = _exemplars(box, point, mask)
    folder = Path("out") if out is None and not as_json else out
    if folder is not None:
        _check_folder(folder)
    pictures = find_images(images, skip=folder)
    max_pixels = MAX_PIXELS if max_megapixels is None else int(max_megapixels * 1e6)
    options: dict[str, Any] = {
        "exemplars": exemplars,
        "threshold": thresholds if len(thresholds) > 1 else thresholds[0] if thresholds else None,
        "nms_iou": "auto" if nms is None else nms,
        "nms_across": nms_across,
        "image_size": image_size,
    }
    ask, settings = _asker(concepts, options, exemplar_from, (model, device, dtype), max_pixels)
    outcomes = run_pictures(pictures, ask, out=folder, settings=settings, resume=not again, max_pixels=max_pixels)
    tally = _Tally(as_json=as_json)
    try:
        with _progress(len(pictures), as_json=as_json) as advance:
            for outcome in outcomes:
                tally.add(outcome)
                advance(outcome.picture.name)
    except KeyboardInterrupt:
        say(f"stopped after {tally.done} of {_counted(len(pictures))}; the same line goes on from there", "note")
        raise
    if folder is not None:
        write_annotations((path for _, path in tally.folders), folder)
        if yolo:
            _write_yolo(tally.folders, folder / "yolo")
    tally.close(folder)


# --- options ----------------------------------------------------------------------------------------------------------


def _concepts(concepts: Sequence[str] | None, *, shown: bool, clicked: bool) -> list[str]:
    """What to ask for; "visual" stands for a concept that has exemplars and no text.

    Raises:
        BadParameter: nothing to find, a concept twice, or points alone: those are clicks on one object, which are
            another task than finding all that is alike.
    """
    if not concepts and clicked:
        raise typer.BadParameter(
            "without -c TEXT a point is a click on one object, which is not supported yet; name what to find as well.",
            param_hint="--point",
        )
    if not concepts and not shown:
        raise typer.BadParameter("say what to find with -c TEXT, or show it with --box or --mask.")
    if len(set(concepts or ())) < len(concepts or ()):
        raise typer.BadParameter("give every concept once.", param_hint="-c")
    from masklet.types import VISUAL

    return list(concepts or (VISUAL,))


def parse_exemplar(text: str, option: str) -> Exemplar:
    """The exemplar that the value of `--box` or `--point` stands for.

    Raises:
        BadParameter: not so many numbers, or no such box, point or label; the message repeats the value.
    """
    from masklet.types import Exemplar

    count = 4 if option == "--box" else 2
    try:
        *numbers, label = [float(part) for part in (text if text.count(",") == count else text + ",1").split(",")]
        if len(numbers) != count:
            raise ValueError
        place: Any = tuple(numbers)
        # Not bool(): only 0 and 1 are labels.
        return Exemplar(place, label) if count == 4 else Exemplar.point(place, label)  # type: ignore[arg-type]
    except PromptError as error:
        raise typer.BadParameter(f"{text}: {error}.", param_hint=option) from error
    except ValueError as error:
        wanted = "X0,Y0,X1,Y1" if count == 4 else "X,Y"
        raise typer.BadParameter(
            f"expected {wanted} or {wanted},LABEL in pixels, got {text!r}.", param_hint=option
        ) from error


def _exemplars(
    boxes: Sequence[str] | None, points: Sequence[str] | None, masks: Sequence[Path] | None
) -> list[Exemplar]:
    from masklet.media.images import read_image
    from masklet.types import Exemplar

    shown = [parse_exemplar(text, "--box") for text in boxes or ()]
    shown += [parse_exemplar(text, "--point") for text in points or ()]
    return shown + [Exemplar.mask(read_image(path).any(axis=2)) for path in masks or ()]


def _check_fractions(values: Sequence[float], option: str) -> None:
    for value in values:
        if not 0 <= value <= 1:  # false for NaN as well
            raise typer.BadParameter(f"expected a number in 0..1, got {value:g}.", param_hint=option)


def _check_folder(folder: Path) -> None:
    """Finds out before the work whether there is a place for its results."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error}); choose another --out") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: cannot be written (no permission); choose another --out")


def _asker(
    concepts: list[str],
    options: dict[str, Any],
    exemplar_from: Path | None,
    model_device_dtype: tuple[str, str, str],
    max_pixels: int,
) -> tuple[Ask, dict[str, Any]]:
    """What to do with each picture, and all that it depends on. Everything but pictures is checked here."""
    from masklet.checkpoint import load_model
    from masklet.checkpoint.adapter import split_adapters
    from masklet.checkpoint.hub import find_weights
    from masklet.inference.image_predictor import ImagePredictor
    from masklet.inference.picture_run import file_stamp

    name, device, dtype = model_device_dtype
    weights = find_weights(name)
    base, adapters = split_adapters(weights)
    predictor = ImagePredictor(load_model(weights, device=device, dtype=dtype), max_pixels=max_pixels)
    settings = {key: repr(value) for key, value in options.items()} | {
        "masklet": __version__,
        "concepts": concepts,
        "weights": [file_stamp(Path(path)) for path in (base, *adapters)],
        "dtype": str(predictor.model.dtype),
    }
    trial = options | {"exemplars": ()}
    if exemplar_from is not None:
        settings["exemplar_from"] = file_stamp(exemplar_from) if exemplar_from.exists() else []
        features = predictor.encode(exemplar_from, image_size=options["image_size"])
        trial = options = options | {"exemplar_image": features}
    predictor.segment([], concepts, **trial)
    return lambda pixels: predictor.segment(pixels, concepts, **options), settings


# --- what the user sees -----------------------------------------------------------------------------------------------


class _Tally:
    """Prints each outcome and keeps the score."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.folders: list[tuple[str, Path]] = []  # name of the picture, folder of a result
        self.start = time.perf_counter()
        self.done = self.resumed = self.failed = 0

    def add(self, outcome: Outcome) -> None:
        if outcome.error is not None:
            self.failed += 1
            path, message = str(outcome.picture.path), message_of(outcome.error)
            say(message if path in message else f"{path}: {message}")
            return
        self.done += 1
        self.resumed += outcome.resumed
        self.folders += [(outcome.picture.name, folder) for folder in outcome.folders]
        lines = [json.dumps(one) for one in outcome.documents] if self.as_json else [_sentence(outcome)]
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()

    def close(self, folder: Path | None) -> None:
        """Says how it went.

        Raises:
            Exit: with 1 if a picture failed.
        """
        if self.done and not self.as_json:
            seconds = time.perf_counter() - self.start
            again = f", {self.resumed} of them done before" if self.resumed else ""
            sys.stderr.write(f"{_counted(self.done)} in {seconds:.1f} s{again}; results are in {folder}\n")
        if self.failed and self.failed + self.done > 1:
            say(f"{self.failed} of {_counted(self.failed + self.done)} failed")
        if self.failed:
            raise typer.Exit(1)


def _counted(pictures: int) -> str:
    return f"{pictures} picture{'s' * (pictures != 1)}"


def _sentence(outcome: Outcome) -> str:
    """`photo.jpg: 3 x red apple (best 0.93), no dog (presence 0.02)`."""
    parts = []
    for document in outcome.documents:
        concept, found = document["concept"], document["detections"]
        if found:
            parts.append(f"{len(found)} x {concept} (best {found[0]['score']:.2f})")
        else:
            parts.append(f"no {concept} (presence {document['presence']:.2f})")
    return f"{outcome.picture.path}: {', '.join(parts)}{' [done before]' * outcome.resumed}"


@contextmanager
def _progress(total: int, *, as_json: bool) -> Iterator[Callable[[str], None]]:
    """A bar on stderr if that is a terminal; gives a function that counts one picture."""
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


def _write_yolo(results: Sequence[tuple[str, Path]], folder: Path) -> None:
    from masklet.inference.picture_run import read_document
    from masklet.inference.yolo import write_yolo

    write_yolo(((name, read_document(path)) for name, path in results), folder)
