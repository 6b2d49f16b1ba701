"""What holds of every table of deliberate mistakes, and of the page that records where each was caught."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mistakes import Mistake
from mutations import SOURCES

PAGES = Path(__file__).parents[1] / "docs"


def named(mistakes: Sequence[Mistake], name: str) -> Mistake:
    (mistake,) = (mistake for mistake in mistakes if mistake.name == name)
    return mistake


def assert_fits(mistake: Mistake) -> None:
    """Every edit finds its text, and the result is another program that still compiles."""
    assert mistake.files
    for file in mistake.files:
        source = (SOURCES / file).read_text(encoding="utf-8")
        changed = mistake.applied(file, source)
        assert changed != source
        compile(changed, file, "exec")


def assert_distinct(mistakes: Sequence[Mistake]) -> None:
    """No two have one name."""
    assert len({mistake.name for mistake in mistakes}) == len(mistakes)


def assert_recorded(page: str, heading: str, mistakes: Sequence[Mistake]) -> None:
    """The table below `heading` lists every mistake in order, and says of each where it was caught."""
    _, *below = (PAGES / page).read_text(encoding="utf-8").split(f"\n{heading}\n")[1].splitlines()
    end = next((idx for idx, line in enumerate(below) if not line.startswith("|")), len(below))
    rows = [line.strip("| ").split(" | ") for line in below[:end]]
    assert [row[0] for row in rows] == [mistake.name for mistake in mistakes]
    assert all(row[2] != "nothing" for row in rows)
