"""The sprite sheet: one cut-out picture per symbol, ready to be scaled, turned and painted.

Sprites come from the colour font (rendered once, then kept in a cache file) or from a folder of PNG files. They are
held premultiplied by their alpha at halving sizes, so that scaling neither aliases nor pulls in the colour of
transparent pixels (halos). Painting is a gradient map: luminance -> shade of the colour.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from masklet.errors import DataError
from masklet.synthetic.symbols import Symbol, load_symbols

UInt8Array = npt.NDArray[np.uint8]

FONT_PATH = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
FONT_PACKAGE = "fonts-noto-color-emoji"
_STRIKE = 109  # the only bitmap size in the font, pixels per em
_CANVAS = 160  # pixels; the strike's glyphs are at most 136 wide
_SPRITE_SIDE = 112  # longest side of a kept sprite, pixels
_PADDING = 2  # transparent border, pixels: resampling at the edge then fades out instead of stopping
_CACHE_VERSION = 2  # part of the cache file's name; raise it when rendering changes

# Dark, core and light shade (RGB) of each colour word. The light shades keep their hue (no white), so that a red
# sprite's highlights do not read as pink.
_SHADES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "red": ((74, 4, 10), (208, 24, 30), (255, 92, 80)),
    "orange": ((110, 42, 0), (245, 128, 10), (255, 184, 92)),
    "yellow": ((122, 92, 0), (246, 208, 22), (255, 242, 140)),
    "green": ((6, 52, 16), (36, 150, 50), (138, 216, 120)),
    "blue": ((8, 20, 84), (28, 92, 220), (120, 176, 255)),
    "purple": ((40, 6, 74), (128, 44, 186), (194, 130, 236)),
    "pink": ((140, 24, 84), (248, 112, 176), (255, 190, 220)),
    "brown": ((40, 20, 8), (120, 70, 32), (184, 132, 88)),
    "gray": ((36, 38, 40), (128, 130, 134), (206, 208, 212)),
}

# Hue ranges (degrees) of the words for natural colours; brown, pink and gray are decided by chroma and lightness.
_HUES = (("red", 346, 18), ("orange", 18, 41), ("yellow", 41, 65), ("green", 65, 168), ("blue", 168, 255),
         ("purple", 255, 308), ("pink", 308, 346))  # fmt: skip
_NATURAL_SHARE = 0.62  # of the opaque pixels must be of one colour word
_HUE_GUARD = 1.5  # degrees: the word must hold when every hue is shifted by this much, or it is left open


class SpriteSheet:
    """The sprites of a table of symbols.

    Attributes:
        symbols: the table; a symbol's index is its place here.
        source_hash: hexadecimal digest of the font or of the sprite files, recorded with evaluation results.
    """

    def __init__(self, symbols: tuple[Symbol, ...], sprites: list[UInt8Array], source_hash: str) -> None:
        if not symbols or len(symbols) != len(sprites):
            raise DataError(f"expected one sprite for each symbol, got {len(sprites)} for {len(symbols)} symbols")
        self.symbols = symbols
        self.source_hash = source_hash
        self._sprites = [np.pad(s, ((_PADDING, _PADDING), (_PADDING, _PADDING), (0, 0))) for s in sprites]
        self._levels: dict[int, tuple[Image.Image, ...]] = {}
        self._tables: dict[tuple[int, str], UInt8Array] = {}

    def __len__(self) -> int:
        return len(self.symbols)

    def sprite(self, symbol_idx: int) -> UInt8Array:
        """(h, w, 4) straight RGBA of one symbol, without the transparent border."""
        return self._sprites[symbol_idx][_PADDING:-_PADDING, _PADDING:-_PADDING]

    def content_wh(self, symbol_idx: int) -> tuple[int, int]:
        """Width and height of the symbol's picture at the finest level, pixels."""
        height, width = self._sprites[symbol_idx].shape[:2]
        return width - 2 * _PADDING, height - 2 * _PADDING

    def levels(self, symbol_idx: int) -> tuple[Image.Image, ...]:
        """Premultiplied ("RGBa") pictures with their border, each half the size of the one before; made on first use.

        Level k's coordinates are the finest level's divided by 2^k exactly: odd sides are padded before halving.
        """
        if symbol_idx not in self._levels:
            sprite = self._sprites[symbol_idx]
            pad_h, pad_w = (-sprite.shape[0]) % 8, (-sprite.shape[1]) % 8
            padded = np.pad(sprite, ((0, pad_h), (0, pad_w), (0, 0)))
            finest = Image.fromarray(padded, "RGBA").convert("RGBa")
            self._levels[symbol_idx] = (finest, finest.reduce(2), finest.reduce(4), finest.reduce(8))
        return self._levels[symbol_idx]

    def tint_table(self, symbol_idx: int, colour: str) -> UInt8Array:
        """(256, 3) RGB for each luminance of this symbol, painted in `colour`.

        The symbol's own median luminance becomes the core shade, so that dark and light symbols both end up in the
        colour that the word means.
        """
        key = (symbol_idx, colour)
        if key not in self._tables:
            self._tables[key] = _tint_table(self.sprite(symbol_idx), colour)
        return self._tables[key]


