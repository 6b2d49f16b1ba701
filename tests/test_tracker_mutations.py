"""The deliberate mistakes of benchmarks/tracker_mutations.py still fit the source, and some of them are caught here.

All of them at once take minutes: docs/tracker-mutations.md is the record of the whole run.
"""

from pathlib import Path

import pytest
from mutations import SOURCES
from tracker_mistakes import OWN, PEER
from tracker_mutations import OWN_HEADING, PEER_HEADING, examine

MISTAKES = (*PEER, *OWN)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_each_mistake_fits_the_source(mistake):
    """Every edit finds its text, and the result is another program that still compiles."""
    for file in mistake.files:
        source = (SOURCES / file).read_text(encoding="utf-8")
        changed = mistake.applied(file, source)
        assert changed != source
        compile(changed, file, "exec")


def test_names_are_distinct():
    assert len({mistake.name for mistake in MISTAKES}) == len(MISTAKES)


@pytest.mark.parametrize(
    ("name", "caught_by", "what"),
    [
        ("corners exchanged", "I small, plain", "masks"),
        ("positions of pointers in turns", "V1", "masks"),
        ("fuser: scale left out", "V1", "maps"),
    ],
)
def test_mistakes_are_caught_where_they_arise(name, caught_by, what):
    (mistake,) = (mistake for mistake in PEER if mistake.name == name)
    finding = examine(mistake)
    assert (finding.caught_by, finding.what) == (caught_by, what)


def test_the_tables_of_the_docs_are_whole():
    """The page lists every mistake in order, and says of each where it was caught."""
    page = (Path(__file__).parents[1] / "docs" / "tracker-mutations.md").read_text(encoding="utf-8")
    for heading, mistakes in ((PEER_HEADING, PEER), (OWN_HEADING, OWN)):
        lines = page.split(f"{heading}\n")[1].split("\n\n")[0].splitlines()[1:]
        rows = [line.strip("| ").split(" | ") for line in lines]
        assert [row[0] for row in rows] == [mistake.name for mistake in mistakes]
        assert all(row[2] != "nothing" for row in rows)
