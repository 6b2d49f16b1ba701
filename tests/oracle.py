"""The public `transformers` implementation as an oracle, and the cases that it is asked.

`Sam3Model` of transformers 5.23.0 is run as a black box on strong random weights (default initialisation leaves
attention nearly uniform and boxes unmoved, which hides mistakes); its state dict is what masklet loads through its own
checkpoint tables. Every prompt is run alone and unpadded, so that our batches are compared with single answers.

transformers needs torchvision for one function, `roi_align`; onnxruntime's compiled kernel stands in for it.
"""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from masklet.config import (
    SAM3,
    DecoderConfig,
    FusionConfig,
    GeometryConfig,
    ModelConfig,
    TextConfig,
    VisionConfig,
)
from roi_references import onnx_roi_align

Weights = Literal["plain", "steep_boxes", "clamped", "faint"]

# Factors on parameters of a `Sam3Model` by name. With its full strength the box head drives most boxes to 0 or 1.
_GENTLE_BOXES = (r"box_head\.layer3", 0.05)
_INTO_NORMS = (
    r"patch_embeddings|position_embedding|token_embedding|backbone\.layer_norm|fpn_layers.*bias"
    r"|o_proj|out_proj|fc2|text_projection|text_mlp\.layer2|conv_layers"
    r"|geometry_encoder\.(final_proj|prompt_layer_norm|output_layer_norm)"
    r"|query_embed|presence_token|detr_decoder\.layers.*layer_norm"
)
_FACTORS: dict[Weights, tuple[tuple[str, float], ...]] = {
    "plain": (_GENTLE_BOXES,),
    "steep_boxes": ((r"reference_points", 8.0),),
    "clamped": (_GENTLE_BOXES, (r"scoring\.text_proj\.|presence_head\.layer3", 20.0)),
    "faint": (_GENTLE_BOXES, (_INTO_NORMS, 0.05)),
}

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


# --- models -----------------------------------------------------------------------------------------------------------


def _small(image_size: int, pretrain_image_size: int, window: int) -> ModelConfig:
    return ModelConfig(
        name=f"small{image_size}",
        width=32,
        tracker_neck=False,
        vision=VisionConfig(
            image_size=image_size,
            width=64,
            depth=4,
            heads=4,
            mlp_width=148,
            window=window,
            global_blocks=(1, 3),
            pretrain_image_size=pretrain_image_size,
            norm_eps=1e-6,  # belongs to Hugging Face's format
        ),
        text=TextConfig(width=64, depth=2, heads=4, mlp_width=128, context=32, merges=86),
        geometry=GeometryConfig(depth=2, heads=4, mlp_width=64, points=False),
        fusion=FusionConfig(depth=2, heads=4, mlp_width=64),
        decoder=DecoderConfig(depth=3, heads=4, mlp_width=64, queries=20),
        scoring_mlp_width=64,  # transformers takes the decoder's
        mask_heads=4,
    )


SMALL: dict[str, ModelConfig] = {
    "tiled": _small(168, 84, 6),  # 12 patches: the position table twice, two windows along a side
    "padded": _small(140, 70, 4),  # 10 patches: windows of 4 need padding
    "untiled": _small(112, 112, 4),  # 8 patches: the position table as it is
}

# Draws that leave room for rounding: some others amplify it beyond the limits, also between two kernels of ours.
SEEDS = {"tiled": 8, "padded": 16, "untiled": 19}

# Which small models are compared: configuration and weights.
RUNS: tuple[tuple[str, Weights], ...] = (
    ("tiled", "plain"),
    ("padded", "plain"),
    ("untiled", "plain"),
    ("tiled", "steep_boxes"),
    ("tiled", "clamped"),
    ("tiled", "faint"),
)

FULL = replace(
    SAM3,
    name="full",
    tracker_neck=False,
    vision=replace(SAM3.vision, norm_eps=1e-6),
    geometry=replace(SAM3.geometry, points=False),
)


