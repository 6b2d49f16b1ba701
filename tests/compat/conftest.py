"""Weights of a tiny model in the layout of the public checkpoint, and a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
def picture() -> Image.Image:
    """75 x 60 pixels; no side is that of the model."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 15, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((75, 60), Image.Resampling.BICUBIC)
