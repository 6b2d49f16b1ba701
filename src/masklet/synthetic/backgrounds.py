"""Backgrounds: cheap procedural pictures that look like walls, skies, lawns, boards, cloth and blurred rooms.

Every family is a function (rng, height, width) -> (H, W, 3) uint8. Slow work is done on a small grid and enlarged, or
taken from a pool of noise made once per process: a background costs about a millisecond at 224 px.
`TRAIN_FAMILIES` are used in training, `HELD_OUT_FAMILIES` only in evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

UInt8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]
Family = Callable[[np.random.Generator, int, int], UInt8Array]

_POOL_SIDE = 1024  # pixels; the noise pool is cut and mirrored to size

# Stops from dark to light, RGB, of surfaces that are common in photographs.
_PALETTES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "wood": ((70, 42, 22), (132, 86, 48), (188, 140, 92)),
    "pale wood": ((168, 132, 92), (206, 172, 128), (232, 208, 172)),
    "sky": ((70, 120, 190), (140, 186, 230), (236, 244, 250)),
    "dusk": ((40, 34, 74), (150, 84, 110), (246, 176, 120)),
    "grass": ((30, 58, 20), (76, 120, 44), (150, 178, 86)),
    "sand": ((150, 122, 86), (204, 180, 140), (240, 226, 196)),
    "water": ((14, 52, 84), (44, 110, 140), (150, 204, 214)),
    "stone": ((60, 60, 62), (126, 124, 120), (196, 194, 188)),
    "plaster": ((186, 180, 170), (220, 216, 206), (246, 244, 238)),
    "night": ((6, 8, 18), (24, 28, 48), (70, 78, 110)),
    "clay": ((88, 40, 28), (160, 88, 62), (210, 150, 116)),
    "moss": ((32, 40, 30), (88, 98, 66), (168, 172, 132)),
}
_PALETTE_NAMES = tuple(_PALETTES)


def paint_background(rng: np.random.Generator, size_hw: tuple[int, int], families: tuple[str, ...]) -> UInt8Array:
    """(H, W, 3) background of one of the families, sometimes with foreign shapes or writing on it.

    Args:
        rng: source of all choices.
        size_hw: height and width, pixels.
        families: names from `TRAIN_FAMILIES` or `HELD_OUT_FAMILIES`.
    """
    height, width = size_hw
    picture = _FAMILIES[families[int(rng.integers(len(families)))]](rng, height, width)
    chance = rng.random()
    if chance < 0.22:
        return _with_polygons(rng, picture)
    if chance < 0.34:
        return _with_writing(rng, picture)
    return picture


@cache
def noise_pool() -> FloatArray:
    """(1024, 1024) standard normal noise, the same in every process."""
    return np.random.default_rng(20240607).standard_normal((_POOL_SIDE, _POOL_SIDE), dtype=np.float32)


def noise_cut(rng: np.random.Generator, height: int, width: int) -> FloatArray:
    """(H, W) normal noise cut from the pool at a random place; larger pictures repeat it."""
    pool = noise_pool()
    top, left = (int(value) for value in rng.integers(_POOL_SIDE, size=2))
    if top + height <= _POOL_SIDE and left + width <= _POOL_SIDE:
        return pool[top : top + height, left : left + width]
    rows = np.arange(top, top + height) % _POOL_SIDE
    return pool[rows[:, None], (np.arange(left, left + width) % _POOL_SIDE)[None]]


def _enlarged(field: FloatArray, height: int, width: int) -> FloatArray:
    return np.asarray(Image.fromarray(field).resize((width, height), Image.Resampling.BICUBIC))


def _octaves(rng: np.random.Generator, height: int, width: int, cells: tuple[int, int] = (3, 3)) -> FloatArray:
    """(H, W) smooth noise of several octaves, about 0..1; `cells` along (y, x) of the coarsest."""
    small_h, small_w = max(8, height // 4), max(8, width // 4)
    total = np.zeros((small_h, small_w), dtype=np.float32)
    weight = 1.0
    roughness = rng.uniform(0.35, 0.7)
    for octave in range(4):
        rows, columns = min(cells[0] << octave, small_h), min(cells[1] << octave, small_w)
        grid = rng.random((rows + 1, columns + 1), dtype=np.float32)
        total += np.float32(weight) * _enlarged(grid, small_h, small_w)
        weight *= roughness
    low, high = float(total.min()), float(total.max())
    stretched = (total - low) / np.float32(max(high - low, 1e-6))
    return _enlarged(stretched, height, width)


def _palette(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """(3, 3) RGB stops, dark to light: a surface's, or random ones."""
    if rng.random() < 0.65:
        stops = np.array(_PALETTES[_PALETTE_NAMES[int(rng.integers(len(_PALETTE_NAMES)))]], dtype=np.float64)
        return stops[::-1] if rng.random() < 0.2 else stops
    base = rng.uniform(0, 255, 3)
    return np.clip(base + rng.normal(0, rng.uniform(10, 70), (3, 3)), 0, 255)


