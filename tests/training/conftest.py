import pytest

from masklet.config import TEST
from masklet.synthetic.sprites import SpriteSheet
from masklet.training.batches import BatchMaker


@pytest.fixture(scope="session")
def maker(sheet: SpriteSheet) -> BatchMaker:
    return BatchMaker(TEST, sheet)
