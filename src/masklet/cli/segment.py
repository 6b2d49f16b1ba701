"""`masklet segment`: what is named or shown on some pictures, to files or as JSON lines."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from masklet.cli import options
from masklet.cli.long_work import check_folder, loaded_model, progress_bar
from masklet.cli.messages import counted, message_of, say
from masklet.cli.segment_tasks import Given, task_of

if TYPE_CHECKING:
    from masklet.inference.picture_run import Outcome


def segment(
    images: Annotated[list[str], typer.Argument(help="Pictures, folders and patterns.", metavar="IMAGE")],
    concept: Annotated[
        list[str] | None, typer.Option("--concept", "-c", metavar="TEXT", help="What to find; may be repeated.")
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            "--box",
            metavar="X0,Y0,X1,Y1[,LABEL]",
            help="An object, in pixels; with -c an example (LABEL 0: not like it).",
        ),
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option("--point", metavar="X,Y[,LABEL]", help="A place on it, in pixels; LABEL 0: not on it."),
    ] = None,
    mask: Annotated[
        list[Path] | None, typer.Option("--mask", metavar="FILE", help="Its mask; with -c it acts as its tight box.")
    ] = None,
    candidates: Annotated[
        bool, typer.Option("--candidates", help="All masks that the object may have, not only the best.")
    ] = False,
    everything: Annotated[bool, typer.Option("--everything", help="All objects that a grid of clicks finds.")] = False,
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
    model: options.Model = "default",
    image_size: options.ImageSize = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    out: options.Out = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document per picture and concept.")] = False,
    yolo: Annotated[bool, typer.Option("--yolo", help="Also write OUT/yolo, polygons in YOLO's format.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Do pictures again that an earlier run finished.")] = False,
    max_megapixels: Annotated[
        float | None, typer.Option("--max-megapixels", metavar="N", help="Larger pictures are refused.")
    ] = None,
) -> None:
    """Find and cut out everything that you name, or what you show.

    With -c everything is found that the text says; boxes, points and masks are examples (-c visual: examples alone).
    Without -c they show one object, which is cut out; several boxes are one object each.

    Results go to OUT/PICTURE/CONCEPT: overlay, masks, labels, JSON; OUT/annotations.json has them all (COCO). Run the
    same line again after an interruption: finished pictures are not done twice.
    """
    # Imported here: help needs none of it.
    from masklet.inference.picture_run import run_pictures, write_annotations
    from masklet.inference.side_by_side import workers_for
    from masklet.media.find_images import find_images
    from masklet.media.images import MAX_PIXELS

    task = task_of(
        Given(
            concepts=concept or (),
            boxes=box or (),
            points=point or (),
            masks=mask or (),
            everything=everything,
            candidates=candidates,
            exemplar_from=exemplar_from,
            thresholds=threshold or (),
            nms=nms,
            nms_across=nms_across,
            image_size=image_size,
        )
    )
    if max_megapixels is not None and not 0 < max_megapixels < math.inf:  # false for NaN as well
        raise typer.BadParameter(f"expected a number above 0, got {max_megapixels:g}.", param_hint="--max-megapixels")
    if yolo and as_json and out is None:
        raise typer.BadParameter("with --json it needs --out.", param_hint="--yolo")
    folder = Path("out") if out is None and not as_json else out
    if folder is not None:
        check_folder(folder)
    pictures = find_images(images, skip=folder)
    max_pixels = MAX_PIXELS if max_megapixels is None else int(max_megapixels * 1e6)
    network, of_model = loaded_model(model, device, dtype)
    outcomes = run_pictures(
        pictures,
        task.start(network, max_pixels),  # everything but pictures is checked here
        out=folder,
        settings=task.settings | of_model,
        resume=not again,
        max_pixels=max_pixels,
        workers=min(len(pictures), workers_for(network)),
    )
    tally = _Tally(as_json=as_json)
    try:
        with progress_bar(len(pictures), as_json=as_json) as advance:
            for outcome in outcomes:
                tally.add(outcome)
                advance(outcome.picture.name)
    except KeyboardInterrupt:
        say(
            f"stopped after {tally.done} of {counted(len(pictures), 'picture')}; the same line goes on from there",
            "note",
        )
        raise
    if folder is not None:
        write_annotations((path for _, path in tally.folders), folder)
        if yolo:
            _write_yolo(tally.folders, folder / "yolo")
    tally.close(folder)


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
            sys.stderr.write(f"{counted(self.done, 'picture')} in {seconds:.1f} s{again}; results are in {folder}\n")
        if self.failed and self.failed + self.done > 1:
            say(f"{self.failed} of {counted(self.failed + self.done, 'picture')} failed")
        if self.failed:
            raise typer.Exit(1)


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


def _write_yolo(results: Sequence[tuple[str, Path]], folder: Path) -> None:
    from masklet.inference.picture_run import read_document
    from masklet.inference.yolo import write_yolo

    write_yolo(((name, read_document(path)) for name, path in results), folder)
