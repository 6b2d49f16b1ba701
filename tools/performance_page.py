"""Writes the tables and plots of docs/performance.md from benchmarks/results.jsonl: `make performance`.

The newest line of each benchmark and setting counts. Text between `<!-- table: NAME -->` and `<!-- end -->` is written
anew, and docs/images/performance.png; everything else on the page is left as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "images" / "performance.png"
RESULTS = ROOT / "benchmarks" / "results.jsonl"
WHOLE = "whole image, one concept"
STAGES = ("vision encoder", "neck", "fusion encoder", "decoder and scoring", "mask head, 20 masks kept")

Line = Mapping[str, Any]


def read_lines() -> list[Line]:
    """All measurements, oldest first."""
    return [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]


def newest(lines: Iterable[Line], **wanted: Any) -> Line | None:
    """The last line with these values; one without a value stands for None."""
    found = None
    for line in lines:
        if all(line.get(key) == value for key, value in wanted.items()):
            found = line
    return found


def figure(lines: Iterable[Line], name: str, **wanted: Any) -> Mapping[str, Any] | None:
    """The figure of this name in the last line with these values that has it."""
    line = newest((line for line in lines if name in line.get("figures", {})), **wanted)
    return None if line is None else line["figures"][name]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """In Markdown; the first column to the left, numbers to the right."""
    head = list(head)
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# --- tables -----------------------------------------------------------------------------------------------------------


def whole_table(lines: list[Line]) -> str:
    """A picture and a concept, beside transformers, in the number formats of both."""
    rows = []
    for ours, theirs in (
        ("int8", "float32"),
        ("bfloat16", "float32"),
        ("bfloat16", "bfloat16"),
        ("float32", "float32"),
    ):
        settings = [{"dtype": ours, "theirs": theirs}] + ([{"dtype": ours, "theirs": None}] if ours == theirs else [])
        found = [figure(lines, WHOLE, benchmark="speed", preset="sam3", threads=2, **setting) for setting in settings]
        best = next((each for each in found if each is not None), None)
        if best is not None:
            rows.append([ours, theirs, f"{best['ours_s']:.1f}", f"{best['theirs_s']:.1f}", f"{best['ratio']:.2f}"])
    return table(("masklet", "transformers", "seconds", "theirs", "times as fast"), rows)


def stage_table(lines: list[Line]) -> str:
    """The parts of the network, and how near they are to what the machine can do."""
    line = newest(
        (line for line in lines if STAGES[0] in line.get("figures", {})),
        benchmark="speed",
        preset="sam3",
        dtype="bfloat16",
        threads=2,
    )
    assert line is not None
    rows = []
    for name in STAGES:
        each, share = line["figures"][name], line.get("shares_of_limit", {}).get(name)
        row = [name, f"{each['ours_s']:.2f}", f"{each['theirs_s']:.2f}", f"{each['ratio']:.2f}"]
        rows.append([*row, "-" if share is None else f"{share:.2f}"])
    return table(("bfloat16, two threads", "seconds", "theirs", "times as fast", "share of the limit"), rows)


def precision_table(lines: list[Line]) -> str:
    """What number formats change in the answers of the packaged model."""
    rows = []
    for dtype in ("bfloat16", "int8"):
        line = newest(lines, benchmark="precision", dtype=dtype)
        if line is not None:
            each = line["figures"]
            rows.append(
                [
                    dtype,
                    f"{each['overlap']:.4f}",
                    f"{each['score']:.4f}",
                    f"{each['alone']} of {each['objects']}",
                    f"{each['f1_lost']:.2f}",
                ]
            )
    return table(("beside float32", "overlap of masks", "difference of scores", "found by one only", "F1 lost"), rows)


def video_table(lines: list[Line]) -> str:
    """Following objects, beside transformers."""
    rows = []
    for count in (1, 4, 16, 64):
        each = figure(lines, f"{count} objects", benchmark="video_speed", preset="default", threads=2)
        if each is not None:
            rows.append([str(count), f"{each['ours_s']:.2f}", f"{each['theirs_s']:.2f}", f"{each['ratio']:.2f}"])
    return table(("objects", "seconds a frame", "theirs", "times as fast"), rows)


def default_table(lines: list[Line]) -> str:
    """The packaged model, from files to run-length codes."""
    line = newest(lines, benchmark="default_speed", preset="default", threads=2)
    assert line is not None
    rows = []
    for name, what in (
        ("pictures", "pictures, JPEG files in one call"),
        ("alone", "pictures, a call for each"),
        ("frames", "frames of an MP4 file, three objects followed"),
    ):
        each = line["figures"][name]
        rows.append([what, f"{each['median']:.1f}", f"{each['slowest']:.1f}", f"{each['fastest']:.1f}"])
    return table((f"{line['dtype']}, one concept", "a second", "slowest turn", "fastest turn"), rows)


def machine_of(lines: list[Line]) -> str:
    """What the figures were measured on."""
    line = newest(lines, benchmark="speed", preset="sam3", dtype="bfloat16", threads=2)
    assert line is not None
    return f"{line['processor']} ({line['instructions']}, {line['cores']} cores), PyTorch {line['torch']}"


TABLES: dict[str, Callable[[list[Line]], str]] = {
    "machine": machine_of,
    "whole": whole_table,
    "stages": stage_table,
    "precision": precision_table,
    "video": video_table,
    "default": default_table,
}


def page(text: str, lines: list[Line]) -> str:
    """The page with its tables written anew."""
    for name, write in TABLES.items():
        pattern = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        parts = pattern.split(text)  # before, the opening mark, the closing mark, after
        if len(parts) != 4:
            raise SystemExit(f"{PAGE.name}: expected one table {name!r}, found {len(parts) // 3}")
        text = f"{parts[0]}{parts[1]}{write(lines)}\n{parts[2]}{parts[3]}"
    return text


# --- plots ------------------------------------------------------------------------------------------------------------


def growth(lines: list[Line]) -> list[tuple[str, dict[str, dict[float, float]]]]:
    """Of each plot what changes, and by series its values and the times of the first of them."""
    found: dict[str, dict[str, dict[float, float]]] = {}
    for preset, label in (("sam3", "full size"), ("default", "packaged model")):
        line = newest(lines, benchmark="scaling", preset=preset)
        for name, values in ({} if line is None else line["figures"]).items():
            found.setdefault(name, {})[label] = {float(value): seconds for value, seconds in values.items()}
    objects = {
        float(count): each["ours_s"]
        for count in (1, 4, 16, 64)
        if (each := figure(lines, f"{count} objects", benchmark="video_speed", preset="default", threads=2))
    }
    found["objects in a video"] = {"packaged model's sizes, a frame": objects}
    codes = {}
    for size in ("1080p", "4K"):
        of_size = {
            float(count): line["seconds"]
            for count in (1, 20, 200)
            if (line := newest(lines, benchmark="postprocess", way="codes", kind="objects", size=size, masks=count))
        }
        codes[f"masks to codes, {size}"] = of_size
    found["kept masks"] = codes
    return [(name, found[name]) for name in ("picture size", "concepts", "threads", "kept masks", "objects in a video")]


def span(series: Mapping[str, Mapping[float, float]]) -> float:
    """The longest time over the shortest."""
    times = [seconds for values in series.values() for seconds in values.values()]
    return max(times) / min(times)


def draw(lines: list[Line]) -> None:
    """All plots in one picture."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot, ticker

    plots = growth(lines)
    picture, axes = pyplot.subplots(2, 3, figsize=(12, 7), layout="constrained")
    axes[1, 2].set_axis_off()
    for axis, (name, series) in zip(axes.flat, plots, strict=False):
        for label, values in series.items():
            axis.plot(list(values), list(values.values()), marker="o", markersize=4, linewidth=1.5, label=label)
        axis.set_xlabel(name + (", pixels" if name == "picture size" else ""))
        axis.set_yscale("log")
        axis.grid(visible=True, which="major", linewidth=0.4)
        if name != "picture size":
            axis.set_xscale("log", base=2)
        ticks = sorted({value for values in series.values() for value in values})
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=8, rotation=45 if len(ticks) > 6 else 0)
        axis.minorticks_off()
        axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if span(series) < 300 else (1,)))
        axis.yaxis.set_major_formatter(lambda seconds, _: f"{seconds:g}")
        axis.legend(fontsize=8)
    picture.supylabel("seconds")
    picture.savefig(PLOT, dpi=90)


def main() -> None:
    """Writes both."""
    lines = read_lines()
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), lines), encoding="utf-8")
    draw(lines)


if __name__ == "__main__":
    main()
