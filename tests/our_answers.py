"""What masklet computes for a case of `oracle_cases.py`: all images in one batch, all prompts in one padded batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from masklet.checkpoint.keymaps import from_hf
from masklet.config import ModelConfig
from masklet.model.build import build_detector
from masklet.model.detector import Detector, concat_prompts
from masklet.types import ExemplarBatch, PromptTokens
from oracle import Answers, outputs_of
from oracle_cases import Case, Prompt
from oracle_models import skip_default_init


def our_model(config: ModelConfig, hf_model: Any) -> Detector:
    """Our model of `config` with the weights of a `Sam3Model`; what both hold alike shares its memory."""
    with torch.device("meta"), skip_default_init():
        model = build_detector(config)
    model.load_state_dict(from_hf(hf_model.state_dict(), config), strict=True, assign=True)
    return model.eval()


def token_batch(prompts: tuple[Prompt, ...], context: int) -> Tensor:
    """Phrases padded with 0: (P, context)."""
    return torch.tensor([prompt.token_ids + (0,) * (context - len(prompt.token_ids)) for prompt in prompts])


def exemplar_batch(prompts: tuple[Prompt, ...]) -> ExemplarBatch:
    """Boxes padded to the largest number of them."""
    longest = max(len(prompt.labels) for prompt in prompts)
    empty = ExemplarBatch.empty(len(prompts))
    boxes = torch.zeros(len(prompts), longest, 4)
    labels = torch.zeros(len(prompts), longest, dtype=torch.int64)
    valid = torch.zeros(len(prompts), longest, dtype=torch.bool)
    for p, prompt in enumerate(prompts):
        count = len(prompt.labels)
        boxes[p, :count] = torch.tensor(prompt.boxes_cxcywh_norm).reshape(count, 4)
        labels[p, :count] = torch.tensor(prompt.labels, dtype=torch.int64)
        valid[p, :count] = True
    return replace(empty, boxes_cxcywh_norm=boxes, box_labels=labels, box_valid=valid)


def _valid_tokens(prompt: PromptTokens) -> list[Tensor]:
    return [tokens[valid] for tokens, valid in zip(prompt.tokens, prompt.valid, strict=True)]


@torch.no_grad()
def our_answers(model: Detector, case: Case) -> Answers:
    """Every stage of `model` for `case`."""
    features = model.encode_image(case.pixels)
    image_idx = torch.tensor([prompt.image_idx for prompt in case.prompts])
    text = model.encode_text(token_batch(case.prompts, model.config.text.context))
    exemplars = model.encode_exemplars(features, image_idx, exemplar_batch(case.prompts))
    prompt = concat_prompts(text, exemplars)
    with outputs_of({"decoder": model.decoder}) as seen:
        raw = model.detect(features, image_idx, prompt)
    everything = torch.ones_like(raw.class_logits, dtype=torch.bool)
    return Answers(
        levels=features.levels,
        positions=None,
        text=_valid_tokens(text),
        exemplars=_valid_tokens(exemplars),
        memory=list(raw.memory),
        queries=list(raw.queries),
        boxes=list(torch.cat((seen["decoder"].boxes_cxcywh_norm[:-1], raw.boxes_cxcywh_norm[None])).transpose(0, 1)),
        presence=list(raw.presence_logits),
        logits=list(raw.class_logits),
        masks=model.decode_masks(features, image_idx, prompt, raw, everything),
        semantic=list(model.decode_semantic(features, image_idx, prompt, raw)[:, 0]),
    )
