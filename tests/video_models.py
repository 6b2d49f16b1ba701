"""The public video model of `transformers`, small, and how it is asked frame by frame (spec/video.md 15.5)."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import torch

from masklet.checkpoint.keymaps import from_hf
from masklet.checkpoint.load import with_state
from masklet.config import DecoderConfig, FusionConfig, GeometryConfig, ModelConfig, TextConfig
from masklet.model.detector import Detector
from oracle_models import draw_weights, hf_config, skip_default_init
from tracker_models import DRAWS, TRACKERS, draw_tracker, video_config

CONFIG: ModelConfig = replace(
    TRACKERS["small"],
    name="video112",
    text=TextConfig(width=64, depth=2, heads=4, mlp_width=128, context=32, merges=86),
    geometry=GeometryConfig(depth=1, heads=4, mlp_width=64, points=False, cls_without_exemplars=False),
    fusion=FusionConfig(depth=1, heads=4, mlp_width=64),
    decoder=DecoderConfig(depth=1, heads=4, mlp_width=64, queries=10, presence_clamp=10.0),
    scoring_mlp_width=64,
    mask_heads=4,
)


@functools.cache
def hf_video_model(draw: str, seed: int, strong: bool, config: ModelConfig = CONFIG, **rules: Any) -> Any:
    """A `Sam3VideoModel`.

    Args:
        draw: of the tracker's weights.
        seed: of the detector's weights, and of all if they are not `strong`.
        strong: strong random weights; else those that transformers begins with.
        config: sizes, as Hugging Face's format can hold them.
        rules: fields of `Sam3VideoConfig`.
    """
    from transformers import Sam3TrackerVideoConfig, Sam3VideoConfig, Sam3VideoModel

    whole = Sam3VideoConfig(
        detector_config=hf_config(config).to_dict(),
        tracker_config=Sam3TrackerVideoConfig(**video_config(config)).to_dict(),
        image_size=config.vision.image_size,
        low_res_mask_size=4 * config.vision.grid,
        **rules,
    )
    torch.manual_seed(seed)
    if strong:
        with skip_default_init():
            model = Sam3VideoModel(whole)
        draw_weights(model.detector_model, seed=seed)
        draw_tracker(model.tracker_model, DRAWS[draw])
        draw_weights(model.tracker_neck, seed=seed + 1)
    else:
        model = Sam3VideoModel(whole)
        tracker = model.tracker_model
        with torch.no_grad():  # two copies of one matrix, drawn apart
            tracker.prompt_encoder.shared_embedding.positional_embedding.copy_(
                tracker.shared_image_embedding.positional_embedding
            )
    return model.eval()


def ours_of(model: Any, config: ModelConfig = CONFIG) -> Detector:
    """Our model with the same weights."""
    return with_state(config, from_hf(model.state_dict(), config))
