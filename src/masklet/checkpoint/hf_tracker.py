"""`tracker_config` of Hugging Face's `config.json` <-> `TrackerConfig` (spec/tracker.md 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from masklet.checkpoint.hf_reader import Reader
from masklet.config import (
    SAM3,
    MaskDecoderConfig,
    MemoryAttentionConfig,
    MemoryEncoderConfig,
    TrackerConfig,
    VisionConfig,
)
from masklet.errors import CheckpointError

_FIXED: Final = (  # path, the only value that this network has
    ("sigmoid_scale_for_mem_enc", 20.0),
    ("sigmoid_bias_for_mem_enc", -10.0),
    ("enable_occlusion_spatial_embedding", True),
    ("enable_temporal_pos_encoding_for_object_pointers", True),
    ("multimask_output_in_sam", True),
    ("multimask_output_for_tracking", True),
    ("multimask_min_pt_num", 0),
    ("multimask_max_pt_num", 1),
    ("memory_attention_num_attention_heads", 1),
    ("memory_attention_downsample_rate", 1),
    ("memory_attention_feed_forward_hidden_act", "relu"),
    ("rope_parameters.rope_theta", 10000.0),
    ("mask_downsampler_kernel_size", 3),
    ("mask_downsampler_stride", 2),
    ("mask_downsampler_padding", 1),
    ("mask_downsampler_total_stride", 16),
    ("mask_downsampler_hidden_act", "gelu"),
    ("memory_fuser_kernel_size", 7),
    ("memory_fuser_padding", 3),
    ("memory_fuser_hidden_act", "gelu"),
    ("prompt_encoder_config.mask_input_channels", 16),
    ("prompt_encoder_config.num_point_embeddings", 4),
    ("prompt_encoder_config.hidden_act", "gelu"),
    ("mask_decoder_config.hidden_act", "gelu"),
    ("mask_decoder_config.attention_downsample_rate", 2),
    ("mask_decoder_config.iou_head_depth", 3),
    ("mask_decoder_config.dynamic_multimask_via_stability", True),
    ("mask_decoder_config.dynamic_multimask_stability_delta", 0.05),
    ("mask_decoder_config.dynamic_multimask_stability_thresh", 0.98),
)
_WIDTHS: Final = (
    "prompt_encoder_config.hidden_size",
    "mask_decoder_config.hidden_size",
    "mask_decoder_config.iou_head_hidden_dim",
    "memory_attention_hidden_size",
    "memory_encoder_hidden_size",
    "mask_downsampler_embed_dim",
    "memory_fuser_embed_dim",
)


def tracker_from_hf(values: Mapping[str, Any], where: str, width: int) -> TrackerConfig | None:
    """The tracker that `tracker_config` describes; what it does not say is as in the public model.

    Args:
        values: of model type "sam3_tracker_video".
        where: file name for messages.
        width: of the neck.

    Returns:
        None where nothing is said and the neck is not as wide as the public one's: the tracker's sizes are not known.

    Raises:
        CheckpointError: a value that this network does not have.
        ConfigError: sizes that do not fit each other.
    """
    reader = Reader(values, f"{where}: tracker_config")
    reader.check(_FIXED)
    told = {path: reader.get(path) for path in _WIDTHS}
    if width != SAM3.width and not any(told.values()):
        return None
    wrong = {path: found for path, found in told.items() if (SAM3.width if found is None else found) != width}
    if wrong:
        raise CheckpointError(f"{reader.where}: every width must equal that of the neck {width}, found {wrong}")
    public = TrackerConfig()
    decoder, encoder, attention = public.mask_decoder, public.memory_encoder, public.memory_attention
    return TrackerConfig(
        mask_decoder=MaskDecoderConfig(
            depth=reader.integer("mask_decoder_config.num_hidden_layers", decoder.depth),
            heads=reader.integer("mask_decoder_config.num_attention_heads", decoder.heads),
            mlp_width=reader.integer("mask_decoder_config.mlp_dim", decoder.mlp_width),
            candidates=reader.integer("mask_decoder_config.num_multimask_outputs", decoder.candidates),
        ),
        memory_encoder=MemoryEncoderConfig(
            width=reader.integer("memory_encoder_output_channels", encoder.width),
            depth=reader.integer("memory_fuser_num_layers", encoder.depth),
            mlp_width=reader.integer("memory_fuser_intermediate_dim", encoder.mlp_width),
        ),
        memory_attention=MemoryAttentionConfig(
            depth=reader.integer("memory_attention_num_layers", attention.depth),
            mlp_width=reader.integer("memory_attention_feed_forward_hidden_size", attention.mlp_width),
        ),
        maps=reader.integer("num_maskmem", public.maps),
        pointers=reader.integer("max_object_pointers_in_encoder", public.pointers),
        conditioning_maps=reader.integer("max_cond_frame_num", public.conditioning_maps),
    )


def tracker_to_hf(tracker: TrackerConfig, width: int, vision: VisionConfig) -> dict[str, Any]:
    """Fields of `tracker_config`, `vision_config` left out.

    transformers 5.23 builds memory maps of 64 channels only, whatever is written here.
    """
    decoder, encoder, attention = tracker.mask_decoder, tracker.memory_encoder, tracker.memory_attention
    return {
        "image_size": vision.image_size,
        "prompt_encoder_config": {
            "model_type": "sam3_tracker_video_prompt_encoder",
            "hidden_size": width,
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
        },
        "mask_decoder_config": {
            "model_type": "sam3_tracker_video_mask_decoder",
            "hidden_size": width,
            "num_hidden_layers": decoder.depth,
            "num_attention_heads": decoder.heads,
            "mlp_dim": decoder.mlp_width,
            "num_multimask_outputs": decoder.candidates,
            "iou_head_hidden_dim": width,
        },
        "num_maskmem": tracker.maps,
        "max_object_pointers_in_encoder": tracker.pointers,
        "max_cond_frame_num": tracker.conditioning_maps,
        "memory_attention_hidden_size": width,
        "memory_attention_num_layers": attention.depth,
        "memory_attention_feed_forward_hidden_size": attention.mlp_width,
        "memory_attention_rope_feat_sizes": [vision.grid] * 2,
        "memory_encoder_hidden_size": width,
        "memory_encoder_output_channels": encoder.width,
        "mask_downsampler_embed_dim": width,
        "memory_fuser_num_layers": encoder.depth,
        "memory_fuser_embed_dim": width,
        "memory_fuser_intermediate_dim": encoder.mlp_width,
    }