def hf_config(config: ModelConfig) -> Any:
    """The `Sam3Config` of a masklet configuration."""
    from transformers import Sam3Config

    vision, text, width = config.vision, config.text, config.width
    backbone = {
        "hidden_size": vision.width,
        "intermediate_size": vision.mlp_width,
        "num_hidden_layers": vision.depth,
        "num_attention_heads": vision.heads,
        "image_size": vision.image_size,
        "patch_size": vision.patch_size,
        "window_size": vision.window,
        "global_attn_indexes": list(vision.global_blocks),
        "pretrain_image_size": vision.pretrain_image_size,
        "layer_norm_eps": vision.norm_eps,
    }

    def block(part: GeometryConfig | FusionConfig | DecoderConfig) -> dict[str, int]:
        return {
            "hidden_size": width,
            "num_attention_heads": part.heads,
            "intermediate_size": part.mlp_width,
            "num_layers": part.depth,
        }

    return Sam3Config(
        vision_config={
            "backbone_config": {"model_type": "sam3_vit_model", **backbone},
            "fpn_hidden_size": width,
            "backbone_feature_sizes": [[scale * vision.grid] * 2 for scale in (4, 2, 1)],
        },
        text_config={
            "hidden_size": text.width,
            "intermediate_size": text.mlp_width,
            "num_hidden_layers": text.depth,
            "num_attention_heads": text.heads,
            "max_position_embeddings": text.context,
            "vocab_size": text.vocabulary,
            "projection_dim": 48 if text.width < 512 else 512,
            "hidden_act": "gelu",
            "bos_token_id": text.vocabulary - 2,
            "eos_token_id": text.vocabulary - 1,
            "pad_token_id": 0,
        },
        geometry_encoder_config={**block(config.geometry), "roi_size": config.geometry.roi_size},
        detr_encoder_config=block(config.fusion),
        detr_decoder_config={**block(config.decoder), "num_queries": config.decoder.queries},
        mask_decoder_config={"hidden_size": width, "num_attention_heads": config.mask_heads},
    )


@torch.no_grad()
def draw_weights(model: nn.Module, *, seed: int, weights: Weights = "plain") -> None:
    """Strong random weights in place (spec/image-model.md 19.2), deterministic in `seed`.

    Args:
        model: a `Sam3Model`.
        seed: of the normal numbers.
        weights: "plain"; "steep_boxes" has reference points times 8 and an unreduced box head, so that coordinates
            reach the ends of the inverse sigmoid; "clamped" has score and presence projections times 20, so that
            logits reach the clamps; "faint" has small inputs to all norms, so that their epsilons show.
    """
    generator = torch.Generator().manual_seed(seed)
    for module_name, module in model.named_modules():
        is_norm = isinstance(module, nn.LayerNorm | nn.GroupNorm)
        for name, parameter in module.named_parameters(recurse=False):
            parameter.normal_(generator=generator)
            if is_norm and name == "weight":
                parameter.mul_(0.3).add_(1)
            elif name == "bias":
                parameter.mul_(0.3)
            elif isinstance(module, nn.ConvTranspose2d):
                parameter.div_(parameter.shape[0] ** 0.5)  # kernel = stride: one tap for each output
            elif isinstance(module, nn.Linear | nn.Conv2d):
                parameter.div_(parameter[0].numel() ** 0.5)
                if module_name.endswith(("q_proj", "k_proj")):
                    parameter.mul_(2)
    for pattern, factor in _FACTORS[weights]:
        for name, parameter in model.named_parameters():
            if re.search(pattern, name):
                parameter.mul_(factor)


def _stand_in_for_torchvision() -> types.SimpleNamespace:
    def roi_align(
        input: Tensor,
        boxes: Sequence[Tensor],
        output_size: int,
        spatial_scale: float = 1.0,
        sampling_ratio: int = -1,
        aligned: bool = False,
    ) -> Tensor:
        assert spatial_scale == 1.0 and sampling_ratio == -1 and not aligned, "the oracle's defaults changed"
        image_idx = torch.cat([torch.full((len(each),), image) for image, each in enumerate(boxes)])
        return onnx_roi_align(input, torch.cat(list(boxes)), image_idx, output_size)

    return types.SimpleNamespace(ops=types.SimpleNamespace(roi_align=roi_align))


def hf_model(config: ModelConfig, *, seed: int, weights: Weights = "plain") -> Any:
    """A `Sam3Model` in evaluation mode with strong random weights."""
    from transformers import Sam3Model
    from transformers.models.sam3 import modeling_sam3

    modeling_sam3.torchvision = _stand_in_for_torchvision()
    with skip_default_init():
        model = Sam3Model(hf_config(config))
    draw_weights(model, seed=seed, weights=weights)
    return model.eval()


@contextmanager
def skip_default_init() -> Iterator[None]:
    """Modules built within keep uninitialised parameters: all of them are drawn or loaded afterwards."""
    from transformers.initialization import no_init_weights

    with no_init_weights():
        yield


