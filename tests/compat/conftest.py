"""Weights of a tiny model in the layout of the public checkpoint, and a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

import confident
from masklet.checkpoint.convert import convert
from masklet.checkpoint.save import save_native
from masklet.compat.sam3.model.sam3_image import Sam3Image
from masklet.compat.sam3.model_builder import build_sam3_image_model
from masklet.model.build import build_model


@pytest.fixture(scope="session")
def sam3_pt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    save_native(build_model("test", seed=3), folder / "tiny.safetensors")
    convert(folder / "tiny.safetensors", folder / "sam3.pt", "meta")
    return folder / "sam3.pt"


@pytest.fixture(scope="session")
def model(sam3_pt: Path) -> Sam3Image:
    return build_sam3_image_model(checkpoint_path=sam3_pt, device="cpu")


@pytest.fixture(scope="session")
def video_pt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a model that is sure of what it finds and that it sees it: masks differ, and are not empty."""
    found = build_model("test", seed=5)
    assert found.tracker is not None
    with torch.no_grad():
        found.decoder.presence_head.layers[-1].bias.add_(5)
        found.tracker.mask_decoder.sight_head.layers[-1].bias.add_(5)
        found.scoring.prompt_project.bias.fill_(0.9)
        found.scoring.query_project.bias.fill_(0.9)
    folder = tmp_path_factory.mktemp("video_weights")
    save_native(found, folder / "tiny.safetensors")
    convert(folder / "tiny.safetensors", folder / "sam3.pt", "meta")
    return folder / "sam3.pt"


@pytest.fixture(scope="session")
def clip() -> npt.NDArray[np.uint8]:
    """(5, 44, 60, 3): a bright square on a coloured ground moves to the right."""
    frames = np.stack([confident.picture(44, 60, 4)] * 5)
    for index, frame in enumerate(frames):
        frame[12:30, 8 + 6 * index : 26 + 6 * index] = (250, 240, 40)
    return frames


@pytest.fixture(scope="session")
def picture() -> Image.Image:
    """75 x 60 pixels; no side is that of the model."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 15, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((75, 60), Image.Resampling.BICUBIC)
