"""The answers of the public `transformers` implementation, and how ours are compared with them.

Every prompt is run alone and unpadded, so that our batches are compared with single answers.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from oracle_cases import Case, Prompt, case
from oracle_models import SMALL, Weights, small_model

# The relative limits of spec/image-model.md 19.3: largest difference over largest value of the reference.
LIMITS = {
    "F0": 1e-5,
    "F1": 1e-5,
    "F2": 1e-5,
    "text": 1e-5,
    "exemplars": 1e-5,
    "memory": 1e-5,
    "queries": 5e-5,
    "boxes": 5e-6,
    "presence": 5e-6,
    "logits": 5e-5,
    "masks": 5e-5,
    "semantic": 5e-5,
}


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What an implementation computes for a case, by stage; lists have one entry for each prompt.

    Attributes:
        levels: F0, F1, F2, each (B, C, h, w).
        positions: position maps of the levels, each (C, h, w); None where an implementation does not show them.
        text: (words + 2, C) valid text tokens.
        exemplars: (boxes + 1, C) exemplar tokens, CLS last.
        memory: (h * w, C) image tokens after the fusion encoder.
        queries: (Q, C) normed states of the last decoder layer.
        boxes: (L, Q, 4) cxcywh as fractions of the image, after each decoder layer (or (1, Q, 4): the last).
        presence: () logit.
        logits: (Q,) class logits.
        masks: (Q, 4h, 4w) mask logits.
        semantic: (4h, 4w) logits.
    """

    levels: tuple[Tensor, ...]
    positions: tuple[Tensor, ...] | None
    text: list[Tensor]
    exemplars: list[Tensor]
    memory: list[Tensor]
    queries: list[Tensor]
    boxes: list[Tensor]
    presence: list[Tensor]
    logits: list[Tensor]
    masks: list[Tensor]
    semantic: list[Tensor]

    def only(self, *prompts: int) -> Answers:
        """The answers to some of the prompts."""
        chosen = {name: [values[p] for p in prompts] for name, values in vars(self).items() if isinstance(values, list)}
        return replace(self, **chosen)

    def stages(self) -> dict[str, list[Tensor]]:
        """The tensors to compare by the name of their stage, as in `LIMITS`."""
        levels = {f"F{n}": list(level) for n, level in enumerate(self.levels)}
        names = ("text", "exemplars", "memory", "queries", "boxes", "presence", "logits", "masks", "semantic")
        return {**levels, **{name: getattr(self, name) for name in names}}


@functools.cache
def small_answers(variant: str, weights: Weights) -> Answers:
    """The oracle's answers to `case` in a run; computed once per process."""
    return oracle_answers(small_model(variant, weights), case(SMALL[variant]))


def relative_differences(found: Answers, expected: Answers) -> dict[str, float]:
    """Largest difference over largest expected value by stage; the worst of images and prompts.

    The presence logits are put together before they are compared: one number has no "largest value" of its own.
    """
    differences = {}
    reference = expected.stages()
    for stage, tensors in found.stages().items():
        pairs = list(zip(tensors, reference[stage], strict=True))
        if stage == "presence":
            pairs = [(torch.stack(tensors), torch.stack(reference[stage]))]
        worst = 0.0
        for ours, theirs in pairs:
            if stage == "boxes" and len(ours) == 1:
                theirs = theirs[-1:]
            assert ours.shape == theirs.shape, f"{stage}: {tuple(ours.shape)} against {tuple(theirs.shape)}"
            if not theirs.numel():
                continue  # no exemplar tokens
            difference = float((ours - theirs).abs().max() / theirs.abs().max())
            worst = max(worst, difference if difference == difference else float("inf"))
        differences[stage] = worst
    return differences


def excesses(differences: dict[str, float]) -> dict[str, float]:
    """The stages beyond their limit of `LIMITS`, with their differences."""
    return {stage: value for stage, value in differences.items() if value > LIMITS[stage]}


