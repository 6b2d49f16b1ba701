"""A picture with its detections drawn on it: translucent masks with crisp outlines, boxes, labels.

Everything scales with the picture, so that the result reads the same from a thumbnail to 24 megapixels; a picture with
no side of 256 pixels is enlarged by a whole factor first, because no text would fit. Masks are drawn one at a time and
only inside their tight box.
"""

from __future__ import annotations

import colorsys
import contextlib
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias
from unicodedata import combining, normalize

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from masklet.media.images import Pixels
from masklet.ops.masks import BoolArray, Rle, decode_crop, rle_areas

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]
Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Easily told apart on photographs, and from each other in this order.
_PALETTE: tuple[Colour, ...] = (
    (255, 59, 72),
    (32, 148, 255),
    (60, 205, 75),
    (255, 197, 20),
    (180, 80, 240),
    (0, 206, 209),
    (255, 128, 20),
    (250, 85, 190),
    (165, 225, 30),
    (110, 95, 255),
    (0, 160, 120),
    (200, 125, 85),
)
_FILL = 105  # opacity of a mask's inside, of 255
_SMALLEST_SIDE = 256  # pixels of the longer side below which a picture is enlarged
_SMALLEST_TEXT = 11  # pixels; below it the font cannot be read
_LONGEST_NAME = 40  # characters of a concept in a label
# Of Linux, Windows and macOS, for letters that Pillow's font has not; those with most letters first.
_USUAL_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "segoeui.ttf",
    "msyh.ttc",
    "Arial Unicode.ttf",
    "PingFang.ttc",
)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """One detection as it is drawn.

    Attributes:
        rle: mask of the picture's size.
        box_xyxy: pixels of the picture.
        name: first part of the label; without accents, or left out, where no installed font has its letters.
        score: 0..1, second part of the label.
        object_id: of an object that is followed: it stands in place of the score, and always has the same colour.
    """

    rle: Rle
    box_xyxy: Box
    name: str
    score: float
    object_id: int | None = None


def draw_overlay(image: Pixels, detections: Sequence[Drawn]) -> Image.Image:
    """The picture with detections on it; small ones on top of large ones, all labels on top.

    Args:
        image: (H, W, 3) uint8; not changed.
        detections: any number; the first ones, or those of the lowest identities, have the colours that are easiest
            to tell apart.

    Returns:
        RGB of the picture's size, or a whole multiple of it if that is small.
    """
    height, width = image.shape[:2]
    zoom = max(1, math.ceil(_SMALLEST_SIDE / max(height, width)))
    canvas = Image.fromarray(image)
    if zoom > 1:
        canvas = canvas.resize((width * zoom, height * zoom), Image.Resampling.NEAREST)
    # By the side of a square of the same area: a long thin picture gets no thicker lines than a square one.
    side = math.sqrt(canvas.width * canvas.height)
    line = max(1, round(side / 500))

    colours = [colour_of(index if one.object_id is None else one.object_id) for index, one in enumerate(detections)]
    order = np.argsort(-rle_areas([one.rle for one in detections]), kind="stable")
    for index in order.tolist():
        _paste_mask(canvas, detections[index].rle, colours[index], zoom, line)
    draw = ImageDraw.Draw(canvas)
    boxes: list[Box] = []
    for one, colour in zip(detections, colours, strict=True):
        x0, y0, x1, y1 = (round(value * zoom) for value in one.box_xyxy)
        boxes.append((x0, y0, x1, y1))
        # Pillow's far edge is drawn as well, and may not lie before the near one.
        draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=colour, width=line)
    _draw_labels(draw, canvas.size, detections, boxes, colours, font_size=max(_SMALLEST_TEXT, round(side / 55)))
    return canvas


