from pathlib import Path

import pytest

from masklet.synthetic.concepts import PhraseBook
from masklet.synthetic.sprites import SpriteSheet, sheet_from_folder

SPRITES = Path(__file__).parents[1] / "data" / "sprites"


@pytest.fixture(scope="session")
def sheet() -> SpriteSheet:
    """Eighteen small sprites: no test needs the font."""
    return sheet_from_folder(SPRITES)


@pytest.fixture(scope="session")
def book(sheet: SpriteSheet) -> PhraseBook:
    return PhraseBook(sheet.symbols)
