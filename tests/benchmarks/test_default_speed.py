"""Pictures and frames a second of the packaged model, few of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import default_speed
import pytest
import record
import torch


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_both_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results.jsonl")
    monkeypatch.setitem(default_speed.LEAST, "pictures", 0.001)
    monkeypatch.setitem(default_speed.LEAST, "frames", 1e6)
    default_speed.main(["--turns", "1", "--pictures", "2", "--frames", "3", "--threads", "1", "--record"])
    line = json.loads((tmp_path / "results.jsonl").read_text(encoding="utf-8"))
    assert (line["benchmark"], line["preset"], line["threads"]) == ("default_speed", "default", 1)
    assert line["figures"]["frames"]["objects"] == 3
    for figures in line["figures"].values():
        assert figures["turns"] == 1 and 0 < figures["slowest"] <= figures["median"] <= figures["fastest"]
    shown = capsys.readouterr().out.splitlines()
    assert shown[-3].endswith("bar 0.001: met") and shown[-1].endswith("bar 1e+06: MISSED")
    assert "bar" not in shown[-2]
