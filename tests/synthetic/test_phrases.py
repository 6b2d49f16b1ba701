from collections import Counter

import numpy as np
import pytest

from masklet.synthetic.concepts import Concept, PhraseBook
from masklet.synthetic.phrases import EXEMPLAR_KINDS, KINDS, QuestionSettings, ask, spoken
from masklet.synthetic.scenes import Scene, SceneSettings, render_scene
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.symbols import COLOURS
from masklet.types import VISUAL


@pytest.fixture(scope="module")
def asked(sheet: SpriteSheet, book: PhraseBook) -> list:
    """(scene, questions) of 250 small scenes."""
    made = []
    for seed in range(250):
        rng = np.random.default_rng(seed)
        scene = render_scene(sheet, rng, (64, 80), SceneSettings())
        made.append((scene, ask(book, scene, rng, 6, QuestionSettings())))
    return made


def _answer(scene: Scene, phrase: str) -> set[int]:
    """The answer by an independent reading of the phrase: words of the table against words of the phrase."""
    words = phrase.split()
    for first in ("a", "an", "the", "all", "one", "two", "three", "four", "five", "six", "seven", "eight"):
        if words[0] == first:
            words = words[1:]
            break
    colour = words.pop(0) if words[0] in COLOURS else None
    noun = " ".join(words)
    found = set()
    for idx, instance in enumerate(scene.instances):
        symbol = scene.symbols[instance.symbol_idx]
        own = [*symbol.categories, *((symbol.name, *symbol.synonyms) if symbol.named else ())]
        singular = {noun, noun.removesuffix("s"), noun.removesuffix("es"), noun.removesuffix("ies") + "y"}
        if "of " in noun:
            head, _, rest = noun.partition(" of ")
            singular.add(head.removesuffix("s") + " of " + rest)
        if singular & set(own) and colour in (None, instance.colour or symbol.natural_colour):
            found.add(idx)
    return found


def test_every_kind_is_asked_and_about_half_of_the_answers_are_empty(asked: list) -> None:
    kinds = Counter(question.kind for _, questions in asked for question in questions)
    assert set(kinds) == set(KINDS)
    total = sum(kinds.values())
    assert all(number > total / 60 for number in kinds.values()), kinds
    empty = sum(not question.instances for _, questions in asked for question in questions)
    assert 0.4 < empty / total < 0.6


def test_text_answers_agree_with_an_independent_reading(asked: list) -> None:
    checked = 0
    for scene, questions in asked:
        for question in questions:
            if question.phrase != VISUAL and question.kind != "absent_word":
                assert set(question.instances) == _answer(scene, question.phrase), question
                checked += 1
    assert checked > 500


def test_the_stated_concept_is_what_the_phrase_says(asked: list, book: PhraseBook) -> None:
    for scene, questions in asked:
        for question in questions:
            concept = book.resolve(question.phrase)
            if concept is None:
                assert question.kind == "absent_word" or question.phrase == VISUAL
                assert question.concept is None
            else:
                assert book.truth(concept, scene) == question.instances == book.truth(question.concept, scene)


def test_kinds_keep_their_promises(asked: list) -> None:
    for scene, questions in asked:
        for question in questions:
            symbols = [scene.instances[i].symbol_idx for i in question.instances]
            if question.kind.startswith("absent") or question.kind == "exemplar_absent":
                assert question.instances == ()
            else:
                assert question.instances
            if question.kind not in EXEMPLAR_KINDS:
                assert question.positives == question.negatives == ()
            assert set(question.positives) <= set(question.instances)
            assert not set(question.negatives) & set(question.instances)
            negative_symbols = {scene.instances[i].symbol_idx for i in question.negatives}
            assert not negative_symbols & set(symbols)
            if question.kind == "exemplar":
                assert 1 <= len(question.positives) <= 3 and len(set(symbols)) == 1
            if question.kind == "exemplar_negative":
                assert question.positives and question.negatives
            if question.kind == "text_exemplar":
                assert question.phrase != VISUAL and question.positives + question.negatives
            if question.kind == "exemplar_absent":
                assert question.negatives and not question.positives


def test_questions_of_a_scene_differ(asked: list) -> None:
    for _, questions in asked:
        keys = [(q.phrase, q.positives, q.negatives) for q in questions]
        assert len(set(keys)) == len(keys)


def test_exemplars_do_not_give_away_that_something_is_there(asked: list) -> None:
    shown = [q for _, questions in asked for q in questions if q.positives or q.negatives]
    assert 0.1 < np.mean([not q.instances for q in shown]) < 0.5


def test_near_misses_name_what_is_there_in_another_colour(asked: list, book: PhraseBook) -> None:
    for scene, questions in asked:
        for question in questions:
            if question.kind == "absent_colour":
                assert book.truth(Concept(question.concept.noun), scene)


def test_training_never_asks_for_held_out_colours_and_evaluation_does(sheet: SpriteSheet, book: PhraseBook) -> None:
    def held_out(allowed: bool) -> int:
        total = 0
        for seed in range(120):
            rng = np.random.default_rng(seed)
            scene = render_scene(sheet, rng, (64, 80), SceneSettings(held_out_colours=allowed))
            questions = ask(book, scene, rng, 6, QuestionSettings(held_out_colours=allowed))
            total += sum(q.concept is not None and book.is_held_out(q.concept) for q in questions)
        return total

    assert held_out(False) == 0
    assert held_out(True) > 5


def test_an_empty_scene_is_asked_only_for_what_is_not_there(sheet: SpriteSheet, book: PhraseBook) -> None:
    blank = Scene(
        image=np.zeros((40, 50, 3), np.uint8),
        label_map=np.zeros((40, 50), np.uint8),
        instances=(),
        symbols=sheet.symbols,
    )
    questions = ask(book, blank, np.random.default_rng(0), 8, QuestionSettings())
    assert len(questions) == 8
    assert all(question.instances == () and not question.negatives for question in questions)
    assert ask(book, blank, np.random.default_rng(0), 0, QuestionSettings()) == []
    only_exemplars = QuestionSettings(kinds=("exemplar",))
    assert ask(book, blank, np.random.default_rng(0), 4, only_exemplars) == []


def test_numbers_agree_with_the_answer() -> None:
    forms = {spoken(Concept("apple", "red"), np.random.default_rng(s), count=3, many=True) for s in range(60)}
    assert forms == {"three red apples", "red apples", "the red apples", "all red apples"}
    forms = {spoken(Concept("apple"), np.random.default_rng(s), count=1, many=False) for s in range(200)}
    assert forms == {"apple", "an apple", "the apple", "one apple"}
    forms = {spoken(Concept("scissors"), np.random.default_rng(s), count=1, many=False) for s in range(60)}
    assert forms == {"scissors", "the scissors"}
