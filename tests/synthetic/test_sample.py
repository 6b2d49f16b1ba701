"""The picture and the clip to show something with, with the symbols' font and without."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from masklet.synthetic import sample


@pytest.fixture
def without_font(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(sample, "FONT_PATH", tmp_path / "no.ttf")
    sample._sheet.cache_clear()
    yield
    sample._sheet.cache_clear()


def test_a_picture_with_named_things(without_font: None) -> None:
    made = sample.sample_picture()
    with Image.open(io.BytesIO(made.jpeg)) as image:
        assert (image.format, image.size) == ("JPEG", made.size_hw[::-1])
    assert made.size_hw == sample.PICTURE_HW
    assert len(made.names) == len(set(made.names)) <= made.things
    assert made.things >= 6
    assert set(made.names) <= set(sample.known_names())
    assert not made.drawn
    assert made.jpeg == sample.sample_picture().jpeg


def test_a_clip_and_where_things_are_on_its_first_frame(without_font: None) -> None:
    clip = sample.sample_clip()
    height, width = sample.CLIP_HW
    assert clip.frames.shape == (sample.CLIP_FRAMES, height, width, 3)
    assert clip.boxes_xyxy.shape == (sample.CLIP_OBJECTS, 4)
    assert len(np.unique(clip.boxes_xyxy, axis=0)) == sample.CLIP_OBJECTS
    x0, y0, x1, y1 = clip.boxes_xyxy.T
    assert ((x0 >= 0) & (x1 > x0) & (x1 <= width)).all()
    assert ((y0 >= 0) & (y1 > y0) & (y1 <= height)).all()
    assert (clip.frames[0] != clip.frames[-1]).any()
    assert clip.name in sample.known_names()


def test_nothing_is_written(without_font: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MASKLET_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    sample.sample_picture()
    assert not list(tmp_path.iterdir())
