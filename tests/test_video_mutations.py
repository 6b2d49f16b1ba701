"""The deliberate mistakes of benchmarks/video_mutations.py still fit the source, and some of them are caught here.

All of them at once take minutes: docs/video-mutations.md is the record of the whole run.
"""

from pathlib import Path

import pytest
from mistakes import Mistake
from mutations import SOURCES
from video_mistakes import BY_TESTS
from video_mutations import HEADING, NOTHING, first_failure

MISTAKES = [mistake for _, mistakes in BY_TESTS for mistake in mistakes]
RECONDITION = "tests/inference/test_recondition.py"


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


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the test's process may have threads
@pytest.mark.parametrize(
    ("name", "test"),
    [("sight as a probability sets right", "test_the_gates"), ("set right above 0.8 only", "test_the_gates")],
)
def test_mistakes_are_caught(name, test):
    (mistake,) = (mistake for mistake in MISTAKES if mistake.name == name)
    assert first_failure(mistake, RECONDITION) == test


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_nothing_is_caught_without_a_mistake():
    assert first_failure(Mistake("none", ()), RECONDITION) == NOTHING


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_tests_that_cannot_be_run_are_told():
    with pytest.raises(RuntimeError, match=r"no_such.py could not be run with mistake 'none' in the source"):
        first_failure(Mistake("none", ()), "tests/no_such.py")


def test_the_table_of_the_docs_is_whole():
    """The page lists every mistake in order, and says of each where it was caught."""
    page = (Path(__file__).parents[1] / "docs" / "video-mutations.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.split(HEADING)[1].splitlines()[2:] if line]
    assert [row[0] for row in rows] == [mistake.name for mistake in MISTAKES]
    assert all(row[2] != NOTHING for row in rows)
