"""What each part of the detector's training is worth: `python benchmarks/ablations.py --out runs/ablations`.

Decoder, scoring and mask head of the default model are made anew and learn again, with one part of the training left
out at a time; fusion and exemplars go on learning, the encoders of pictures and text stay as they are. All cases see
the same pictures in the same order, 224 pixels wide, for the same steps. They are measured on the first scenes of the
evaluation split at that size, each at the threshold that suits it best on scenes of the training half: after so short
a training scores are low. The figures are below those of the packaged model, which learns far longer; what counts is
the distance to the first line. One run each: the last line differs from the first in nothing but the pictures.

About an hour on two cores; what was done before is not done again. `--record` appends JSON lines to results.jsonl.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from eval_default import RESULTS
from rich.console import Console
from rich.table import Table

from masklet.checkpoint import load_model
from masklet.evaluation.answers import predictor_answers
from masklet.evaluation.report import figures_of
from masklet.evaluation.world_scores import ALL, TEXT, Scenes, Scores, score_scenes
from masklet.inference.image_predictor import ImagePredictor
from masklet.losses.score import ScoreSettings
from masklet.model.detector import Detector
from masklet.synthetic.sprites import default_sheet
from masklet.synthetic.world import TRAIN, evaluation_scene, make_scene, phrase_book
from masklet.training.groups import TEXT as TEXT_ENCODER
from masklet.training.groups import VISION
from masklet.training.loop import Loop
from masklet.training.recipe import DEFAULT_RECIPE, PromptSteps, Recipe
from masklet.training.world_task import WorldTask
from masklet.types import TrainingOutputs

SIZE = 224  # pixels
NEW = ("decoder.", "scoring.", "mask_head.")
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
TRIED, FIRST_SEED = 40, 700_000  # scenes of the training half that choose the threshold
CPU = torch.device("cpu")
Change = Callable[[Recipe], Recipe]
Outputs = Callable[[TrainingOutputs], TrainingOutputs]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One training.

    Attributes:
        recipe: what is other in the recipe.
        outputs: what is other in what the loss sees.
        one_to_many: whether the duplicated queries run.
        presence: whether the score of an answer counts the presence token.
    """

    recipe: Change = field(default=lambda recipe: recipe)
    outputs: Outputs = field(default=lambda outputs: outputs)
    one_to_many: bool = True
    presence: bool = True


def weights(**changes: float) -> Change:
    """Other weights of the losses."""

    def change(recipe: Recipe) -> Recipe:
        def changed(prompts: PromptSteps) -> PromptSteps:
            return replace(prompts, weights=replace(prompts.weights, **changes))

        return replace(
            recipe,
            stages=tuple(
                stage if stage.prompts is None else replace(stage, prompts=changed(stage.prompts))
                for stage in recipe.stages
            ),
        )

    return change


def no_relevance(recipe: Recipe) -> Recipe:
    """Without the loss on the fused tokens."""
    (stage,) = recipe.stages
    assert stage.prompts is not None
    return replace(recipe, stages=(replace(stage, prompts=replace(stage.prompts, relevance=0.0)),))


def no_presence(recipe: Recipe) -> Recipe:
    """Queries of absent concepts learn to say no, as presence does not."""
    score = ScoreSettings(pad_n_queries=1, presence_gating=False)
    return weights(presence=0.0)(replace(recipe, settings=replace(recipe.settings, score=score)))


def last_layer(outputs: TrainingOutputs) -> TrainingOutputs:
    """Without the losses of the layers before."""
    return replace(outputs, one_to_one=outputs.one_to_one[-1:], one_to_many=outputs.one_to_many[-1:])


def other_pictures(recipe: Recipe) -> Recipe:
    """A stage before it that does nothing moves the seeds."""
    (stage,) = recipe.stages
    return replace(recipe, stages=(replace(stage, name="pause", steps=0), stage))


CASES = {
    "nothing": Case(),
    "one-to-many queries": Case(one_to_many=False),
    "losses of earlier layers": Case(outputs=last_layer),
    "presence token": Case(recipe=no_presence, presence=False),
    "semantic map": Case(recipe=weights(semantic_focal=0.0, semantic_dice=0.0)),
    "box losses' IoU part": Case(recipe=weights(giou=0.0)),
    "loss on fused tokens": Case(recipe=no_relevance),
    "nothing, other pictures": Case(recipe=other_pictures),
}


