import pytest

from masklet.synthetic.concepts import PhraseBook
from masklet.synthetic.phrases import Question
from masklet.synthetic.scenes import Scene
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.world import evaluation_scene, phrase_book


@pytest.fixture(scope="session")
def book(sheet: SpriteSheet) -> PhraseBook:
    return phrase_book(sheet)


@pytest.fixture(scope="session")
def scenes(sheet: SpriteSheet) -> list[tuple[Scene, list[Question]]]:
    return [evaluation_scene(index, (150, 190), sheet=sheet) for index in range(30)]
