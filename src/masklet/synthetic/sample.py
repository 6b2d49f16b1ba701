"""A picture and a clip to show something with: made in a moment from a few symbols, the same every time.

Where the symbols' font is not installed discs stand for them, which no model knows by name. Nothing is written.
"""

from __future__ import annotations

import io
import itertools
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from masklet.synthetic.clips import of_kind, render_clip
from masklet.synthetic.scenes import Crowd, render_scene
from masklet.synthetic.sprites import FONT_PATH, SpriteSheet, sheet_of_symbols
from masklet.synthetic.symbols import load_symbols
from masklet.synthetic.world import TRAIN

UInt8Array = npt.NDArray[np.uint8]

PICTURE_HW = (960, 1280)  # pixels
CLIP_HW = (480, 640)  # pixels
CLIP_FRAMES = 16
CLIP_OBJECTS = 3
_NAMES = ("banana", "bicycle", "bus", "doughnut", "horse", "key", "snowman", "umbrella")
_DISC_SHADES = ("crimson", "orange", "gold", "seagreen", "royalblue", "purple", "hotpink", "sienna")
_QUALITY = 90  # of the JPEG file


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """A picture as a file in memory.

    Attributes:
        jpeg: the file.
        size_hw: height and width, pixels.
        names: of the things on it, each once.
        things: how many are on it.
        drawn: its things are pictures of what they are called; else discs stand for them.
    """

    jpeg: bytes
    size_hw: tuple[int, int]
    names: tuple[str, ...]
    things: int
    drawn: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleClip:
    """A clip in memory.

    Attributes:
        frames: (F, H, W, 3) uint8 RGB.
        boxes_xyxy: (O, 4) where things are on the first frame, pixels.
        name: of one of them.
    """

    frames: UInt8Array
    boxes_xyxy: npt.NDArray[np.float32]
    name: str


def sample_picture() -> Sample:
    """A picture of `PICTURE_HW` with about ten things on it."""
    sheet = _sheet()
    crowded = replace(TRAIN.scenes, crowd=Crowd(cells=(3,)))
    scene = render_scene(sheet, np.random.default_rng(0), PICTURE_HW, crowded)
    file = io.BytesIO()
    Image.fromarray(scene.image).save(file, "JPEG", quality=_QUALITY)
    return Sample(
        jpeg=file.getvalue(),
        size_hw=scene.size_hw,
        names=tuple(dict.fromkeys(sheet.symbols[one.symbol_idx].name for one in scene.instances)),
        things=len(scene.instances),
        drawn=FONT_PATH.is_file(),
    )


def sample_clip() -> SampleClip:
    """A clip of `CLIP_FRAMES` frames of `CLIP_HW`, on all of which `CLIP_OBJECTS` things are seen."""
    sheet = _sheet()
    for seed in itertools.count():
        clip = render_clip(sheet, np.random.default_rng(seed), CLIP_HW, CLIP_FRAMES, of_kind(TRAIN.clips, "gentle"))
        seen = np.flatnonzero(clip.visible.all(axis=0))[:CLIP_OBJECTS].tolist()
        if len(seen) == CLIP_OBJECTS:
            break
    return SampleClip(
        frames=clip.frames,
        boxes_xyxy=np.array([_box_xyxy(clip.masks(idx)[0]) for idx in seen], dtype=np.float32),
        name=sheet.symbols[clip.instances[seen[0]].symbol_idx].name,
    )


def known_names() -> tuple[str, ...]:
    """Names of all symbols that are ever asked by name."""
    return tuple(symbol.name for symbol in load_symbols() if symbol.named)


@cache
def _sheet() -> SpriteSheet:
    symbols = tuple(symbol for symbol in load_symbols() if symbol.name in _NAMES)
    if FONT_PATH.is_file():
        return sheet_of_symbols(symbols)
    return SpriteSheet(symbols, [_disc(shade) for shade, _ in zip(_DISC_SHADES, symbols, strict=True)], "discs")


def _disc(shade: str) -> UInt8Array:
    """(112, 112, 4) straight RGBA."""
    image = Image.new("RGBA", (112, 112))
    ImageDraw.Draw(image).ellipse((0, 0, 111, 111), fill=shade)
    return np.array(image)


def _box_xyxy(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
