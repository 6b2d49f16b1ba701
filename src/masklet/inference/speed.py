"""How fast something is: works done in turns until the time is over, medians, and what to choose by them.

In turns, so that whatever else the machine does falls on all of them. Nothing is begun that would not end in time, by
what is known of it then; nothing here knows a model.

    timed = [Timed(work) for work in works]
    take_turns(timed, until=time.perf_counter() + 60)
    rows = [row_of(one) for one in timed]
    advice(rows, auto="bfloat16")
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from masklet.errors import MaskletError
from masklet.inference.stages import timed_stages

Kind = Literal["picture", "list", "frame"]

MOST_RUNS = 50
"""Of a work: more make no better median."""

_SAME = 1.05  # ratios below it are no difference
_FIXED_STAGES = ("decode", "encode")  # of a picture, whatever is asked of it


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """Something to be timed.

    Attributes:
        kind: a picture, a list of pictures in one call, or a frame of a video.
        dtype: name of the number format.
        concepts: how many are asked for.
        units: pictures or frames that a run does.
        run: does it, and tells how many objects were found, over all units.
        warm_up: the first runs do not count if there are twice as many.
        prepare: called once, ahead of the first run; about as much work as a run.
    """

    kind: Kind
    dtype: str
    concepts: int
    run: Callable[[], int]
    units: int = 1
    warm_up: int = 1
    prepare: Callable[[], None] | None = None


@dataclass(eq=False)
class Timed:
    """A work and what was measured of it so far.

    Attributes:
        work: what is done.
        seconds: of each run.
        fixed_s: part of the first run that does not depend on the concepts; 0 if unknown.
        found: objects in one unit, by the last run.
        failure: why it cannot be done here; then it is not begun again.
    """

    work: Work
    seconds: list[float] = field(default_factory=list)
    fixed_s: float = 0.0
    found: float = 0.0
    failure: str | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured.

    Attributes:
        kind: as of `Work`.
        dtype: as of `Work`.
        concepts: as of `Work`.
        at_once: pictures or frames in a call.
        seconds: for one picture or frame, the median of the runs; None: not measured.
        runs: that count.
        found: objects on one picture or frame.
        failure: why it cannot be done here.
    """

    kind: Kind
    dtype: str
    concepts: int
    at_once: int
    seconds: float | None
    runs: int
    found: float
    failure: str | None

    @property
    def per_second(self) -> float | None:
        """Pictures or frames a second."""
        return None if self.seconds is None else 1 / self.seconds


def take_turns(
    timed: Sequence[Timed],
    *,
    until: float,
    earlier: Sequence[Timed] = (),
    clock: Callable[[], float] = time.perf_counter,
    before: Callable[[Work], None] = lambda _: None,
) -> None:
    """Does each work once, then each once more, and so on, as long as one fits in the time.

    What fails is not tried again; its row says why.

    Args:
        timed: filled in place.
        until: by the clock; no run is begun that would end later, as far as is known.
        earlier: what was measured before, of other models too: what a first run takes is told by them.
        clock: seconds.
        before: called ahead of each run.
    """
    for turn in range(MOST_RUNS):
        ran = False
        for one in timed if turn % 2 == 0 else reversed(timed):  # there and back: nobody is always the last
            expected = expected_s(one, [*timed, *earlier]) or 0.0
            if one.work.prepare is not None and not one.seconds:
                expected *= 2
            if one.failure is None and clock() + expected < until:
                before(one.work)
                _run(one, clock)
                ran = True
        if not ran:
            return


def _run(one: Timed, clock: Callable[[], float]) -> None:
    try:
        if one.work.prepare is not None and not one.seconds:
            one.work.prepare()
        start = clock()
        if one.seconds or one.work.kind == "list":  # pictures of a list wait for each other while stages are timed
            found = one.work.run()
        else:
            with timed_stages() as stages:
                found = one.work.run()
            one.fixed_s = sum(stages.get(name, 0.0) for name in _FIXED_STAGES)
    except (MaskletError, RuntimeError) as error:  # numbers that overflow; what the device has no kernel, no memory for
        one.failure = str(error).strip().partition("\n")[0]
        return
    one.seconds.append(clock() - start)
    one.found = found / one.work.units