@functools.cache
def small_model(variant: str, weights: Weights = "plain") -> Any:
    """The `Sam3Model` of `SMALL[variant]`; made once per process."""
    return hf_model(SMALL[variant], seed=SEEDS[variant], weights=weights)


# --- questions --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One concept asked of one image.

    Attributes:
        image_idx: which image of the case.
        token_ids: ids of the phrase with start and end, no padding.
        boxes_cxcywh_norm: exemplar boxes as fractions of the image.
        labels: 1 positive, 0 negative, one for each box.
    """

    image_idx: int
    token_ids: tuple[int, ...]
    boxes_cxcywh_norm: tuple[tuple[float, float, float, float], ...] = ()
    labels: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Case:
    """Some prompts on some images: pixels (B, 3, R, R) in -1..1."""

    pixels: Tensor
    prompts: tuple[Prompt, ...]

    def only(self, *prompts: int) -> Case:
        """The same images with some of the prompts."""
        return replace(self, prompts=tuple(self.prompts[p] for p in prompts))


def phrase(config: ModelConfig, words: int, seed: int) -> tuple[int, ...]:
    """Start, `words` random ids, end; none is 0, which masklet (like Meta) reads as padding."""
    generator = torch.Generator().manual_seed(1000 + seed)
    ids = torch.randint(1, config.text.vocabulary - 2, (words,), generator=generator).tolist()
    return (config.text.vocabulary - 2, *ids, config.text.vocabulary - 1)


def images(config: ModelConfig, count: int, seed: int = 0) -> Tensor:
    """(count, 3, R, R) in -1..1: noise over coarse blocks, so that images differ near and far."""
    generator = torch.Generator().manual_seed(seed)
    side = config.vision.image_size
    coarse = torch.rand(count, 3, 7, 7, generator=generator).mul(2).sub(1)
    fine = torch.rand(count, 3, side, side, generator=generator).mul(2).sub(1)
    return 0.6 * nn.functional.interpolate(coarse, (side, side), mode="nearest") + 0.4 * fine


def _edge_box(grid: int) -> tuple[float, float, float, float]:
    """A box 7 cells wide for which float32 and float64 give RoIAlign's 7 bins another number of samples.

    Its bins begin near the middle between two cells: elsewhere the map is linear across the samples of a bin, and one
    sample is worth as much as two.
    """
    width = torch.tensor(7 / grid)
    for centre in torch.linspace(0.35, 0.65, 1000):
        counts, start = [], 0.0
        for x, w in ((centre, width), (centre.double(), width.double())):
            left, right = (x - w / 2) * grid, (x + w / 2) * grid
            counts.append(int(((right - left) / 7).ceil()))
            start = float(left)
        if counts[0] != counts[1] and 0.4 < start % 1 < 0.6:
            return (float(centre), 0.5, float(width), 0.37)
    raise ValueError(f"no such box on a grid of {grid}")


def case(config: ModelConfig, seed: int = 0) -> Case:
    """All situations at once on three images, two of them asked several concepts.

    Boxes of both labels: inside, partly outside, smaller than a cell, on the edge of the number of samples, and the
    whole image.
    """
    cell = 1 / config.vision.grid
    inside, other = (0.4, 0.55, 0.3, 0.5), (0.62, 0.31, 0.21, 0.17)
    outside, tiny = (0.05, 0.9, 0.3, 0.4), (0.71, 0.33, 0.4 * cell, 0.7 * cell)
    seven, whole = _edge_box(config.vision.grid), (0.5, 0.5, 1.0, 1.0)
    visual = phrase(config, 1, seed + 99)  # the reserved word that stands where only exemplars are given
    prompts = (
        Prompt(image_idx=0, token_ids=phrase(config, 3, seed)),
        Prompt(
            image_idx=0,
            token_ids=phrase(config, 9, seed + 1),
            boxes_cxcywh_norm=(inside, outside, tiny, seven),
            labels=(1, 0, 1, 0),
        ),
        Prompt(image_idx=1, token_ids=visual, boxes_cxcywh_norm=(other, whole, outside), labels=(1, 1, 0)),
        Prompt(image_idx=2, token_ids=phrase(config, 30, seed + 2), boxes_cxcywh_norm=(seven, tiny), labels=(0, 1)),
        Prompt(image_idx=2, token_ids=phrase(config, 1, seed + 3)),
    )
    return Case(pixels=images(config, 3, seed), prompts=prompts)


# --- answers ----------------------------------------------------------------------------------------------------------


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


# --- the oracle's answers ---------------------------------------------------------------------------------------------


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
