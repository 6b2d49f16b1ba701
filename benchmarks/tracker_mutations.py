"""Can the tracker's tests fail? `python benchmarks/tracker_mutations.py` writes docs/tracker-mutations.md.

Each mistake of `tracker_mistakes.py` is put into the source alone. Those that transformers can show are put in in
memory, and masklet is asked what tests/model/test_tracker_parity.py asks it; the others are put into a copy of the
sources, with which the tests of their own are run. Takes ten minutes; ends with 1 when a mistake is not caught.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mistakes import Mistake
from mutations import ROOT, SOURCES, masklet_with
from torch import Tensor
from tracker_mistakes import OWN, PEER

sys.path.insert(0, str(ROOT / "tests"))

import tracker_answers
from tracker_models import TRACKERS, image_model, video_model
from tracker_oracle import (
    IMAGE_LIMITS,
    SCENARIOS,
    VIDEO_LIMITS,
    beyond,
    film,
    image_answers,
    image_differences,
    image_questions,
    moving_blocks,
    worst,
)

PAGE = ROOT / "docs" / "tracker-mutations.md"
OWN_TESTS = {"network": "tests/model/test_tracker.py", "bank": "tests/model/test_memory_bank.py"}
IMAGE_RUNS = (("small", "plain"), ("wide", "plain"), ("small", "faint"), ("wide", "blinking"))


@dataclass(frozen=True)
class Finding:
    """What the tests saw of a mistake.

    Attributes:
        caught_by: the first comparison, or file of tests, that fails.
        what: whose difference is beyond its limit.
        difference: relative to the largest value of the tensor.
    """

    caught_by: str = "nothing"
    what: str = "-"
    difference: float = float("inf")


@functools.cache
def _frames(name: str) -> tuple[Tensor, ...]:
    """The pyramid of a scenario's frames by the right source, which mistakes of the tracker do not change."""
    scenario = SCENARIOS[name]
    model = tracker_answers.our_tracker(TRACKERS[scenario.variant], video_model(scenario.variant, scenario.draw))
    return tracker_answers.our_levels(model, film(name).pixels)


@functools.cache
def _picture(variant: str, draw: str) -> tuple[Tensor, ...]:
    config = TRACKERS[variant]
    model = tracker_answers.our_tracker(config, image_model(variant, draw))
    return tracker_answers.our_levels(model, moving_blocks(1, config.vision.image_size, seed=5))


def _on_a_picture(answers: Any, variant: str, draw: str) -> dict[str, float]:
    config = TRACKERS[variant]
    model = answers.our_tracker(config, image_model(variant, draw))
    tracker = answers.like_hugging_face(answers.tracker_of(model))
    with torch.no_grad():
        features = tracker.features(_picture(variant, draw))
    expected = image_answers(variant, draw)
    return worst(
        image_differences(answers.image_answer(tracker, features, question), expected[name])
        for name, question in image_questions(config.vision.image_size).items()
    )


def _on_a_film(answers: Any, name: str) -> dict[str, float]:
    scenario = SCENARIOS[name]
    model = answers.our_tracker(TRACKERS[scenario.variant], video_model(scenario.variant, scenario.draw))
    return worst(answers.compared_film(answers.tracker_of(model), _frames(name), film(name).steps))


def examine(mistake: Mistake) -> Finding:
    """Asks what the tests of parity ask, until a comparison fails."""
    with masklet_with(mistake, "tracker_answers") as answers:
        for label, limits, ask, arguments in QUESTIONS:
            differences = _asked(ask, answers, arguments)
            if not differences:
                return Finding(label, "shape")
            excess = beyond(differences, limits)
            if excess:
                return Finding(label, *next(iter(excess.items())))
    return Finding()


def _asked(ask: Any, answers: Any, arguments: tuple[str, ...]) -> Mapping[str, float]:
    """Differences; nothing where a shape is wrong or nothing could be computed."""
    try:
        found: Mapping[str, float] = ask(answers, *arguments)
        return found
    except (AssertionError, RuntimeError, IndexError, ValueError, KeyError):
        return {}


