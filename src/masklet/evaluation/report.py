"""Scores as a table of text with the bars that the default model must clear, and as a document for JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from masklet.evaluation.cgf1 import cgf1_values
from masklet.evaluation.tally import MATCH_IOU, Tally
from masklet.evaluation.world_scores import ALL, BARE, TEXT, UNNAMED, Scores

# Attribute of a tally -> heading.
_COUNTS = {"prompts": "prompts", "objects": "objects"}
RATES = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "mask_iou": "mask IoU",
    "box_iou": "box IoU",
    "presence_accuracy": "presence",
    "rejection": "rejected",
}
_NAME_WIDTH = 24
_FIGURE_WIDTH = 54
_WIDTHS = {heading: max(len(heading), len("0.000")) for heading in (*_COUNTS.values(), *RATES.values())}

_CGF1_VALUES = ("cgF1", "IL_MCC", "positive_micro_F1", "cgF1@0.5")
# Phrases without a colour; a colour goes with the same mix of nouns (synthetic/phrases.py).
PLAIN_KINDS = ("name", "synonym", "category", "plural")
BOX_KINDS = ("exemplar", "exemplar_negative")  # asked by boxes alone, with something to find


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A figure and the least that it must be.

    Attributes:
        name: what is measured.
        value: 0..1, or -1..1 of cgF1; None where no prompt bears on it.
        least: 0..1.
    """

    name: str
    value: float | None
    least: float

    @property
    def met(self) -> bool | None:
        """Whether the figure is high enough; None when it cannot be said."""
        return None if self.value is None else self.value >= self.least


def bars_of(scores: Scores) -> list[Bar]:
    """What is asked of the default model; rejected are absent concepts for which nothing is returned."""
    rows = scores.rows
    kinds, further = rows["kind"], rows["further sets"]
    measured = (
        ("cgF1 of text prompts", text_cgf1(scores)["cgF1"], 0.50),
        ("F1 of text prompts", rows["asked by"][TEXT].f1, 0.88),
        ("absent concepts rejected", rows["all"][ALL].rejection, 0.95),
        ("F1 of exemplars of symbols never named in training", further[UNNAMED].f1, 0.70),
        ("what is there, in a colour that it has not: rejected", kinds["absent_colour"].rejection, 0.85),
        ("words that are no symbol: rejected", kinds["absent_word"].rejection, 0.97),
        ("pictures without sprites: rejected", further[BARE].rejection, 0.97),
    )
    return [Bar(name=name, value=value, least=least) for name, value, least in measured]


def figures_of(scores: Scores) -> dict[str, float | None]:
    """Figures by name that no bar is set for."""
    kinds, text = scores.rows["kind"], text_cgf1(scores)
    return {
        "F1 over all prompts": scores.rows["all"][ALL].f1,
        "F1 of phrases without a colour": sum((kinds[kind] for kind in PLAIN_KINDS), Tally()).f1,
        "F1 of phrases with a colour": kinds["colour"].f1,
        "F1 of exemplars alone": sum((kinds[kind] for kind in BOX_KINDS), Tally()).f1,
        "IL_MCC of text prompts (is the concept there)": text["IL_MCC"],
        "pmF1 of text prompts (how well masks fit)": text["positive_micro_F1"],
        "cgF1 of text prompts at an overlap of 0.5": text["cgF1@0.5"],
    }


def text_cgf1(scores: Scores) -> dict[str, float | None]:
    """cgF1 of the prompts asked by text and what it is made of, by the evaluator's names.

    None unless concepts are present in some of the pairs and absent in others: cgF1 says nothing there.
    """
    there = scores.text.true > 0
    if there.all() or not there.any():
        return dict.fromkeys(_CGF1_VALUES)
    values = cgf1_values(scores.text)
    return {name: values[name] for name in _CGF1_VALUES}


def table(scores: Scores) -> str:
    """The rows of all sections, the bars and other figures: lines of at most 100 characters."""
    heading = " " * _NAME_WIDTH + "".join(f" {heading:>{width}}" for heading, width in _WIDTHS.items())
    lines = [heading]
    for section in scores.rows.values():
        lines.append("-" * len(heading))
        for name, tally in section.items():
            cells = [str(getattr(tally, count) or "-") for count in _COUNTS]
            cells += [shown(getattr(tally, rate)) for rate in RATES]
            padded = (f" {cell:>{width}}" for cell, width in zip(cells, _WIDTHS.values(), strict=True))
            lines.append(f"{name:<{_NAME_WIDTH}}" + "".join(padded))
    lines += [
        "-" * len(heading),
        f"F1, precision, recall: one-to-one by greatest mask IoU, right from {MATCH_IOU} on; IoU: mean of right ones.",
        "presence: share of prompts whose presence is right; rejected: absent concepts with nothing returned.",
        "A size counts right and missed masks by the true mask, wrong ones by their own.",
        "The rows of the last section are of two sets of their own and count in no other.",
        "-" * len(heading),
    ]
    lines += bar_lines(bars_of(scores))
    lines.append("-" * len(heading))
    lines += [f"{name:<{_FIGURE_WIDTH}} {shown(value)}" for name, value in figures_of(scores).items()]
    return "\n".join(lines)


def bar_lines(bars: Iterable[Bar]) -> list[str]:
    """A line for each bar: the figure, the least that it must be, and whether it is."""
    words = {True: "met", False: "MISSED", None: "not measured"}
    return [f"{bar.name:<{_FIGURE_WIDTH}} {shown(bar.value)}  bar {bar.least:.2f}  {words[bar.met]}" for bar in bars]


def shown(value: float | None) -> str:
    """A figure with three digits, "-" where there is none."""
    return "-" if value is None else f"{value:.3f}"


def document(scores: Scores) -> dict[str, Any]:
    """Counts and rates of every row, the bars, other figures and all of cgF1's evaluator, as plain values."""
    rows = {
        section: {name: asdict(tally) | {rate: getattr(tally, rate) for rate in RATES} for name, tally in part.items()}
        for section, part in scores.rows.items()
    }
    return rows | {
        "bars": [asdict(bar) | {"met": bar.met} for bar in bars_of(scores)],
        "figures": figures_of(scores),
        "text_cgf1": cgf1_values(scores.text),
    }


def summary(scores: Scores) -> dict[str, Any]:
    """Rates over all prompts, F1 and rejection of every other row that has them, cgF1: short enough for a log."""
    rows = {name: tally for section, part in scores.rows.items() if section != "all" for name, tally in part.items()}
    overall = {rate: _rounded(getattr(scores.rows["all"][ALL], rate)) for rate in RATES}
    by_row = {
        f"{rate}_by": {
            name: _rounded(value) for name, tally in rows.items() if (value := getattr(tally, rate)) is not None
        }
        for rate in ("f1", "rejection")
    }
    return overall | by_row | {"text_cgf1": {name: _rounded(value) for name, value in text_cgf1(scores).items()}}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
