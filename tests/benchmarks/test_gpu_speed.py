"""A small model on the processor stands in for a GPU: that it runs, and finds the same as the other side."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import gpu_speed
import pytest
import record
import torch
from rivals import Models

from oracle_models import SMALL

TILED = SMALL["tiled"]
# transformers has no summary token where there are no exemplars.
CONFIG = replace(TILED, geometry=replace(TILED.geometry, cls_without_exemplars=False))


def test_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results.jsonl")
    monkeypatch.setattr(gpu_speed, "MOST_MS", 1e6)
    gpu_speed.main(["--device", "cpu", "--turns", "1", "--objects", "3", "--record"], CONFIG)
    line = json.loads((tmp_path / "results.jsonl").read_text(encoding="utf-8"))
    assert (line["benchmark"], line["objects"], line["compiled"]) == ("gpu_speed", 3, False)
    assert all(value > 0 for value in line["figures"].values())
    assert capsys.readouterr().out.endswith("bar of 1e+06 ms: met\n")


@torch.no_grad()
def test_both_sides_do_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they get the same picture."""
    models = Models.make("float32", "float32", config=CONFIG)
    side = CONFIG.vision.image_size
    pixels = torch.rand(1, 3, side, side, generator=torch.manual_seed(0)).mul_(2).sub_(1)
    monkeypatch.setattr(gpu_speed, "to_pixels", lambda levels, size, device: pixels)
    ids = models.phrase()
    mine, other = (
        made(model, CONFIG, ids, 4)()
        for made, model in ((gpu_speed.ours, models.ours), (gpu_speed.theirs, models.theirs))
    )
    for one, two in zip(mine[:2], other[:2], strict=True):
        assert torch.allclose(one, two, atol=1e-4)
    assert mine[2].shape == other[2].shape == (4, *gpu_speed.SIZE_HW)
    assert (mine[2] != other[2]).float().mean() < 1e-3
