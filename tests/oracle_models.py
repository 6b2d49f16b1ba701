"""Models of the public `transformers` implementation, used as an oracle.

`Sam3Model` of transformers 5.23.0 is run as a black box on strong random weights (default initialisation leaves
attention nearly uniform and boxes unmoved, which hides mistakes); its state dict is what masklet loads through its own
checkpoint tables.

transformers needs torchvision for one function, `roi_align`; onnxruntime's compiled kernel stands in for it.
"""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
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
    tracker=None,
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