def expected_s(one: Timed, others: Sequence[Timed]) -> float | None:
    """Seconds of the next run: what the earlier ones took, else made of what is known of pictures; None: nothing is."""
    if one.seconds:
        return statistics.median(one.seconds)
    work = one.work
    pictures = [other for other in others if other.work.kind == "picture" and other.seconds]
    if not pictures:
        return None
    # The same number format, and the nearest number of concepts.
    near = min(pictures, key=lambda o: (o.work.dtype != work.dtype, abs(math.log(o.work.concepts / work.concepts))))
    took = statistics.median(near.seconds)
    fixed = min(near.fixed_s, took)
    return work.units * (fixed + (took - fixed) / near.work.concepts * work.concepts)


def row_of(one: Timed) -> Row:
    """The figures of a work."""
    work = one.work
    kept = one.seconds[min(work.warm_up, len(one.seconds) // 2) :]
    return Row(
        kind=work.kind,
        dtype=work.dtype,
        concepts=work.concepts,
        at_once=work.units,
        seconds=statistics.median(kept) / work.units if kept else None,
        runs=len(kept),
        found=one.found,
        failure=one.failure,
    )


# --- what to choose ---------------------------------------------------------------------------------------------------


def advice(rows: Sequence[Row], *, auto: str) -> list[str]:
    """What to choose by these figures, one sentence each.

    Args:
        rows: measured or not.
        auto: what the number format "auto" is here.
    """
    fastest = _fastest(rows, auto)
    if fastest is None:
        return []
    own = [row for row in rows if row.dtype == fastest]
    return [*_of_dtype(rows, fastest, auto), *_of_concepts(own), *_of_lists(own)]


def _fastest(rows: Sequence[Row], auto: str) -> str | None:
    """The number format that takes least over all; "auto"'s own if nothing beats it clearly."""
    dtypes = dict.fromkeys(row.dtype for row in rows if row.seconds)
    if not dtypes:
        return None
    best = max(dtypes, key=lambda dtype: _gain(rows, dtype, next(iter(dtypes))) or 0.0)
    gain = _gain(rows, best, auto) if auto in dtypes else None
    return auto if gain is not None and gain < _SAME else best


def _gain(rows: Sequence[Row], one: str, other: str) -> float | None:
    """How many times as fast one number format is as another: the mean (of ratios) where both were measured."""
    seconds = {(row.dtype, row.kind, row.concepts): row.seconds for row in rows if row.seconds}
    ratios = [
        seconds[other, kind, concepts] / taken
        for (dtype, kind, concepts), taken in seconds.items()
        if dtype == one and (other, kind, concepts) in seconds
    ]
    return statistics.geometric_mean(ratios) if ratios else None


def _of_dtype(rows: Sequence[Row], fastest: str, auto: str) -> list[str]:
    gains = {dtype: _gain(rows, fastest, dtype) for dtype in dict.fromkeys(row.dtype for row in rows)}
    beaten = [
        f"{gain:.1f} x {dtype}" if gain >= _SAME else f"no slower than {dtype}"
        for dtype, gain in gains.items()
        if gain is not None and dtype != fastest
    ]
    choice = f"auto, here {fastest}" if fastest == auto else fastest
    return [f"fastest: --dtype {choice} ({', '.join(beaten)})"] if beaten else []


def _of_concepts(own: Sequence[Row]) -> list[str]:
    """Of rows of one number format: what several concepts in one call are worth."""
    pictures = sorted((row for row in own if row.kind == "picture" and row.seconds), key=lambda row: row.concepts)
    if not pictures:
        return []
    few, many = pictures[0], pictures[-1]
    assert few.seconds and many.seconds
    saved = few.seconds * many.concepts / few.concepts / many.seconds
    if few is many or saved < _SAME:
        return []
    return [
        f"ask for all concepts in one call: {many.concepts} take {many.seconds / few.seconds:.1f} x the time of "
        f"{few.concepts}"
    ]


def _of_lists(own: Sequence[Row]) -> list[str]:
    """Of rows of one number format: what a list of pictures in one call is worth."""
    single = {row.concepts: row.seconds for row in own if row.kind == "picture" and row.seconds}
    for row in own:
        if row.kind == "list" and row.seconds and row.concepts in single:
            gain = single[row.concepts] / row.seconds
            if gain >= _SAME:
                return [f"give many pictures in one call, or a folder: {gain:.1f} x as many a second"]
    return []
