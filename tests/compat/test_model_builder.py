"""Where the weights come from, and what the other arguments do."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from masklet.checkpoint import load_model
from masklet.compat.sam3.model_builder import build_sam3_image_model
from masklet.errors import CheckpointError, InputError


@pytest.fixture(autouse=True)
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights anywhere, and no network."""
    monkeypatch.delenv("MASKLET_SAM3_CHECKPOINT", raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_signature() -> None:
    assert list(inspect.signature(build_sam3_image_model).parameters) == [
        "bpe_path",
        "device",
        "eval_mode",
        "checkpoint_path",
        "load_from_HF",
        "enable_segmentation",
        "enable_inst_interactivity",
        "compile",
    ]


def test_order_of_places(sam3_pt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError) as caught:
        build_sam3_image_model()
    for way in ("path of the file", "MASKLET_SAM3_CHECKPOINT", "Hugging Face cache", "huggingface_hub"):
        assert way in str(caught.value)
    with pytest.raises(CheckpointError, match="downloading was not allowed"):
        build_sam3_image_model(load_from_HF=False)

    snapshot = tmp_path / "cache/models--facebook--sam3/snapshots/0"
    snapshot.mkdir(parents=True)
    shutil.copy(sam3_pt, snapshot / "sam3.pt")
    assert build_sam3_image_model(load_from_HF=False).detector.config.name == "test"
    monkeypatch.setenv("MASKLET_SAM3_CHECKPOINT", str(tmp_path / "none.pt"))
    with pytest.raises(CheckpointError, match=r"none\.pt"):  # before the cache
        build_sam3_image_model()
    assert build_sam3_image_model(checkpoint_path=str(sam3_pt)).detector.config.name == "test"  # before the variable


def test_weights_and_mode(sam3_pt: Path) -> None:
    model = build_sam3_image_model(bpe_path="no/such/file.gz", device="cuda", checkpoint_path=sam3_pt)
    assert model.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    expected = load_model(sam3_pt, device="cpu", dtype="float32").state_dict()
    state = model.cpu().detector.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
    assert not model.training
    assert not model.detector.training
    assert build_sam3_image_model(eval_mode=False, checkpoint_path=sam3_pt).detector.training


def test_compile(sam3_pt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []

    def record(function: Any, **options: Any) -> Any:
        compiled.append(function)
        return function

    monkeypatch.setattr(torch, "compile", record)
    model = build_sam3_image_model(checkpoint_path=sam3_pt, compile=True)
    assert [function.__self__ for function in compiled] == [model.detector.vision_encoder]


def test_clicks_are_refused(sam3_pt: Path) -> None:
    with pytest.raises(InputError, match="predict_inst"):
        build_sam3_image_model(checkpoint_path=sam3_pt, enable_inst_interactivity=True)
