"""Reading ahead: bounded, in order, errors where they belong, no thread left behind."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Generator

import pytest

from masklet.media import read_ahead
from masklet.media.read_ahead import ReadAhead


class Counter:
    """Numbers, and how many were made."""

    def __init__(self, stop: int = 10**9, error: Exception | None = None) -> None:
        self.made = 0
        self.is_closed = False
        self.stop, self.error = stop, error

    def __call__(self) -> Generator[int, None, None]:
        try:
            for number in range(self.stop):
                self.made += 1
                yield number
            if self.error:
                raise self.error
        finally:
            self.is_closed = True


def settled(counter: Counter) -> int:
    """How many were made when no more are."""
    before = -1
    while before != counter.made:
        before = counter.made
        time.sleep(0.03)
    return before


def threads() -> int:
    return sum(thread.name == "masklet-read-ahead" for thread in threading.enumerate())


def test_everything_in_order_and_then_the_end() -> None:
    counter = Counter(stop=100)
    reader = ReadAhead(counter(), depth=3)
    assert list(reader) == list(range(100))
    assert list(reader) == []
    assert counter.is_closed
    reader.close()
    assert threads() == 0


def test_nothing_at_all() -> None:
    assert list(ReadAhead(Counter(stop=0)(), depth=1)) == []


@pytest.mark.parametrize("depth", [1, 5])
def test_a_slow_reader_is_not_run_away_from(depth: int) -> None:
    counter = Counter()
    with ReadAhead(counter(), depth=depth) as reader:
        for taken in range(4):
            assert settled(counter) == taken + depth + 1  # one waits to be put
            assert reader.waiting == depth
            assert next(reader) == taken


def test_an_error_comes_after_what_was_made_before_it() -> None:
    reader = ReadAhead(Counter(stop=4, error=OSError("the disk is gone"))(), depth=2)
    assert [next(reader) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(OSError, match="the disk is gone"):
        next(reader)
    assert list(reader) == []


def test_closing_early_ends_the_thread() -> None:
    counter = Counter()
    reader = ReadAhead(counter(), depth=2)
    next(reader)
    reader.close()
    assert counter.is_closed
    assert threads() == 0
    assert list(reader) == []
    reader.close()


def test_closing_early_can_be_an_error_for_who_goes_on() -> None:
    reader = ReadAhead(Counter()(), depth=2)
    next(reader)
    reader.close(OSError("it was closed"))
    with pytest.raises(OSError, match="it was closed"):
        next(reader)
    complete = ReadAhead(Counter(stop=3)(), depth=2)
    assert list(complete) == [0, 1, 2]
    complete.close(OSError("it was closed"))
    assert list(complete) == []


def test_a_reader_that_waits_wakes_when_it_is_closed() -> None:
    woken = threading.Event()

    def items() -> Generator[int, None, None]:
        woken.wait()
        yield from ()

    reader = ReadAhead(items(), depth=2, interrupt=woken.set)
    timer = threading.Timer(0.1, reader.close, [OSError("it was closed")])
    timer.start()
    with pytest.raises(OSError, match="it was closed"):
        next(reader)
    timer.join()


def test_a_reader_that_nobody_holds_is_ended() -> None:
    counter = Counter()
    for number in ReadAhead(counter(), depth=2):
        if number == 3:
            break
    gc.collect()
    deadline = time.monotonic() + 20
    while threads() and time.monotonic() < deadline:  # it ends by itself, nobody waits for it
        time.sleep(0.01)
    assert counter.is_closed
    assert threads() == 0


def test_a_source_that_waits_is_interrupted() -> None:
    waiting, woken = threading.Event(), threading.Event()

    def items() -> Generator[int, None, None]:
        yield 1
        waiting.set()
        woken.wait()

    reader = ReadAhead(items(), depth=2, interrupt=woken.set)
    assert next(reader) == 1
    waiting.wait()
    reader.close()
    assert threads() == 0


def test_a_program_may_end_without_closing() -> None:
    code = """
import itertools, runpy, sys
ReadAhead = runpy.run_path(sys.argv[1])["ReadAhead"]  # alone: loading the package would take seconds
reader = ReadAhead((number for number in itertools.count()), depth=2)
print(next(reader))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, read_ahead.__file__], capture_output=True, text=True, timeout=600, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
