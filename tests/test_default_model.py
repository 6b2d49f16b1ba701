"""The packaged weights are those that the repository says: made by its recipe, with the figures that it prints."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from masklet.checkpoint.hub import find_weights
from masklet.synthetic.world import EVALUATION_SCENES
from masklet.training.recipe import DEFAULT_RECIPE

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
HASH = hashlib.sha256(find_weights("default").read_bytes()).hexdigest()[:16]


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (BENCHMARKS / name).read_text(encoding="utf-8").splitlines()]


def test_its_run_followed_the_recipe_to_the_end() -> None:
    recipe = json.loads((BENCHMARKS / "default_recipe.json").read_text(encoding="utf-8"))
    assert recipe == json.loads(json.dumps(DEFAULT_RECIPE.to_dict()))
    log = lines("default_training.jsonl")
    steps = [line["step"] for line in log]
    assert steps == sorted(set(steps)) and steps[-1] == DEFAULT_RECIPE.steps // 50 * 50
    assert [line["stage"] for line in log] == [DEFAULT_RECIPE.locate(step - 1)[0].name for step in steps]


def test_its_figures_are_recorded_and_printed() -> None:
    record = [line for line in lines("results.jsonl") if line["benchmark"] == "eval_default"][-1]
    assert record["weights"] == HASH and record["scenes"] == EVALUATION_SCENES
    page = (ROOT / "docs/default-model.md").read_text(encoding="utf-8")
    assert f"weights {HASH}" in page
    assert f"{record['f1']:.3f}" in page and f"{record['rejection']:.3f}" in page


def test_its_size() -> None:
    assert find_weights("default").stat().st_size <= 18_000_000
