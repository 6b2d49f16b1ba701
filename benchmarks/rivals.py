"""The same work done by masklet and by transformers: what `speed.py` times, as pairs of calls without arguments.

Both have the same full-size random weights and the same inputs. transformers is used as its users do (`Sam3Model`,
its default attention); its stages are its own submodules, called again with the arguments that they got in a run of
the whole model. Of `roi_align`, which it takes from torchvision, a compiled kernel of onnxruntime stands in.
"""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import torch
from postprocess import SIZES_HW, make_logits
from torch import Tensor, nn

from masklet.config import ModelConfig
from masklet.inference.batches import in_chunks
from masklet.inference.postprocess import frame_result
from masklet.inference.questions import tokens_at_once
from masklet.layers.position import position_map
from masklet.model.detector import Detector, concat_prompts
from masklet.model.int8 import to_int8
from masklet.runtime import resolve_dtype, resolve_numbers
from masklet.types import Detections, ExemplarBatch, ImageFeatures, RawDetections

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from oracle_cases import Prompt, images, phrase
from oracle_models import FULL, hf_model
from our_answers import exemplar_batch, our_model, token_batch

KEPT = 20
"""Masks of an image that are wanted; transformers decodes all 200."""

WHOLE = "whole image, one concept"
CONCEPT = "image encoded, concepts: {}"

QUERIES = 200
_BOXES = Prompt(
    image_idx=0,
    token_ids=phrase(FULL, 3, 0),
    boxes_cxcywh_norm=((0.4, 0.55, 0.3, 0.5), (0.62, 0.31, 0.21, 0.17)),
    labels=(1, 0),
)


@dataclass(frozen=True)
class Pair:
    """Two ways of doing one thing.

    Attributes:
        name: of the thing.
        ours: does it.
        theirs: does it, or one part of it; None where their way needs more memory than most machines have.
        times: how many such parts there are.
        repeats: how often a call does it, on both sides.
    """

    name: str
    ours: Callable[[], object]
    theirs: Callable[[], object] | None
    times: int = 1
    repeats: int = 1


@dataclass(frozen=True)
class Models:
    """Both models with the same weights, and one image of noise (1, 3, 1008, 1008), for each in its numbers."""

    ours: Detector
    theirs: Any
    pixels: Tensor
    their_pixels: Tensor

    @classmethod
    def make(cls, ours: str, theirs: str, seed: int = 0, config: ModelConfig | None = None) -> Models:
        """Both, on the processor.

        Args:
            ours: number format, as `load_model` takes it.
            theirs: number format.
            seed: of weights and image.
            config: sizes; full size when not given.
        """
        dtype, int8 = resolve_numbers(ours, torch.device("cpu"))
        their_dtype = resolve_dtype(theirs)
        config = FULL if config is None else config
        their_model = hf_model(config, seed=seed).to(their_dtype)
        model = our_model(config, their_model).to(dtype)
        if int8:
            to_int8(model)
        image = images(config, 1, seed)
        return cls(model, their_model, image.to(dtype), image.to(their_dtype))

    def phrase(self) -> Tensor:
        """Two words, padded to the context: (1, context) int64."""
        text = self.ours.config.text
        return token_batch((Prompt(image_idx=0, token_ids=phrase(self.ours.config, 2, 0)),), text.context)

    def to(self, device: torch.device) -> Models:
        """Everything on another device."""
        pixels, their_pixels = self.pixels.to(device), self.their_pixels.to(device)
        return Models(self.ours.to(device), self.theirs.to(device), pixels, their_pixels)


# --- the network ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Call:
    """A call of a module, to be repeated."""

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self) -> Any:
        return self.module(*self.args, **self.kwargs)


def calls_within(modules: dict[str, nn.Module], run: Callable[[], object]) -> dict[str, _Call]:
    """The calls of `modules` that `run` makes."""
    calls: dict[str, _Call] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda module, args, kwargs: calls.__setitem__(name, _Call(module, args, kwargs))

    handles = [module.register_forward_pre_hook(keep(name), with_kwargs=True) for name, module in modules.items()]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _their_text(prompts: tuple[Prompt, ...]) -> dict[str, Tensor]:
    """Phrases padded to the context, as transformers' processor pads them."""
    ids = token_batch(prompts, FULL.text.context)
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


