"""The report of an evaluation as one HTML file that needs nothing else: figures, curves, breakdowns, worst answers."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from masklet.evaluation.matching import FloatArray
from masklet.evaluation.tally import Tally

_PICTURE_SIDE = 360  # pixels of the longer side
_JPEG_QUALITY = 85
_PLOT_WIDTH, _PLOT_HEIGHT, _MARGIN = 420, 260, 36
_COLOURS = ("#1f6feb", "#d1242f", "#1a7f37")
_ROWS = 200  # of a table
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1f2328 }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse } td, th { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #d1d9e0 }
td:first-child, th:first-child { text-align: left } th { font-weight: 600 }
figure { display: inline-block; margin: 0 1rem 1.2rem 0; vertical-align: top } figcaption { font-size: .85rem }
img { max-width: 100%; height: auto; border: 1px solid #d1d9e0 } svg text { font-size: 12px; fill: #59636e }
.note { color: #59636e }
"""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A pair that was answered badly.

    Attributes:
        caption: what was asked, what went wrong.
        truth: the picture with the true objects; None where there is no picture.
        answer: the picture with what was found.
    """

    caption: str
    truth: Image.Image | None
    answer: Image.Image | None


def html_report(
    *,
    title: str,
    facts: Mapping[str, str],
    values: Mapping[str, float | None],
    curves: Mapping[str, FloatArray],
    sizes: Mapping[str, Tally],
    phrases: Mapping[str, Tally],
    failures: Sequence[Failure],
) -> str:
    """The whole document.

    Args:
        title: heading.
        facts: what was compared with what.
        values: figures by name; names with "@" go into columns of their own.
        curves: (101,) precision at recall 0 ... 1, by name.
        sizes: tallies of each size.
        phrases: tallies of each phrase, in the order in which they are shown.
        failures: worst first.
    """
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        "<p class=note>" + "<br>".join(f"{html.escape(k)}: {html.escape(v)}" for k, v in facts.items()) + "</p>",
        "<h2>Figures</h2>",
        _figures(values),
        "<h2>Precision and recall</h2>",
        _plot(curves),
        "<h2>By size of the object</h2>",
        _tallies("size", sizes),
        "<h2>Worst answers</h2>",
        "<p class=note>Left: the truth. Right: what was found.</p>"
        if failures
        else "<p>None: no mistake was made.</p>",
        *map(_failure, failures),
        "<h2>By phrase, most mistakes first</h2>",
        _tallies("phrase", phrases),
    ]
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _figures(values: Mapping[str, float | None]) -> str:
    columns = ["", *dict.fromkeys(name.partition("@")[2] for name in values if "@" in name)]
    names = list(dict.fromkeys(name.partition("@")[0] for name in values))
    heading = ["", "value" if len(columns) == 1 else "mean", *(f"at {column}" for column in columns[1:])]
    rows = [
        [name, *(_number(values.get(f"{name}@{column}" if column else name)) for column in columns)] for name in names
    ]
    return _table(heading, rows)


def _tallies(what: str, tallies: Mapping[str, Tally]) -> str:
    heading = [what, "objects", "right", "wrong", "missed", "precision", "recall", "F1", "absent rejected"]
    rows = [
        [name, str(tally.objects), str(tally.true_positives), str(tally.false_positives), str(tally.false_negatives)]
        + [_number(rate) for rate in (tally.precision, tally.recall, tally.f1, tally.rejection)]
        for name, tally in list(tallies.items())[:_ROWS]
    ]
    more = f"<p class=note>{len(tallies) - _ROWS} more are left out.</p>" if len(tallies) > _ROWS else ""
    return _table(heading, rows) + more


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return "<table>" + line(heading, "th") + "".join(line(row, "td") for row in rows) + "</table>"


def _plot(curves: Mapping[str, FloatArray]) -> str:
    """Precision over recall as a drawing; both axes from 0 to 1."""
    width, height = _PLOT_WIDTH - 2 * _MARGIN, _PLOT_HEIGHT - 2 * _MARGIN

    def place(recall: float, precision: float) -> str:
        return f"{_MARGIN + recall * width:.1f},{_MARGIN + (1 - precision) * height:.1f}"

    lines = [f'<polyline points="{place(0, 1)} {place(0, 0)} {place(1, 0)}" fill="none" stroke="#59636e"/>']
    for tick in (0.0, 0.5, 1.0):
        x, y = _MARGIN + tick * width, _MARGIN + (1 - tick) * height
        lines.append(f'<text x="{x:.0f}" y="{_PLOT_HEIGHT - _MARGIN + 16}" text-anchor="middle">{tick:g}</text>')
        lines.append(f'<text x="{_MARGIN - 6}" y="{y + 4:.0f}" text-anchor="end">{tick:g}</text>')
    lines.append(f'<text x="{_PLOT_WIDTH / 2:.0f}" y="{_PLOT_HEIGHT - 4}" text-anchor="middle">recall</text>')
    lines.append(f'<text x="{_MARGIN}" y="{_MARGIN - 12}" text-anchor="middle">precision</text>')
    legend = []
    for number, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(place(idx / (len(curve) - 1), float(value)) for idx, value in enumerate(curve))
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        legend.append(f'<span style="color: {colour}">{html.escape(name)}, mean {float(curve.mean()):.3f}</span>')
    drawing = f'<svg width="{_PLOT_WIDTH}" height="{_PLOT_HEIGHT}" role="img">' + "".join(lines) + "</svg>"
    return f"<figure>{drawing}<figcaption>{'<br>'.join(legend)}</figcaption></figure>"


def _failure(failure: Failure) -> str:
    pictures = "".join(
        f'<img src="data:image/jpeg;base64,{_jpeg(picture)}" alt="{side}">'
        for side, picture in (("truth", failure.truth), ("answer", failure.answer))
        if picture is not None
    )
    return f"<figure>{pictures}<figcaption>{html.escape(failure.caption)}</figcaption></figure>"


def _jpeg(picture: Image.Image) -> str:
    small = picture.convert("RGB")
    small.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE))
    with io.BytesIO() as file:
        small.save(file, "JPEG", quality=_JPEG_QUALITY)
        return base64.b64encode(file.getvalue()).decode("ascii")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
