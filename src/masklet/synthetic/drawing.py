"""One sprite on a picture: drawn at its size, angle and colour, and laid over what is there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from masklet.synthetic.cast import Actor
from masklet.synthetic.sprites import SpriteSheet

UInt8Array = npt.NDArray[np.uint8]

MASK_ALPHA = 128
"""A pixel belongs to a sprite from this alpha (of 255) on."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a sprite goes.

    Attributes:
        actor: which sprite.
        centre_xy: pixels; may lie outside.
        side_px: longest side, pixels.
        angle: radians.
        mirrored: left and right exchanged.
    """

    actor: Actor
    centre_xy: tuple[float, float]
    side_px: float
    angle: float
    mirrored: bool


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A sprite drawn at its size, cut to the picture.

    Attributes:
        actor: which sprite.
        rows: of the picture.
        columns: of the picture.
        rgb: (h, w, 3) premultiplied.
        alpha: (h, w).
        full_area_px: pixels of the whole sprite, cut-off ones included.
    """

    actor: Actor
    rows: slice
    columns: slice
    rgb: UInt8Array
    alpha: UInt8Array
    full_area_px: int


def draw_sprite(sheet: SpriteSheet, placement: Placement, size_hw: tuple[int, int]) -> Patch | None:
    """The sprite at its size, angle and colour, cut to the picture; None when nothing of it is inside."""
    actor = placement.actor
    height, width = size_hw
    content_w, content_h = sheet.content_wh(actor.symbol_idx)
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
    source = sheet.levels(actor.symbol_idx)[level]
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
    full_area = int(np.count_nonzero(np.asarray(drawn.getchannel("a")) >= MASK_ALPHA))
    if full_area == 0:
        return None
    inside = drawn.crop((columns.start - left, rows.start - top, columns.stop - left, rows.stop - top))
    pixels = np.asarray(inside)
    alpha = pixels[..., 3]
    rgb = pixels[..., :3]
    if actor.colour is not None:
        luminance = np.asarray(inside.convert("RGBA").convert("L"))
        painted = np.take(sheet.tint_table(actor.symbol_idx, actor.colour), luminance, axis=0)
        rgb = _scaled(painted, alpha)
    return Patch(actor=actor, rows=rows, columns=columns, rgb=rgb, alpha=alpha, full_area_px=full_area)


def _scaled(rgb: UInt8Array, factor: UInt8Array) -> UInt8Array:
    """(h, w, 3) rgb * factor / 255, rounded; factor (h, w)."""
    product = rgb.astype(np.uint16) * factor[..., None] + np.uint16(128)
    return ((product + (product >> 8)) >> 8).astype(np.uint8)


def compose(canvas: UInt8Array, patch: Patch) -> None:
    """Lays the patch over the canvas, in place."""
    under = canvas[patch.rows, patch.columns]
    canvas[patch.rows, patch.columns] = _scaled(under, 255 - patch.alpha) + patch.rgb