def _luminance(rgba: UInt8Array) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.fromarray(rgba, "RGBA").convert("L"))


def _tint_table(rgba: UInt8Array, colour: str) -> UInt8Array:
    luminance = _luminance(rgba)[rgba[..., 3] >= 128].astype(np.float64)
    low, median, high = np.percentile(luminance, (4, 50, 96)) if luminance.size else (0.0, 128.0, 255.0)
    # At least 40 levels on either side: a flat symbol keeps its faint shading faint.
    stops = (min(low, median - 40), median, max(high, median + 40))
    shades = np.array(_SHADES[colour], dtype=np.float64)
    table = [np.interp(np.arange(256), stops, shades[:, channel]) for channel in range(3)]
    return np.rint(np.stack(table, axis=1)).astype(np.uint8)


def natural_colour(rgba: UInt8Array) -> str | None:
    """The word for the one colour that holds more than 62 % of the opaque pixels, or None.

    Args:
        rgba: (h, w, 4) straight RGBA.
    """
    pixels = rgba[rgba[..., 3] >= 128][:, :3]
    if not len(pixels):
        return None
    words = {_dominant_word(pixels, shift) for shift in (-_HUE_GUARD, 0, _HUE_GUARD)}
    return words.pop() if len(words) == 1 else None


def _dominant_word(pixels: UInt8Array, hue_shift: float) -> str | None:
    rgb = pixels.astype(np.float64) / 255
    high, low = rgb.max(1), rgb.min(1)
    chroma = high - low
    red, green, blue = rgb.T
    safe = np.maximum(chroma, 1e-9)
    sector = np.select(
        [high == red, high == green], [(green - blue) / safe, (blue - red) / safe + 2], (red - green) / safe + 4
    )
    hue = (sector * 60 + hue_shift) % 360
    lightness = (high + low) / 2
    coloured = (chroma > 0.12) & (chroma > 0.4 * high)  # bluish grays of metal are neither blue nor gray
    inside = {
        word: (hue >= start) | (hue < end) if start > end else (hue >= start) & (hue < end)
        for word, start, end in _HUES
    }
    # Brown is dark orange and pink is pale red: taken out of those words' shares.
    warm = (chroma > 0.2 * high) & ((hue >= 346) | (hue < 48))
    brown = warm & (high < 0.8) & (((hue >= 5) & (hue < 48)) | (chroma < 0.55 * high))
    pink = warm & ~brown & (lightness > 0.72) & ((hue < 25) | (hue >= 346))
    share = {word: float(np.mean(inside[word] & coloured & ~brown & ~pink)) for word in inside}
    # Muted reds (baked clay, roast meat) are called neither red nor brown.
    share["red"] = float(np.mean(inside["red"] & (chroma > 0.62 * high) & ~brown & ~pink))
    share["brown"] = float(np.mean(brown))
    share["pink"] += float(np.mean(pink))
    share["gray"] = float(np.mean((chroma < 0.18 * high) & (high > 0.42) & (high < 0.82)))
    word = max(share, key=lambda key: share[key])
    return word if share[word] > _NATURAL_SHARE else None


def sheet_from_folder(folder: Path, symbols: tuple[Symbol, ...] | None = None) -> SpriteSheet:
    """A sheet from PNG files named after the code points, e.g. "2708-fe0f.png".

    Args:
        folder: where the files are; symbols of the table without a file are left out.
        symbols: the table; None takes the packaged one.

    Raises:
        DataError: no file of the folder belongs to a symbol of the table.
    """
    table = load_symbols() if symbols is None else symbols
    found = tuple(symbol for symbol in table if (folder / f"{symbol.file_stem}.png").is_file())
    if not found:
        raise DataError(f"expected sprites such as {table[0].file_stem}.png in {folder}, found none")
    digest = hashlib.sha256()
    sprites = []
    for symbol in found:
        content = (folder / f"{symbol.file_stem}.png").read_bytes()
        digest.update(content)
        with Image.open(folder / f"{symbol.file_stem}.png") as image:
            sprites.append(_cropped(image.convert("RGBA")))
    return SpriteSheet(found, sprites, digest.hexdigest())


