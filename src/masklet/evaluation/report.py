"""Scores as a table of text with the bars that the default model must clear, and as a document for JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from masklet.evaluation.tally import MATCH_IOU, Tally
from masklet.evaluation.world_scores import ALL, Scores

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
_WIDTHS = {heading: max(len(heading), len("0.000")) for heading in (*_COUNTS.values(), *RATES.values())}

LEAST_F1 = 0.72
LEAST_REJECTION = 0.92
# Phrases without a colour; a colour goes with the same mix of nouns (synthetic/phrases.py).
PLAIN_KINDS = ("name", "synonym", "category", "plural")
BOX_KINDS = ("exemplar", "exemplar_negative")  # asked by boxes alone, with something to find


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A figure and the least that it must be; None where no prompt bears on it.

    Attributes:
        name: what is measured.
        value: 0..1.
        least: 0..1.
    """

    name: str
    value: float | None
    least: float | None

    @property
    def met(self) -> bool | None:
        """Whether the figure is high enough; None when it cannot be said."""
        return None if self.value is None or self.least is None else self.value >= self.least


def bars_of(scores: Scores) -> list[Bar]:
    """What is asked of the default model: two fixed bars, and two kinds that must be no worse than plain phrases."""
    overall, kinds = scores["all"][ALL], scores["kind"]
    boxes, plain = (sum((kinds[kind] for kind in group), Tally()).f1 for group in (BOX_KINDS, PLAIN_KINDS))
    return [
        Bar(name="F1 over all prompts", value=overall.f1, least=LEAST_F1),
        Bar(name="absent concepts rejected", value=overall.rejection, least=LEAST_REJECTION),
        Bar(name="F1 of colour phrases, at least that of others", value=kinds["colour"].f1, least=plain),
        Bar(name="F1 of exemplar boxes alone, at least that of phrases", value=boxes, least=plain),
    ]


def table(scores: Scores) -> str:
    """The rows of all sections and the bars, as lines of at most 100 characters without a line break at the end."""
    heading = " " * _NAME_WIDTH + "".join(f" {heading:>{width}}" for heading, width in _WIDTHS.items())
    lines = [heading]
    for section in scores.values():
        lines.append("-" * len(heading))
        for name, tally in section.items():
            cells = [str(getattr(tally, count) or "-") for count in _COUNTS]
            cells += [_rate(getattr(tally, rate)) for rate in RATES]
            padded = (f" {cell:>{width}}" for cell, width in zip(cells, _WIDTHS.values(), strict=True))
            lines.append(f"{name:<{_NAME_WIDTH}}" + "".join(padded))
    lines += [
        "-" * len(heading),
        f"F1, precision, recall: one-to-one by greatest mask IoU, right from {MATCH_IOU} on; IoU: mean of right ones.",
        "presence: share of prompts whose presence is right; rejected: absent concepts with nothing returned.",
        "A size counts right and missed masks by the true mask, wrong ones by their own.",
        "-" * len(heading),
    ]
    words = {True: "met", False: "MISSED", None: "not measured"}
    lines += [f"{bar.name:<52} {_rate(bar.value)}  bar {_rate(bar.least)}  {words[bar.met]}" for bar in bars_of(scores)]
    return "\n".join(lines)


def document(scores: Scores) -> dict[str, Any]:
    """Counts and rates of every row, and the bars, as plain values."""
    rows = {
        section: {name: asdict(tally) | {rate: getattr(tally, rate) for rate in RATES} for name, tally in part.items()}
        for section, part in scores.items()
    }
    return rows | {"bars": [asdict(bar) | {"met": bar.met} for bar in bars_of(scores)]}


def summary(scores: Scores) -> dict[str, Any]:
    """The rates over all prompts, and F1 and rejection of every other row that has them: short enough for a log."""
    rows = {name: tally for section, part in scores.items() if section != "all" for name, tally in part.items()}
    overall = {rate: _rounded(getattr(scores["all"][ALL], rate)) for rate in RATES}
    by_row = {
        f"{rate}_by": {
            name: _rounded(value) for name, tally in rows.items() if (value := getattr(tally, rate)) is not None
        }
        for rate in ("f1", "rejection")
    }
    return overall | by_row


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
