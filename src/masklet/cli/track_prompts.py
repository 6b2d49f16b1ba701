"""What `masklet track` is to follow: concepts, examples of them, objects that are clicked or boxed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from masklet.cli.values import BOX, POINT, about, check_concepts, labelled_numbers

if TYPE_CHECKING:
    from masklet.inference.open_video import OpenVideo
    from masklet.types import Exemplar


@dataclass
class _Object:
    """What is shown of an object on a frame."""

    points_xy: list[tuple[float, ...]]
    labels: list[int]
    box_xyxy: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class TrackPrompts:
    """What is to be followed.

    Attributes:
        concepts: phrases.
        thresholds: none, one, or one for each phrase.
        exemplars: each with the number of its frame; of all concepts, or without any, of what is like them there.
        objects: by frame and identity.
    """

    concepts: Sequence[str]
    thresholds: Sequence[float]
    exemplars: Sequence[tuple[int, Exemplar]]
    objects: dict[tuple[int, int], _Object]

    def give(self, video: OpenVideo) -> None:
        """Says it to a video that was just opened.

        Raises:
            InputError: there is no such frame.
            PromptError: something cannot be read, or lies outside the frame.
        """
        every: list[float | None] = list(self.thresholds) or [None]
        if len(every) == 1:
            every *= len(self.concepts)
        numbers = [video.add_concept(text, threshold=one) for text, one in zip(self.concepts, every, strict=True)]
        for frame_idx, exemplar in self.exemplars:
            if not numbers:
                video.add_exemplar(frame_idx, exemplar, threshold=next(iter(self.thresholds), None))
            for number in numbers:
                video.add_exemplar(frame_idx, exemplar, concept=number)
        for (frame_idx, object_id), shown in self.objects.items():
            video.click(
                frame_idx, shown.points_xy or None, shown.labels or None, box_xyxy=shown.box_xyxy, object_id=object_id
            )


def track_prompts(
    concepts: Sequence[str],
    thresholds: Sequence[float],
    exemplars: Sequence[str],
    clicks: Sequence[str],
    boxes: Sequence[str],
) -> TrackPrompts:
    """The prompts that the options describe.

    Args:
        concepts: values of `-c`.
        thresholds: of `--threshold`.
        exemplars: of `--exemplar`, FRAME:X0,Y0,X1,Y1[,LABEL].
        clicks: of `--click`, FRAME:ID:X,Y[,LABEL].
        boxes: of `--box`, FRAME:ID:X0,Y0,X1,Y1.

    Raises:
        BadParameter: there are none, or a value is none.
    """
    from masklet.types import Exemplar

    if not concepts and not exemplars and not clicks and not boxes:
        raise typer.BadParameter("say what to follow with -c TEXT, or show it with --exemplar, --click or --box.")
    check_concepts(concepts or (["exemplars"] if exemplars else []), thresholds)
    shown = []
    label: Any  # not bool(label): only 0 and 1 are labels, which the exemplar checks
    for text in exemplars:
        (frame_idx,), place = _split(text, "--exemplar", f"FRAME:{BOX}[,LABEL]")
        (x0, y0, x1, y1), label = labelled_numbers(place, "--exemplar", BOX)
        with about(text, "--exemplar"):
            shown.append((frame_idx, Exemplar((x0, y0, x1, y1), label)))
    objects: dict[tuple[int, int], _Object] = {}
    for text in clicks:
        (frame_idx, object_id), place = _split(text, "--click", f"FRAME:ID:{POINT}[,LABEL]")
        point, label = labelled_numbers(place, "--click", POINT)
        if label not in (0, 1):
            raise typer.BadParameter(f"{text}: LABEL is 1 on the object or 0 not on it.", param_hint="--click")
        clicked = objects.setdefault((frame_idx, object_id), _Object([], []))
        clicked.points_xy.append(point)
        clicked.labels.append(int(label))
    for text in boxes:
        (frame_idx, object_id), place = _split(text, "--box", f"FRAME:ID:{BOX}")
        box, label = labelled_numbers(place, "--box", BOX)
        if label != 1:
            raise typer.BadParameter(f"{text}: a box shows an object; it has no LABEL.", param_hint="--box")
        boxed = objects.setdefault((frame_idx, object_id), _Object([], []))
        if boxed.box_xyxy is not None:
            raise typer.BadParameter(
                f"{text}: object {object_id} has a box on frame {frame_idx} already; give one.", param_hint="--box"
            )
        boxed.box_xyxy = box
    return TrackPrompts(concepts=concepts, thresholds=thresholds, exemplars=shown, objects=objects)


def _split(text: str, option: str, form: str) -> tuple[list[int], str]:
    """The whole numbers in front of a value, and what follows them."""
    *numbers, place = text.split(":")
    if len(numbers) != form.count(":") or not all(number.isdecimal() for number in numbers):
        raise typer.BadParameter(f"expected {form}, got {text!r}.", param_hint=option)
    return [int(number) for number in numbers], place
