"""Fine-tuning a trained model on labelled data: a task for the loop."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    CheckpointImpl,
    apply_activation_checkpointing,
    checkpoint_wrapper,
)
from torch.utils.data import Dataset

from masklet.checkpoint.adapter import Adapter, fingerprint
from masklet.checkpoint.load import with_state
from masklet.checkpoint.save import save_adapter, save_native
from masklet.data.dataset import Dataset as LabelledDataset
from masklet.losses.mask import MaskSettings
from masklet.losses.score import ScoreSettings
from masklet.losses.total import LossSettings, detection_loss
from masklet.model.decoder import DecoderLayer
from masklet.model.detector import Detector, concat_prompts
from masklet.model.fusion_encoder import FusionLayer
from masklet.model.geometry_encoder import GeometryLayer
from masklet.model.text_encoder import TextBlock
from masklet.model.vision_encoder import VisionBlock
from masklet.training.batches import PromptBatch
from masklet.training.corrections import corrected
from masklet.training.distributed import Processes
from masklet.training.groups import TEXT, TRACKER, VISION, parameter_groups, set_rates
from masklet.training.lora import adapter_of, add_lora, without_lora
from masklet.training.samples import LabelledBatches
from masklet.training.schedule import inverse_square_root
from masklet.training.settings import Adapt, TrainSettings

BLOCKS = (VisionBlock, TextBlock, GeometryLayer, FusionLayer, DecoderLayer)
_FROZEN: dict[Adapt, tuple[str, ...]] = {
    "full": (),
    "no-vision": VISION,
    "no-text": TEXT,
    "no-encoders": VISION + TEXT,
}
_HEADS = ("scoring.", "mask_head.", "decoder.box_head.", "decoder.presence_head.", "decoder.presence_norm.")


class TuneTask:
    """A trained model that learns from labelled pictures.

    Args:
        settings: of the run.
        model: to start from, float32, on the device of the run.
        dataset: to learn from.
        processes: that train together; None is this one alone.
        replay: what shall not be forgotten, for settings with a replay.
        weights: where the model came from; what no module of it owns goes along into what is written.

    Raises:
        DataError: no picture has a prompt.
    """

    def __init__(
        self,
        settings: TrainSettings,
        model: Detector,
        dataset: LabelledDataset,
        processes: Processes | None = None,
        *,
        replay: LabelledDataset | None = None,
        weights: Path | None = None,
    ) -> None:
        self.settings = settings
        self._weights = weights
        self._processes = Processes() if processes is None else processes
        self.model = model.train()
        rates = settings.rates
        if settings.adapt == "lora":
            torch.manual_seed(settings.run.seed)
            add_lora(model, settings.lora)
            rates = rates.times(settings.lora.rate)
        else:
            freeze(model, settings.adapt)
        if settings.run.checkpointing:
            checkpoint_blocks(model)
        frozen = {name: each for name, each in model.named_parameters() if not each.requires_grad}
        self._frozen = fingerprint(frozen, frozen.__getitem__)
        self.modules: Mapping[str, nn.Module] = {"model": model}
        run = settings.run
        self.ema = run.ema
        self.loads_after = f"{settings.base}+" if settings.adapt == "lora" else ""
        self._batches = LabelledBatches(
            dataset,
            model.config,
            prompts=settings.prompts,
            augmentation=settings.augment,
            images=run.images,
            batches=run.batches,
            seed=run.seed,
            rank=self._processes.rank,
            world_size=self._processes.world_size,
            replay=replay,
            replay_share=0.0 if settings.replay is None else settings.replay.share,
        )
        a_step = run.images * run.batches * self._processes.world_size * (1 - self._batches.replay_share)
        self.steps = run.steps or math.ceil(run.epochs * len(self._batches.pictures) / a_step)
        # An answer beside the labels is wrong only where everything is labelled.
        pictures = self._batches.pictures + self._batches.replayed
        partial = any(not prompt.exhaustive for picture in pictures for prompt in picture.prompts)
        self._loss = LossSettings(score=ScoreSettings(weak_loss=partial), masks=MaskSettings(resolution="prediction"))
        self._optimizer = torch.optim.AdamW(parameter_groups(model, rates, vision_depth=model.config.vision.depth))

    def finished(self, learned: Mapping[str, Tensor]) -> Detector:
        """See `Task`."""
        if self.settings.adapt == "lora":
            state = without_lora(self.model, self._adapter(learned))
        else:
            state = {**self.model.state_dict(), **learned}
        return with_state(self.model.config, state)

    def write(self, learned: Mapping[str, Tensor], path: Path) -> None:
        """A native file or an adapter's; see `Task`."""
        if self.settings.adapt == "lora":
            save_adapter(self._adapter(learned), path)
        else:
            save_native(self.finished(learned), path, torch.float32, carried_from=self._weights)

    def _adapter(self, learned: Mapping[str, Tensor]) -> Adapter:
        return adapter_of(self.model, learned, self.settings.lora, Path(self.settings.base).name)

    def batches(self) -> Dataset[tuple[PromptBatch, ...]]:
        """Of every step; see `Task`."""
        return self._batches

    def stage(self, step: int) -> tuple[str, int]:
        """There is one; see `Task`."""
        return "tune", step

    def loss(self, batch: PromptBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Of the detector (spec/training.md 6), summed over all rounds; terms are those of the first. See `Task`."""
        model, run = self.model, self.settings.run
        features, text = model.encode_image(batch.pixels), model.encode_text(batch.token_ids)
        masks = batch.with_masks if run.masks else False
        exemplars, losses = batch.exemplars, []
        for round_ in range(1 + self.settings.prompts.rounds):
            prompt = concat_prompts(text, model.encode_exemplars(features, batch.image_idx, exemplars))
            outputs = model.forward_training(
                features, batch.image_idx, prompt, masks=masks, one_to_many=run.one_to_many
            )
            losses.append(
                detection_loss(
                    outputs,
                    batch.targets,
                    self.settings.weights,
                    self._loss,
                    objects=batch.objects,
                    process_group=self._processes.group,
                )
            )
            if round_ < self.settings.prompts.rounds:
                exemplars = corrected(exemplars, outputs.one_to_one[-1], batch.targets)
        terms = losses[0].terms
        if len(losses) > 1:
            terms = {**terms, "last_round": losses[-1].total.detach()}
        return torch.stack([loss.total for loss in losses]).sum(), terms

    def clip(self) -> Tensor:
        """See `Task`."""
        learning = [one for group in self._optimizer.param_groups for one in group["params"]]
        return nn.utils.clip_grad_norm_(learning, self.settings.run.clip)

    def made_of(self, step: int) -> str:
        """Files of the pictures; see `Task`."""
        return ", ".join(str(picture.path) for picture in self._batches.pictures_of(step))

    def update(self, step: int) -> float:
        """The greatest rate; see `Task`."""
        run = self.settings.run
        groups = self._optimizer.param_groups
        factor = inverse_square_root(
            step, steps=self.steps, warmup=run.warmup, timescale=run.timescale, cooldown=run.cooldown
        )
        set_rates(groups, factor)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return max(float(group["lr"]) for group in groups)

    def optimizer_state(self) -> dict[str, Any]:
        """See `Task`."""
        return self._optimizer.state_dict()

    def load_optimizer_state(self, state: dict[str, Any]) -> None:
        """See `Task`."""
        self._optimizer.load_state_dict(state)

    def description(self) -> dict[str, Any]:
        """The settings; see `Task`."""
        return self.settings.to_dict()

    def begun(self, step: int) -> str:
        """The settings, all of which count from the first step on, and what does not learn; see `Task`."""
        return json.dumps([self.settings.to_dict(), self.steps, self._processes.world_size, self._frozen])


def checkpoint_blocks(model: Detector) -> None:
    """Makes blocks of encoders and decoder keep their inputs only; results and checkpoints stay the same."""
    apply_activation_checkpointing(
        model,
        checkpoint_wrapper_fn=functools.partial(checkpoint_wrapper, checkpoint_impl=CheckpointImpl.NO_REENTRANT),
        check_fn=lambda module: isinstance(module, BLOCKS),
    )


def freeze(model: Detector, adapt: Adapt) -> None:
    """Lets only those parameters learn that `settings.TrainSettings.adapt` names; not for "lora".

    No loss of pictures reaches the tracker: kept out, its numbers stay to the last bit, averages included.
    """
    for name, parameter in model.named_parameters():
        learns = name.startswith(_HEADS) if adapt == "heads" else not name.startswith(_FROZEN[adapt])
        parameter.requires_grad_(learns and not name.startswith(TRACKER))
