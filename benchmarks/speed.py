"""Seconds of every stage, beside transformers: `python benchmarks/speed.py` (`make bench`).

The same random full-size weights, the same image, the same threads; ours and theirs in turns within one run, so that
whatever else the machine does falls on both. A ratio is the median of theirs / ours over these turns: above 1, masklet
is faster. Seconds of the processor (`cpu`) do not count waiting for other programs.

Several concepts on one image: ours in one call, on an image that is encoded once; theirs is one call for one concept,
with the image encoded (`vision_embeds`), times the number of concepts. The lines "whole image, N concepts" are made of
the figures measured: ours once the encoder and the neck and one call for N concepts, theirs N calls of a whole image.

Everything takes about 20 minutes on two free cores, with one turn of what takes a minute (`--least` asks for more);
`--only`, `--dtype` and `--threads` choose. Needs 12 GB of memory.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import limits
import torch
from record import append, circumstances
from rivals import CONCEPT, WHOLE, Models, Pair, concept_pair, postprocess_pairs, stage_pairs, whole_pair

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
OURS = (*DTYPES, "int8")
GROUPS = ("stages", "whole", "concepts", "postprocess")
CONCEPTS = (1, 4, 16)
_QUICK = 2.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Medians over `turns`, by the clock and of the processor. Theirs may be missing."""

    ours_s: float
    theirs_s: float | None
    ratio: float | None
    ours_cpu_s: float
    theirs_cpu_s: float | None
    cpu_ratio: float | None
    turns: int

    def rounded(self) -> dict[str, Any]:
        """For the record: four digits."""
        return {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in vars(self).items()}


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    start, cpu_start = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - start, time.process_time() - cpu_start


def measure(pair: Pair, *, seconds: float, least: int, most: int) -> Figures:
    """Does both in turns until there are `most` of them, or at least `least` and `seconds` are over."""
    start = time.perf_counter()
    ours, theirs = [timed(pair.ours)], [] if pair.theirs is None else [timed(pair.theirs)]
    if ours[0][0] < _QUICK:  # these were a warm-up, which long calls need not
        ours.clear()
        theirs.clear()
    while len(ours) < least or (len(ours) < most and time.perf_counter() - start < seconds):
        order = [(pair.ours, ours), (pair.theirs, theirs)]
        for call, kept in order if len(ours) % 2 == 0 else reversed(order):
            if call is not None:
                kept.append(timed(call))

    def medians(clock: int) -> tuple[float, float | None, float | None]:
        mine = statistics.median(run[clock] for run in ours) / pair.repeats
        if not theirs:
            return mine, None, None
        ratios = [pair.times * other[clock] / one[clock] for one, other in zip(ours, theirs, strict=True)]
        other = statistics.median(run[clock] for run in theirs) / pair.repeats
        return mine, pair.times * other, statistics.median(ratios)

    (ours_s, theirs_s, ratio), (ours_cpu_s, theirs_cpu_s, cpu_ratio) = medians(0), medians(1)
    return Figures(
        ours_s=ours_s,
        theirs_s=theirs_s,
        ratio=ratio,
        ours_cpu_s=ours_cpu_s,
        theirs_cpu_s=theirs_cpu_s,
        cpu_ratio=cpu_ratio,
        turns=len(ours),
    )


def pairs_of(groups: set[str], models: Models) -> Iterator[Pair]:
    """The pairs of the chosen groups, each made when it is its turn."""
    if "stages" in groups:
        yield from stage_pairs(models)
    if groups & {"whole", "concepts"}:
        yield whole_pair(models)
    if "concepts" in groups:
        yield from (concept_pair(models, concepts) for concepts in CONCEPTS)


def whole_of_concepts(figures: dict[str, Figures]) -> dict[str, Figures]:
    """An image with N concepts, from pixels, put together from what was measured."""
    if CONCEPT.format(1) not in figures:
        return {}
    whole, one = figures[WHOLE], figures[CONCEPT.format(1)]
    found = {}
    for concepts in CONCEPTS[1:]:
        several = figures[CONCEPT.format(concepts)]
        ours_s = whole.ours_s - one.ours_s + several.ours_s
        ours_cpu_s = whole.ours_cpu_s - one.ours_cpu_s + several.ours_cpu_s
        assert whole.theirs_s is not None and whole.theirs_cpu_s is not None
        found[f"whole image, {concepts} concepts"] = Figures(
            ours_s=ours_s,
            theirs_s=concepts * whole.theirs_s,
            ratio=concepts * whole.theirs_s / ours_s,
            ours_cpu_s=ours_cpu_s,
            theirs_cpu_s=concepts * whole.theirs_cpu_s,
            cpu_ratio=concepts * whole.theirs_cpu_s / ours_cpu_s,
            turns=several.turns,
        )
    return found


