"""Scenes: sprites placed, painted and composed over a background, with the exact mask of each.

A scene is planned first (which symbols, colours, places), then its label map is drawn, sprites that are mostly hidden
are taken out, and only then are pixels composed: so no half-visible sprite is left without a mask.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter
from scipy import ndimage

from masklet.errors import InputError
from masklet.synthetic.backgrounds import TRAIN_FAMILIES, noise_cut, paint_background
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.symbols import COLOURS, Symbol, is_held_out_colour

UInt8Array = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]

_MASK_ALPHA = 128  # a pixel belongs to a sprite from this alpha (of 255) on
_MIN_VISIBLE_FRACTION = 0.25  # of a sprite's pixels; sprites that show less are taken out
_MIN_VISIBLE_PX = 24  # pixels; smaller remains are taken out as well
_SPRITE_COUNT_WEIGHTS = (0.04, 0.12, 0.15, 0.16, 0.15, 0.13, 0.10, 0.08, 0.07)  # chance of 0, 1 ... 8 sprites
_REPEAT_WEIGHTS = (0.48, 0.27, 0.16, 0.09)  # chance that a symbol comes 1, 2, 3, 4 times
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
class SceneSettings:
    """What scenes look like.

    Attributes:
        crowd: a grid full of sprites instead of 0-8 placed freely.
        families: background families, see backgrounds.py.
        held_out_colours: may symbols be painted in the colours that training never shows.
        exemplar_only: may symbols appear that are never asked by name.
        side_range: longest side of a sprite as a fraction of the picture's shorter side (free layout).
        sprites: False leaves the background alone, whatever the layout.
    """

    crowd: Crowd | None = None
    families: tuple[str, ...] = TRAIN_FAMILIES
    held_out_colours: bool = False
    exemplar_only: bool = True
    side_range: tuple[float, float] = (0.12, 0.55)
    sprites: bool = True


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One visible sprite.

    Attributes:
        symbol_idx: row of the sheet's table.
        colour: the colour word that it was painted in, None for its natural colours.
        box_xyxy: tight box of the visible mask, pixel edges (right and bottom exclusive).
        area_px: visible pixels.
        visible_fraction: visible pixels / pixels of the whole sprite, hidden and cut-off ones included.
    """

    symbol_idx: int
    colour: str | None
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


@dataclass(frozen=True, kw_only=True)
class _Placement:
    """Where a sprite goes: centre in pixels, longest side in pixels, angle in radians."""

    symbol_idx: int
    colour: str | None
    centre_xy: tuple[float, float]
    side_px: float
    angle: float
    mirrored: bool


@dataclass(frozen=True, kw_only=True)
class _Patch:
    """A sprite drawn at its size, cut to the picture."""

    placement: _Placement
    rows: slice
    columns: slice
    rgb: UInt8Array  # (h, w, 3) premultiplied
    alpha: UInt8Array  # (h, w)
    full_area_px: int


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
    patches = [patch for placement in placements if (patch := _draw(sheet, placement, size_hw)) is not None]
    patches, label_map, areas = _visible(patches, size_hw)
    canvas = paint_background(rng, size_hw, settings.families)
    for patch in patches:
        _compose(canvas, patch)
    return Scene(
        image=_degraded(rng, canvas),
        label_map=label_map,
        instances=_instances(patches, label_map, areas),
        symbols=sheet.symbols,
    )


def _instances(patches: list[_Patch], label_map: UInt8Array, areas: npt.NDArray[np.int64]) -> tuple[Instance, ...]:
    found = ndimage.find_objects(label_map, max_label=len(patches))
    return tuple(
        Instance(
            symbol_idx=patch.placement.symbol_idx,
            colour=patch.placement.colour,
            box_xyxy=(int(columns.start), int(rows.start), int(columns.stop), int(rows.stop)),
            area_px=int(area),
            visible_fraction=float(area / patch.full_area_px),
        )
        for patch, (rows, columns), area in zip(patches, found, areas, strict=True)
    )


def _choice(rng: np.random.Generator, weights: tuple[float, ...]) -> int:
    return min(int(np.searchsorted(np.cumsum(weights), rng.random() * sum(weights), side="right")), len(weights) - 1)


