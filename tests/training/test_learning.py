"""Does the loop teach anything? `make test-training`: minutes, on eighteen sprites."""

import json
from pathlib import Path

import pytest
import torch

from masklet.checkpoint.load import load_model
from masklet.evaluation.answers import predictor_answers
from masklet.evaluation.tally import Tally
from masklet.evaluation.world_scores import ALL, score_scenes
from masklet.inference.image_predictor import ImagePredictor
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.world import phrase_book, training_scene
from masklet.training.loop import LOG_EVERY, Loop
from masklet.training.recipe import DEFAULT_RECIPE, DenseSteps, PromptSteps, Recipe, Stage
from masklet.training.world_task import WorldTask

SIDE = 112  # pixels: a quarter of the tokens of the recipe
_DEFAULT_PROMPTS = DEFAULT_RECIPE.stages[2].prompts
assert _DEFAULT_PROMPTS is not None

# Stages of the packaged model, a twentieth of its symbols, a tenth of its steps.
RECIPE = Recipe(
    preset="default",
    ema=0.99,
    stages=(
        Stage(name="recognise", steps=150, image_size=SIDE, rate=1.5e-3, warmup=30, tail=0.0, dense=DenseSteps()),
        Stage(name="paint", steps=100, image_size=SIDE, rate=1.5e-3, warmup=0, dense=DenseSteps(masks=True)),
        Stage(
            name="detect",
            steps=500,
            image_size=SIDE,
            warmup=30,
            recognition_factor=0.15,
            dense=DenseSteps(every=4, masks=True),
            prompts=PromptSteps(weights=_DEFAULT_PROMPTS.weights),
        ),
    ),
)
LINES = RECIPE.steps // LOG_EVERY
UNSEEN = range(10**9, 10**9 + 60)  # the run takes its seeds from the first 3 * 10**7


def scores_of(weights: Path, sheet: SpriteSheet) -> Tally:
    predictor = ImagePredictor(load_model(weights, device="cpu", dtype="float32", image_size=SIDE))
    scenes = (training_scene(seed, (SIDE, SIDE), questions=6, sheet=sheet) for seed in UNSEEN)
    return score_scenes(scenes, predictor_answers(predictor), phrase_book(sheet)).rows["all"][ALL]


@pytest.mark.training
def test_a_short_run_learns_to_tell_what_is_there(tmp_path: Path, sheet: SpriteSheet) -> None:
    cpu = torch.device("cpu")
    run = Loop(WorldTask(RECIPE, device=cpu, sheet=sheet), tmp_path, device=cpu)
    run.save()
    before = scores_of(tmp_path / "weights.safetensors", sheet)
    assert run.run()
    after = scores_of(tmp_path / "weights.safetensors", sheet)
    first, last = (json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()[:: LINES - 1])
    # Half of the questions have an empty answer. A run reached 0.82; boxes and masks need a longer one.
    assert before.presence_accuracy < 0.65
    assert after.presence_accuracy > 0.72
    assert after.rejection > 0.9
    assert last["named"] > 0.5  # of 18 symbols, per patch; it reached 0.62
    assert first["named"] < 0.3
