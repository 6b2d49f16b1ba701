"""The packaged weights are those that the repository says: made by its recipe, with the figures that it prints."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from masklet.checkpoint.hub import find_weights
from masklet.config import DEFAULT
from masklet.synthetic.world import EVALUATION_CLIPS, EVALUATION_SCENES
from masklet.training.follow_task import DEFAULT_TRACKER_RECIPE
from masklet.training.recipe import DEFAULT_RECIPE
from masklet.training.stages import StagedRecipe

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
HASH = hashlib.sha256(find_weights("default").read_bytes()).hexdigest()[:16]


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (BENCHMARKS / name).read_text(encoding="utf-8").splitlines()]


def record_of(benchmark: str, **how: str | int | None) -> dict[str, Any]:
    """The last line of such an evaluation, which is of the packaged weights."""
    wanted = {"benchmark": benchmark, **how}.items()
    record = [line for line in lines("results.jsonl") if wanted <= line.items()][-1]
    assert record["weights"] == HASH
    return record


@pytest.mark.parametrize(("name", "recipe"), [("default", DEFAULT_RECIPE), ("default_tracker", DEFAULT_TRACKER_RECIPE)])
def test_its_runs_followed_their_recipes_to_the_end(name: str, recipe: StagedRecipe[Any]) -> None:
    kept = json.loads((BENCHMARKS / f"{name}_recipe.json").read_text(encoding="utf-8"))
    assert kept == json.loads(json.dumps(recipe.to_dict()))
    log = lines(f"{name}_training.jsonl")
    steps = [line["step"] for line in log]
    assert steps == sorted(set(steps)) and steps[-1] == recipe.steps // 50 * 50
    assert [line["stage"] for line in log] == [recipe.locate(step - 1)[0].name for step in steps]


def test_its_figures_are_recorded_and_printed() -> None:
    record = record_of("eval_default")
    assert record["scenes"] == EVALUATION_SCENES
    page = (ROOT / "docs/default-model.md").read_text(encoding="utf-8")
    assert f"weights {HASH}" in page
    assert f"{record['f1']:.3f}" in page and f"{record['rejection']:.3f}" in page


def test_how_it_follows_is_recorded_and_printed() -> None:
    record = record_of("eval_tracker", half="evaluation", rules="own", clicks=1, image_size=DEFAULT.video_image_size)
    assert record["clips"] == EVALUATION_CLIPS
    page = (ROOT / "docs/default-model.md").read_text(encoding="utf-8")
    for bar in record["bars"]:
        (line,) = [line for line in page.splitlines() if line.startswith(bar["name"])]
        assert f" {bar['value']:.3f} " in line and line.endswith("met" if bar["met"] else "MISSED")


def test_its_size() -> None:
    assert find_weights("default").stat().st_size <= 24_000_000
