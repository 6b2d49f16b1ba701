from pathlib import Path

import pytest

from masklet.config import TEST
from masklet.synthetic.sprites import SpriteSheet, sheet_from_folder
from masklet.training.batches import BatchMaker

SPRITES = Path(__file__).parents[1] / "data" / "sprites"


@pytest.fixture(scope="session")
def sheet() -> SpriteSheet:
    """Eighteen small sprites: no test needs the font."""
    return sheet_from_folder(SPRITES)


@pytest.fixture(scope="session")
def maker(sheet: SpriteSheet) -> BatchMaker:
    return BatchMaker(TEST, sheet)
