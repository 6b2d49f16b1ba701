"""Can the parity tests fail? `python benchmarks/mutations.py` writes docs/parity-mutations.md.

Each mistake of `mistakes.py` is put into the source in memory, alone; masklet is imported anew with it and asked what
tests/model/test_parity.py asks. A mistake is caught when a stage differs from the oracle by more than its limit. Takes
about three minutes; ends with 1 when a mistake is not caught.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src" / "masklet"
sys.path.insert(0, str(ROOT / "tests"))

from mistakes import MISTAKES, Mistake  # noqa: E402

from oracle import excesses, relative_differences, small_answers  # noqa: E402
from oracle_cases import case  # noqa: E402
from oracle_models import RUNS, SMALL, small_model  # noqa: E402

PAGE = ROOT / "docs" / "parity-mutations.md"
OUTPUTS = ("boxes", "presence", "logits", "masks", "semantic")


class _ChangedSource(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports some modules of masklet from given source text."""

    def __init__(self, sources: dict[str, str]) -> None:
        self.sources = sources

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, self) if fullname in self.sources else None

    def get_source(self, fullname: str) -> str:
        return self.sources[fullname]


@contextmanager
def masklet_with(mistake: Mistake, helper: str = "our_answers") -> Iterator[Any]:
    """The tests' module `helper`, imported with the mistake in masklet; the right modules are back afterwards."""
    sources = {}
    for file in mistake.files:
        module = "masklet." + file.removesuffix(".py").replace("/", ".")
        sources[module] = mistake.applied(file, (SOURCES / file).read_text(encoding="utf-8"))
    finder = _ChangedSource(sources)
    ours = [name for name in sys.modules if name.split(".")[0] in ("masklet", helper)]
    kept = {name: sys.modules.pop(name) for name in ours}
    sys.meta_path.insert(0, finder)
    try:
        yield importlib.import_module(helper)
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.split(".")[0] in ("masklet", helper)]:
            del sys.modules[name]
        sys.modules.update(kept)


@dataclass
class Finding:
    """What the tests saw of a mistake: where first, and how much of it reached an output."""

    caught_in: str = "nothing"
    stage: str = "-"
    difference: float = 0.0
    at_the_end: float = 0.0


def _ask(answers: Any, variant: str, weights: str, prompts: tuple[int, ...]) -> dict[str, float]:
    """Differences by stage; nothing where a shape is wrong or nothing could be computed."""
    config = SMALL[variant]
    try:
        found = answers.our_answers(
            answers.our_model(config, small_model(variant, weights)), case(config).only(*prompts)
        )
        return relative_differences(found, small_answers(variant, weights).only(*prompts))
    except (AssertionError, RuntimeError):
        return {}


def examine(mistake: Mistake) -> Finding:
    """Asks all that the tests ask, the plain models first."""
    finding = Finding()
    everything = tuple(range(len(case(SMALL["tiled"]).prompts)))
    questions = [(f"{variant}, {weights}", variant, weights, everything) for variant, weights in RUNS]
    questions += [(f"tiled, prompt {prompt} alone", "tiled", "plain", (prompt,)) for prompt in everything]
    with masklet_with(mistake) as answers:
        for label, variant, weights, prompts in questions:
            differences = _ask(answers, variant, weights, prompts)
            finding.at_the_end = max(finding.at_the_end, *(differences.get(name, 0.0) for name in OUTPUTS))
            beyond = excesses(differences) if differences else {"shape": float("inf")}
            if beyond and finding.caught_in == "nothing":
                finding.caught_in = label
                finding.stage, finding.difference = next(iter(beyond.items()))
    return finding


def _number(value: float) -> str:
    return f"{value:.0e}" if 0 < value < float("inf") else "-"


def table(findings: list[tuple[Mistake, Finding]]) -> str:
    """The page of the docs."""
    caught = sum(finding.caught_in != "nothing" for _, finding in findings)
    lines = [
        "# What the parity tests can see",
        "",
        "Made by `python benchmarks/mutations.py`: each mistake is put into the source alone, then masklet is asked",
        "what `tests/model/test_parity.py` asks it. *Caught by* names the first comparison that fails (small model,",
        "weights); *stage* is the first one in the order of the data whose difference is beyond its limit, with that",
        "difference; *outputs* is the largest difference in boxes, presence, logits, masks or semantic map in any",
        "comparison. All differences are relative to the largest value of the tensor; limits are 5e-6 to 5e-5",
        "(spec/image-model.md 19.3). Stage *shape*: a tensor had another shape.",
        "",
        f"**{caught} of {len(findings)} mistakes are caught.**",
        "",
        "| mistake | file | caught by | stage | difference | outputs |",
        "|---|---|---|---|---|---|",
    ]
    for mistake, finding in findings:
        files = ", ".join(f"`{file}`" for file in mistake.files)
        seen = f"{finding.caught_in} | {finding.stage} | {_number(finding.difference)} | {_number(finding.at_the_end)}"
        lines.append(f"| {mistake.name} | {files} | {seen} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    nothing_wrong = examine(Mistake("none", ()))
    if nothing_wrong.caught_in != "nothing":
        print(f"parity fails without any mistake: {nothing_wrong}", file=sys.stderr)
        return 1
    findings = []
    for mistake in MISTAKES:
        finding = examine(mistake)
        findings.append((mistake, finding))
        print(f"{mistake.name}: {finding.caught_in}, {finding.stage} {finding.difference:.0e}", flush=True)
    PAGE.write_text(table(findings), encoding="utf-8")
    missed = [mistake.name for mistake, finding in findings if finding.caught_in == "nothing"]
    print(f"{len(findings) - len(missed)} of {len(findings)} caught; missed: {missed or 'none'}")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
