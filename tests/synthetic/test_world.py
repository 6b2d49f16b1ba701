from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from masklet.errors import InputError
from masklet.synthetic.backgrounds import HELD_OUT_FAMILIES
from masklet.synthetic.concepts import PhraseBook, absent_words
from masklet.synthetic.grammar import plural
from masklet.synthetic.phrases import Question
from masklet.synthetic.scenes import Crowd, Scene
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.symbols import COLOURS, load_symbols
from masklet.synthetic.world import (
    EVALUATION,
    EVALUATION_QUESTIONS,
    EVALUATION_SCENES,
    EVALUATION_SIZE_HW,
    SPLITS,
    TRAIN,
    bare_scene,
    evaluation_scene,
    make_scene,
    phrase_book,
    training_scene,
    unnamed_scenes,
)
from masklet.types import VISUAL


def test_the_evaluation_split_is_as_large_as_promised() -> None:
    assert EVALUATION_SCENES >= 1000 and EVALUATION_QUESTIONS >= 4
    assert EVALUATION_SIZE_HW == (336, 336)


def test_the_two_halves_share_no_seed_space_and_hold_out_what_they_say() -> None:
    assert SPLITS == {"train": TRAIN, "evaluation": EVALUATION}
    assert TRAIN.seed_space != EVALUATION.seed_space
    assert not set(TRAIN.scenes.families) & set(HELD_OUT_FAMILIES)
    assert set(HELD_OUT_FAMILIES) <= set(EVALUATION.scenes.families)
    assert not TRAIN.scenes.held_out_colours and EVALUATION.scenes.held_out_colours
    assert not TRAIN.questions.held_out_words and EVALUATION.questions.held_out_words


def test_a_seed_fixes_scene_and_questions_and_the_halves_differ(sheet: SpriteSheet) -> None:
    first, questions = evaluation_scene(3, (64, 90), sheet=sheet)
    again, same = evaluation_scene(3, (64, 90), sheet=sheet)
    train, _ = training_scene(3, (64, 90), sheet=sheet)
    assert np.array_equal(first.image, again.image) and questions == same
    assert len(questions) == EVALUATION_QUESTIONS
    assert not np.array_equal(first.image, train.image)


def test_the_same_number_gives_another_scene_in_another_seed_space(sheet: SpriteSheet) -> None:
    elsewhere = replace(TRAIN, seed_space=EVALUATION.seed_space)
    here, there = (make_scene(split, 3, (64, 90), questions=1, sheet=sheet)[0] for split in (TRAIN, elsewhere))
    assert not np.array_equal(here.image, there.image)


def test_dense_training_scenes_are_dense_and_other_scenes_than_the_ordinary_ones(sheet: SpriteSheet) -> None:
    dense = [training_scene(seed, (96, 96), crowd=Crowd(), sheet=sheet)[0] for seed in range(10)]
    ordinary = [training_scene(seed, (96, 96), sheet=sheet)[0] for seed in range(10)]
    assert np.mean([len(s.instances) for s in dense]) > 2 * np.mean([len(s.instances) for s in ordinary])


def test_the_phrase_book_is_made_once_per_sheet(sheet: SpriteSheet) -> None:
    assert phrase_book(sheet) is phrase_book(sheet)
    assert phrase_book(sheet).symbols is sheet.symbols


def same(one: tuple[Scene, list[Question]], other: tuple[Scene, list[Question]]) -> bool:
    return np.array_equal(one[0].image, other[0].image) and one[1] == other[1]


def test_symbols_without_a_name_are_shown_and_all_of_them_are_the_answer(sheet: SpriteSheet) -> None:
    made = list(unnamed_scenes(40, (64, 90), sheet=sheet))
    assert len(made) == 40 and all(1 <= len(questions) <= 2 for _, questions in made)
    kinds, several = set(), 0
    for scene, questions in made:
        for question in questions:
            shown = {scene.instances[idx].symbol_idx for idx in question.positives}
            (symbol_idx,) = shown
            assert not sheet.symbols[symbol_idx].named and question.phrase == VISUAL
            everywhere = [idx for idx, instance in enumerate(scene.instances) if instance.symbol_idx == symbol_idx]
            assert list(question.instances) == everywhere
            assert not set(question.negatives) & set(everywhere)
            kinds.add(question.kind)
            several += len(everywhere) > len(question.positives)
    assert kinds == {"exemplar", "exemplar_negative"} and several > 10