def _colour_of(rng: np.random.Generator, symbol: Symbol, settings: SceneSettings) -> str:
    """A colour to paint the symbol in; evaluation often takes one that training never shows."""
    held_out = [colour for colour in COLOURS if is_held_out_colour(symbol.name, colour)]
    if settings.held_out_colours and held_out and rng.random() < 0.5:
        return held_out[int(rng.integers(len(held_out)))]
    known = [colour for colour in COLOURS if colour not in held_out]
    return known[int(rng.integers(len(known)))]


def _symbol_pool(sheet: SpriteSheet, settings: SceneSettings) -> list[int]:
    return [idx for idx, symbol in enumerate(sheet.symbols) if symbol.named or settings.exemplar_only]


def _cast(
    sheet: SpriteSheet, rng: np.random.Generator, count: int, settings: SceneSettings
) -> list[tuple[int, str | None]]:
    """`count` pairs of symbol and colour: repeats, siblings of one category, and one symbol in several colours."""
    pool = _symbol_pool(sheet, settings)
    cast: list[tuple[int, str | None]] = []
    while len(cast) < count:
        symbol_idx = pool[int(rng.integers(len(pool)))]
        if cast and rng.random() < 0.35:
            kin = set(sheet.symbols[cast[-1][0]].categories)
            siblings = [idx for idx in pool if kin & set(sheet.symbols[idx].categories)]
            if siblings:
                symbol_idx = siblings[int(rng.integers(len(siblings)))]
        symbol = sheet.symbols[symbol_idx]
        repeats = min(_choice(rng, _REPEAT_WEIGHTS) + 1, count - len(cast))
        mode = rng.random()
        shared = _colour_of(rng, symbol, settings) if 0.45 <= mode < 0.7 else None
        for _ in range(repeats):
            mixed = mode >= 0.7 and rng.random() < 0.75
            cast.append((symbol_idx, _colour_of(rng, symbol, settings) if mixed else shared))
    order = rng.permutation(count)
    return [cast[idx] for idx in order]


def _angle(rng: np.random.Generator) -> float:
    """Radians: mostly nearly upright, sometimes any way up."""
    return float(rng.uniform(-np.pi, np.pi) if rng.random() < 0.2 else rng.normal(0, 0.22))


def _plan(
    sheet: SpriteSheet, rng: np.random.Generator, size_hw: tuple[int, int], settings: SceneSettings
) -> list[_Placement]:
    height, width = size_hw
    low, high = np.log(settings.side_range[0]), np.log(settings.side_range[1])
    placements = []
    for symbol_idx, colour in _cast(sheet, rng, _choice(rng, _SPRITE_COUNT_WEIGHTS), settings):
        side = float(np.exp(rng.uniform(low, high))) * min(height, width)
        # Centres may lie near the border, so that some sprites are cut by it.
        margin = side * (0.1 if rng.random() < 0.25 else 0.45)
        centre = (
            rng.uniform(margin, max(width - margin, margin + 1)),
            rng.uniform(margin, max(height - margin, margin + 1)),
        )
        placements.append(
            _Placement(
                symbol_idx=symbol_idx,
                colour=colour,
                centre_xy=centre,
                side_px=side,
                angle=_angle(rng),
                mirrored=bool(rng.random() < 0.5),
            )
        )
    return placements


