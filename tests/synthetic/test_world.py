from dataclasses import replace

import numpy as np

from masklet.synthetic.backgrounds import HELD_OUT_FAMILIES
from masklet.synthetic.scenes import Crowd
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.world import (
    EVALUATION,
    EVALUATION_QUESTIONS,
    EVALUATION_SCENES,
    EVALUATION_SIZE_HW,
    SPLITS,
    TRAIN,
    evaluation_scene,
    make_scene,
    phrase_book,
    training_scene,
)


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
