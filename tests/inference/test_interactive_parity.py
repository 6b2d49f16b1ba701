"""Clicks through the public interface against the public `transformers` implementation, where both have the same rules.

They differ for a mask alone, where the original reads no point and `transformers` two that are none (spec/tracker.md
3.2); and pictures of `transformers` lack the vector of missing memory (10.4), which is therefore taken from ours too.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from masklet import InteractivePredictor, ObjectPrompt
from masklet.checkpoint.keymaps import from_hf
from masklet.config import TEST
from masklet.model.build import build_model
from masklet.types import ImageFeatures
from tracker_answers import like_hugging_face, our_levels, tracker_of
from tracker_models import TRACKERS, image_model
from tracker_oracle import (
    IMAGE_LIMITS,
    ImageAnswer,
    ImageQuestion,
    beyond,
    image_answers,
    image_differences,
    image_questions,
    moving_blocks,
)

IMAGE_SIZE_HW = (75, 230)  # of the picture, of which the network sees a square
NAMES = [name for name in image_questions(112) if name not in ("a mask alone", "a mask of another size")]


@functools.cache
def clicked(variant: str, draw: str) -> tuple[InteractivePredictor, ImageFeatures]:
    """A predictor with the weights of the oracle, and what it sees in the oracle's picture."""
    small = {name: getattr(TEST, name) for name in ("text", "geometry", "fusion", "decoder", "mask_heads")}
    config = replace(TRACKERS[variant], **small)
    model = build_model(config, seed=0)
    loaded = model.load_state_dict(from_hf(image_model(variant, draw).state_dict(), config), strict=False)
    assert not loaded.unexpected_keys
    like_hugging_face(tracker_of(model))
    levels = our_levels(model, moving_blocks(1, config.vision.image_size, seed=5))
    features = ImageFeatures(levels=levels, tracker_levels=levels, image_sizes_hw=(IMAGE_SIZE_HW,))
    return InteractivePredictor(model), features


def prompts(question: ImageQuestion, side: int) -> list[ObjectPrompt]:
    """The objects of a question, in pixels of the picture."""
    height, width = IMAGE_SIZE_HW
    scale = np.array([width / side, height / side])
    points, boxes = question.points_px, question.boxes_px
    return [
        ObjectPrompt(
            points=None if points is None else points[row].double().numpy() * scale,
            labels=None if question.labels is None else question.labels[row],
            box=None if boxes is None else boxes[row].double().numpy() * np.tile(scale, 2),
            logits=question.mask_logits,
        )
        for row in range(len(points if points is not None else boxes))
    ]


def best_first(answer: ImageAnswer) -> ImageAnswer:
    order = answer.quality.argsort(dim=1, descending=True)
    rows = torch.arange(len(order))[:, None]
    return ImageAnswer(answer.masks[rows, order].clamp(-32, 32), answer.quality[rows, order], answer.sight)


def sight_of(presence: list[float]) -> Tensor:
    return torch.logit(torch.tensor(presence, dtype=torch.float64)).float()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("variant", "draw"), [("small", "plain"), ("wide", "blinking")])
def test_answers(variant: str, draw: str, name: str) -> None:
    predictor, features = clicked(variant, draw)
    side = TRACKERS[variant].vision.image_size
    question = image_questions(side)[name]
    results = predictor.segment_objects(features, prompts(question, side), candidates=question.ambiguous)
    found = ImageAnswer(
        torch.from_numpy(np.stack([result.low_res_logits for result in results])),
        torch.from_numpy(np.stack([result.scores for result in results])),
        sight_of([result.presence for result in results]),
    )
    expected = best_first(image_answers(variant, draw)[name])
    assert not beyond(image_differences(found, expected), IMAGE_LIMITS)


def test_masks_are_the_stretched_logits() -> None:
    """Without filling: a pixel is inside where the bilinear logit is positive; rounding may turn those next to 0."""
    predictor, features = clicked("small", "plain")
    result = predictor.segment(features, points=[(120, 30)], hole_area=0)
    logits = torch.from_numpy(result.low_res_logits).double()[None]
    stretched = torch.nn.functional.interpolate(logits, IMAGE_SIZE_HW, mode="bilinear")[0].numpy()
    clear = np.abs(stretched) > 1e-6
    assert clear.mean() > 0.999
    assert np.array_equal(result.masks[clear], (stretched > 0)[clear])
    assert 0 < result.masks.mean() < 1
