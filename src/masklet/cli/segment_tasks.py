"""What `masklet segment` does with each picture: find concepts, cut out what is shown, or find everything.

With -c, boxes, points and masks are examples of the concepts: all that is like them is found. Without -c they are a
prompt for objects: several boxes are one object each; else box, points and mask together show one object.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

from masklet.cli.values import BOX, POINT, about, check_concepts, check_fractions, labelled_numbers, refuse

if TYPE_CHECKING:
    from masklet.inference.interactive_predictor import InteractivePredictor
    from masklet.inference.object_masks import Candidates
    from masklet.inference.object_prompt import ObjectPrompt
    from masklet.inference.object_result import ObjectResult
    from masklet.inference.picture_run import Ask
    from masklet.media.images import Pixels
    from masklet.model.detector import Detector
    from masklet.ops.masks import BoolArray
    from masklet.types import Exemplar


@dataclass(frozen=True, kw_only=True)
class Given:
    """The options that say what to look for; those that were not given are empty, off or None.

    Attributes:
        concepts: phrases.
        boxes: X0,Y0,X1,Y1[,LABEL].
        points: X,Y[,LABEL].
        masks: files.
        everything: look for all there is.
        candidates: give all candidates of an object.
        exemplar_from: the picture that examples lie on.
        thresholds: least scores.
        nms: mask overlap of duplicates.
        nms_across: duplicates of different concepts go too.
        image_size: side of the model's input, pixels.
    """

    concepts: Sequence[str] = ()
    boxes: Sequence[str] = ()
    points: Sequence[str] = ()
    masks: Sequence[Path] = ()
    everything: bool = False
    candidates: bool = False
    exemplar_from: Path | None = None
    thresholds: Sequence[float] = ()
    nms: float | None = None
    nms_across: bool = False
    image_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is done with each picture.

    Attributes:
        settings: all that the answers depend on, apart from the model, as JSON can hold it.
        start: model, most pixels of a picture -> the function that asks a picture; what is wrong with every picture
            shows here.
    """

    settings: dict[str, Any]
    start: Callable[[Detector, int], Ask]


def task_of(given: Given) -> Task:
    """The task that the options describe.

    Raises:
        BadParameter: options that do not go together, or values that are none.
        ImageError: the file of a mask cannot be read.
        PromptError: it shows nothing.
    """
    check_fractions(given.thresholds, "--threshold")
    check_fractions([] if given.nms is None else [given.nms], "--nms")
    if given.everything:
        return _everything(given)
    if given.concepts:
        return _concepts(given)
    if given.boxes or given.points or given.masks:
        return _objects(given)
    raise typer.BadParameter(
        "say what to find with -c TEXT, or show it with --box, --point or --mask, or ask for --everything."
    )


# --- concepts ---------------------------------------------------------------------------------------------------------


def _concepts(given: Given) -> Task:
    from masklet.inference.image_predictor import ImagePredictor
    from masklet.inference.picture_run import file_stamp

    refuse({"--candidates": given.candidates}, "is for objects that are shown without -c.")
    concepts, thresholds, elsewhere = list(given.concepts), list(given.thresholds), given.exemplar_from
    check_concepts(concepts, thresholds)
    options: dict[str, Any] = {
        "exemplars": _exemplars(given),
        "threshold": thresholds if len(thresholds) > 1 else thresholds[0] if thresholds else None,
        "nms_iou": "auto" if given.nms is None else given.nms,
        "nms_across": given.nms_across,
        "image_size": given.image_size,
    }
    settings: dict[str, Any] = {key: repr(value) for key, value in options.items()} | {"concepts": concepts}
    if elsewhere is not None:
        settings["exemplar_from"] = file_stamp(elsewhere) if elsewhere.exists() else []

    def start(model: Detector, max_pixels: int) -> Ask:
        predictor = ImagePredictor(model, max_pixels=max_pixels)
        asked = dict(options)
        if elsewhere is not None:
            asked["exemplar_image"] = predictor.encode(elsewhere, image_size=given.image_size, tracker=False)
        predictor.segment([], concepts, **(asked if elsewhere is not None else asked | {"exemplars": ()}))
        return lambda pixels: predictor.segment(pixels, concepts, **asked)

    return Task(settings=settings, start=start)


def _exemplars(given: Given) -> list[Exemplar]:
    from masklet.types import Exemplar

    shown = []
    label: Any  # not bool(label): only 0 and 1 are labels, which the exemplar checks
    for text in given.boxes:
        (x0, y0, x1, y1), label = labelled_numbers(text, "--box", BOX)
        with about(text, "--box"):
            shown.append(Exemplar((x0, y0, x1, y1), label))
    for text in given.points:
        (x, y), label = labelled_numbers(text, "--point", POINT)
        with about(text, "--point"):
            shown.append(Exemplar.point((x, y), label))
    return shown + [Exemplar.mask(_read_mask(path)) for path in given.masks]