def _mapped(field: FloatArray, stops: npt.NDArray[np.float64]) -> UInt8Array:
    """(H, W, 3): the field's values 0..1 looked up along the colour stops."""
    positions = np.linspace(0, 255, len(stops))
    table = np.stack([np.interp(np.arange(256), positions, stops[:, c]) for c in range(3)], axis=1)
    levels = np.clip(field * 255, 0, 255).astype(np.uint8)
    return np.take(np.rint(table).astype(np.uint8), levels, axis=0)


def _coordinate(rng: np.random.Generator, height: int, width: int) -> FloatArray:
    """(H, W) position along a random direction, in sides (0..about 1.4, may start below 0)."""
    angle = rng.uniform(0, 2 * np.pi)
    side = max(height, width)
    y = (np.arange(height, dtype=np.float32) / side - 0.5) * np.float32(np.sin(angle))
    x = (np.arange(width, dtype=np.float32) / side - 0.5) * np.float32(np.cos(angle))
    return np.asarray(y[:, None] + x[None] + 0.5, dtype=np.float32)


def _plain(rng: np.random.Generator, height: int, width: int) -> UInt8Array:
    colour = _palette(rng)[int(rng.integers(3))]
    return np.broadcast_to(np.rint(colour).astype(np.uint8), (height, width, 3)).copy()


def _gradient(rng: np.random.Generator, height: int, width: int) -> UInt8Array:
    return _mapped(_coordinate(rng, height, width), _palette(rng))


def _clouds(rng: np.random.Generator, height: int, width: int) -> UInt8Array:
    return _mapped(_octaves(rng, height, width), _palette(rng))


def _grain(rng: np.random.Generator, height: int, width: int) -> UInt8Array:
    """A rough surface: smooth noise under fine noise (lawn, sand, carpet)."""
    fine = noise_cut(rng, height, width) * np.float32(rng.uniform(0.05, 0.22))
    return _mapped(_octaves(rng, height, width) * np.float32(0.6) + np.float32(0.2) + fine, _palette(rng))


def _blobs(rng: np.random.Generator, height: int, width: int) -> UInt8Array:
    """A room out of focus: soft patches of several colours."""
    cells = int(rng.integers(3, 8))
    small = np.clip(_palette(rng)[rng.integers(3, size=(cells, cells))] + rng.normal(0, 25, (cells, cells, 3)), 0, 255)
    return np.array(
        Image.fromarray(small.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC), dtype=np.uint8
    )


def _stripes(rng: np.random.Generator, height: int, width: int) -> UInt8Array:
    wave = _coordinate(rng, height, width) * np.float32(rng.uniform(4, 18))
    field = wave % 1 if rng.random() < 0.3 else (wave % 1 > 0.5).astype(np.float32)
    return _mapped(field.astype(np.float32), _palette(rng))


