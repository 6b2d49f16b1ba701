"""Training on the synthetic world as a recipe says it: a task for the loop."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import Dataset

from masklet.config import preset
from masklet.model.build import build_model
from masklet.model.detector import Detector
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.symbols import COLOURS
from masklet.training.batches import BatchMaker, DenseBatch, PromptBatch
from masklet.training.recipe import DenseSteps, PromptSteps, Recipe
from masklet.training.recognition import RecognitionHeads, recognition_loss
from masklet.training.staged_task import SEEDS_PER_STAGE, StagedTask
from masklet.training.steps import prompt_loss

_FIRST_BOX_SIDE = 0.25  # of the reference boxes, as a fraction of the picture


class WorldTask(StagedTask[Recipe]):
    """A model from random weights by the stages of a recipe, without a tracker: that is `FollowTask`'s.

    Args:
        recipe: what to train.
        device: where the model stands.
        sheet: sprites; None takes the installed font's.

    Attributes:
        heads: helpers of the recognition steps, thrown away in the end.
    """

    material = "scenes"

    def __init__(self, recipe: Recipe, *, device: torch.device, sheet: SpriteSheet | None = None) -> None:
        config = replace(preset(recipe.preset), tracker=None, tracker_neck=False)
        self._maker = BatchMaker(config, sheet)
        torch.manual_seed(recipe.seed)
        model = build_model(config, seed=recipe.seed).to(device).train()
        self.heads = RecognitionHeads(
            vision_width=config.vision.width, width=config.width, symbols=len(self._maker.named), colours=len(COLOURS)
        ).to(device)
        spread_reference_boxes(model)
        super().__init__(recipe, model, {"heads": self.heads})

    def batches(self) -> Dataset[tuple[DenseBatch | PromptBatch]]:
        """Of every step; see `Task`."""
        return _Steps(self.recipe, self._maker)

    def loss(self, batch: DenseBatch | PromptBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Of recognition or of the whole model; see `Task`."""
        stage, _ = self.recipe.locate(step)
        if isinstance(batch, DenseBatch):
            dense = stage.dense or DenseSteps()
            return recognition_loss(
                self.model,
                self.heads,
                batch,
                masks=dense.masks,
                exemplars=dense.exemplars,
                counter_examples=dense.counter_examples,
            )
        return prompt_loss(self.model, self.heads, batch, stage.prompts or PromptSteps(), self.recipe.settings)


class _Steps(Dataset[tuple[DenseBatch | PromptBatch]]):
    """The batch of every step of a recipe."""

    def __init__(self, recipe: Recipe, maker: BatchMaker) -> None:
        self.recipe = recipe
        self.maker = maker

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> tuple[DenseBatch | PromptBatch]:
        stage, stage_step = self.recipe.locate(step)
        seed = self.recipe.stages.index(stage) * SEEDS_PER_STAGE + stage_step
        if stage.is_dense(stage_step):
            dense = stage.dense or DenseSteps()
            batch = self.maker.dense(
                seed, images=dense.images, size=stage.image_size, questions=dense.questions, crowd=dense.crowd
            )
            return (batch,)
        prompts = stage.prompts or PromptSteps()
        prompt_batch = self.maker.prompts(
            seed,
            images=prompts.images,
            size=stage.image_size,
            questions=prompts.questions,
            mask_prompts=prompts.mask_prompts,
            coloured=prompts.coloured,
            shown=prompts.shown,
            categories=prompts.categories,
            words=prompts.words,
            strays=prompts.strays,
            scene_scale=prompts.scene_scale,
        )
        return (prompt_batch,)


@torch.no_grad()
def spread_reference_boxes(model: Detector) -> None:
    """Puts the queries' first boxes on a grid; at random most of them start far from any object."""
    table = model.decoder.reference_boxes.weight  # (Q, 4) logits
    rows = max(1, int(len(table) ** 0.5))
    columns = -(-len(table) // rows)
    places = torch.arange(len(table), device=table.device)
    x = (places % columns + 0.5) / columns
    y = (torch.div(places, columns, rounding_mode="floor") + 0.5) / rows
    side = torch.full_like(x, _FIRST_BOX_SIDE)
    table.copy_(torch.logit(torch.stack((x, y, side, side), dim=-1)))
