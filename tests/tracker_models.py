"""The public trackers of `transformers`, small, with strong random weights (spec/tracker.md 15.2)."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from masklet.config import (
    SAM3,
    MaskDecoderConfig,
    MemoryAttentionConfig,
    MemoryEncoderConfig,
    ModelConfig,
    TrackerConfig,
    VisionConfig,
)
from oracle_models import skip_default_init


def _small(image_size: int, width: int) -> ModelConfig:
    return ModelConfig(
        name=f"tracker{image_size}x{width}",
        width=width,
        vision=VisionConfig(
            image_size=image_size,
            width=64,
            depth=2,
            heads=4,
            mlp_width=148,
            window=4,
            global_blocks=(1,),
            pretrain_image_size=56,
            norm_eps=1e-6,  # belongs to Hugging Face's format
        ),
        tracker=TrackerConfig(
            mask_decoder=MaskDecoderConfig(mlp_width=64),
            memory_encoder=MemoryEncoderConfig(mlp_width=64),
            memory_attention=MemoryAttentionConfig(mlp_width=64),
        ),
    )


TRACKERS: dict[str, ModelConfig] = {
    "small": _small(112, 128),  # a grid of 8 cells, two tokens for a pointer
    "wide": _small(140, 256),  # a grid of 10, four tokens
}
FULL = replace(SAM3, name="full tracker", vision=replace(SAM3.vision, norm_eps=1e-6))


@dataclass(frozen=True)
class Draw:
    """Which weights: seed, factors on parameters by pattern, what is added to the logit of sight."""

    seed: int
    factors: tuple[tuple[str, float], ...] = ()
    sight: float = 0.0


_LAST_OF_MASK_HEADS = r"output_hypernetworks_mlps\.\d\.proj_out\."
DRAWS: dict[str, Draw] = {
    "plain": Draw(seed=3),
    # Objects come into sight and leave it.
    "blinking": Draw(seed=3, factors=((_LAST_OF_MASK_HEADS, 8.0),), sight=-0.44),
    # Objects stay in sight.
    "present": Draw(seed=3, factors=((r"output_hypernetworks_mlps\.", 4.0),), sight=1.5),
    # What enters the norms of pixels and of memory attention is small, so that their epsilon shows.
    "faint": Draw(
        seed=3,
        factors=(
            (r"neck\.fpn_layers\.2\.proj2\.", 0.02),
            (r"mask_embed\.conv1\.|mask_downsampler\.layers\.0\.conv\.", 0.02),
            (r"upscale_conv1\.|mask_decoder\.conv_s1\.", 0.02),
        ),
    ),
}


def _vision(config: ModelConfig) -> dict[str, Any]:
    vision = config.vision
    return {
        "backbone_config": {
            "model_type": "sam3_vit_model",
            "hidden_size": vision.width,
            "intermediate_size": vision.mlp_width,
            "num_hidden_layers": vision.depth,
            "num_attention_heads": vision.heads,
            "image_size": vision.image_size,
            "window_size": vision.window,
            "global_attn_indexes": list(vision.global_blocks),
            "pretrain_image_size": vision.pretrain_image_size,
            "layer_norm_eps": vision.norm_eps,
        },
        "fpn_hidden_size": config.width,
        "backbone_feature_sizes": [[scale * vision.grid] * 2 for scale in (4, 2, 1)],
    }


def image_config(config: ModelConfig) -> dict[str, Any]:
    """Fields of a `Sam3TrackerConfig`."""
    assert config.tracker is not None
    decoder = config.tracker.mask_decoder
    return {
        "vision_config": _vision(config),
        "prompt_encoder_config": {"hidden_size": config.width, "image_size": config.vision.image_size},
        "mask_decoder_config": {
            "hidden_size": config.width,
            "num_hidden_layers": decoder.depth,
            "num_attention_heads": decoder.heads,
            "mlp_dim": decoder.mlp_width,
            "iou_head_hidden_dim": config.width,
        },
    }


def video_config(config: ModelConfig) -> dict[str, Any]:
    """Fields of a `Sam3TrackerVideoConfig`."""
    assert config.tracker is not None
    encoder, attention, width = config.tracker.memory_encoder, config.tracker.memory_attention, config.width
    return {
        **image_config(config),
        "image_size": config.vision.image_size,
        "num_maskmem": config.tracker.maps,
        "max_object_pointers_in_encoder": config.tracker.pointers,
        "max_cond_frame_num": config.tracker.conditioning_maps,
        "memory_attention_hidden_size": width,
        "memory_attention_num_layers": attention.depth,
        "memory_attention_feed_forward_hidden_size": attention.mlp_width,
        "memory_attention_rope_feat_sizes": [config.vision.grid] * 2,
        "memory_encoder_hidden_size": width,
        "memory_encoder_output_channels": encoder.width,
        "mask_downsampler_embed_dim": width,
        "memory_fuser_num_layers": encoder.depth,
        "memory_fuser_embed_dim": width,
        "memory_fuser_intermediate_dim": encoder.mlp_width,
    }


@torch.no_grad()
def draw_tracker(model: nn.Module, draw: Draw) -> None:
    """Strong random weights in place."""
    generator = torch.Generator().manual_seed(draw.seed)
    modules = dict(model.named_modules())
    for name, tensor in model.state_dict().items():
        module = modules[name.rpartition(".")[0]]
        _draw(name, module, tensor, generator)
        for pattern, factor in draw.factors:
            if re.search(pattern, name):
                tensor.mul_(factor)
        if name.endswith("pred_obj_score_head.proj_out.bias"):
            tensor.add_(draw.sight)
    state = model.state_dict()
    first = state["shared_image_embedding.positional_embedding"]
    state["prompt_encoder.shared_embedding.positional_embedding"].copy_(first)


def _draw(name: str, module: nn.Module, tensor: Tensor, generator: torch.Generator) -> None:
    tensor.normal_(generator=generator)
    if name.endswith(".bias"):
        tensor.mul_(0.3)
    elif name.endswith(".scale"):
        tensor.mul_(0.3).add_(0.5)
    elif isinstance(module, nn.ConvTranspose2d):
        tensor.div_(tensor.shape[0] ** 0.5)  # kernel = stride: one tap for each output
    elif isinstance(module, nn.Linear | nn.Conv2d):
        tensor.div_(tensor[0].numel() ** 0.5)
        if ".q_proj." in name or ".k_proj." in name:
            tensor.mul_(2)
    elif tensor.ndim == 1:
        tensor.mul_(0.3).add_(1)  # a norm


@functools.cache
def image_model(variant: str, draw: str = "plain") -> Any:
    """A `Sam3TrackerModel`; made once per process."""
    return new_image_model(TRACKERS[variant], DRAWS[draw])


def new_image_model(config: ModelConfig, draw: Draw) -> Any:
    """A `Sam3TrackerModel`."""
    from transformers import Sam3TrackerConfig, Sam3TrackerModel

    with skip_default_init():
        model = Sam3TrackerModel(Sam3TrackerConfig(**image_config(config)))
    draw_tracker(model, draw)
    return model.eval()


@functools.cache
def video_model(variant: str, draw: str = "plain") -> Any:
    """A `Sam3TrackerVideoModel`; made once per process."""
    return new_video_model(TRACKERS[variant], DRAWS[draw])


def new_video_model(config: ModelConfig, draw: Draw) -> Any:
    """A `Sam3TrackerVideoModel`."""
    from transformers import Sam3TrackerVideoConfig, Sam3TrackerVideoModel

    with skip_default_init():
        model = Sam3TrackerVideoModel(Sam3TrackerVideoConfig(**video_config(config)))
    draw_tracker(model, draw)
    return model.eval()


class _TorchWithoutBfloat16:
    """PyTorch in which bfloat16 is float32."""

    bfloat16 = torch.float32

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@contextmanager
def memory_in_float32() -> Iterator[None]:
    """Within, `Sam3TrackerVideoModel` keeps its memory maps in float32."""
    from transformers.models.sam3_tracker_video import modeling_sam3_tracker_video as module

    module.torch = _TorchWithoutBfloat16()
    try:
        yield
    finally:
        module.torch = torch