# --- objects ----------------------------------------------------------------------------------------------------------


def _objects(given: Given) -> Task:
    others = {
        "--exemplar-from": given.exemplar_from is not None,
        "--threshold": bool(given.thresholds),
        "--nms": given.nms is not None,
        "--nms-across": given.nms_across,
    }
    refuse(others, "needs -c: without it boxes, points and masks show objects, which are cut out as they are.")
    prompts = _prompts(given)
    settings = {
        "objects": [list(given.boxes), list(given.points), [_code(prompt) for prompt in prompts]],
        "candidates": given.candidates,
        "image_size": given.image_size,
    }

    def start(model: Detector, max_pixels: int) -> Ask:
        predictor = _interactive(model, max_pixels, given.image_size)

        def ask(pixels: Pixels) -> Sequence[ObjectResult]:
            several: Candidates = True if given.candidates else "auto"
            results = predictor.segment_objects(pixels, prompts, candidates=several, image_size=given.image_size)
            return results if given.candidates else [result.best for result in results]

        return ask

    return Task(settings=settings, start=start)


def _prompts(given: Given) -> list[ObjectPrompt]:
    """One object for each of several boxes, else the one that everything given shows.

    Raises:
        BadParameter: more than one mask, or points or a mask beside several boxes.
    """
    from masklet.inference.object_prompt import ObjectPrompt

    boxed = []
    for number, text in enumerate(given.boxes, start=1):
        box, label = labelled_numbers(text, "--box", BOX)
        if label != 1:
            raise typer.BadParameter(f"{text}: a box shows an object; LABEL needs -c.", param_hint="--box")
        with about(text, "--box"):
            boxed.append(ObjectPrompt(box=box, name=f"object {number}"))
    if len(boxed) > 1:
        others = {"--point": bool(given.points), "--mask": bool(given.masks)}
        refuse(others, "goes with one --box at most: several boxes are an object each.")
        return boxed
    if len(given.masks) > 1:
        raise typer.BadParameter("without -c give one at most: it shows the one object.", param_hint="--mask")
    clicks = []
    for text in given.points:
        point, label = labelled_numbers(text, "--point", POINT)
        with about(text, "--point"):
            clicks.append(ObjectPrompt(points=[point], labels=[label]))
    prompt = ObjectPrompt(
        points=[click.points[0] for click in clicks],
        labels=[click.labels[0] for click in clicks],
        box=boxed[0].box if boxed else None,
        mask=_read_mask(given.masks[0]) if given.masks else None,
    )
    return [prompt]


def _code(prompt: ObjectPrompt) -> str | None:
    """The mask of a prompt, as JSON can hold it."""
    from masklet.ops.masks import encode_rle

    return None if prompt.mask is None else encode_rle(prompt.mask)["counts"]


# --- everything -------------------------------------------------------------------------------------------------------


def _everything(given: Given) -> Task:
    others = {
        "-c": bool(given.concepts),
        "--box": bool(given.boxes),
        "--point": bool(given.points),
        "--mask": bool(given.masks),
        "--exemplar-from": given.exemplar_from is not None,
        "--candidates": given.candidates,
        "--nms-across": given.nms_across,
    }
    refuse(others, "does not go with --everything, which looks for all there is.")
    if len(given.thresholds) > 1:
        raise typer.BadParameter("give it once with --everything.", param_hint="--threshold")
    options: dict[str, Any] = {"image_size": given.image_size}
    if given.thresholds:
        options["min_quality"] = given.thresholds[0]
    if given.nms is not None:
        options["nms_iou"] = given.nms

    def start(model: Detector, max_pixels: int) -> Ask:
        predictor = _interactive(model, max_pixels, given.image_size)
        return lambda pixels: [predictor.everything(pixels, **options)]

    return Task(settings={"everything": options}, start=start)


def _interactive(model: Detector, max_pixels: int, image_size: int | None) -> InteractivePredictor:
    from masklet.inference.batches import input_side
    from masklet.inference.interactive_predictor import InteractivePredictor

    input_side(model, image_size)  # what is wrong with it is wrong with every picture
    return InteractivePredictor(model, max_pixels=max_pixels)


# --- values -----------------------------------------------------------------------------------------------------------


def _read_mask(path: Path) -> BoolArray:
    from masklet.media.images import read_image

    return np.asarray(read_image(path).any(axis=2))
