"""On CUDA the packaged model finds what it finds on the processor: `make test-gpu`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from masklet import ImagePredictor, InteractivePredictor, VideoPredictor, load_model
from masklet.inference.frame_result import FrameResult
from masklet.inference.video_result import VideoResult
from masklet.media.span import Span
from masklet.model.detector import Detector

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
EXAMPLES = Path(__file__).parents[2] / "examples"
PHOTOS = sorted((EXAMPLES / "images").glob("*.jpg"))
ASKED = ["animal", "ambulance", "house", "hamburger"]

# Of one number format, sums are taken in another order; of bfloat16 beside float32 the limits are those of issue 5.
EXACT = {"score": 1e-3, "overlap": 0.995}
ROUNDED = {"score": 0.02, "overlap": 0.98}
NEAR_THRESHOLD = 0.03
"""A score so near to the threshold may fall to its other side."""


@pytest.fixture(autouse=True)
def whole_float32() -> Iterator[None]:
    """Convolutions would else round float32 to 10 bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@cache
def model(device: str, dtype: str, compiled: bool = False) -> Detector:
    return load_model(device=device, dtype=dtype, compile=compiled)


@cache
def photos_on_processor() -> list[list[FrameResult]]:
    return ImagePredictor(model("cpu", "float32")).segment(PHOTOS, ASKED)


def overlap(mine: np.ndarray, theirs: np.ndarray) -> float:
    """Of two masks; 1 if both are empty."""
    union = np.count_nonzero(mine | theirs)
    return np.count_nonzero(mine & theirs) / union if union else 1.0


def assert_alike(mine: FrameResult | VideoResult, theirs: FrameResult | VideoResult, limits: dict[str, float]) -> None:
    threshold = model("cpu", "float32").config.selection.score_threshold
    pairs = list(zip(mine.scores, theirs.scores, strict=False))
    for score in (*mine.scores[len(pairs) :], *theirs.scores[len(pairs) :]):
        assert abs(score - threshold) < NEAR_THRESHOLD
    left = list(range(len(theirs.scores)))
    for idx in range(len(pairs)):  # best first: nearly equal scores may change places
        overlaps = [overlap(mine.masks[idx], theirs.masks[other]) for other in left]
        best = left.pop(int(np.argmax(overlaps)))
        assert max(overlaps) >= limits["overlap"]
        assert abs(mine.scores[idx] - theirs.scores[best]) <= limits["score"]


@pytest.mark.parametrize(
    ("dtype", "compiled", "limits"),
    [("float32", False, EXACT), ("bfloat16", False, ROUNDED), ("bfloat16", True, ROUNDED)],
)
def test_photos(dtype: str, compiled: bool, limits: dict[str, float]) -> None:
    found = ImagePredictor(model(DEVICE, dtype, compiled)).segment(PHOTOS, ASKED)
    assert sum(len(result) for row in found for result in row) >= 6
    for mine, theirs in zip(found, photos_on_processor(), strict=True):
        for one, other in zip(mine, theirs, strict=True):
            assert_alike(one, other, limits)


def test_a_list_is_read_ahead_and_gives_what_single_pictures_give() -> None:
    predictor = ImagePredictor(model(DEVICE, "float32"))
    together = predictor.segment(PHOTOS * 3, "animal")  # more than one batch
    alone = [predictor.segment(photo, "animal") for photo in PHOTOS]
    for one, other in zip(together, alone * 3, strict=True):
        assert_alike(one, other, EXACT)


def test_clicks() -> None:
    results = []
    for device in ("cpu", DEVICE):
        predictor = InteractivePredictor(model(device, "float32"))
        results.append(predictor.segment(PHOTOS[0], points=[(200.0, 150.0)]))
    assert overlap(results[0].masks[0], results[1].masks[0]) >= EXACT["overlap"]
    assert abs(results[0].scores[0] - results[1].scores[0]) <= EXACT["score"]


def test_a_film() -> None:
    pytest.importorskip("av")
    found: list[list[VideoResult]] = []
    for device in ("cpu", DEVICE):
        with VideoPredictor(model(device, "float32")).open(EXAMPLES / "clips/grapes.mp4", span=Span(end=12)) as video:
            video.add_concept("bunch of grapes")
            found.append(list(video.propagate()))
    assert [list(one.object_ids) for one in found[0]] == [list(one.object_ids) for one in found[1]]
    assert max(len(one.object_ids) for one in found[0]) == 3
    for one, other in zip(*found, strict=True):
        for mine, theirs in zip(one.masks, other.masks, strict=True):
            assert overlap(mine, theirs) >= 0.98  # a few pixels of a mask that is remembered twelve times


def test_masks_stay_on_the_device() -> None:
    detector = model(DEVICE, "bfloat16")
    predictor = ImagePredictor(detector)
    features = predictor.encode(PHOTOS[0])
    assert features.device == detector.device and detector.device.type == DEVICE