def show(name: str, figures: Figures) -> None:
    """One line of the table."""
    columns = [f"{value:>11.3f}" if value is not None else f"{'-':>11}" for value in list(vars(figures).values())[:-1]]
    print(f"{name:<40}{''.join(columns)}{figures.turns:>6}", flush=True)


def run(pairs: Iterable[Pair], title: str, arguments: argparse.Namespace) -> dict[str, Figures]:
    """Measures and shows, pair by pair."""
    names = ("ours s", "theirs s", "ratio", "ours cpu", "theirs cpu", "cpu ratio")
    print(f"\n{title:<40}{''.join(f'{name:>11}' for name in names)}{'turns':>6}")
    found: dict[str, Figures] = {}
    for pair in pairs:
        if arguments.match not in pair.name:
            continue
        found[pair.name] = measure(pair, seconds=arguments.seconds, least=arguments.least, most=arguments.most)
        show(pair.name, found[pair.name])
    if not arguments.match:
        for name, figures in whole_of_concepts(found).items():
            found[name] = figures
            show(name, figures)
    return found


def shares_of_limit(found: dict[str, Figures], dtype: str) -> dict[str, float]:
    """How near to the machine's limit (see limits.py) our stages are, 1 at best; by the clock."""
    stages = {name: work for name, work in limits.stage_work().items() if name in found}
    if not stages:
        return {}
    rates = limits.rates_of(dtype, runs=3)
    print(f"\n{'':<40}{'least s':>11}{'ours s':>11}{'share':>11}")
    shares = {}
    for name, work in stages.items():
        least, ours = work.least_s(rates), found[name].ours_s
        shares[name] = round(least / ours, 3)
        print(f"{name:<40}{least:>11.3f}{ours:>11.3f}{shares[name]:>11.2f}", flush=True)
    return shares


def record(found: dict[str, Figures], **setting: Any) -> None:
    """One line of results.jsonl; `setting` may say that it is of another benchmark or preset."""
    figures = {name: each.rounded() for name, each in found.items()}
    load = round(os.getloadavg()[0], 1)
    append({"benchmark": "speed", "preset": "sam3", **setting, "figures": figures, "load": load, **circumstances()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=GROUPS, help="what to time")
    parser.add_argument("--match", default="", help="only lines with this text in their name")
    parser.add_argument("--dtype", nargs="+", choices=OURS, default=list(DTYPES), help="of ours")
    parser.add_argument("--theirs", choices=DTYPES, help="their number format (as ours; beside int8 float32)")
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, min(2, os.cpu_count() or 1)}))
    parser.add_argument("--seconds", type=float, default=20, help="for each line, once it had its least turns")
    parser.add_argument("--least", type=int, default=1, help="least turns of a line")
    parser.add_argument("--most", type=int, default=5, help="most turns of a line")
    parser.add_argument("--record", action="store_true", help="add the figures to results.jsonl")
    arguments = parser.parse_args()
    groups = set(arguments.only)
    with torch.inference_mode():
        for dtype in arguments.dtype if groups - {"postprocess"} else ():
            theirs = arguments.theirs or (dtype if dtype in DTYPES else "float32")
            models = Models.make(dtype, theirs)
            for threads in arguments.threads:
                torch.set_num_threads(threads)
                found = run(pairs_of(groups, models), f"{dtype} ({theirs}), threads: {threads}", arguments)
                shares = shares_of_limit(found, dtype)
                if arguments.record:
                    record(found, dtype=dtype, theirs=theirs, threads=threads, shares_of_limit=shares)
            del models
            gc.collect()
        if "postprocess" in groups:
            torch.set_num_threads(1)
            found = run(postprocess_pairs(), "float32, threads: 1", arguments)
            if arguments.record:
                record(found, dtype="float32", threads=1)


if __name__ == "__main__":
    main()
