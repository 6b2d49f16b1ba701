"""Seconds a frame beside transformers, on tiny models and a few frames."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import record
import torch
import video_speed


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_both_follow_as_many_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results.jsonl")
    # Twelve are more than there are queries, so that two buckets begin.
    few = ["--warm-up", "2", "--least", "2", "--most", "2", "--seconds", "0", "--threads", "2", "--frames", "2"]
    video_speed.main(["--size", "small", "--objects", "1", "12", *few, "--record"])
    line = json.loads((tmp_path / "results.jsonl").read_text(encoding="utf-8"))
    assert line["benchmark"] == "video_speed" and line["preset"] == "small" and line["threads"] == 2
    assert list(line["figures"]) == ["1 objects", "12 objects"]
    for figures in line["figures"].values():
        assert figures["turns"] == 2 and figures["ours_s"] > 0 and figures["theirs_s"] > 0
    assert "12 objects" in capsys.readouterr().out


def test_the_default_model_is_timed_in_its_own_sizes() -> None:
    config = video_speed.SIZES["default"]
    assert config.vision.image_size == 448 and config.width == 128 and config.decoder.queries == 40


def test_another_number_of_objects_is_told() -> None:
    """Twelve cannot begin on one frame."""
    with torch.inference_mode(), pytest.raises(SystemExit, match="expected 12 objects on both sides after 1 frames"):
        video_speed.pair_of(video_speed.SIZES["small"], 12, frames=2, warm_up=1, repeats=1)
