"""The deliberate mistakes of benchmarks/mutations.py still fit the source, and some of them are caught here.

All of them at once take minutes: docs/parity-mutations.md is the record of the whole run.
"""

import pytest
from mistakes import MISTAKES, Mistake
from mutations import examine, table

from mistake_tables import assert_distinct, assert_fits, assert_recorded, named

RIGHT = Mistake("none", ())


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_each_mistake_fits_the_source(mistake):
    assert_fits(mistake)


def test_names_are_distinct():
    assert_distinct(MISTAKES)


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
    finding = examine(named(MISTAKES, name))
    assert finding.stage == stage
    assert finding.at_the_end > 1e-4


def test_the_table_of_the_docs_is_whole():
    heading, _ruler = table([]).splitlines()[-2:]
    assert_recorded("parity-mutations.md", heading, MISTAKES)