def recipe_of(steps: int) -> Recipe:
    """The common recipe: the third stage of the default one, shorter and without recognition."""
    detect = replace(DEFAULT_RECIPE.stages[2], steps=steps, dense=None, tail=0.8, final=0.0)
    return replace(DEFAULT_RECIPE, stages=(detect,))


def begin(model: Detector) -> None:
    """The packaged model with a new decoder, scoring and mask head, whose encoders do not learn."""
    trained = load_model("default", dtype="float32").state_dict()
    kept = {name: value for name, value in trained.items() if not name.startswith(NEW)}
    model.load_state_dict({**model.state_dict(), **kept})
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and not name.startswith(VISION + TEXT_ENCODER))


def train(case: Case, recipe: Recipe, folder: Path) -> None:
    """Trains a case, or goes on with it."""
    task = WorldTask(case.recipe(recipe), device=CPU)
    begin(task.model)
    forward = task.model.forward_training

    def changed(*arguments: Any, **named: Any) -> TrainingOutputs:
        return case.outputs(forward(*arguments, **named, one_to_many=case.one_to_many))

    task.model.forward_training = changed  # type: ignore[method-assign]
    Loop(task, folder, device=CPU).run()


@torch.no_grad()
def always_present(model: Detector) -> None:
    """Makes the presence token say yes to everything."""
    last = model.decoder.presence_head.layers[-1]
    last.weight.zero_()  # type: ignore[operator]
    last.bias.fill_(30.0)  # type: ignore[operator]


def measure(case: Case, folder: Path, scenes: int) -> dict[str, float | None]:
    """Figures on the first scenes of the evaluation split, and the threshold."""
    sheet = default_sheet()
    model = load_model(folder / "weights.safetensors", dtype="float32", image_size=SIZE)
    if not case.presence:
        always_present(model)

    def scored(chosen: Scenes, threshold: float) -> Scores:
        model.config = replace(model.config, selection=replace(model.config.selection, score_threshold=threshold))
        return score_scenes(chosen, predictor_answers(ImagePredictor(model)), phrase_book(sheet))

    tried = [make_scene(TRAIN, FIRST_SEED + number, (SIZE, SIZE), questions=5, sheet=sheet) for number in range(TRIED)]
    threshold = max(THRESHOLDS, key=lambda each: scored(tried, each).rows["all"][ALL].f1 or 0.0)
    scores = scored((evaluation_scene(index, sheet=sheet) for index in range(scenes)), threshold)
    return {
        "threshold": threshold,
        "text F1": scores.rows["asked by"][TEXT].f1,
        "exemplar F1": figures_of(scores)["F1 of exemplars alone"],
        "precision": scores.rows["all"][ALL].precision,
        "recall": scores.rows["all"][ALL].recall,
        "rejected": scores.rows["all"][ALL].rejection,
        "mask IoU": scores.rows["all"][ALL].mask_iou,
        "box IoU": scores.rows["all"][ALL].box_iou,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"), help="folder (default: %(default)s)")
    parser.add_argument("--case", action="append", choices=list(CASES), help="this one only; may be given again")
    parser.add_argument("--steps", type=int, default=700, help="of each case (default: %(default)s)")
    parser.add_argument("--scenes", type=int, default=300, help="to measure on (default: %(default)s)")
    parser.add_argument("--record", action="store_true", help=f"append lines to {RESULTS.name}")
    arguments = parser.parse_args()
    recipe = recipe_of(arguments.steps)
    table = Table("left out")
    for name in arguments.case or CASES:
        folder = arguments.out / name.replace(" ", "-").replace(",", "").replace("'", "")
        train(CASES[name], recipe, folder)
        figures = measure(CASES[name], folder, arguments.scenes)
        if not table.rows:
            for heading in figures:
                table.add_column(heading, justify="right")
        table.add_row(name, *("-" if value is None else f"{value:.3f}" for value in figures.values()))
        line = {
            "benchmark": "ablations",
            "left out": name,
            "steps": recipe.steps,
            "scenes": arguments.scenes,
            **figures,
        }
        print(json.dumps(line), flush=True)
        if arguments.record:
            with RESULTS.open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
