"""Whatever device the model is on, it brings nothing from elsewhere: shown on "meta", which has shapes but no numbers.

What depends on numbers (which queries are kept, how long a text is) cannot run there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import pytest
import torch
from torch import Tensor

from masklet.model.build import build_model
from masklet.model.detector import Detector, concat_prompts
from masklet.types import ExemplarBatch, Memory, PointPrompts, PromptTokens

META = torch.device("meta")


@pytest.fixture
def model() -> Iterator[Detector]:
    with torch.no_grad():
        yield build_model("test").to(torch.bfloat16).to(META).eval()


def assert_there(*values: object) -> None:
    tensors = [value for value in values if isinstance(value, Tensor)]
    for value in values:
        if not isinstance(value, Tensor):
            tensors += [found for one in fields(value) if isinstance(found := getattr(value, one.name), Tensor)]  # type: ignore[arg-type]
    assert tensors and all(tensor.device == META for tensor in tensors)


def test_pictures(model: Detector) -> None:
    side = model.config.vision.image_size
    features = model.encode_image(torch.zeros(2, 3, side, side), ((40, 50), (60, 70)), tracker=True)
    assert features.tracker_levels is not None
    assert_there(*features.levels, *features.tracker_levels)
    tokens = torch.empty(2, 5, model.config.width, dtype=model.dtype, device=META)
    text = PromptTokens(tokens=tokens, valid=torch.ones(2, 5, dtype=torch.bool, device=META))
    image_idx = torch.arange(2, device=META)
    prompt = concat_prompts(
        text, model.encode_exemplars(features, image_idx, ExemplarBatch.empty(2, dtype=model.dtype))
    )
    raw = model.detect(features, image_idx, prompt)
    pixels = model.mask_head.pixel_features(raw.memory, prompt, features.levels, image_idx)
    shared = model.laterals(features)
    again = model.mask_head.pixel_features(raw.memory, prompt, features.levels, image_idx, shared)
    assert_there(prompt, raw, pixels, again, model.mask_head.masks(raw.queries, pixels))
    assert_there(model.decode_semantic(features, image_idx, prompt, raw))


def test_videos(model: Detector) -> None:
    side, grid, tracker = model.config.vision.image_size, model.config.vision.grid, model.tracker
    assert tracker is not None
    features = model.tracker_features(model.encode_patches(torch.zeros(1, 3, side, side)))
    given = tracker.prompt_mask(features, torch.ones(3, 40, 50, device=META))
    maps = tracker.encode_memory(features, given.mask_logits, given.sight_logits, binary=False)
    memory = Memory(
        map_tokens=(maps, maps),
        rows=torch.arange(2, device=META),
        pointers=given.pointers[:, None],
        offsets=torch.ones(1, device=META),
        horizon=16,
    )
    clicks = PointPrompts.none(3, device=META)
    assert maps.shape[:2] == (3, grid**2)
    assert_there(
        features, given, maps, tracker.track(features, memory), tracker.prompt(features, clicks, memory=memory)
    )
