"""The command that makes the README's picture."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[1] / "examples" / "readme_picture.py"


def run_script(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *words], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def overlays(tmp_path: Path) -> list[str]:
    """Noise, which makes the largest files, of different sizes."""
    rng = np.random.default_rng(0)
    sizes_hw = {"a.png": (400, 300), "b.png": (720, 1440)}
    for name, (height, width) in sizes_hw.items():
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(tmp_path / name)
    return list(sizes_hw)


def test_overlays_side_by_side_in_a_small_file(tmp_path: Path, overlays: list[str]) -> None:
    done = run_script(tmp_path, *overlays)
    assert done.returncode == 0, done.stderr
    made = tmp_path / "docs/images/demo.jpg"
    assert made.stat().st_size <= 200_000
    with Image.open(made) as picture:
        assert (picture.format, picture.size) == ("JPEG", (270 + 8 + 720, 360))


def test_missing_overlays_are_named(tmp_path: Path) -> None:
    done = run_script(tmp_path)
    assert done.returncode == 1
    assert "out/demo/ambulances/ambulance/overlay.png" in done.stderr.replace("\\", "/")
    assert "make demo" in done.stderr
    assert not (tmp_path / "docs").exists()