def _checks(rng: np.random.Generator, height: int, width: int) -> UInt8Array:
    cell = rng.uniform(0.05, 0.2) * max(height, width)
    y = np.floor((np.arange(height) + rng.uniform(0, cell)) / cell)
    x = np.floor((np.arange(width) + rng.uniform(0, cell)) / cell)
    field = ((y[:, None] + x[None]) % 2).astype(np.float32)
    return _mapped(field * np.float32(rng.uniform(0.3, 1.0)), _palette(rng))


def _boards(rng: np.random.Generator, height: int, width: int) -> UInt8Array:
    """Wooden boards: grain stretched along the boards, a different tone for each, dark joints."""
    upright = rng.random() < 0.5
    rows, columns = (width, height) if upright else (height, width)
    grain = _octaves(rng, rows, columns, cells=(16, 2))
    boards = int(rng.integers(3, 8))
    place = np.arange(rows) * boards / rows + rng.random()
    tone = rng.uniform(0.0, 0.45, boards + 1)[place.astype(int)].astype(np.float32)
    joint = np.where(place % 1 < boards / rows * 1.5, np.float32(0.25), np.float32(1.0))
    field = (grain * np.float32(0.55) + tone[:, None]) * joint[:, None]
    stops = np.array(_PALETTES["wood" if rng.random() < 0.5 else "pale wood"], dtype=np.float64)
    picture = _mapped(field, stops)
    return np.ascontiguousarray(picture.transpose(1, 0, 2)) if upright else picture


def _landscape(rng: np.random.Generator, height: int, width: int) -> UInt8Array:
    """Sky above ground, with a wavy horizon."""
    horizon = rng.uniform(0.25, 0.75) * height
    wave = np.interp(np.linspace(0, 1, width), np.linspace(0, 1, 6), rng.normal(0, 0.03 * height, 6))
    ground = np.arange(height)[:, None] > (horizon + wave)[None]
    air = np.array(_PALETTES[("sky", "dusk", "night", "plaster")[int(rng.integers(4))]], dtype=np.float64)
    floor = np.array(_PALETTES[("grass", "sand", "water", "stone", "moss")[int(rng.integers(5))]], dtype=np.float64)
    clouds = _octaves(rng, height, width, cells=(5, 2))
    rough = clouds * np.float32(0.7) + np.float32(0.15) + noise_cut(rng, height, width) * np.float32(0.08)
    return np.where(ground[..., None], _mapped(rough, floor), _mapped(clouds, air))


def _mosaic(rng: np.random.Generator, height: int, width: int) -> UInt8Array:
    """Large flat tiles of many colours."""
    cells = int(rng.integers(2, 7))
    tiles = np.clip(_palette(rng)[rng.integers(3, size=(cells, cells))] + rng.normal(0, 18, (cells, cells, 3)), 0, 255)
    return np.array(
        Image.fromarray(tiles.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST), dtype=np.uint8
    )


def _bricks(rng: np.random.Generator, height: int, width: int) -> UInt8Array:
    tall = rng.uniform(0.05, 0.1) * max(height, width)
    long = tall * rng.uniform(2.0, 2.8)
    rows = np.arange(height)[:, None] / tall
    columns = np.arange(width)[None] / long + 0.5 * (np.floor(rows) % 2)
    tones = rng.uniform(0.35, 0.85, 4096).astype(np.float32)
    field = tones[(np.floor(rows) * 61 + np.floor(columns) * 17).astype(np.int64) % 4096]
    mortar = (rows % 1 < 0.12) | (columns % 1 < 0.05)
    field = field + _octaves(rng, height, width) * np.float32(0.15)
    return _mapped(np.where(mortar, np.float32(0.05), field), _palette(rng))


def _rings(rng: np.random.Generator, height: int, width: int) -> UInt8Array:
    y = (np.arange(height, dtype=np.float32) / height - np.float32(rng.random()))[:, None]
    x = (np.arange(width, dtype=np.float32) / width - np.float32(rng.random()))[None]
    wave = np.sqrt(y * y + x * x) * np.float32(rng.uniform(20, 70))
    return _mapped(np.sin(wave) * np.float32(0.4) + np.float32(0.5), _palette(rng))


