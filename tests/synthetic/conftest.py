import pytest

from masklet.synthetic.concepts import PhraseBook
from masklet.synthetic.sprites import SpriteSheet


@pytest.fixture(scope="session")
def book(sheet: SpriteSheet) -> PhraseBook:
    return PhraseBook(sheet.symbols)
