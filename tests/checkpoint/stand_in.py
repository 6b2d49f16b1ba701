"""Small stand-ins for the public checkpoints: every entry of the key lists, with all sizes shrunk.

`tests/data/keys/*.tsv` list name, shape and dtype of every entry of the published files. The shrunk sizes are those of
`SMALL`: the public depths, small widths. Contents are random bits, not-a-numbers included.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from masklet.config import (
    SAM3,
    DecoderConfig,
    FusionConfig,
    GeometryConfig,
    MaskDecoderConfig,
    MemoryAttentionConfig,
    MemoryEncoderConfig,
    ModelConfig,
    TextConfig,
    TrackerConfig,
    VisionConfig,
)

KEYS = Path(__file__).parents[1] / "data" / "keys"
SIZES = {1024: 64, 256: 16, 4736: 40, 4096: 48, 2048: 24, 512: 32, 258: 18, 768: 48, 3072: 192, 49408: 520}
SIZES |= {577: 5, 576: 4, 5184: 36, 200: 6}
TRACKER_SIZES = {256: 16, 2048: 24, 1024: 64, 128: 8, 64: 4, 32: 2}
# The channels of the mask down-sampler are the same in a model of any width, but for what leaves it.
DOWNSAMPLER, DOWNSAMPLED = "mask_downsampler.", ("mask_downsampler.encoder.12.", "mask_downsampler.final_conv.")

SMALL = ModelConfig(
    name="stand-in",
    width=16,
    tracker_neck=True,
    vision=VisionConfig(
        image_size=84,
        width=64,
        depth=32,
        heads=16,
        mlp_width=40,
        window=2,
        global_blocks=SAM3.vision.global_blocks,
        pretrain_image_size=28,
    ),
    text=TextConfig(width=64, depth=24, heads=16, mlp_width=48, context=32, merges=6),
    geometry=GeometryConfig(depth=3, heads=8, mlp_width=24),
    fusion=FusionConfig(depth=6, heads=8, mlp_width=24),
    decoder=DecoderConfig(depth=6, heads=8, mlp_width=24, queries=6),
    scoring_mlp_width=24,
    tracker=TrackerConfig(
        mask_decoder=MaskDecoderConfig(mlp_width=24),
        memory_encoder=MemoryEncoderConfig(width=4, mlp_width=64),
        memory_attention=MemoryAttentionConfig(mlp_width=24),
    ),
)

HF_CONFIG: dict[str, Any] = {
    "model_type": "sam3",
    "vision_config": {
        "fpn_hidden_size": 16,
        "backbone_config": {
            "image_size": 84,
            "patch_size": 14,
            "hidden_size": 64,
            "num_hidden_layers": 32,
            "num_attention_heads": 16,
            "intermediate_size": 40,
            "window_size": 2,
            "global_attn_indexes": [7, 15, 23, 31],
            "pretrain_image_size": 28,
            "layer_norm_eps": 1e-6,
            "rope_parameters": {"rope_theta": 10000.0, "rope_type": "axial"},
        },
    },
    "text_config": {
        "hidden_size": 64,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 48,
        "max_position_embeddings": 32,
        "vocab_size": 520,
    },
    "geometry_encoder_config": {
        "hidden_size": 16,
        "num_layers": 3,
        "num_attention_heads": 8,
        "intermediate_size": 24,
        "roi_size": 7,
    },
    "detr_encoder_config": {"hidden_size": 16, "num_layers": 6, "num_attention_heads": 8, "intermediate_size": 24},
    "detr_decoder_config": {
        "hidden_size": 16,
        "num_layers": 6,
        "num_attention_heads": 8,
        "intermediate_size": 24,
        "num_queries": 6,
    },
    "mask_decoder_config": {"hidden_size": 16, "num_attention_heads": 8},
}

HF_TRACKER_CONFIG: dict[str, Any] = {
    "model_type": "sam3_tracker_video",
    "prompt_encoder_config": {"hidden_size": 16},
    "mask_decoder_config": {"hidden_size": 16, "mlp_dim": 24, "iou_head_hidden_dim": 16},
    "memory_attention_hidden_size": 16,
    "memory_attention_feed_forward_hidden_size": 24,
    "memory_encoder_hidden_size": 16,
    "memory_encoder_output_channels": 4,
    "mask_downsampler_embed_dim": 16,
    "memory_fuser_embed_dim": 16,
    "memory_fuser_intermediate_dim": 64,
}


@functools.cache
def key_list(name: str) -> dict[str, tuple[int, ...]]:
    """Shapes by name of one list, at the public sizes."""
    rows = [line.split("\t") for line in (KEYS / f"{name}-keys.tsv").read_text().splitlines()]
    return {key: tuple(int(size) for size in shape.split("x") if size) for key, shape, _ in rows}


def meta_keys() -> dict[str, tuple[int, ...]]:
    """All entries of `sam3.pt`."""
    return {**key_list("meta-detector"), **key_list("meta-tracker")}


def random_bits(shape: tuple[int, ...], seed: int) -> Tensor:
    """float32 of every kind: infinities and not-a-numbers too."""
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randint(-(2**31), 2**31, shape, generator=generator, dtype=torch.int64)
        .to(torch.int32)
        .view(torch.float32)
    )


def rotary_factors(side: int) -> Tensor:
    """The table of spec/image-model.md section 2 for heads of 4 channels and windows of 2."""
    one_frequency = torch.tensor([1.0])  # 10000 ** -0
    token = torch.arange(side * side)
    scale = 2 / side
    x = torch.outer((token % side).float() * scale, one_frequency)
    y = torch.outer((token // side).float() * scale, one_frequency)
    angles = torch.cat((x, y), 1)
    return torch.polar(torch.ones_like(angles), angles)


def _state(keys: dict[str, tuple[int, ...]], *, tracker_alone: bool = False) -> dict[str, Tensor]:
    state = {}
    for seed, (name, shape) in enumerate(keys.items()):
        if name.endswith("freqs_cis"):
            state[name] = rotary_factors(6 if shape[0] == 5184 else 2)
            continue
        tracker = name.startswith(("tracker.", "tracker_model.")) or (
            tracker_alone and not name.startswith("vision_encoder.")
        )
        state[name] = random_bits(_small_tracker(name, shape) if tracker else _small(shape, SIZES), seed)
    return state


def _small(shape: tuple[int, ...], sizes: dict[int, int]) -> tuple[int, ...]:
    return tuple(sizes.get(size, size) for size in shape)


def _small_tracker(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if DOWNSAMPLER not in name:
        return _small(shape, TRACKER_SIZES)
    return (*_small(shape[:1], TRACKER_SIZES), *shape[1:]) if any(last in name for last in DOWNSAMPLED) else shape


def meta_state() -> dict[str, Tensor]:
    """A small `sam3.pt`: flat, all 1465 entries."""
    return _state(meta_keys())


def hf_state(kind: str) -> dict[str, Tensor]:
    """A small Hugging Face file: `kind` is "image", "video" (as published) or "tracker"."""
    state = _state(key_list(f"hf-{kind}"), tracker_alone=kind == "tracker")
    twin = "shared_image_embedding.positional_embedding"
    for name in state:
        if name.endswith("prompt_encoder.shared_embedding.positional_embedding"):
            state[name] = state[name.replace("prompt_encoder.shared_embedding.positional_embedding", twin)].clone()
    return state


def write_hf(folder: Path, kind: str, config: dict[str, Any] | None = None) -> Path:
    """A small Hugging Face folder in one file."""
    folder.mkdir(parents=True)
    save_file(hf_state(kind), folder / "model.safetensors", {"format": "pt"})
    values = HF_CONFIG if config is None else config
    if kind == "video" and config is None:
        values = {"model_type": "sam3_video", "detector_config": HF_CONFIG, "tracker_config": HF_TRACKER_CONFIG}
    (folder / "config.json").write_text(json.dumps(values))
    return folder


def assert_same_bits(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Same names, and for each the same shape, dtype and bits."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        other = found[name]
        assert (other.shape, other.dtype) == (tensor.shape, tensor.dtype), name
        assert torch.equal(_bits(other), _bits(tensor)), name


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)
