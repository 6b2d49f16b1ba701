"""A tiny model whose untrained answers are above its threshold, so that there is something to see in tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from masklet.checkpoint import save_native
from masklet.config import TEST, SelectionConfig
from masklet.model.build import build_model
from masklet.model.detector import Detector

# Scores of the untrained test model lie between 0.15 and 0.35.
CONFIDENT = replace(TEST, selection=SelectionConfig(score_threshold=0.23, nms_iou=None))


def confident_model(seed: int = 0) -> Detector:
    """Finds between a few and all of its 12 queries on most pictures."""
    return build_model(CONFIDENT, seed=seed)


def confident_file(folder: Path) -> Path:
    """That model as a native file."""
    path = folder / "confident.safetensors"
    save_native(confident_model(), path)
    return path


def picture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Blocks of random colours, (H, W, 3)."""
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    rows, columns = np.arange(height) * 6 // height, np.arange(width) * 8 // width
    return np.ascontiguousarray(blocks[rows][:, columns])
