"""Image features on disk: the same bits come back, and only to the model that made them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from masklet.config import TEST
from masklet.errors import DataError, OutputError
from masklet.inference.feature_file import fingerprint, load_features, save_features
from masklet.model.build import build_model
from masklet.model.detector import Detector
from masklet.types import ImageFeatures


@pytest.fixture(scope="module")
def model() -> Detector:
    return build_model("test", seed=0)


def features_of(model: Detector, *, tracker: bool = False, images: int = 2) -> ImageFeatures:
    side = model.config.vision.image_size
    pixels = torch.rand(images, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        return model.encode_image(pixels, [(31 + k, 57) for k in range(images)], tracker=tracker)


@pytest.mark.parametrize("tracker", [False, True])
def test_the_same_bits_come_back(model: Detector, tmp_path: Path, tracker: bool) -> None:
    features = features_of(model, tracker=tracker)
    save_features(features, tmp_path / "new/folder/features.safetensors", model)
    loaded = load_features(tmp_path / "new/folder/features.safetensors", model)
    assert loaded.image_sizes_hw == ((31, 57), (32, 57))
    assert len(loaded.levels) == 3
    for mine, theirs in zip(loaded.levels, features.levels, strict=True):
        assert torch.equal(mine, theirs)
    assert (loaded.tracker_levels is not None) == tracker
    for mine, theirs in zip(loaded.tracker_levels or (), features.tracker_levels or (), strict=True):
        assert torch.equal(mine, theirs)
    assert [path.name for path in (tmp_path / "new/folder").iterdir()] == ["features.safetensors"]


def test_one_picture_of_a_batch(model: Detector, tmp_path: Path) -> None:
    """Views of a batch are written alone."""
    save_features(features_of(model).select(1), tmp_path / "one.safetensors", model)
    loaded = load_features(tmp_path / "one.safetensors", model)
    assert loaded.image_sizes_hw == ((32, 57),)
    assert torch.equal(loaded.levels[2], features_of(model).levels[2][1:])


def test_another_model_is_refused(model: Detector, tmp_path: Path) -> None:
    save_features(features_of(model), tmp_path / "features.safetensors", model)
    for other in (build_model("test", seed=1), build_model(TEST.with_image_size(112), seed=0)):
        with pytest.raises(DataError, match="made by another model"):
            load_features(tmp_path / "features.safetensors", other)


def test_fingerprint_looks_at_the_vision_side_only(model: Detector) -> None:
    changed = build_model("test", seed=0)
    with torch.no_grad():
        changed.decoder.query_embedding.weight.add_(1)
    assert fingerprint(changed) == fingerprint(model)
    with torch.no_grad():
        changed.vision_encoder.blocks[0].mlp.fc1.bias.add_(1)  # type: ignore[union-attr,operator]
    assert fingerprint(changed) != fingerprint(model)


def test_number_format_follows_the_model(model: Detector, tmp_path: Path) -> None:
    """bfloat16 and float32 models of the same weights read each other's features."""
    save_features(features_of(model), tmp_path / "features.safetensors", model)
    low = build_model("test", seed=0).bfloat16()
    loaded = load_features(tmp_path / "features.safetensors", low)
    assert {level.dtype for level in loaded.levels} == {torch.bfloat16}


def test_a_model_without_tracker(tmp_path: Path) -> None:
    plain = build_model(replace(TEST, tracker=None, tracker_neck=False), seed=0)
    save_features(features_of(plain), tmp_path / "features.safetensors", plain)
    assert load_features(tmp_path / "features.safetensors", plain).tracker_levels is None


def test_files_that_hold_no_features(model: Detector, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        load_features(tmp_path / "missing.safetensors", model)
    (tmp_path / "text").write_text("no features")
    with pytest.raises(DataError, match="cannot be read"):
        load_features(tmp_path / "text", model)
    save_file({"x": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="format unknown"):
        load_features(tmp_path / "other.safetensors", model)
    save_features(features_of(model), tmp_path / "whole.safetensors", model)
    content = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="cannot be read"):
        load_features(tmp_path / "half.safetensors", model)


def test_a_folder_that_cannot_be_written(model: Detector, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        save_features(features_of(model), tmp_path / "file" / "features.safetensors", model)