def _plan_crowd(
    sheet: SpriteSheet, rng: np.random.Generator, size_hw: tuple[int, int], settings: SceneSettings, crowd: Crowd
) -> list[_Placement]:
    height, width = size_hw
    short = crowd.cells[int(rng.integers(len(crowd.cells)))]
    cell = min(height, width) / short
    long = min(int(max(height, width) / cell), _MOST_CELLS // short)
    rows, columns = (short, long) if height <= width else (long, short)
    pool = _symbol_pool(sheet, settings)
    placements: list[_Placement] = []
    for place in rng.permutation(rows * columns):
        if rng.random() < 0.1:
            continue
        repeated = bool(placements) and rng.random() < crowd.repeats
        symbol_idx = (
            placements[int(rng.integers(len(placements)))].symbol_idx
            if repeated
            else pool[int(rng.integers(len(pool)))]
        )
        colour = _colour_of(rng, sheet.symbols[symbol_idx], settings) if rng.random() < 0.45 else None
        jitter = rng.uniform(-0.12, 0.12, 2)
        placements.append(
            _Placement(
                symbol_idx=symbol_idx,
                colour=colour,
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


def _draw(sheet: SpriteSheet, placement: _Placement, size_hw: tuple[int, int]) -> _Patch | None:
    """The sprite at its size, angle and colour, cut to the picture; None when nothing of it is inside."""
    height, width = size_hw
    content_w, content_h = sheet.content_wh(placement.symbol_idx)
    scale = placement.side_px / max(content_w, content_h)
    cos, sin = float(np.cos(placement.angle)), float(np.sin(placement.angle))
    half_w = scale * (abs(cos) * content_w + abs(sin) * content_h) / 2 + 1.5
    half_h = scale * (abs(sin) * content_w + abs(cos) * content_h) / 2 + 1.5
    x, y = placement.centre_xy
    left, top = int(np.floor(x - half_w)), int(np.floor(y - half_h))
    right, bottom = int(np.ceil(x + half_w)), int(np.ceil(y + half_h))
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        return None
    level = int(np.clip(np.floor(np.log2(1 / scale) + 0.4), 0, 3))
    source = sheet.levels(placement.symbol_idx)[level]
    shrink = 2.0**level
    flip = -1.0 if placement.mirrored else 1.0
    # Picture pixel -> sprite pixel: turn back, mirror, divide by the scale; about the two centres.
    a, b = flip * cos / (scale * shrink), flip * sin / (scale * shrink)
    d, e = -sin / (scale * shrink), cos / (scale * shrink)
    centre_x, centre_y = ((side / 2 + 2) / shrink for side in (content_w, content_h))
    c = centre_x - a * (x - left) - b * (y - top)
    f = centre_y - d * (x - left) - e * (y - top)
    drawn = source.transform(
        (right - left, bottom - top), Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR
    )
    rows, columns = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
    full_area = int(np.count_nonzero(np.asarray(drawn.getchannel("a")) >= _MASK_ALPHA))
    if full_area == 0:
        return None
    inside = drawn.crop((columns.start - left, rows.start - top, columns.stop - left, rows.stop - top))
    pixels = np.asarray(inside)
    alpha = pixels[..., 3]
    rgb = pixels[..., :3]
    if placement.colour is not None:
        luminance = np.asarray(inside.convert("RGBA").convert("L"))
        painted = np.take(sheet.tint_table(placement.symbol_idx, placement.colour), luminance, axis=0)
        rgb = _scaled(painted, alpha)
    return _Patch(placement=placement, rows=rows, columns=columns, rgb=rgb, alpha=alpha, full_area_px=full_area)


def _scaled(rgb: UInt8Array, factor: UInt8Array) -> UInt8Array:
    """(h, w, 3) rgb * factor / 255, rounded; factor (h, w)."""
    product = rgb.astype(np.uint16) * factor[..., None] + np.uint16(128)
    return ((product + (product >> 8)) >> 8).astype(np.uint8)


def _compose(canvas: UInt8Array, patch: _Patch) -> None:
    """Lays the patch over the canvas, in place."""
    under = canvas[patch.rows, patch.columns]
    canvas[patch.rows, patch.columns] = _scaled(under, 255 - patch.alpha) + patch.rgb


def _visible(patches: list[_Patch], size_hw: tuple[int, int]) -> tuple[list[_Patch], UInt8Array, npt.NDArray[np.int64]]:
    """The patches that can be seen well enough, the label map that they make, and the visible area of each."""
    while True:
        label_map = np.zeros(size_hw, dtype=np.uint8)
        for idx, patch in enumerate(patches):
            label_map[patch.rows, patch.columns][patch.alpha >= _MASK_ALPHA] = idx + 1
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
    height, width = canvas.shape[:2]
    if rng.random() < 0.5:
        gain, gamma = rng.uniform(0.7, 1.25), rng.uniform(0.8, 1.25)
        offset = rng.uniform(-18, 18)
        table = 255 * gain * np.linspace(0, 1, 256) ** gamma + offset
        canvas = np.take(np.clip(np.rint(table), 0, 255).astype(np.uint8), canvas)
    if rng.random() < 0.1:
        canvas = np.array(Image.fromarray(canvas).filter(ImageFilter.BoxBlur(float(rng.uniform(0.3, 0.9)))))
    if rng.random() < 0.25:
        strength = np.float32(rng.uniform(2, 12))
        noise = np.rint(noise_cut(rng, height, width) * strength).astype(np.int16)
        canvas = np.clip(canvas + noise[..., None], 0, 255).astype(np.uint8)
    if rng.random() < 0.15:
        packed = io.BytesIO()
        Image.fromarray(canvas).save(packed, "JPEG", quality=int(rng.integers(35, 90)))
        canvas = np.array(Image.open(packed).convert("RGB"))
    return canvas