def examine_own(mistake: Mistake) -> Finding:
    """Runs the tests with numbers of their own."""
    tests = OWN_TESTS["bank" if mistake.files == ("model/memory_bank.py",) else "network"]
    return Finding(tests) if _fails(tests, mistake) else Finding()


def _fails(tests: str, mistake: Mistake) -> bool:
    """Whether a file of tests fails on a copy of the sources with a mistake in it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "masklet"
        shutil.copytree(SOURCES, copy, ignore=shutil.ignore_patterns("__pycache__", "weights"))
        for file in mistake.files:
            changed = mistake.applied(file, (SOURCES / file).read_text(encoding="utf-8"))
            (copy / file).write_text(changed, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", tests]
        environment = {**os.environ, "PYTHONPATH": folder}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return bool(done.returncode)


# In the order in which most mistakes are seen soonest.
QUESTIONS: tuple[tuple[str, dict[str, float], Any, tuple[str, ...]], ...] = (
    ("I small, plain", IMAGE_LIMITS, _on_a_picture, ("small", "plain")),
    *((name, VIDEO_LIMITS, _on_a_film, (name,)) for name in SCENARIOS),
    *((f"I {variant}, {draw}", IMAGE_LIMITS, _on_a_picture, (variant, draw)) for variant, draw in IMAGE_RUNS[1:]),
)


def table(peer: list[tuple[Mistake, Finding]], own: list[tuple[Mistake, Finding]]) -> str:
    """The page of the docs."""
    caught = sum(finding.caught_by != "nothing" for _, finding in (*peer, *own))
    lines = [
        "# What the tracker's tests can see",
        "",
        "Made by `python benchmarks/tracker_mutations.py`: each mistake is put into the source alone, then masklet is",
        "asked what `tests/model/test_tracker_parity.py` asks it. *Caught by* names the first comparison that fails:",
        "prompts on pictures (I, by model and weights), or a video frame by frame (V, spec/tracker.md 15.2);",
        "*tensor* is what differs beyond its limit, with its difference relative to the largest value. Limits are 1e-6",
        "to 3e-5 on pictures and 5e-5 to 3e-4 in videos. Tensor *shape*: nothing of the right shape came.",
        "",
        f"**{caught} of {len(peer) + len(own)} mistakes are caught.**",
        "",
        PEER_HEADING,
        "|---|---|---|---|---|",
    ]
    for mistake, finding in peer:
        number = f"{finding.difference:.0e}" if finding.difference < float("inf") else "-"
        lines.append(f"| {mistake.name} | {_files(mistake)} | {finding.caught_by} | {finding.what} | {number} |")
    lines += ["", "## Beyond transformers", ""]
    lines += [
        "What it does otherwise or not at all has tests with numbers of its own. One rule of it is only seen in whole",
        "videos, [there](video-mutations.md): births rewrite the memory of others, binary.",
        "",
    ]
    lines += [OWN_HEADING, "|---|---|---|"]
    lines += [f"| {mistake.name} | {_files(mistake)} | {finding.caught_by} |" for mistake, finding in own]
    return "\n".join(lines) + "\n"


PEER_HEADING = "| mistake | file | caught by | tensor | difference |"
OWN_HEADING = "| mistake | file | caught by |"


def _files(mistake: Mistake) -> str:
    return ", ".join(f"`{file}`" for file in mistake.files)


def main() -> int:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    right = Mistake("none", ())
    if examine(right) != Finding() or any(_fails(tests, right) for tests in OWN_TESTS.values()):
        print(f"tests fail without any mistake: {examine(right)}", file=sys.stderr)
        return 1
    peer: list[tuple[Mistake, Finding]] = []
    own: list[tuple[Mistake, Finding]] = []
    for mistakes, look, findings in ((PEER, examine, peer), (OWN, examine_own, own)):
        for mistake in mistakes:
            findings.append((mistake, look(mistake)))
            print(f"{mistake.name}: {findings[-1][1]}", flush=True)
    PAGE.write_text(table(peer, own), encoding="utf-8")
    missed = [mistake.name for mistake, finding in (*peer, *own) if finding.caught_by == "nothing"]
    print(f"{len(peer) + len(own) - len(missed)} of {len(peer) + len(own)} caught; missed: {missed or 'none'}")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
