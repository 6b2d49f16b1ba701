"""Values of options that are more than a word or a number, and options that do not go together.

What is wrong with a value is a complaint that repeats it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import typer

from masklet.errors import PromptError

BOX: Final = "X0,Y0,X1,Y1"
POINT: Final = "X,Y"


def labelled_numbers(text: str, option: str, form: str) -> tuple[tuple[float, ...], float]:
    """The numbers of a box or a point, and the label behind them, 1 if there is none.

    Args:
        text: as the user wrote it.
        option: whose value it is.
        form: `BOX` or `POINT`.

    Raises:
        BadParameter: not so many numbers; the message repeats the value.
    """
    count = form.count(",") + 1
    try:
        *numbers, label = [float(part) for part in (text if text.count(",") == count else text + ",1").split(",")]
        if len(numbers) != count:
            raise ValueError
    except ValueError as error:
        raise typer.BadParameter(
            f"expected {form} or {form},LABEL in pixels, got {text!r}.", param_hint=option
        ) from error
    return tuple(numbers), label


@contextmanager
def about(text: str, option: str) -> Iterator[None]:
    """What is wrong with a prompt made in the block is a complaint about the value of an option."""
    try:
        yield
    except PromptError as error:
        raise typer.BadParameter(f"{text}: {error}.", param_hint=option) from error


def refuse(options: Mapping[str, bool], reason: str) -> None:
    """Stops at the first option that was given although it means nothing here.

    Args:
        options: whether each was given, by name.
        reason: why it means nothing.

    Raises:
        BadParameter: one was given.
    """
    for option, given in options.items():
        if given:
            raise typer.BadParameter(reason, param_hint=option)


def check_fractions(values: Sequence[float], option: str) -> None:
    """Refuses numbers that are not in 0..1.

    Raises:
        BadParameter: one is not.
    """
    for value in values:
        if not 0 <= value <= 1:  # false for NaN as well
            raise typer.BadParameter(f"expected a number in 0..1, got {value:g}.", param_hint=option)


def check_concepts(concepts: Sequence[str], thresholds: Sequence[float]) -> None:
    """Refuses concepts that come twice, and thresholds that are neither one nor as many as concepts.

    Raises:
        BadParameter: they are.
    """
    if len(set(concepts)) < len(concepts):
        raise typer.BadParameter("give every concept once.", param_hint="-c")
    if len(thresholds) not in (0, 1, len(concepts)):
        raise typer.BadParameter(f"give it once, or for each of {len(concepts)} concepts.", param_hint="--threshold")
    check_fractions(thresholds, "--threshold")
