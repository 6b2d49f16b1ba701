"""The loop through its public surface, on the smallest model and eighteen sprites."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from masklet.checkpoint.load import load_model
from masklet.errors import TrainingError
from masklet.losses.total import LossWeights
from masklet.synthetic.sprites import SpriteSheet
from masklet.training import loop as loop_module
from masklet.training.batches import BatchMaker
from masklet.training.loop import Loop
from masklet.training.recipe import DEFAULT_RECIPE, DenseSteps, PromptSteps, Recipe, Stage
from masklet.training.recognition import RecognitionHeads
from masklet.training.steps import _covered, prompt_loss
from masklet.training.world_task import WorldTask
from masklet.types import Targets

RECIPE = Recipe(
    preset="test",
    ema=0.9,
    stages=(
        Stage(name="one", steps=3, image_size=84, warmup=2, dense=DenseSteps(images=2, questions=2, masks=True)),
        Stage(
            name="two",
            steps=4,
            image_size=84,
            warmup=0,
            recognition_factor=0.1,
            dense=DenseSteps(every=3, images=2, questions=2),
            prompts=PromptSteps(images=2, questions=3, mask_prompts=2),
        ),
    ),
)


@pytest.fixture(autouse=True)
def _log_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "LOG_EVERY", 1)


def trainer(recipe: Recipe, folder: Path, sheet: SpriteSheet, *, workers: int = 0) -> Loop:
    cpu = torch.device("cpu")
    return Loop(WorldTask(recipe, device=cpu, sheet=sheet), folder, device=cpu, workers=workers)


def lines(folder: Path) -> list[dict[str, float]]:
    kept = []
    for line in (folder / "log.jsonl").read_text().splitlines():
        document = json.loads(line)
        kept.append({k: v for k, v in document.items() if k not in ("seconds", "cpu_seconds")})
    return kept


def test_a_run_that_was_cut_ends_like_one_that_was_not(tmp_path: Path, sheet: SpriteSheet) -> None:
    whole = trainer(RECIPE, tmp_path / "whole", sheet)
    assert whole.run()
    for _ in range(RECIPE.steps):
        cut = trainer(RECIPE, tmp_path / "cut", sheet)
        done = cut.run(seconds=0.0)  # one step per process
    assert done
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")
    assert [line["stage"] for line in lines(tmp_path / "cut")] == ["one"] * 3 + ["two"] * 4
    expected, got = whole.averages, cut.averages
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_steps_after_the_last_state_are_logged_once(
    tmp_path: Path, sheet: SpriteSheet, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(RECIPE, tmp_path, sheet)
    run.run(seconds=0.0)
    monkeypatch.setattr(Loop, "save", lambda self: None)  # killed before the next state
    run.run()
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 8, "lo')
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == RECIPE.steps + 1
    monkeypatch.undo()
    monkeypatch.setattr(loop_module, "LOG_EVERY", 1)
    trainer(RECIPE, tmp_path, sheet).run()
    assert [line["step"] for line in lines(tmp_path)] == list(range(1, RECIPE.steps + 1))


def test_workers_make_the_same_batches(tmp_path: Path, sheet: SpriteSheet) -> None:
    here = trainer(RECIPE, tmp_path / "here", sheet)
    there = trainer(RECIPE, tmp_path / "there", sheet, workers=1)
    for (ours,), (theirs,) in zip(here._loader(), there._loader(), strict=True):
        assert type(ours) is type(theirs)
        assert torch.equal(ours.pixels, theirs.pixels)


def test_the_weights_file_is_a_model_with_averaged_weights(tmp_path: Path, sheet: SpriteSheet) -> None:
    run = trainer(RECIPE, tmp_path, sheet)
    run.run()
    loaded = load_model(tmp_path / "weights.safetensors", device="cpu", dtype="float32")
    assert loaded.config == run.task.model.config
    raw, averaged = run.task.model.state_dict(), run.averages
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, averaged.get(name, raw[name]).half().float())
    assert any(not torch.allclose(raw[name], averaged[name], atol=1e-4) for name in averaged)
    assert raw.keys() == averaged.keys()


def test_what_has_begun_cannot_change_but_later_stages_can(tmp_path: Path, sheet: SpriteSheet) -> None:
    trainer(RECIPE, tmp_path, sheet).run(seconds=0.0)
    one, two = RECIPE.stages
    with pytest.raises(TrainingError, match="another folder"):
        trainer(replace(RECIPE, stages=(replace(one, rate=0.5), two)), tmp_path, sheet)
    longer = replace(RECIPE, stages=(one, replace(two, steps=9)))
    assert trainer(longer, tmp_path, sheet).step == 1


def test_a_finished_run_goes_on_with_another_stage(tmp_path: Path, sheet: SpriteSheet) -> None:
    one = RECIPE.stages[0]
    assert trainer(replace(RECIPE, stages=(one,)), tmp_path, sheet).run()
    more = trainer(RECIPE, tmp_path, sheet)
    assert more.step == one.steps
    assert more.run()
    assert len(lines(tmp_path)) == RECIPE.steps


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path: Path, sheet: SpriteSheet) -> None:
    run = trainer(RECIPE, tmp_path, sheet)
    run.save()
    with torch.no_grad():
        run.task.model.vision_encoder.position.fill_(float("nan"))
    with pytest.raises(TrainingError, match="not finite at step 0"):
        run.run()
    assert torch.isfinite(trainer(RECIPE, tmp_path, sheet).task.model.vision_encoder.position).all()


def test_reference_boxes_start_on_a_grid(tmp_path: Path, sheet: SpriteSheet) -> None:
    run = trainer(RECIPE, tmp_path, sheet)
    boxes = run.task.model.decoder.reference_boxes.weight.sigmoid()
    assert len({tuple(box) for box in boxes.tolist()}) == 12
    assert torch.allclose(boxes[:, :2].mean(0), torch.tensor(0.5), atol=1e-6)
    assert torch.allclose(boxes[:, 2:], torch.tensor(0.25))


def test_the_covered_share_is_that_of_the_union() -> None:
    masks = torch.zeros(3, 8, 8)
    masks[0, :4, :4] = 1
    masks[1, :4, :] = 1  # overlaps the first
    masks[2, 4:, 4:] = 0.5
    targets = Targets(counts=torch.tensor([2, 0, 1]), boxes_cxcywh_norm=torch.zeros(3, 4), masks=masks)
    expected = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0.5]])
    assert torch.equal(_covered(targets, grid=2), expected)


def test_the_whole_model_is_trained_by_prompts(maker: BatchMaker, tmp_path: Path, sheet: SpriteSheet) -> None:
    run = trainer(RECIPE, tmp_path, sheet)
    steps = PromptSteps(weights=LossWeights())
    for seed in range(3):
        batch = maker.prompts(seed, images=3, size=84, questions=6, mask_prompts=6)
        loss, terms = prompt_loss(run.task.model, run.task.heads, batch, steps, RECIPE.settings)
        loss.backward()
    assert {"presence", "mask_dice", "semantic_dice", "relevance", "l1_aux_0", "giou_one_to_many"} <= set(terms)
    silent = {name for name, p in run.task.model.named_parameters() if p.grad is None or not p.grad.any()}
    # The last layer of the box head is zero at first, so nothing reaches the layers before it.
    assert silent == {f"decoder.box_head.layers.{layer}.{part}" for layer in (0, 1) for part in ("weight", "bias")}


def test_a_batch_without_any_answer_is_learned_from(maker: BatchMaker) -> None:
    from masklet.model.build import build_model

    model = build_model("test", seed=0)
    heads = RecognitionHeads(vision_width=16, width=16, symbols=len(maker.named), colours=9)
    batch = maker.prompts(5, images=2, size=84, questions=3, mask_prompts=0)
    nothing = Targets(
        counts=torch.zeros_like(batch.targets.counts),
        boxes_cxcywh_norm=torch.zeros(0, 4),
        masks=torch.zeros(0, 24, 24),
        masks_valid=torch.zeros(0, dtype=torch.bool),
    )
    loss, terms = prompt_loss(model, heads, replace(batch, targets=nothing), PromptSteps(), RECIPE.settings)
    loss.backward()
    assert torch.isfinite(loss) and terms["relevance"] >= 0
    assert model.decoder.presence_head.layers[-1].weight.grad.any()


def test_the_default_recipe_fits_its_model() -> None:
    names = [stage.name for stage in DEFAULT_RECIPE.stages]
    assert len(set(names)) == len(names)
    stage, step = DEFAULT_RECIPE.locate(DEFAULT_RECIPE.steps - 1)
    assert stage is DEFAULT_RECIPE.stages[-1] and step == stage.steps - 1
    with pytest.raises(IndexError):
        DEFAULT_RECIPE.locate(DEFAULT_RECIPE.steps)
    short = DEFAULT_RECIPE.shortened(0.001)
    assert all(1 <= stage.steps <= 5 for stage in short.stages)
