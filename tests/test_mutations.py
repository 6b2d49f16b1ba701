"""The deliberate mistakes of benchmarks/mutations.py still fit the source, and some of them are caught here.

All of them at once take minutes: docs/parity-mutations.md is the record of the whole run.
"""

from pathlib import Path

import pytest
from mistakes import MISTAKES, Mistake
from mutations import SOURCES, examine, table

RIGHT = Mistake("none", ())


def named(name: str) -> Mistake:
    (mistake,) = (mistake for mistake in MISTAKES if mistake.name == name)
    return mistake


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_each_mistake_fits_the_source(mistake):
    """Every edit finds its text, and the result is another program that still compiles."""
    assert mistake.files
    for file in mistake.files:
        source = (SOURCES / file).read_text(encoding="utf-8")
        changed = mistake.applied(file, source)
        assert changed != source
        compile(changed, file, "exec")


def test_names_are_distinct():
    assert len({mistake.name for mistake in MISTAKES}) == len(MISTAKES)


@pytest.mark.parametrize("source", ["a = 2", "a = 1; a = 1"], ids=["gone", "twice"])
def test_a_text_that_does_not_stand_once_is_an_error(source):
    with pytest.raises(ValueError, match=r"'one too many': expected its text once in ops/x.py, found it [02] times"):
        Mistake("one too many", (("ops/x.py", "a = 1", "a = 2"),)).applied("ops/x.py", source)


def test_nothing_is_caught_without_a_mistake():
    assert examine(RIGHT).caught_in == "nothing"


@pytest.mark.parametrize(
    ("name", "stage"),
    [("rotary axes exchanged", "F0"), ("labels exchanged", "exemplars"), ("box bias from the first boxes", "queries")],
)
def test_mistakes_are_caught_where_they_arise(name, stage):
    finding = examine(named(name))
    assert finding.stage == stage
    assert finding.at_the_end > 1e-4


def test_the_table_of_the_docs_is_whole():
    """The page lists every mistake in order, and says of each where it was caught."""
    page = (Path(__file__).parents[1] / "docs" / "parity-mutations.md").read_text(encoding="utf-8")
    heading = table([]).splitlines()[-1]
    rows = [line.strip("| ").split(" | ") for line in page.split(heading)[1].splitlines() if line]
    assert [row[0] for row in rows] == [mistake.name for mistake in MISTAKES]
    assert all(row[2] != "nothing" for row in rows)
