"""Configuration -> modules, and random weights; the only reader of `config.py` in `model/`."""

from __future__ import annotations

import torch
from torch import nn

from masklet.config import ModelConfig, TrackerConfig, preset
from masklet.model.decoder import Decoder
from masklet.model.detector import Detector, DetectorParts
from masklet.model.fusion_encoder import FusionEncoder
from masklet.model.geometry_encoder import GeometryEncoder
from masklet.model.mask_decoder import MaskDecoder
from masklet.model.mask_head import MaskHead
from masklet.model.memory_attention import MemoryAttention
from masklet.model.memory_encoder import FuserBlock, MemoryEncoder
from masklet.model.neck import Neck
from masklet.model.prompt_encoder import PromptEncoder
from masklet.model.scoring import Scoring
from masklet.model.text_encoder import TextEncoder
from masklet.model.tracker import Tracker, TrackerParts
from masklet.model.vision_encoder import VisionEncoder


def build_detector(config: ModelConfig) -> Detector:
    """The modules that `config` describes, with PyTorch's default weights.

    Wrap the call in `torch.device("meta")` to build without memory.
    """
    vision, text, geometry, decoder = config.vision, config.text, config.geometry, config.decoder
    with torch.random.fork_rng(devices=[]):  # the same detector comes of a seed with and without a tracker
        tracker = None if config.tracker is None else build_tracker(config.tracker, config.width, vision.patch_size)
    parts = DetectorParts(
        vision_encoder=VisionEncoder(
            patch_size=vision.patch_size,
            width=vision.width,
            depth=vision.depth,
            heads=vision.heads,
            mlp_width=vision.mlp_width,
            window=vision.window,
            global_blocks=vision.global_blocks,
            pretrain_grid=vision.pretrain_grid,
            norm_eps=vision.norm_eps,
            rope_theta=vision.rope_theta,
        ),
        neck=Neck(in_width=vision.width, width=config.width),
        tracker_neck=Neck(in_width=vision.width, width=config.width) if config.tracker_neck else None,
        text_encoder=TextEncoder(
            vocabulary=text.vocabulary,
            context=text.context,
            width=text.width,
            depth=text.depth,
            heads=text.heads,
            mlp_width=text.mlp_width,
            out_width=config.width,
        ),
        geometry_encoder=GeometryEncoder(
            width=config.width,
            depth=geometry.depth,
            heads=geometry.heads,
            mlp_width=geometry.mlp_width,
            roi_size=geometry.roi_size,
            points=geometry.points,
            cls_without_exemplars=geometry.cls_without_exemplars,
        ),
        fusion_encoder=FusionEncoder(
            width=config.width, depth=config.fusion.depth, heads=config.fusion.heads, mlp_width=config.fusion.mlp_width
        ),
        decoder=Decoder(
            width=config.width,
            depth=decoder.depth,
            heads=decoder.heads,
            mlp_width=decoder.mlp_width,
            queries=decoder.queries,
            presence_clamp=decoder.presence_clamp,
        ),
        scoring=Scoring(width=config.width, mlp_width=config.scoring_mlp_width),
        mask_head=MaskHead(width=config.width, heads=config.mask_heads),
        tracker=tracker,
    )
    return Detector(config, parts)


def build_tracker(tracker: TrackerConfig, width: int, patch_size: int) -> Tracker:
    """The tracker that `tracker` describes, for a neck of `width` channels and patches of `patch_size` pixels."""
    decoder, encoder, attention = tracker.mask_decoder, tracker.memory_encoder, tracker.memory_attention
    parts = TrackerParts(
        prompt_encoder=PromptEncoder(width=width),
        mask_decoder=MaskDecoder(
            width=width,
            depth=decoder.depth,
            heads=decoder.heads,
            mlp_width=decoder.mlp_width,
            candidates=decoder.candidates,
        ),
        memory_encoder=MemoryEncoder(
            width=width, memory_width=encoder.width, depth=encoder.depth, mlp_width=encoder.mlp_width
        ),
        memory_attention=MemoryAttention(
            width=width,
            memory_width=encoder.width,
            depth=attention.depth,
            mlp_width=attention.mlp_width,
            maps=tracker.maps,
        ),
    )
    return Tracker(width=width, patch_size=patch_size, parts=parts)


def build_model(name: str | ModelConfig, *, seed: int | None = None) -> Detector:
    """A model with random weights, in evaluation mode, on the CPU in float32.

    Args:
        name: a preset ("sam3", "default", "test") or a configuration.
        seed: makes the weights repeatable; None draws from the global generator.

    Raises:
        ConfigError: there is no such preset.
    """
    config = preset(name) if isinstance(name, str) else name
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        model = build_detector(config)
        initialise(model)
    return model.eval()


@torch.no_grad()
def initialise(model: Detector) -> None:
    """Draws the weights as spec/image-model.md section 12 says.

    | what | how |
    |---|---|
    | matrices of the vision encoder, its position table, tokens and positions of the text | normal 0.02, cut at 2 |
    | embeddings of queries, reference boxes, labels, summary and presence; frequencies of places | normal 1 |
    | every other matrix | Xavier uniform |
    | biases; last layer of the box head | 0 |
    | norms | 1 and 0 |
    | scales of the tracker's fuser | 1e-6 |
    """
    for name, module in model.named_modules():
        if not name.startswith("tracker."):
            _draw(module, small=name.startswith(("vision_encoder.", "text_encoder.token_embedding")))
    for table in (model.vision_encoder.position, model.text_encoder.position):
        nn.init.trunc_normal_(table, std=0.02)
    last = model.decoder.box_head.layers[-1]
    nn.init.zeros_(last.weight)  # type: ignore[arg-type]  # a Linear in a ModuleList
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    for module in model.tracker.modules() if model.tracker is not None else ():
        _draw(module, small=False)


def _draw(module: nn.Module, *, small: bool) -> None:
    if isinstance(module, nn.LayerNorm | nn.GroupNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.trunc_normal_(module.weight, std=0.02) if small else nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.trunc_normal_(module.weight, std=0.02) if small else nn.init.normal_(module.weight)
    elif isinstance(module, PromptEncoder):
        nn.init.normal_(module.frequencies)
    elif isinstance(module, FuserBlock):
        nn.init.constant_(module.scale, 1e-6)
