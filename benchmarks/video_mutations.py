"""Can the tests of video fail? `python benchmarks/video_mutations.py` writes docs/video-mutations.md.

Each mistake of `video_mistakes.py` is put into the source in memory, alone, in a process of its own, and the tests that
have to see it are run until one fails. Takes two minutes; ends with 1 when a mistake is not caught.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import sys
import warnings
from multiprocessing.connection import Connection

import pytest
import torch
from mistakes import Mistake
from mutations import ROOT, masklet_with
from video_mistakes import BY_TESTS

PAGE = ROOT / "docs" / "video-mutations.md"
HEADING = "| mistake | file | caught by |"
NOTHING = "nothing"


class _FirstFailure:
    """Notes which test failed first."""

    def __init__(self) -> None:
        self.name = NOTHING

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and self.name == NOTHING:
            self.name = report.nodeid.partition("::")[2].partition("[")[0]


def first_failure(mistake: Mistake, tests: str) -> str:
    """Name of the first of some tests that fails with a mistake in the source; "nothing" if all pass.

    Args:
        mistake: is put in.
        tests: a file of tests below the root, or one test of it as pytest names it.

    Raises:
        RuntimeError: the tests could not be run.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(mistake, tests, sender))
    process.start()
    sender.close()
    try:
        name: str = receiver.recv()
    except EOFError:
        raise RuntimeError(f"{tests} could not be run with mistake {mistake.name!r} in the source") from None
    finally:
        process.join()
    return name


def _run(mistake: Mistake, tests: str, sender: Connection) -> None:
    torch.set_num_threads(1)  # a pool of threads does not survive a fork
    noted = _FirstFailure()
    options = ["-q", "-x", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    _forget_tests()
    # What the tests share is imported with the mistake, too.
    with masklet_with(mistake, "scripted_video"), contextlib.redirect_stdout(io.StringIO()) as said:
        code = pytest.main([*options, "--rootdir", str(ROOT), str(ROOT / tests)], [noted])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(said.getvalue())
    sender.send(noted.name)


def _forget_tests() -> None:
    """Where pytest forked, tests may be there that know masklet without the mistake; they have to be imported anew."""
    folder = str(ROOT / "tests")
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(folder):
            del sys.modules[name]


def table(findings: list[tuple[Mistake, str, str]]) -> str:
    """The page of the docs, of mistakes, files of tests, and names of tests."""
    caught = sum(name != NOTHING for _, _, name in findings)
    lines = [
        "# What the tests of video can see",
        "",
        "Made by `python benchmarks/video_mutations.py`: each mistake is put into the source alone, then the tests",
        "that have to see it are run until one fails. The mistakes are in the rules of following concepts, in the loop",
        "that puts these in order, and in what a session remembers (spec/video.md 14, spec/tracker.md 14).",
        "",
        f"**{caught} of {len(findings)} mistakes are caught.**",
        "",
        HEADING,
        "|---|---|---|",
    ]
    for mistake, tests, name in findings:
        files = ", ".join(f"`{file}`" for file in mistake.files)
        seen = name if name == NOTHING else f"`{tests.partition('::')[0]}`, `{name}`"
        lines.append(f"| {mistake.name} | {files} | {seen} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    warnings.simplefilter("ignore")
    for tests, _ in BY_TESTS:
        wrong = first_failure(Mistake("none", ()), tests)
        if wrong != NOTHING:
            print(f"{tests} fails without any mistake: {wrong}", file=sys.stderr)
            return 1
    findings = []
    for tests, mistakes in BY_TESTS:
        for mistake in mistakes:
            findings.append((mistake, tests, first_failure(mistake, tests)))
            print(f"{mistake.name}: {findings[-1][2]}", flush=True)
    PAGE.write_text(table(findings), encoding="utf-8")
    missed = [mistake.name for mistake, _, name in findings if name == NOTHING]
    print(f"{len(findings) - len(missed)} of {len(findings)} caught; missed: {missed or 'none'}")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
