"""Fixtures of more than one folder."""

from pathlib import Path

import pytest

from masklet.synthetic.sprites import SpriteSheet, sheet_from_folder


@pytest.fixture(scope="session")
def sheet() -> SpriteSheet:
    """Eighteen small sprites: no test needs the font."""
    return sheet_from_folder(Path(__file__).parent / "data" / "sprites")
