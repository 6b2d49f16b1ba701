"""The deliberate mistakes of benchmarks/video_mutations.py still fit the source, and some of them are caught here.

All of them at once take minutes: docs/video-mutations.md is the record of the whole run.
"""

import pytest
from mistakes import Mistake
from video_mistakes import BY_TESTS
from video_mutations import HEADING, NOTHING, first_failure

from mistake_tables import assert_distinct, assert_fits, assert_recorded, named

MISTAKES = [mistake for _, mistakes in BY_TESTS for mistake in mistakes]
RECONDITION = "tests/inference/test_recondition.py"


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_each_mistake_fits_the_source(mistake):
    assert_fits(mistake)


def test_names_are_distinct():
    assert_distinct(MISTAKES)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the test's process may have threads
@pytest.mark.parametrize(
    ("name", "test"),
    [("sight as a probability sets right", "test_the_gates"), ("set right above 0.8 only", "test_the_gates")],
)
def test_mistakes_are_caught(name, test):
    assert first_failure(named(MISTAKES, name), RECONDITION) == test


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_nothing_is_caught_without_a_mistake():
    assert first_failure(Mistake("none", ()), RECONDITION) == NOTHING


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_tests_that_cannot_be_run_are_told():
    with pytest.raises(RuntimeError, match=r"no_such.py could not be run with mistake 'none' in the source"):
        first_failure(Mistake("none", ()), "tests/no_such.py")


def test_the_table_of_the_docs_is_whole():
    assert_recorded("video-mutations.md", HEADING, MISTAKES)