def colour_of(index: int) -> Colour:
    """A colour for the detection at this place, or for an identity; the first twelve are chosen, later ones spread."""
    if index < len(_PALETTE):
        return _PALETTE[index]
    # Steps of the golden section never come near an earlier hue soon; never so dark that it is lost at night.
    hue = (index * 0.618033988749895) % 1
    red, green, blue = colorsys.hls_to_rgb(hue, (0.58, 0.74)[index % 2], 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


# --- masks ------------------------------------------------------------------------------------------------------------


def _paste_mask(canvas: Image.Image, rle: Rle, colour: Colour, zoom: int, line: int) -> None:
    crop, (x0, y0, x1, y1) = decode_crop(rle)
    if not crop.size:
        return
    if zoom > 1:
        crop = crop.repeat(zoom, axis=0).repeat(zoom, axis=1)
    opacity = np.where(crop, np.uint8(_FILL), np.uint8(0))
    opacity[crop & ~_eroded(crop, line)] = 255
    canvas.paste(colour, (x0 * zoom, y0 * zoom, x1 * zoom, y1 * zoom), Image.fromarray(opacity))


def _eroded(mask: BoolArray, radius: int) -> BoolArray:
    """The pixels farther than `radius` from any pixel outside, in rows and columns; beyond the array is outside.

    By doubling: the overlap of a mask with itself moved by 1, 2, 4 ... pixels takes few passes at any radius.
    """
    inner = np.pad(mask, radius)
    for axis in (0, 1):
        inner = np.moveaxis(inner, axis, 0)
        reach, wanted = 1, 2 * radius + 1  # inner[i] holds rows i .. i + reach - 1
        while reach < wanted:
            step = min(reach, wanted - reach)
            inner = inner[:-step] & inner[step:]
            reach += step
        inner = np.moveaxis(inner, 0, axis)
    return inner


# --- labels -----------------------------------------------------------------------------------------------------------


def _draw_labels(
    draw: ImageDraw.ImageDraw,
    size_wh: tuple[int, int],
    detections: Sequence[Drawn],
    boxes: Sequence[Box],
    colours: Sequence[Colour],
    font_size: int,
) -> None:
    placed = np.zeros((0, 4))
    for one, box, colour in zip(detections, boxes, colours, strict=True):
        text, font = _label(one, font_size)
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        pad = max(2, font_size // 5)
        size = (right - left + 2 * pad, bottom - top + 2 * pad)
        if size[0] > size_wh[0] or size[1] > size_wh[1]:
            continue  # it would hide the picture
        place = _place(box, size, size_wh, placed)
        placed = np.vstack((placed, place))
        draw.rectangle((*place[:2], place[2] - 1, place[3] - 1), fill=colour)
        draw.text((place[0] + pad - left, place[1] + pad - top), text, fill=_ink(colour), font=font)


def _place(box: Box, size: tuple[float, float], size_wh: tuple[int, int], placed: npt.NDArray[np.float64]) -> Box:
    """Where a label goes: over its box, in a corner, under it; the first place that hides no other label, or least."""
    x0, y0, x1, y1 = box
    wide, high = size
    corners = [(x0, y0 - high), (x0, y0), (x0, y1), (x0, y1 - high), (x1 - wide, y0 - high), (x1 - wide, y1)]
    corners += [(x0, y0 + step * high) for step in (1, 2)]
    best, least = None, math.inf
    for x, y in corners:
        left = round(min(max(x, 0), size_wh[0] - wide))
        top = round(min(max(y, 0), size_wh[1] - high))
        place = (left, top, left + wide, top + high)
        hidden = _overlap_area(place, placed)
        if hidden < least:
            best, least = place, hidden
        if not hidden:
            break
    assert best is not None
    return best


def _overlap_area(place: Box, placed: npt.NDArray[np.float64]) -> float:
    width = np.minimum(placed[:, 2], place[2]) - np.maximum(placed[:, 0], place[0])
    height = np.minimum(placed[:, 3], place[3]) - np.maximum(placed[:, 1], place[1])
    return float((width.clip(0) * height.clip(0)).sum())


def _label(one: Drawn, font_size: int) -> tuple[str, Font]:
    """What a label says and in which font: the name as far as a font has its letters, and the score or identity."""
    number = f"{one.score:.2f}" if one.object_id is None else str(one.object_id)
    name = " ".join(one.name.replace("\0", " ").split())
    if len(name) > _LONGEST_NAME:
        name = name[: _LONGEST_NAME - 1].rstrip() + "…"
    without_accents = "".join(letter for letter in normalize("NFKD", name) if not combining(letter))
    for text in dict.fromkeys((name, without_accents)):
        for font in _fonts(font_size):
            if _has_letters(text, font):
                return f"{text} {number}", font
    return number, _fonts(font_size)[0]


def _has_letters(text: str, font: Font) -> bool:
    """Whether the font has all of them; missing ones would all show as the same empty box."""
    missing = _shape("\ufffe", font)
    return bool(text) and all(letter == " " or _shape(letter, font) != missing for letter in text)


@functools.lru_cache(maxsize=1024)
def _shape(letter: str, font: Font) -> bytes:
    return bytes(font.getmask(letter))


@functools.lru_cache(maxsize=8)
def _fonts(size: int) -> list[Font]:
    """Pillow's own font, which has little more than English, and those of the usual ones that are installed."""
    fonts: list[Font] = [ImageFont.load_default(size)]
    for name in _USUAL_FONTS:
        with contextlib.suppress(OSError):  # not installed
            fonts.append(ImageFont.truetype(name, size))
    return fonts


def _ink(colour: Colour) -> Colour:
    """Black or white, whichever is easier to read on a colour, by WCAG 2's relative luminance."""
    red, green, blue = ((level / 255) ** 2.2 for level in colour)
    return (0, 0, 0) if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 else (255, 255, 255)
