"""Scenes: sprites placed, painted and composed over a background, with the exact mask of each.

A scene is planned first (which symbols, colours, places), then its label map is drawn, sprites that are mostly hidden
are taken out, and only then are pixels composed: so no half-visible sprite is left without a mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from masklet.errors import InputError
from masklet.ops.masks import BoolArray
from masklet.synthetic.backgrounds import TRAIN_FAMILIES, paint_background
from masklet.synthetic.camera import blurred, compressed, lit, noisy
from masklet.synthetic.cast import Actor, CastSettings, draw_cast, draw_colour, symbol_pool, weighted_choice
from masklet.synthetic.drawing import MASK_ALPHA, Patch, Placement, compose, draw_sprite
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.symbols import Symbol

UInt8Array = npt.NDArray[np.uint8]

_MIN_VISIBLE_FRACTION = 0.25  # of a sprite's pixels; sprites that show less are taken out
_MIN_VISIBLE_PX = 24  # pixels; smaller remains are taken out as well
_SPRITE_COUNT_WEIGHTS = (0.04, 0.12, 0.15, 0.16, 0.15, 0.13, 0.10, 0.08, 0.07)  # chance of 0, 1 ... 8 sprites
_MOST_CELLS = 25  # of a crowded picture


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """A layout with one sprite in nearly every cell of a jittered grid, with little overlap.

    Attributes:
        cells: numbers of cells along the shorter side, one of which is drawn for a picture; 5 at most.
        repeats: chance that a cell shows a symbol of the picture once more.
        side_range: longest side of a sprite as a fraction of the cell's side.
    """

    cells: tuple[int, ...] = (3, 4)
    repeats: float = 0.0
    side_range: tuple[float, float] = (0.8, 1.3)


@dataclass(frozen=True, kw_only=True)
class SceneSettings(CastSettings):
    """What scenes look like.

    Attributes:
        crowd: a grid full of sprites instead of 0-8 placed freely.
        families: background families, see backgrounds.py.
        side_range: longest side of a sprite as a fraction of the picture's shorter side (free layout).
        sprites: False leaves the background alone, whatever the layout.
    """

    crowd: Crowd | None = None
    families: tuple[str, ...] = TRAIN_FAMILIES
    side_range: tuple[float, float] = (0.12, 0.55)
    sprites: bool = True


@dataclass(frozen=True, kw_only=True)
class Instance(Actor):
    """One visible sprite.

    Attributes:
        box_xyxy: tight box of the visible mask, pixel edges (right and bottom exclusive).
        area_px: visible pixels.
        visible_fraction: visible pixels / pixels of the whole sprite, hidden and cut-off ones included.
    """

    box_xyxy: tuple[int, int, int, int]
    area_px: int
    visible_fraction: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """A picture and everything that is true about it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        label_map: (H, W) uint8, 0 background, i + 1 where instance i is visible.
        instances: the visible sprites; later ones lie in front.
        symbols: the table that `symbol_idx` points into.
    """

    image: UInt8Array
    label_map: UInt8Array
    instances: tuple[Instance, ...]
    symbols: tuple[Symbol, ...]

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width, pixels."""
        height, width = self.label_map.shape
        return height, width

    def masks(self, instance_idx: tuple[int, ...] | None = None) -> BoolArray:
        """(N, H, W) visible masks of the chosen instances, all of them by default."""
        chosen = range(len(self.instances)) if instance_idx is None else instance_idx
        labels = np.array([idx + 1 for idx in chosen], dtype=np.uint8)
        return self.label_map[None] == labels[:, None, None]

    def boxes_xyxy(self, instance_idx: tuple[int, ...] | None = None) -> npt.NDArray[np.float32]:
        """(N, 4) tight boxes in pixels of the chosen instances, all of them by default."""
        chosen = range(len(self.instances)) if instance_idx is None else instance_idx
        return np.array([self.instances[idx].box_xyxy for idx in chosen], dtype=np.float32).reshape(-1, 4)


def render_scene(
    sheet: SpriteSheet, rng: np.random.Generator, size_hw: tuple[int, int], settings: SceneSettings
) -> Scene:
    """A scene drawn from `rng` alone: the same state gives the same scene.

    Args:
        sheet: the sprites.
        rng: source of all choices.
        size_hw: height and width of the picture, pixels, at least 32.
        settings: layout, backgrounds and what may appear.

    Raises:
        InputError: a side is below 32 pixels.
    """
    if min(size_hw) < 32:
        raise InputError(f"size_hw must be at least 32 pixels along each side, got {size_hw}")
    if not settings.sprites:
        placements = []
    elif settings.crowd is None:
        placements = _plan(sheet, rng, size_hw, settings)
    else:
        placements = _plan_crowd(sheet, rng, size_hw, settings, settings.crowd)
    patches = [patch for placement in placements if (patch := draw_sprite(sheet, placement, size_hw)) is not None]
    patches, label_map, areas = _visible(patches, size_hw)
    canvas = paint_background(rng, size_hw, settings.families)
    for patch in patches:
        compose(canvas, patch)
    return Scene(
        image=_degraded(rng, canvas),
        label_map=label_map,
        instances=_instances(patches, label_map, areas),
        symbols=sheet.symbols,
    )