def sheet_from_font(font_path: Path = FONT_PATH, *, cache_folder: Path | None = None) -> SpriteSheet:
    """The packaged table's sprites from the colour font, rendered once and kept in a cache file.

    Args:
        font_path: Noto Color Emoji with bitmap glyphs.
        cache_folder: where the rendered sprites are kept; None takes $MASKLET_CACHE or ~/.cache/masklet. A folder
            that cannot be written only costs the rendering (seconds) each time.

    Raises:
        DataError: the font is missing, or lacks a glyph of the table.
    """
    _check_font(font_path)
    symbols = load_symbols()
    font_hash = hashlib.sha256(font_path.read_bytes()).hexdigest()
    rows = hashlib.sha256("\n".join(symbol.codepoints for symbol in symbols).encode()).hexdigest()
    folder = _default_cache_folder() if cache_folder is None else cache_folder
    cache_file = folder / f"sprites-v{_CACHE_VERSION}-{font_hash[:12]}-{rows[:12]}.npz"
    sprites = _read_cache(cache_file, len(symbols))
    if sprites is None:
        sprites = _all_rendered(font_path, symbols)
        _write_cache(cache_file, sprites)
    return SpriteSheet(symbols, sprites, font_hash)


def sheet_of_symbols(symbols: tuple[Symbol, ...], font_path: Path = FONT_PATH) -> SpriteSheet:
    """The sprites of a few symbols from the colour font, rendered now: no cache file is read or written.

    Raises:
        DataError: the font is missing, or lacks a glyph.
    """
    _check_font(font_path)
    return SpriteSheet(symbols, _all_rendered(font_path, symbols), hashlib.sha256(font_path.read_bytes()).hexdigest())


@cache
def default_sheet() -> SpriteSheet:
    """The sheet of the packaged table from the installed font, made once per process."""
    return sheet_from_font()


def _default_cache_folder() -> Path:
    named = os.environ.get("MASKLET_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "masklet"


def _check_font(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"expected the font {path}, found none: install the Debian package {FONT_PACKAGE}")


def _all_rendered(font_path: Path, symbols: tuple[Symbol, ...]) -> list[UInt8Array]:
    font = ImageFont.truetype(str(font_path), _STRIKE)
    return [_rendered(font, symbol) for symbol in symbols]


def _rendered(font: ImageFont.FreeTypeFont, symbol: Symbol) -> UInt8Array:
    """The glyph drawn on black and on white: what differs is what shines through.

    Drawing on a transparent canvas would be simpler, but Pillow then darkens half-transparent edges (the colour is
    multiplied by the alpha and the result is called straight): a dark outline around every sprite.
    """
    drawn = []
    for shade in ("black", "white"):
        canvas = Image.new("RGB", (_CANVAS, _CANVAS), shade)
        ImageDraw.Draw(canvas).text((8, 8), symbol.text, font=font, embedded_color=True)
        drawn.append(np.asarray(canvas))
    on_black, on_white = drawn
    alpha = 255 - (on_white.astype(np.int16) - on_black).max(axis=2).clip(0, 255).astype(np.uint8)
    if not alpha.any():
        raise DataError(f"expected a glyph for {symbol.name!r} ({symbol.codepoints}) in the font, found none")
    premultiplied = np.dstack([np.minimum(on_black, alpha[..., None]), alpha])
    return _cropped(Image.frombytes("RGBa", (_CANVAS, _CANVAS), premultiplied.tobytes()).convert("RGBA"))


def _cropped(image: Image.Image) -> UInt8Array:
    """(h, w, 4) straight RGBA without transparent rows and columns, longest side at most `_SPRITE_SIDE`."""
    box = image.getchannel("A").point(lambda value: 255 if value >= 16 else 0).getbbox()
    if box is None:
        raise DataError("expected a sprite with opaque pixels, got a transparent one")
    image = image.crop(box)
    longest = max(image.size)
    if longest > _SPRITE_SIDE:
        width, height = (max(1, round(side * _SPRITE_SIDE / longest)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    return np.array(image)


def _read_cache(path: Path, expected: int) -> list[UInt8Array] | None:
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            sizes, pixels = stored["sizes_hw"], stored["pixels"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None  # a damaged cache is rendered again and overwritten
    if len(sizes) != expected or int(sizes.prod(axis=1).sum()) * 4 != pixels.size:
        return None
    ends = np.cumsum(sizes.prod(axis=1)) * 4
    return [part.reshape(h, w, 4) for part, (h, w) in zip(np.split(pixels, ends[:-1]), sizes, strict=True)]


def _write_cache(path: Path, sprites: list[UInt8Array]) -> None:
    sizes = np.array([sprite.shape[:2] for sprite in sprites], dtype=np.int64)
    pixels = np.concatenate([sprite.ravel() for sprite in sprites])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".npz", delete=False) as aside:
            np.savez_compressed(aside, sizes_hw=sizes, pixels=pixels)
        Path(aside.name).replace(path)
    except OSError:
        return  # no place for a cache: rendering again costs seconds, failing would cost the run
