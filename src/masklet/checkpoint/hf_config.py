"""Hugging Face's `config.json` <-> `ModelConfig`.

Fields that transformers writes but never reads for this model (the `layer_norm_eps` of the small transformers) are
not looked at; fields that would change the network (activations, scale factors) must have the published values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from masklet.checkpoint.hf_reader import Reader
from masklet.checkpoint.hf_tracker import tracker_from_hf, tracker_to_hf
from masklet.config import (
    SAM3,
    DecoderConfig,
    FusionConfig,
    GeometryConfig,
    ModelConfig,
    TextConfig,
    VisionConfig,
)
from masklet.errors import CheckpointError

_BYTE_SYMBOLS_AND_MARKS: Final = TextConfig(merges=0).vocabulary
_FIXED: Final = (  # path below the detector's configuration, the only value that this network has
    ("vision_config.backbone_config.hidden_act", "gelu"),
    ("vision_config.backbone_config.num_channels", 3),
    ("vision_config.backbone_config.layer_scale_init_value", None),
    ("vision_config.scale_factors", [4.0, 2.0, 1.0, 0.5]),
    ("text_config.hidden_act", "gelu"),
    ("geometry_encoder_config.hidden_act", "relu"),
    ("detr_encoder_config.hidden_act", "relu"),
    ("detr_decoder_config.hidden_act", "relu"),
)


def config_from_hf(values: Mapping[str, Any], where: str, *, tracker_neck: bool, tracker: bool = False) -> ModelConfig:
    """The configuration of the detector that a `config.json` describes.

    Args:
        values: of model type "sam3" or "sam3_video" (the published file).
        where: file name for messages.
        tracker_neck: whether the weights have the tracker's pyramid; the image model's configuration does not say.
        tracker: whether they have the tracker.

    Raises:
        CheckpointError: another model, a missing field, or a value that this network does not have.
        ConfigError: sizes that do not fit each other.
    """
    kind = values.get("model_type")
    if kind not in ("sam3", "sam3_video"):
        raise CheckpointError(f"{where}: expected model_type 'sam3' or 'sam3_video', found {kind!r}: another model")
    detector = values.get("detector_config") if kind == "sam3_video" else values
    if not isinstance(detector, Mapping):
        raise CheckpointError(f"{where}: expected the sizes of the model at detector_config, found {detector!r}")
    reader = Reader(detector, where)
    reader.check(_FIXED)
    width = reader.integer("vision_config.fpn_hidden_size")
    parts = ("geometry_encoder", "detr_encoder", "detr_decoder", "mask_decoder")
    widths = {part: reader.integer(f"{part}_config.hidden_size") for part in parts}
    if set(widths.values()) != {width}:
        raise CheckpointError(f"{where}: every hidden_size must equal fpn_hidden_size {width}, found {widths}")
    decoder = _decoder(reader)
    return ModelConfig(
        name="huggingface",
        width=width,
        tracker_neck=tracker_neck,
        tracker=tracker_from_hf(values.get("tracker_config", {}), where, width) if tracker else None,
        vision=_vision(reader),
        text=_text(reader),
        geometry=GeometryConfig(
            depth=reader.integer("geometry_encoder_config.num_layers"),
            heads=reader.integer("geometry_encoder_config.num_attention_heads"),
            mlp_width=reader.integer("geometry_encoder_config.intermediate_size"),
            roi_size=reader.integer("geometry_encoder_config.roi_size"),
            points=False,
        ),
        fusion=FusionConfig(
            depth=reader.integer("detr_encoder_config.num_layers"),
            heads=reader.integer("detr_encoder_config.num_attention_heads"),
            mlp_width=reader.integer("detr_encoder_config.intermediate_size"),
        ),
        decoder=decoder,
        scoring_mlp_width=decoder.mlp_width,  # transformers takes the decoder's
        mask_heads=reader.integer("mask_decoder_config.num_attention_heads"),
    )


def _vision(reader: Reader) -> VisionConfig:
    base = "vision_config.backbone_config."
    theta = reader.get(base + "rope_theta", reader.get(base + "rope_parameters.rope_theta", VisionConfig.rope_theta))
    return VisionConfig(
        image_size=reader.integer(base + "image_size"),
        patch_size=reader.integer(base + "patch_size"),
        width=reader.integer(base + "hidden_size"),
        depth=reader.integer(base + "num_hidden_layers"),
        heads=reader.integer(base + "num_attention_heads"),
        mlp_width=reader.integer(base + "intermediate_size"),
        window=reader.integer(base + "window_size"),
        global_blocks=reader.integers(base + "global_attn_indexes"),
        pretrain_image_size=reader.integer(base + "pretrain_image_size"),
        norm_eps=reader.number(base + "layer_norm_eps", 1e-6),
        rope_theta=float(theta),
    )


def _text(reader: Reader) -> TextConfig:
    vocabulary = reader.integer("text_config.vocab_size")
    if vocabulary < _BYTE_SYMBOLS_AND_MARKS:
        raise CheckpointError(
            f"{reader.where}: text_config.vocab_size must be at least {_BYTE_SYMBOLS_AND_MARKS}, found {vocabulary}"
        )
    return TextConfig(
        width=reader.integer("text_config.hidden_size"),
        depth=reader.integer("text_config.num_hidden_layers"),
        heads=reader.integer("text_config.num_attention_heads"),
        mlp_width=reader.integer("text_config.intermediate_size"),
        context=reader.integer("text_config.max_position_embeddings"),
        merges=vocabulary - _BYTE_SYMBOLS_AND_MARKS,
    )


def _decoder(reader: Reader) -> DecoderConfig:
    return DecoderConfig(
        depth=reader.integer("detr_decoder_config.num_layers"),
        heads=reader.integer("detr_decoder_config.num_attention_heads"),
        mlp_width=reader.integer("detr_decoder_config.intermediate_size"),
        queries=reader.integer("detr_decoder_config.num_queries"),
    )


def with_known_name(config: ModelConfig, fallback: str) -> ModelConfig:
    """The configuration called "sam3" when its sizes are those of the public model, else `fallback`."""
    public = replace(
        SAM3,
        tracker_neck=config.tracker_neck,
        tracker=None if config.tracker is None else SAM3.tracker,
        vision=replace(SAM3.vision, image_size=config.vision.image_size, norm_eps=config.vision.norm_eps),
        geometry=replace(SAM3.geometry, points=config.geometry.points),
    )
    named = replace(config, name=SAM3.name)
    return named if named == public else replace(config, name=fallback)


def config_to_hf(config: ModelConfig, *, projection_width: int, video: bool) -> dict[str, Any]:
    """A `config.json` with which transformers builds the same network.

    Args:
        config: of the detector.
        projection_width: columns of the dead projection of the text encoder.
        video: for the published layout with detector and tracker; without a tracker in `config` its fields are left at
            their defaults.

    Raises:
        CheckpointError: transformers has no such network.
    """
    if config.scoring_mlp_width != config.decoder.mlp_width:
        raise CheckpointError(
            "Hugging Face's scoring takes its MLP width from the decoder: "
            f"scoring_mlp_width {config.scoring_mlp_width} with decoder.mlp_width {config.decoder.mlp_width} "
            "cannot be written in that format"
        )
    detector = {
        "model_type": "sam3",
        "vision_config": _vision_to_hf(config),
        "text_config": _text_to_hf(config.text, projection_width),
        "geometry_encoder_config": {
            **_block_to_hf(config, config.geometry),
            "model_type": "sam3_geometry_encoder",
            "roi_size": config.geometry.roi_size,
        },
        "detr_encoder_config": {**_block_to_hf(config, config.fusion), "model_type": "sam3_detr_encoder"},
        "detr_decoder_config": {
            **_block_to_hf(config, config.decoder),
            "model_type": "sam3_detr_decoder",
            "num_queries": config.decoder.queries,
        },
        "mask_decoder_config": {
            "model_type": "sam3_mask_decoder",
            "hidden_size": config.width,
            "num_attention_heads": config.mask_heads,
            "num_upsampling_stages": 3,
        },
    }
    if not video:
        return {"architectures": ["Sam3Model"], **detector}
    tracker = {"model_type": "sam3_tracker_video", "vision_config": detector["vision_config"]}
    if config.tracker is not None:
        tracker |= tracker_to_hf(config.tracker, config.width, config.vision)
    return {
        "architectures": ["Sam3VideoModel"],
        "model_type": "sam3_video",
        "detector_config": detector,
        "tracker_config": tracker,
    }


def _vision_to_hf(config: ModelConfig) -> dict[str, Any]:
    vision = config.vision
    return {
        "model_type": "sam3_vision_model",
        "fpn_hidden_size": config.width,
        "backbone_feature_sizes": [[scale * vision.grid] * 2 for scale in (4, 2, 1)],
        "scale_factors": [4.0, 2.0, 1.0, 0.5],
        "backbone_config": {
            "model_type": "sam3_vit_model",
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "hidden_size": vision.width,
            "num_hidden_layers": vision.depth,
            "num_attention_heads": vision.heads,
            "intermediate_size": vision.mlp_width,
            "window_size": vision.window,
            "global_attn_indexes": list(vision.global_blocks),
            "pretrain_image_size": vision.pretrain_image_size,
            "layer_norm_eps": vision.norm_eps,
            "rope_parameters": {"rope_theta": vision.rope_theta, "rope_type": "axial"},
            "hidden_act": "gelu",
        },
    }


def _text_to_hf(text: TextConfig, projection_width: int) -> dict[str, Any]:
    return {
        "model_type": "clip_text_model",
        "hidden_size": text.width,
        "num_hidden_layers": text.depth,
        "num_attention_heads": text.heads,
        "intermediate_size": text.mlp_width,
        "max_position_embeddings": text.context,
        "vocab_size": text.vocabulary,
        "projection_dim": projection_width,
        "hidden_act": "gelu",
        "bos_token_id": text.vocabulary - 2,
        "eos_token_id": text.vocabulary - 1,
    }


def _block_to_hf(config: ModelConfig, part: GeometryConfig | FusionConfig | DecoderConfig) -> dict[str, Any]:
    return {
        "hidden_size": config.width,
        "num_layers": part.depth,
        "num_attention_heads": part.heads,
        "intermediate_size": part.mlp_width,
    }