def _cells(rng: np.random.Generator, height: int, width: int) -> UInt8Array:
    """Irregular flat cells (paving, leather): nearest of random points, on a small grid."""
    small_h, small_w = max(8, height // 3), max(8, width // 3)
    points = rng.random((int(rng.integers(12, 36)), 2), dtype=np.float32)
    y, x = np.linspace(0, 1, small_h, dtype=np.float32), np.linspace(0, 1, small_w, dtype=np.float32)
    distance = (y[:, None, None] - points[:, 0]) ** 2 + (x[None, :, None] - points[:, 1]) ** 2
    tone = rng.random(len(points), dtype=np.float32)[distance.argmin(-1)]
    picture = Image.fromarray(_mapped(tone, _palette(rng))).resize((width, height), Image.Resampling.BILINEAR)
    return np.array(picture, dtype=np.uint8)


def _weave(rng: np.random.Generator, height: int, width: int) -> UInt8Array:
    """Plaid cloth: bands of two directions laid over each other."""
    bands = []
    for side in (height, width):
        tones = rng.random(int(rng.integers(5, 12)), dtype=np.float32)
        bands.append(tones[np.arange(side) * int(rng.integers(6, 20)) // side % len(tones)])
    threads = ((np.arange(height)[:, None] + np.arange(width)[None]) % 4 < 2).astype(np.float32)
    field = bands[0][:, None] * threads + bands[1][None] * (1 - threads)
    return _mapped(field, _palette(rng))


_FAMILIES: dict[str, Family] = {
    "plain": _plain,
    "gradient": _gradient,
    "clouds": _clouds,
    "grain": _grain,
    "blobs": _blobs,
    "stripes": _stripes,
    "checks": _checks,
    "boards": _boards,
    "landscape": _landscape,
    "mosaic": _mosaic,
    "bricks": _bricks,
    "rings": _rings,
    "cells": _cells,
    "weave": _weave,
}
HELD_OUT_FAMILIES = ("bricks", "rings", "cells", "weave")
TRAIN_FAMILIES = tuple(name for name in _FAMILIES if name not in HELD_OUT_FAMILIES)


def _with_polygons(rng: np.random.Generator, picture: UInt8Array) -> UInt8Array:
    """Flat foreign shapes: things that are no symbol."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    size = np.array([image.width, image.height])
    for _ in range(int(rng.integers(1, 7))):
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        centre, radius = rng.random(2) * size, rng.uniform(0.04, 0.25) * size.max()
        if rng.random() < 0.3:
            spread = np.abs(rng.uniform(0.4, 1.0, 2)) * radius
            draw.ellipse([*(centre - spread), *(centre + spread)], fill=colour)
            continue
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
        corners = centre + radius * rng.uniform(0.4, 1.0, (len(angles), 1)) * np.stack(
            [np.cos(angles), np.sin(angles)], axis=1
        )
        draw.polygon([(float(x), float(y)) for x, y in corners], fill=colour)
    return np.array(image.filter(ImageFilter.BoxBlur(1)) if rng.random() < 0.4 else image, dtype=np.uint8)


def _with_writing(rng: np.random.Generator, picture: UInt8Array) -> UInt8Array:
    """Rows of short strokes that look like writing from afar."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    colour = tuple(int(value) for value in rng.integers(0, 256, 3))
    height = rng.uniform(0.03, 0.08) * image.height
    for row in range(int(rng.integers(1, 5))):
        x, y = rng.uniform(0, 0.5) * image.width, rng.uniform(0, 0.9) * image.height + row * height
        for _ in range(int(rng.integers(4, 16))):
            points = rng.uniform(0, 1, (4, 2)) * (0.7 * height, height) + (x, y)
            draw.line([(float(a), float(b)) for a, b in points], fill=colour, width=max(1, int(height / 8)))
            x += height * (1.6 if rng.random() < 0.2 else 0.85)
    return np.array(image, dtype=np.uint8)
