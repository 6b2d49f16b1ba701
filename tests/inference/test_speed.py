"""Turns, the limit of time, medians and advice, on works that only move a clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from masklet.errors import InputError
from masklet.inference import speed
from masklet.inference.speed import Row, Timed, Work, advice, row_of, take_turns


class Bench:
    """A clock, and works that take their time by it.

    Attributes:
        log: the names of the works in the order of their runs.
    """

    def __init__(self) -> None:
        self.now = 100.0
        self.log: list[str] = []

    def clock(self) -> float:
        return self.now

    def timed(self, name: str, *seconds: float, found: int = 1, **fields: Any) -> Timed:
        """A work called `name` whose runs take these times, the last one for ever."""
        left = list(seconds)

        def run() -> int:
            self.log.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]
            return found

        fields = {"kind": "picture", "dtype": "float32", "concepts": 1} | fields
        return Timed(Work(run=run, **fields))

    def turns(self, *timed: Timed, seconds: float, earlier: Sequence[Timed] = ()) -> None:
        take_turns(timed, until=100.0 + seconds, earlier=earlier, clock=self.clock)


@pytest.fixture
def bench() -> Bench:
    return Bench()


# --- turns and time ---------------------------------------------------------------------------------------------------


def test_each_once_before_any_twice_there_and_back(bench: Bench) -> None:
    bench.turns(*(bench.timed(name, 1) for name in "abc"), seconds=7.5)
    assert "".join(bench.log) == "abccbaa"


def test_no_run_is_begun_that_would_end_too_late(bench: Bench) -> None:
    slow, quick = bench.timed("s", 4), bench.timed("q", 0.5)
    bench.turns(slow, quick, seconds=8.1)
    assert "".join(bench.log) == "sqqqqqqqq"
    assert bench.now == 108


def test_a_first_run_that_cannot_fit_is_not_begun_and_the_rest_goes_on(bench: Bench) -> None:
    few = bench.timed("few", 1, 1)
    many = bench.timed("many", 16, concepts=16)
    other = bench.timed("other", 1, dtype="bfloat16")
    bench.turns(few, many, other, seconds=5)
    assert "many" not in bench.log
    row = row_of(many)
    assert (row.seconds, row.per_second, row.runs) == (None, None, 0)
    assert speed.expected_s(many, [few, many, other]) == pytest.approx(16)
    assert row_of(other).seconds == 1


def test_what_does_not_depend_on_concepts_counts_once(bench: Bench) -> None:
    few, many = bench.timed("few", 5), bench.timed("many", 9, concepts=16)
    few.seconds, few.fixed_s = [5.0], 4.5
    assert speed.expected_s(many, [few]) == pytest.approx(4.5 + 16 * 0.5)
    bench.turns(many, seconds=13, earlier=[few])
    assert bench.log == ["many"]


def test_the_same_number_format_tells_more_than_another_one(bench: Bench) -> None:
    near, far = bench.timed("n", 1, dtype="int8"), bench.timed("f", 1, concepts=4)
    near.seconds, far.seconds = [3.0], [40.0]
    assert speed.expected_s(bench.timed("x", 1, dtype="int8", concepts=4), [far, near]) == pytest.approx(12)
    assert speed.expected_s(bench.timed("l", 1, dtype="int8", kind="list", units=6), [far, near]) == pytest.approx(18)
    assert speed.expected_s(bench.timed("y", 1), []) is None


def test_preparing_is_not_timed_but_needs_room(bench: Bench) -> None:
    def prepare() -> None:
        bench.log.append("prepare")
        bench.now += 2

    known = bench.timed("p", 2)
    frame = bench.timed("f", 2, kind="frame", prepare=prepare)
    bench.turns(known, frame, seconds=5.5)
    assert bench.log == ["p", "p"]
    bench.turns(frame, seconds=11, earlier=[known])
    assert bench.log[2:] == ["prepare", "f", "f"]
    assert frame.seconds == [2, 2]


def test_enough_is_enough(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "MOST_RUNS", 4)
    bench.turns(bench.timed("a", 1), seconds=100)
    assert bench.log == ["a"] * 4


@pytest.mark.parametrize("error", [InputError("not finite"), RuntimeError("no kernel\nat line 3")])
def test_what_fails_is_not_tried_again_and_says_why(bench: Bench, error: Exception) -> None:
    def run() -> int:
        bench.log.append("x")
        raise error

    broken, whole = Timed(Work(kind="picture", dtype="float16", concepts=1, run=run)), bench.timed("a", 1)
    bench.turns(broken, whole, seconds=3.5)
    assert bench.log == ["x", "a", "a", "a"]
    assert row_of(broken).failure == str(error).partition("\n")[0]
    assert row_of(broken).seconds is None


# --- figures ----------------------------------------------------------------------------------------------------------


def test_a_row_is_the_median_of_a_unit_without_the_warm_up(bench: Bench) -> None:
    one = bench.timed("a", 90, 2, 6, 4, found=20, units=4, kind="list")
    bench.turns(one, seconds=200)
    one.seconds = one.seconds[:4]
    row = row_of(one)
    assert (row.seconds, row.per_second, row.runs, row.found, row.at_once) == (1.0, 1.0, 3, 5.0, 4)


@pytest.mark.parametrize(("runs", "kept"), [(1, 1), (2, 1), (5, 3), (40, 24)])
def test_the_warm_up_leaves_half(bench: Bench, runs: int, kept: int) -> None:
    one = bench.timed("a", 1, warm_up=16)
    one.seconds = [1.0] * runs
    assert row_of(one).runs == kept


# --- advice -----------------------------------------------------------------------------------------------------------


def row(dtype: str, seconds: float | None, concepts: int = 1, kind: str = "picture") -> Row:
    return Row(
        kind=kind,  # type: ignore[arg-type]
        dtype=dtype,
        concepts=concepts,
        at_once=1,
        seconds=seconds,
        runs=3,
        found=1,
        failure=None,
    )


def test_the_fastest_number_format_and_by_how_much() -> None:
    rows = [row("bfloat16", 0.5), row("float32", 1.0), row("int8", 0.25), row("int8", None, 4)]
    assert advice(rows, auto="bfloat16") == ["fastest: --dtype int8 (2.0 x bfloat16, 4.0 x float32)"]


def test_what_auto_takes_stays_if_nothing_is_clearly_faster() -> None:
    rows = [row("bfloat16", 0.5), row("float32", 1.0), row("int8", 0.49)]
    assert advice(rows, auto="bfloat16") == [
        "fastest: --dtype auto, here bfloat16 (2.0 x float32, no slower than int8)"
    ]


def test_only_where_both_were_measured_they_are_compared() -> None:
    rows = [row("bfloat16", 0.5), row("bfloat16", 90.0, 16), row("float32", 1.0), row("float32", None, 16)]
    assert advice(rows, auto="float32")[0] == "fastest: --dtype bfloat16 (2.0 x float32)"


def test_several_concepts_and_lists() -> None:
    rows = [row("float32", 1.0), row("float32", 2.0, 16), row("float32", 0.5, kind="list")]
    assert advice(rows, auto="float32") == [
        "ask for all concepts in one call: 16 take 2.0 x the time of 1",
        "give many pictures in one call, or a folder: 2.0 x as many a second",
    ]
    rows = [row("float32", 1.0), row("float32", 16.0, 16), row("float32", 1.0, kind="list")]
    assert advice(rows, auto="float32") == []
    assert advice([row("float32", None)], auto="float32") == []