def test_bare_pictures_have_evaluation_backgrounds_and_are_asked_for_things_of_every_sort(sheet: SpriteSheet) -> None:
    made = [bare_scene(index, (64, 90), sheet=sheet) for index in range(60)]
    assert not any(scene.instances or scene.label_map.any() for scene, _ in made)
    assert all(len(questions) == EVALUATION_QUESTIONS for _, questions in made)
    asked = [question for _, questions in made for question in questions]
    assert not any(question.instances or question.positives or question.negatives for question in asked)
    nouns = {question.concept.noun for question in asked if question.concept is not None}
    book = phrase_book(sheet)
    assert nouns & set(book.names) and nouns & set(book.synonyms) and nouns & set(book.categories)
    assert any(question.concept is not None and question.concept.colour in COLOURS for question in asked)
    foreign = [question.phrase for question in asked if question.kind == "absent_word"]
    held_out = {form for word in absent_words(held_out=True) for form in (word, plural(word))}
    assert len(foreign) > 40 and all(any(phrase.endswith(word) for word in held_out) for phrase in foreign)
    assert all(scene.image.std() > 0 for scene, _ in made[:5])
    assert not any(np.array_equal(one.image, other.image) for (one, _), (other, _) in pairwise(made))


def test_the_two_small_sets_are_fixed_and_none_of_the_split(sheet: SpriteSheet) -> None:
    shown, again = (list(unnamed_scenes(5, (64, 90), sheet=sheet)) for _ in range(2))
    assert all(same(*pair) for pair in zip(shown, again, strict=True))
    assert all(same(*pair) for pair in zip(shown[:2], unnamed_scenes(2, (64, 90), sheet=sheet), strict=True))
    assert same(bare_scene(4, (64, 90), sheet=sheet), bare_scene(4, (64, 90), sheet=sheet))
    split = {evaluation_scene(index, (64, 90), sheet=sheet)[0].image.tobytes() for index in range(EVALUATION_SCENES)}
    assert len(split) == EVALUATION_SCENES
    assert not split & {scene.image.tobytes() for scene, _ in shown}


def test_enough_symbols_have_names_that_no_trained_phrase_holds() -> None:
    symbols = load_symbols()
    unnamed = [symbol for symbol in symbols if not symbol.named]
    assert len(unnamed) >= 40
    trained = {word for symbol in symbols if symbol.named for word in (symbol.name, *symbol.synonyms)}
    trained |= {word for symbol in symbols for word in symbol.categories} | set(absent_words(held_out=False))
    trained |= {plural(word) for word in trained} | set(PhraseBook(symbols).strays)
    assert not trained & {word for symbol in unnamed for word in (symbol.name, *symbol.synonyms)}


def test_a_sheet_on_which_everything_has_a_name_shows_nothing_without(
    sheet: SpriteSheet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheet, "symbols", tuple(replace(symbol, named=True) for symbol in sheet.symbols))
    with pytest.raises(InputError, match="all of the sheet are named"):
        next(unnamed_scenes(1, sheet=sheet))


def test_training_shows_unnamed_symbols_as_exemplars_and_by_category_but_never_names_them(sheet: SpriteSheet) -> None:
    unnamed = {row: symbol.name for row, symbol in enumerate(sheet.symbols) if not symbol.named}
    shown = by_category = 0
    for seed in range(300):
        scene, questions = training_scene(seed, (64, 90), sheet=sheet)
        for question in questions:
            assert not {form for name in unnamed.values() for form in (name, plural(name))} & set(
                question.phrase.split()
            )
            here = {scene.instances[idx].symbol_idx for idx in question.instances} & set(unnamed)
            shown += bool(here and question.phrase == VISUAL)
            by_category += bool(here and question.phrase != VISUAL)
    assert shown > 10 and by_category > 10
