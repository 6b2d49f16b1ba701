"""One training step of the whole model: prompts in, loss out."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from masklet.losses.focal import focal_loss
from masklet.losses.total import LossSettings, detection_loss
from masklet.model.detector import Detector, concat_prompts
from masklet.training.batches import PromptBatch
from masklet.training.recipe import PromptSteps
from masklet.training.recognition import RecognitionHeads
from masklet.types import Targets


def prompt_loss(
    model: Detector, heads: RecognitionHeads, batch: PromptBatch, steps: PromptSteps, settings: LossSettings
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of the detector on ordinary scenes (spec/training.md 6), and its parts without their weights.

    The part "relevance" is not in the original: a linear head tells from the fused image tokens alone where the
    concept is, which reaches the fusion encoder before the decoder has learned to ask it.
    """
    features = model.encode_image(batch.pixels)
    prompt = concat_prompts(
        model.encode_text(batch.token_ids), model.encode_exemplars(features, batch.image_idx, batch.exemplars)
    )
    outputs = model.forward_training(features, batch.image_idx, prompt, masks=batch.with_masks)
    settings = replace(settings, score=replace(settings.score, iou_power=steps.iou_power))
    loss = detection_loss(outputs, batch.targets, steps.weights, settings)
    assert outputs.memory is not None  # forward_training keeps it
    covered = _covered(batch.targets, grid=features.levels[-1].shape[-1])
    logits = heads.relevance(outputs.memory)[..., 0].float()
    relevance = focal_loss(logits, covered, alpha=0.5, gamma=2).sum() / covered.sum().clamp(min=1)
    return loss.total + steps.relevance * relevance, {**loss.terms, "relevance": relevance.detach()}


def _covered(targets: Targets, *, grid: int) -> Tensor:
    """(P, grid * grid) share of each patch that the answers of a prompt cover."""
    assert targets.masks is not None  # every prompt batch has them
    prompt_idx = torch.arange(len(targets.counts), device=targets.counts.device).repeat_interleave(targets.counts)
    shares = F.adaptive_avg_pool2d(targets.masks.float()[:, None], grid).flatten(1)
    covered = torch.zeros(len(targets.counts), grid * grid, device=shares.device)
    return covered.index_add_(0, prompt_idx, shares).clamp(max=1)
