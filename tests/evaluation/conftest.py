import pytest

from masklet.synthetic.concepts import PhraseBook
from masklet.synthetic.phrases import Question
from masklet.synthetic.scenes import Scene
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.world import bare_scene, evaluation_scene, phrase_book, unnamed_scenes


@pytest.fixture(scope="session")
def book(sheet: SpriteSheet) -> PhraseBook:
    return phrase_book(sheet)


@pytest.fixture(scope="session")
def scenes(sheet: SpriteSheet) -> list[tuple[Scene, list[Question]]]:
    return [evaluation_scene(index, (150, 190), sheet=sheet) for index in range(30)]


@pytest.fixture(scope="session")
def unnamed(sheet: SpriteSheet) -> list[tuple[Scene, list[Question]]]:
    return list(unnamed_scenes(20, (150, 190), sheet=sheet))


@pytest.fixture(scope="session")
def bare(sheet: SpriteSheet) -> list[tuple[Scene, list[Question]]]:
    return [bare_scene(index, (150, 190), sheet=sheet) for index in range(6)]