@contextmanager
def outputs_of(modules: dict[str, nn.Module]) -> Iterator[dict[str, Any]]:
    """What these modules return, by name, while the scope lasts."""
    seen: dict[str, Any] = {}

    def keep(name: str) -> Any:
        return lambda _module, _inputs, output: seen.__setitem__(name, output)

    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _hf_inputs(prompt: Prompt, *, like_original: bool) -> dict[str, Tensor]:
    ids = torch.tensor([prompt.token_ids])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if prompt.labels:
        inputs["input_boxes"] = torch.tensor([prompt.boxes_cxcywh_norm])
        inputs["input_boxes_labels"] = torch.tensor([prompt.labels])
    elif like_original:
        # Without boxes transformers leaves out the exemplar encoder; one box of padding brings back its CLS token.
        inputs["input_boxes"] = torch.full((1, 1, 4), -10.0)
        inputs["input_boxes_labels"] = torch.full((1, 1), -10)
    return inputs


def _hf_prompt(model: Any, vision: Any, prompt: Prompt, *, like_original: bool) -> dict[str, Tensor]:
    """The stages of one prompt alone, named as in `Answers`."""
    from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

    one = slice(prompt.image_idx, prompt.image_idx + 1)
    embeds = Sam3VisionEncoderOutput(
        last_hidden_state=vision.last_hidden_state[one],
        fpn_hidden_states=tuple(level[one] for level in vision.fpn_hidden_states),
        fpn_position_encoding=tuple(map_[one] for map_ in vision.fpn_position_encoding),
    )
    inputs = _hf_inputs(prompt, like_original=like_original)
    parts = {
        "geometry": model.geometry_encoder,
        "fusion": model.detr_encoder,
        "decoder": model.detr_decoder,
        "presence": model.detr_decoder.presence_head,  # called once per layer: the last layer's stays
    }
    with outputs_of(parts) as seen:
        output = model(vision_embeds=embeds, **inputs)
        text = model.get_text_features(inputs["input_ids"], attention_mask=inputs["attention_mask"]).pooler_output
    width = text.shape[-1]
    exemplars = text.new_zeros(0, width)
    if "geometry" in seen:
        exemplars = seen["geometry"].last_hidden_state[0][seen["geometry"].attention_mask[0].bool()]
    decoder = seen["decoder"]
    queries = decoder.intermediate_hidden_states[-1, 0]
    # What entered layers 2..L is what left layers 1..L-1; the last boxes are the output's, which are corners.
    x0, y0, x1, y1 = output.pred_boxes[0].unbind(-1)
    last = torch.stack(((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0), -1)
    return {
        "text": text[0],
        "exemplars": exemplars,
        "memory": seen["fusion"].last_hidden_state[0],
        "queries": queries,
        "boxes": torch.cat((decoder.reference_boxes[1:, 0], last[None])),
        "presence": (seen["presence"] if like_original else output.presence_logits).reshape(()),
        "logits": output.pred_logits[0],
        "masks": output.pred_masks[0],
        "semantic": output.semantic_seg[0, 0],
    }


@torch.no_grad()
def oracle_answers(model: Any, case: Case, *, vision: Any = None, like_original: bool = True) -> Answers:
    """What `transformers` computes for a case: images in one batch, prompts one at a time.

    Args:
        model: from `small_model` or `hf_model`.
        case: images and prompts.
        vision: what `model.get_vision_features(case.pixels)` gave, if it is known.
        like_original: where the two public implementations differ, what the original computes: prompts without boxes
            still get the exemplar encoder's CLS token, and presence is taken before transformers clamps it. False:
            transformers' own behaviour.
    """
    vision = model.get_vision_features(case.pixels) if vision is None else vision
    prompts = [_hf_prompt(model, vision, prompt, like_original=like_original) for prompt in case.prompts]
    return Answers(
        levels=tuple(vision.fpn_hidden_states[:3]),
        positions=tuple(map_[0] for map_ in vision.fpn_position_encoding[:3]),
        **{name: [stages[name] for stages in prompts] for name in prompts[0]},
    )


@contextmanager
def in_float64(model: Any, vision: Any) -> Iterator[Any]:
    """Within, `model` is a float64 one; gives `vision` in float64. Not for exemplars: RoIAlign's bins differ then."""

    def double(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.double()
        return tuple(map(double, value)) if isinstance(value, list | tuple) else value

    torch.set_default_dtype(torch.float64)
    try:
        model.double()
        yield type(vision)(**{name: double(value) for name, value in vision.items()})
    finally:
        model.float()
        torch.set_default_dtype(torch.float32)