def _first(keep: int) -> Tensor:
    """(1, Q) bool with the first `keep` queries marked."""
    return torch.arange(QUERIES)[None] < keep


def stage_pairs(models: Models) -> list[Pair]:
    """The parts of the network on one image and one prompt of text and two boxes."""
    ours, theirs, dtype = models.ours, models.theirs, models.pixels.dtype
    text = _their_text((_BOXES,))
    boxes = {
        "input_boxes": torch.tensor([_BOXES.boxes_cxcywh_norm], dtype=models.their_pixels.dtype),
        "input_boxes_labels": torch.tensor([_BOXES.labels]),
    }
    modules = {
        "vision": theirs.vision_encoder.backbone,
        "neck": theirs.vision_encoder.neck,
        "geometry": theirs.geometry_encoder,
        "fusion": theirs.detr_encoder,
        "decoder": theirs.detr_decoder,
        "scoring": theirs.dot_product_scoring,
        "mask head": theirs.mask_decoder,
    }
    calls = calls_within(modules, lambda: theirs(pixel_values=models.their_pixels, **text, **boxes))

    trunk = ours.vision_encoder(models.pixels)
    features = ImageFeatures(levels=ours.neck(trunk), tracker_levels=None, image_sizes_hw=((1008, 1008),))
    one, exemplars = torch.zeros(1, dtype=torch.int64), exemplar_batch((_BOXES,))
    prompt = concat_prompts(ours.encode_text(text["input_ids"]), ours.encode_exemplars(features, one, exemplars))
    raw = ours.detect(features, one, prompt)
    level = features.levels[-1]
    height, width = level.shape[-2:]
    position = position_map(height=height, width=width, channels=FULL.width, device=level.device, dtype=dtype)
    tokens = level.flatten(2).transpose(1, 2)

    def decode_and_score() -> Tensor:
        decoded = ours.decoder(raw.memory, position, prompt, grid_hw=(height, width))
        return ours.scoring(decoded.queries[-1], prompt)

    def all_masks() -> tuple[Tensor, Tensor]:
        pixels = ours.mask_head.pixel_features(raw.memory, prompt, features.levels, one)
        return ours.mask_head.masks(raw.queries, pixels), ours.mask_head.semantic(pixels)

    return [
        Pair("vision encoder", lambda: ours.vision_encoder(models.pixels), calls["vision"]),
        Pair("neck", lambda: ours.neck(trunk), calls["neck"]),
        Pair("text encoder", lambda: ours.encode_text(text["input_ids"]), lambda: theirs.get_text_features(**text)),
        Pair("geometry encoder", lambda: ours.encode_exemplars(features, one, exemplars), calls["geometry"]),
        Pair("fusion encoder", lambda: ours.fusion_encoder(tokens, one, position, prompt), calls["fusion"]),
        Pair("decoder and scoring", decode_and_score, lambda: (calls["decoder"](), calls["scoring"]())),
        Pair("mask head, all masks and semantic map", all_masks, calls["mask head"]),
        Pair(
            f"mask head, {KEPT} masks kept",
            lambda: ours.decode_masks(features, one, prompt, raw, _first(KEPT)),
            calls["mask head"],
        ),
    ]


