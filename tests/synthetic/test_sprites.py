from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from masklet.errors import DataError
from masklet.synthetic import sprites
from masklet.synthetic.sprites import SpriteSheet, natural_colour, sheet_from_folder, sheet_from_font
from masklet.synthetic.symbols import COLOURS, Symbol, load_symbols


def _index(sheet: SpriteSheet, name: str) -> int:
    return next(idx for idx, symbol in enumerate(sheet.symbols) if symbol.name == name)


def _flat(rgb: tuple[int, int, int], share: float = 1.0) -> np.ndarray:
    picture = np.zeros((10, 10, 4), dtype=np.uint8)
    picture[..., 3] = 255
    picture[..., :3] = 255
    picture.reshape(-1, 4)[: round(100 * share), :3] = rgb
    return picture


def test_the_folder_gives_the_symbols_that_have_a_file_in_table_order(sheet: SpriteSheet) -> None:
    names = [symbol.name for symbol in sheet.symbols]
    order = [symbol.name for symbol in load_symbols()]
    assert len(sheet) == 18
    assert names == sorted(names, key=order.index)
    assert any(not symbol.named for symbol in sheet.symbols)
    assert len(sheet.source_hash) == 64


def test_sprites_are_cropped_to_their_content(sheet: SpriteSheet) -> None:
    for idx in range(len(sheet)):
        alpha = sheet.sprite(idx)[..., 3]
        for edge in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]):
            assert edge.max() >= 16
        assert sheet.content_wh(idx) == alpha.shape[::-1]


def test_levels_halve_exactly_and_stay_premultiplied(sheet: SpriteSheet) -> None:
    for idx in range(len(sheet)):
        levels = sheet.levels(idx)
        for level, half in pairwise(levels):
            assert (half.width * 2, half.height * 2) == level.size
        for level in levels:
            pixels = np.asarray(level).astype(int)
            # One grey level of slack for the rounding of each channel on its own.
            assert (pixels[..., :3] <= pixels[..., 3:] + 1).all()


@pytest.mark.parametrize("colour", COLOURS)
def test_a_painted_symbol_is_mostly_of_the_colour_that_the_word_means(sheet: SpriteSheet, colour: str) -> None:
    for name in ("apple", "scissors", "bus", "teddy bear"):
        idx = _index(sheet, name)
        straight = sheet.sprite(idx)
        luminance = np.asarray(Image.fromarray(straight).convert("L"))
        painted = np.dstack([sheet.tint_table(idx, colour)[luminance], straight[..., 3]])
        core = np.median(painted[painted[..., 3] >= 128][:, :3], axis=0)
        # The median luminance is mapped to the core shade; two grey levels for rounding of the median.
        assert np.abs(core - np.array(sprites._SHADES[colour][1])).max() <= 12, (name, colour)


@pytest.mark.parametrize(
    ("rgb", "word"),
    [
        ((220, 30, 30), "red"),
        ((250, 130, 10), "orange"),
        ((250, 210, 30), "yellow"),
        ((40, 160, 50), "green"),
        ((30, 90, 220), "blue"),
        ((130, 40, 190), "purple"),
        ((245, 110, 180), "pink"),
        ((120, 70, 35), "brown"),
        ((130, 130, 130), "gray"),
        ((255, 255, 255), None),
        ((10, 10, 10), None),
    ],
)
def test_the_natural_colour_of_a_flat_sprite(rgb: tuple[int, int, int], word: str | None) -> None:
    assert natural_colour(_flat(rgb)) == word


def test_a_natural_colour_needs_more_than_62_percent_of_the_opaque_pixels() -> None:
    assert natural_colour(_flat((220, 30, 30), 0.66)) == "red"
    assert natural_colour(_flat((220, 30, 30), 0.58)) is None
    assert natural_colour(np.zeros((4, 5, 4), dtype=np.uint8)) is None


def test_the_table_agrees_with_the_small_sprites_on_clear_cases(sheet: SpriteSheet) -> None:
    for name in ("apple", "lemon", "star", "flamingo", "teddy bear"):
        idx = _index(sheet, name)
        assert natural_colour(sheet.sprite(idx)) == sheet.symbols[idx].natural_colour is not None


def test_missing_sprites_and_a_missing_font_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found none"):
        sheet_from_folder(tmp_path)
    with pytest.raises(DataError, match="fonts-noto-color-emoji"):
        sheet_from_font(tmp_path / "none.ttf")


def test_a_transparent_sprite_is_refused(tmp_path: Path) -> None:
    symbol = load_symbols()[0]
    Image.new("RGBA", (5, 7)).save(tmp_path / f"{symbol.file_stem}.png")
    with pytest.raises(DataError, match="transparent"):
        sheet_from_folder(tmp_path)


def test_the_cache_round_trips_sprites_of_different_sizes_and_survives_damage(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    made = [rng.integers(0, 256, (h, w, 4), dtype=np.uint8) for h, w in ((3, 5), (7, 2), (4, 4))]
    path = tmp_path / "new" / "sprites.npz"
    sprites._write_cache(path, made)
    back = sprites._read_cache(path, 3)
    assert back is not None
    assert all(np.array_equal(a, b) for a, b in zip(made, back, strict=True))
    assert sprites._read_cache(path, 4) is None
    path.write_bytes(path.read_bytes()[:40])
    assert sprites._read_cache(path, 3) is None
    assert [file.name for file in path.parent.iterdir()] == ["sprites.npz"]


def test_a_cache_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    sprites._write_cache(tmp_path / "file" / "sprites.npz", [np.zeros((2, 2, 4), dtype=np.uint8)])
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_sheet_needs_one_sprite_for_each_symbol() -> None:
    symbol: Symbol = load_symbols()[0]
    with pytest.raises(DataError, match="one sprite for each symbol"):
        SpriteSheet((symbol,), [], "")