def _instances(patches: list[Patch], label_map: UInt8Array, areas: npt.NDArray[np.int64]) -> tuple[Instance, ...]:
    found = ndimage.find_objects(label_map, max_label=len(patches))
    return tuple(
        Instance(
            symbol_idx=patch.actor.symbol_idx,
            colour=patch.actor.colour,
            box_xyxy=(int(columns.start), int(rows.start), int(columns.stop), int(rows.stop)),
            area_px=int(area),
            visible_fraction=float(area / patch.full_area_px),
        )
        for patch, (rows, columns), area in zip(patches, found, areas, strict=True)
    )


def _angle(rng: np.random.Generator) -> float:
    """Radians: mostly nearly upright, sometimes any way up."""
    return float(rng.uniform(-np.pi, np.pi) if rng.random() < 0.2 else rng.normal(0, 0.22))


def _plan(
    sheet: SpriteSheet, rng: np.random.Generator, size_hw: tuple[int, int], settings: SceneSettings
) -> list[Placement]:
    height, width = size_hw
    low, high = np.log(settings.side_range[0]), np.log(settings.side_range[1])
    placements = []
    for actor in draw_cast(sheet, rng, weighted_choice(rng, _SPRITE_COUNT_WEIGHTS), settings):
        side = float(np.exp(rng.uniform(low, high))) * min(height, width)
        # Centres may lie near the border, so that some sprites are cut by it.
        margin = side * (0.1 if rng.random() < 0.25 else 0.45)
        centre = (
            rng.uniform(margin, max(width - margin, margin + 1)),
            rng.uniform(margin, max(height - margin, margin + 1)),
        )
        placements.append(
            Placement(
                actor=actor,
                centre_xy=centre,
                side_px=side,
                angle=_angle(rng),
                mirrored=bool(rng.random() < 0.5),
            )
        )
    return placements


def _plan_crowd(
    sheet: SpriteSheet, rng: np.random.Generator, size_hw: tuple[int, int], settings: SceneSettings, crowd: Crowd
) -> list[Placement]:
    height, width = size_hw
    short = crowd.cells[int(rng.integers(len(crowd.cells)))]
    cell = min(height, width) / short
    long = min(int(max(height, width) / cell), _MOST_CELLS // short)
    rows, columns = (short, long) if height <= width else (long, short)
    pool = symbol_pool(sheet, settings)
    placements: list[Placement] = []
    for place in rng.permutation(rows * columns):
        if rng.random() < 0.1:
            continue
        repeated = bool(placements) and rng.random() < crowd.repeats
        symbol_idx = (
            placements[int(rng.integers(len(placements)))].actor.symbol_idx
            if repeated
            else pool[int(rng.integers(len(pool)))]
        )
        colour = draw_colour(rng, sheet.symbols[symbol_idx], settings) if rng.random() < 0.45 else None
        jitter = rng.uniform(-0.12, 0.12, 2)
        placements.append(
            Placement(
                actor=Actor(symbol_idx=symbol_idx, colour=colour),
                centre_xy=(
                    float((place % columns + 0.5 + jitter[0]) * width / columns),
                    float((place // columns + 0.5 + jitter[1]) * height / rows),
                ),
                side_px=float(rng.uniform(*crowd.side_range)) * cell,
                angle=_angle(rng),
                mirrored=bool(rng.random() < 0.5),
            )
        )
    return placements


def _visible(patches: list[Patch], size_hw: tuple[int, int]) -> tuple[list[Patch], UInt8Array, npt.NDArray[np.int64]]:
    """The patches that can be seen well enough, the label map that they make, and the visible area of each."""
    while True:
        label_map = np.zeros(size_hw, dtype=np.uint8)
        for idx, patch in enumerate(patches):
            label_map[patch.rows, patch.columns][patch.alpha >= MASK_ALPHA] = idx + 1
        areas = np.bincount(label_map.ravel(), minlength=len(patches) + 1)[1:]
        hidden = [
            idx
            for idx, patch in enumerate(patches)
            if areas[idx] < max(_MIN_VISIBLE_FRACTION * patch.full_area_px, _MIN_VISIBLE_PX)
        ]
        if not hidden:
            return patches, label_map, areas
        # One at a time, the most hidden first: taking it out may uncover others.
        worst = min(hidden, key=lambda idx: areas[idx] / patches[idx].full_area_px)
        patches = patches[:worst] + patches[worst + 1 :]


def _degraded(rng: np.random.Generator, canvas: UInt8Array) -> UInt8Array:
    """What a camera and a file format do: light, contrast, blur, noise, JPEG; each only sometimes."""
    if rng.random() < 0.5:
        gain, gamma = rng.uniform(0.7, 1.25), rng.uniform(0.8, 1.25)
        canvas = lit(canvas, gain=gain, gamma=gamma, offset=rng.uniform(-18, 18))
    if rng.random() < 0.1:
        canvas = blurred(canvas, rng.uniform(0.3, 0.9))
    if rng.random() < 0.25:
        strength = rng.uniform(2, 12)
        canvas = noisy(canvas, strength, rng)
    if rng.random() < 0.15:
        canvas = compressed(canvas, int(rng.integers(35, 90)))
    return canvas
