"""What a video predictor takes from its model when the caller does not say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from masklet.config import DEFAULT, TEST
from masklet.errors import ConfigError
from masklet.inference.policy import VideoPolicy
from masklet.inference.video_predictor import VideoPredictor
from masklet.model.build import build_model
from masklet.ops.masks import BoolArray

FRAME = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def clicked(predictor: VideoPredictor, image_size: int | None = None) -> BoolArray:
    with predictor.open([FRAME], image_size=image_size) as video:
        return video.click(0, [(30, 20)]).masks


def test_the_rules_are_those_that_suit_the_model() -> None:
    assert VideoPredictor(build_model("default", seed=0)).policy == VideoPolicy.of(DEFAULT)
    assert VideoPredictor(build_model("test", seed=0)).policy == VideoPolicy()


def test_a_model_may_look_at_frames_in_another_size_than_at_pictures() -> None:
    own = VideoPredictor(build_model(TEST, seed=0))
    small = VideoPredictor(build_model(replace(TEST, video_image_size=56), seed=0))
    as_pictures, in_small = clicked(own), clicked(own, 56)
    assert not np.array_equal(as_pictures, in_small)
    assert np.array_equal(clicked(small), in_small)
    assert np.array_equal(clicked(small, TEST.vision.image_size), as_pictures)


def test_a_size_that_is_asked_for_is_that_of_frames_too() -> None:
    config = replace(TEST, video_image_size=56).with_image_size(112)
    assert (config.vision.image_size, config.video_image_size) == (112, None)


@pytest.mark.parametrize("side", [60, 0, -14])
def test_the_size_of_frames_fits_the_patches(side: int) -> None:
    message = rf"^video_image_size must be a positive multiple of the patch size 14, got {side}$"
    with pytest.raises(ConfigError, match=message):
        replace(TEST, video_image_size=side)
