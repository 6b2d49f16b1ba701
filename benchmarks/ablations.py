"""What each part of the training is worth: `python benchmarks/ablations.py --out runs/ablations`.

The default model is trained for a short time with one part left out at a time. All cases start from the same state
(recognition, then masks; one case starts from random weights instead, with as many steps) and learn to detect for the
same steps at 224 pixels, on the same pictures in the same order. They are measured on the first scenes of the
evaluation split at that size, as `make eval-default` does. The figures are far below those of the packaged model, which
learns far longer; what counts is the distance to the first line. One run each: the difference between two runs that
differ in nothing but the seed is in the last line.

About 80 minutes on two cores, by estimate; what was done before is not done again. `--record` appends JSON lines to
results.jsonl.
"""

from __future__ import annotations

import argparse
import json
import shutil
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
from masklet.evaluation.report import figures_of, text_cgf1
from masklet.evaluation.world_scores import ALL, TEXT, score_scenes
from masklet.inference.image_predictor import ImagePredictor
from masklet.losses.score import ScoreSettings
from masklet.model.detector import Detector
from masklet.synthetic.sprites import default_sheet
from masklet.synthetic.world import evaluation_scene, phrase_book
from masklet.training.loop import Loop
from masklet.training.recipe import DEFAULT_RECIPE, PromptSteps, Recipe, Stage
from masklet.training.world_task import WorldTask
from masklet.types import TrainingOutputs

SIZE = 224
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
        pretrained: whether it starts from the common state.
    """

    recipe: Change = field(default=lambda recipe: recipe)
    outputs: Outputs = field(default=lambda outputs: outputs)
    one_to_many: bool = True
    presence: bool = True
    pretrained: bool = True


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


def in_last(**changes: Any) -> Change:
    """Another last stage."""
    return lambda recipe: replace(recipe, stages=(*recipe.stages[:-1], replace(recipe.stages[-1], **changes)))


def no_relevance(recipe: Recipe) -> Recipe:
    """Without the loss on the fused tokens."""
    prompts = recipe.stages[-1].prompts
    assert prompts is not None
    return in_last(prompts=replace(prompts, relevance=0.0))(recipe)


def no_presence(recipe: Recipe) -> Recipe:
    """Queries of absent concepts learn to say no, as presence does not."""
    score = ScoreSettings(pad_n_queries=1, presence_gating=False)
    return weights(presence=0.0)(replace(recipe, settings=replace(recipe.settings, score=score)))


def last_layer(outputs: TrainingOutputs) -> TrainingOutputs:
    """Without the losses of the layers before."""
    return replace(outputs, one_to_one=outputs.one_to_one[-1:], one_to_many=outputs.one_to_many[-1:])


CASES = {
    "all": Case(),
    "no one-to-many queries": Case(one_to_many=False),
    "no losses of earlier layers": Case(outputs=last_layer),
    "no presence token": Case(recipe=no_presence, presence=False),
    "no semantic map": Case(recipe=weights(semantic_focal=0.0, semantic_dice=0.0)),
    "no loss on fused tokens": Case(recipe=no_relevance),
    "no recognition meanwhile": Case(recipe=in_last(dense=None)),
    "no recognition before": Case(pretrained=False),
    "all, other pictures": Case(recipe=lambda recipe: replace(recipe, stages=(*recipe.stages[:-1], *_moved(recipe)))),
}


def _moved(recipe: Recipe) -> tuple[Stage, ...]:
    """The last stage with other pictures: a stage before it that does nothing moves the seeds."""
    return (replace(recipe.stages[-1], name="pause", steps=0), recipe.stages[-1])


def recipe_of(scale: float) -> Recipe:
    """The common recipe: the first two stages of the default one and a short third, times `scale`."""
    recognise, paint, detect = DEFAULT_RECIPE.stages[:3]
    stages = (
        replace(recognise, steps=round(700 * scale)),
        replace(paint, steps=round(500 * scale)),
        replace(detect, steps=round(1000 * scale), tail=0.8, final=0.0),
    )
    return replace(DEFAULT_RECIPE, stages=stages)


def train(case: Case, recipe: Recipe, start: Path, folder: Path) -> None:
    """Trains a case, or goes on with it."""
    if case.pretrained and not folder.exists():
        shutil.copytree(start, folder)
    own = case.recipe(recipe)
    stages = own.stages if case.pretrained else (replace(own.stages[-1], steps=own.steps),)
    # The state in the folder was made with the common settings; what the case changes counts from here on.
    task = WorldTask(replace(own, stages=stages, settings=recipe.settings), device=CPU)
    loop = Loop(task, folder, device=CPU)
    task.recipe = replace(task.recipe, settings=own.settings)
    forward = task.model.forward_training

    def changed(*arguments: Any, **named: Any) -> TrainingOutputs:
        return case.outputs(forward(*arguments, **named, one_to_many=case.one_to_many))

    task.model.forward_training = changed  # type: ignore[method-assign]
    loop.run()


@torch.no_grad()
def always_present(model: Detector) -> None:
    """Makes the presence token say yes to everything."""
    last = model.decoder.presence_head.layers[-1]
    last.weight.zero_()  # type: ignore[operator]
    last.bias.fill_(30.0)  # type: ignore[operator]


def measure(case: Case, folder: Path, scenes: int) -> dict[str, float | None]:
    """Figures on the first scenes of the evaluation split."""
    sheet = default_sheet()
    model = load_model(folder / "weights.safetensors", dtype="float32", image_size=SIZE)
    if not case.presence:
        always_present(model)
    chosen = (evaluation_scene(index, sheet=sheet) for index in range(scenes))
    scores = score_scenes(chosen, predictor_answers(ImagePredictor(model)), phrase_book(sheet))
    return {
        "text F1": scores.rows["asked by"][TEXT].f1,
        "text cgF1": text_cgf1(scores)["cgF1"],
        "exemplar F1": figures_of(scores)["F1 of exemplars alone"],
        "rejected": scores.rows["all"][ALL].rejection,
        "mask IoU": scores.rows["all"][ALL].mask_iou,
        "box IoU": scores.rows["all"][ALL].box_iou,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"), help="folder (default: %(default)s)")
    parser.add_argument("--case", action="append", choices=list(CASES), help="this one only; may be given again")
    parser.add_argument("--scale", type=float, default=1.0, help="times the steps (default: %(default)s)")
    parser.add_argument("--scenes", type=int, default=300, help="to measure on (default: %(default)s)")
    parser.add_argument("--record", action="store_true", help=f"append lines to {RESULTS.name}")
    arguments = parser.parse_args()
    recipe = recipe_of(arguments.scale)
    start = arguments.out / "start"
    Loop(WorldTask(replace(recipe, stages=recipe.stages[:-1]), device=CPU), start, device=CPU).run()
    table = Table("left out")
    for name in arguments.case or CASES:
        folder = arguments.out / name.replace(" ", "-").replace(",", "")
        train(CASES[name], recipe, start, folder)
        figures = measure(CASES[name], folder, arguments.scenes)
        if not table.rows:
            for heading in figures:
                table.add_column(heading, justify="right")
        table.add_row(name, *("-" if value is None else f"{value:.3f}" for value in figures.values()))
        line = {"benchmark": "ablations", "case": name, "steps": recipe.steps, "scenes": arguments.scenes, **figures}
        print(json.dumps(line), flush=True)
        if arguments.record:
            with RESULTS.open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
