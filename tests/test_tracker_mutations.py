"""The deliberate mistakes of benchmarks/tracker_mutations.py still fit the source, and some of them are caught here.

All of them at once take minutes: docs/tracker-mutations.md is the record of the whole run.
"""

import pytest
from tracker_mistakes import OWN, PEER
from tracker_mutations import OWN_HEADING, PEER_HEADING, examine

from mistake_tables import assert_distinct, assert_fits, assert_recorded, named

MISTAKES = (*PEER, *OWN)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_each_mistake_fits_the_source(mistake):
    assert_fits(mistake)


def test_names_are_distinct():
    assert_distinct(MISTAKES)


@pytest.mark.parametrize(
    ("name", "caught_by", "what"),
    [
        ("corners exchanged", "I small, plain", "masks"),
        ("positions of pointers in turns", "V1", "masks"),
        ("fuser: scale left out", "V1", "maps"),
    ],
)
def test_mistakes_are_caught_where_they_arise(name, caught_by, what):
    finding = examine(named(PEER, name))
    assert (finding.caught_by, finding.what) == (caught_by, what)


@pytest.mark.parametrize(("heading", "mistakes"), [(PEER_HEADING, PEER), (OWN_HEADING, OWN)], ids=["peer", "own"])
def test_the_tables_of_the_docs_are_whole(heading, mistakes):
    assert_recorded("tracker-mutations.md", heading, mistakes)