def _ask(model: Detector, features: ImageFeatures, prompts: tuple[Prompt, ...]) -> list[Tensor]:
    """Masks of `KEPT` queries of each prompt on one image, in parts of bounded memory as the predictor does it."""
    text = model.encode_text(token_batch(prompts, FULL.text.context))
    one = torch.zeros(1, dtype=torch.int64)
    summary = model.encode_exemplars(features, one, ExemplarBatch.empty(1, dtype=model.dtype))
    masks = []
    laterals = functools.cache(lambda image: model.laterals(features)) if len(prompts) > 1 else None
    for chunk in in_chunks(range(len(prompts)), max(1, tokens_at_once(model.device) // FULL.vision.grid**2)):
        image_idx = torch.zeros(len(chunk), dtype=torch.int64)
        prompt = concat_prompts(text.select(torch.tensor(list(chunk))), summary.select(image_idx))
        raw: RawDetections = model.detect(features, image_idx, prompt)
        keep = _first(KEPT).expand(len(chunk), -1)
        masks += model.decode_masks(features, image_idx, prompt, raw, keep, laterals=laterals)
    return masks


def phrases(count: int) -> tuple[Prompt, ...]:
    """Prompts of text alone."""
    return tuple(Prompt(image_idx=0, token_ids=phrase(FULL, 1 + seed % 4, seed)) for seed in range(count))


def whole_pair(models: Models) -> Pair:
    """One image, one concept: pixels to masks."""
    text = _their_text(phrases(1))
    return Pair(
        WHOLE,
        lambda: _ask(models.ours, models.ours.encode_image(models.pixels), phrases(1)),
        lambda: models.theirs(pixel_values=models.their_pixels, **text),
    )


def concept_pair(models: Models, concepts: int) -> Pair:
    """Some concepts on an image that is already encoded: one call of ours, a call for each concept of theirs."""
    features = models.ours.encode_image(models.pixels)
    vision = models.theirs.get_vision_features(models.their_pixels)
    text = _their_text(phrases(1))
    return Pair(
        CONCEPT.format(concepts),
        lambda: _ask(models.ours, features, phrases(concepts)),
        lambda: models.theirs(vision_embeds=vision, **text),
        times=concepts,
    )


# --- after the network ------------------------------------------------------------------------------------------------


def _their_processor() -> Any:
    """transformers' image processor class; importing it needs torchvision, of which nothing is used here."""

    class AnyTorchvision(importlib.machinery.PathFinder):
        @classmethod
        def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> Any:
            if fullname.partition(".")[0] != "torchvision":
                return None
            loader: Any = SimpleNamespace(create_module=cls.make, exec_module=id)
            return importlib.machinery.ModuleSpec(fullname, loader)

        @staticmethod
        def make(spec: Any) -> MagicMock:
            return MagicMock(__name__=spec.name, __path__=[], __spec__=spec)

    importlib.import_module("transformers.models.auto.image_processing_auto")  # asks for torchvision's version
    finder = AnyTorchvision()
    sys.meta_path.append(finder)
    try:
        from transformers.models.sam3.image_processing_sam3 import Sam3ImageProcessor
    finally:
        sys.meta_path.remove(finder)
    return Sam3ImageProcessor


def postprocess_pairs() -> list[Pair]:
    """Mask logits of kept queries to bool masks in the size of the picture; for ours, codes are made on the way."""
    processor = _their_processor()
    return [_postprocess_pair(processor, size, count) for size in ("1080p", "4K") for count in (1, 20, 200)]


def _postprocess_pair(processor: Any, size: str, count: int) -> Pair:
    size_hw = SIZES_HW[size]
    logits = make_logits("objects", QUERIES)
    boxes = torch.tensor([0.5, 0.5, 0.4, 0.3]).expand(QUERIES, 4)
    kept = Detections(
        query_idx=torch.arange(count),
        scores=torch.full((count,), 0.9),
        boxes_cxcywh_norm=boxes[:count],
        mask_logits=logits[:count],
    )
    outputs = SimpleNamespace(
        pred_masks=logits[None],
        pred_boxes=boxes[None],
        pred_logits=torch.where(_first(count), 8.0, -8.0),
        presence_logits=torch.full((1, 1), 8.0),
        semantic_seg=None,
    )

    def ours() -> object:
        return frame_result(kept, image="", image_size_hw=size_hw, concept="", presence=1.0, model="").masks

    def theirs() -> object:
        found = processor.post_process_instance_segmentation(
            None, outputs, threshold=0.5, mask_threshold=0.5, target_sizes=[size_hw]
        )[0]["masks"]
        assert len(found) == count
        return found

    too_much = count * size_hw[0] * size_hw[1] > 5e8  # their float maps of 200 masks at 4K take over 13 GB
    return Pair(f"post-processing, {count} masks, {size}", ours, None if too_much else theirs)
