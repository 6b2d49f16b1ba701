"""Where the weights come from, and what the other arguments do."""

from __future__ import annotations

import inspect
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from masklet.checkpoint import load_model, save_native
from masklet.compat.sam3 import model_builder
from masklet.compat.sam3.model_builder import (
    build_sam3_image_model,
    build_sam3_video_model,
    build_sam3_video_predictor,
    build_tracker,
)
from masklet.config import TEST
from masklet.errors import CheckpointError, InputError
from masklet.model.build import build_model


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


def test_clicks(sam3_pt: Path, tmp_path: Path) -> None:
    assert build_sam3_image_model(checkpoint_path=sam3_pt).inst_interactive_predictor is None
    model = build_sam3_image_model(checkpoint_path=sam3_pt, enable_inst_interactivity=True)
    assert model.inst_interactive_predictor is not None
    assert model.inst_interactive_predictor.model is model.detector
    save_native(build_model(replace(TEST, tracker=None), seed=0), tmp_path / "plain.safetensors")
    with pytest.raises(InputError, match=r"\(predict_inst\) need a model with a tracker, which model 'test' has not"):
        build_sam3_image_model(checkpoint_path=tmp_path / "plain.safetensors", enable_inst_interactivity=True)


# --- videos -----------------------------------------------------------------------------------------------------------


def test_signatures_of_video_builders() -> None:
    """The order counts: programs give the first arguments without names."""
    assert list(inspect.signature(build_sam3_video_model).parameters) == [
        "checkpoint_path",
        "load_from_HF",
        "bpe_path",
        "has_presence_token",
        "geo_encoder_use_img_cross_attn",
        "strict_state_dict_loading",
        "apply_temporal_disambiguation",
        "device",
        "compile",
    ]
    assert list(inspect.signature(build_sam3_video_predictor).parameters)[:9] == [
        "checkpoint_path",
        "bpe_path",
        "has_presence_token",
        "geo_encoder_use_img_cross_attn",
        "strict_state_dict_loading",
        "async_loading_frames",
        "video_loader_type",
        "apply_temporal_disambiguation",
        "gpus_to_use",
    ]


def test_video_model(sam3_pt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="MASKLET_SAM3_CHECKPOINT"):
        build_sam3_video_model()
    with pytest.raises(CheckpointError, match="downloading was not allowed"):
        build_sam3_video_predictor(load_from_HF=False)
    monkeypatch.setenv("MASKLET_SAM3_CHECKPOINT", str(sam3_pt))
    model = build_sam3_video_model(bpe_path="no/such/file.gz", device="cuda")
    assert model.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert not model.training
    assert not model.detector.detector.training
    assert model.tracker.tracker is model.detector.detector.tracker
    assert model.tracker.backbone is model.detector.backbone is model.detector.detector
    expected = sum(parameter.numel() for parameter in load_model(sam3_pt, device="cpu").parameters())
    assert sum(parameter.numel() for parameter in model.parameters()) == expected  # each is counted once


def test_temporal_disambiguation(sam3_pt: Path) -> None:
    with_it = build_sam3_video_model(sam3_pt)
    assert (with_it.policy.hotstart_delay, with_it.policy.memory_selection) == (15, True)
    assert with_it.tracker.policy.bank.select
    without = build_sam3_video_model(sam3_pt, apply_temporal_disambiguation=False)
    assert (without.policy.hotstart_delay, without.policy.memory_selection) == (0, False)
    assert not without.tracker.policy.bank.select
    predictor = build_sam3_video_predictor(sam3_pt, apply_temporal_disambiguation=False)
    assert predictor.model.policy == without.policy


@pytest.mark.parametrize("gpus", [None, [], range(0)])
def test_video_predictor(sam3_pt: Path, gpus: Any) -> None:
    predictor = build_sam3_video_predictor(str(sam3_pt), "no/such/file.gz", gpus_to_use=gpus, device="cpu")
    assert predictor.model.device.type == "cpu"
    assert not predictor.model.training


def test_gpus(sam3_pt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several are not used together: the first one is taken."""
    devices: list[Any] = []

    def record(*arguments: Any, device: Any, **options: Any) -> Any:
        devices.append(device)
        return load_model(sam3_pt, device="cpu", dtype="float32")

    monkeypatch.setattr(model_builder, "load_model", record)
    build_sam3_video_predictor(gpus_to_use=range(2, 4))
    assert devices == ["cuda:2"]


def test_tracker(sam3_pt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKLET_SAM3_CHECKPOINT", str(sam3_pt))
    alone = build_tracker(apply_temporal_disambiguation=False)
    assert alone.backbone is None
    assert not alone.policy.bank.select
    whole = build_tracker(True, with_backbone=True)
    assert whole.policy.bank.select
    assert whole.backbone is not None
    assert whole.backbone.tracker is whole.tracker
    assert not whole.training
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), whole.tracker.parameters(), strict=True))

    compiled: list[Any] = []
    monkeypatch.setattr(torch, "compile", lambda function, **options: compiled.append(options) or function)
    build_tracker(True, compile_mode="max-autotune")
    build_sam3_video_model(compile=True)
    assert [options.get("mode") for options in compiled] == ["max-autotune-no-cudagraphs", None]


def test_a_model_without_tracker(tmp_path: Path) -> None:
    save_native(build_model(replace(TEST, tracker=None), seed=0), tmp_path / "plain.safetensors")
    for build in (build_sam3_video_model, build_sam3_video_predictor):
        with pytest.raises(InputError, match="model 'test' has no tracker"):
            build(tmp_path / "plain.safetensors", device="cpu")
