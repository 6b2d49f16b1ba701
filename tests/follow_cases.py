"""A tiny model and rules with which much happens on a few frames, for the tests of what goes out of a video."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from masklet.checkpoint import save_native
from masklet.inference.open_video import OpenVideo
from masklet.inference.policy import VideoPolicy
from masklet.inference.video_predictor import VideoPredictor
from masklet.inference.video_result import VideoResult
from masklet.model.build import build_model
from masklet.model.detector import Detector

SIZE_HW = (60, 90)

# Scores of untrained weights are low; short waits, so that objects come and go, and frames wait, on a dozen frames.
POLICY = VideoPolicy(
    detection_score=0.02,
    birth_score=0.02,
    recondition_score=0.02,
    recondition_every=4,
    hotstart_delay=4,
    unmatched_frames=3,
    shared_detections=3,
    max_masklets=6,
)


@functools.cache
def model() -> Detector:
    return build_model("test", seed=3)


def model_file(folder: Path) -> Path:
    """That model as a native file."""
    path = folder / "tracker.safetensors"
    save_native(model(), path)
    return path


def clip(count: int = 12, size_hw: tuple[int, int] = SIZE_HW) -> npt.NDArray[np.uint8]:
    """(F, H, W, 3) blocks of random colours that move to the right over a still background."""
    rng = np.random.default_rng(4)
    height, width = size_hw
    still = rng.integers(0, 256, (6, 9, 3), dtype=np.uint8).repeat(-(-height // 6), 0).repeat(-(-width // 9), 1)
    frames = np.repeat(still[None, :height, :width], count, axis=0)
    for number, frame in enumerate(frames):
        for k in range(3):
            left = (7 * number + 30 * k) % width
            frame[10 + 15 * k : 22 + 15 * k, left : left + 20] = (40 * k, 255 - 90 * k, 200)
    return frames


def predictor(**policy: Any) -> VideoPredictor:
    return VideoPredictor(model(), policy=replace(POLICY, **policy))


def ask(video: OpenVideo) -> None:
    """A concept, an exemplar and a click."""
    video.add_concept("dog")
    video.click(3, [(40, 30)])


def documents(results: Iterable[VideoResult]) -> list[dict[str, Any]]:
    return [result.to_dict() for result in results]
