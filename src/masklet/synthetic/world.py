"""The world's two halves: training scenes without end, and a fixed evaluation split that is never trained on.

Both are pure functions of (split, seed), so that any worker process can make any of them. Evaluation has its own seed
space, its own background families, its own absent words, and shows symbols in colours that training never paints.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace

import numpy as np

from masklet.synthetic.backgrounds import HELD_OUT_FAMILIES, TRAIN_FAMILIES
from masklet.synthetic.concepts import PhraseBook
from masklet.synthetic.phrases import Question, QuestionSettings, ask
from masklet.synthetic.scenes import Crowd, Scene, SceneSettings, render_scene
from masklet.synthetic.sprites import SpriteSheet, default_sheet

EVALUATION_SCENES = 1000
EVALUATION_QUESTIONS = 5  # per scene
EVALUATION_SIZE_HW = (336, 336)  # pixels


@dataclass(frozen=True, kw_only=True)
class Split:
    """One half of the world.

    Attributes:
        name: "train" or "evaluation".
        seed_space: mixed into every seed, so that the same number gives other scenes in the other half.
        scenes: what scenes look like.
        questions: what is asked.
    """

    name: str
    seed_space: int
    scenes: SceneSettings
    questions: QuestionSettings


TRAIN = Split(name="train", seed_space=1, scenes=SceneSettings(), questions=QuestionSettings())
EVALUATION = Split(
    name="evaluation",
    seed_space=2,
    # Held-out families twice: half of the evaluation's backgrounds are of kinds never trained on.
    scenes=SceneSettings(families=(*TRAIN_FAMILIES, *HELD_OUT_FAMILIES, *HELD_OUT_FAMILIES), held_out_colours=True),
    questions=QuestionSettings(held_out_words=True, held_out_colours=True),
)
SPLITS = {split.name: split for split in (TRAIN, EVALUATION)}

_books: weakref.WeakKeyDictionary[SpriteSheet, PhraseBook] = weakref.WeakKeyDictionary()


def phrase_book(sheet: SpriteSheet) -> PhraseBook:
    """The words of a sheet's table, made once per sheet."""
    if sheet not in _books:
        _books[sheet] = PhraseBook(sheet.symbols)
    return _books[sheet]


def make_scene(
    split: Split,
    seed: int,
    size_hw: tuple[int, int],
    *,
    questions: int,
    crowd: Crowd | None = None,
    sheet: SpriteSheet | None = None,
) -> tuple[Scene, list[Question]]:
    """The scene and questions of one seed; the same arguments always give the same result.

    Args:
        split: `TRAIN` or `EVALUATION`.
        seed: 0 or more.
        size_hw: height and width, pixels. Another size gives another scene, not a resized one.
        questions: how many to ask.
        crowd: a crowded layout of named sprites instead of the ordinary one.
        sheet: sprites; None takes the installed font's.
    """
    chosen = default_sheet() if sheet is None else sheet
    rng = np.random.default_rng([split.seed_space, seed, int(crowd is not None)])
    settings = split.scenes if crowd is None else replace(split.scenes, crowd=crowd, exemplar_only=False)
    scene = render_scene(chosen, rng, size_hw, settings)
    return scene, ask(phrase_book(chosen), scene, rng, questions, split.questions)


def training_scene(
    seed: int,
    size_hw: tuple[int, int] = (224, 224),
    *,
    questions: int = 6,
    crowd: Crowd | None = None,
    sheet: SpriteSheet | None = None,
) -> tuple[Scene, list[Question]]:
    """Training scene number `seed`; see `make_scene`."""
    return make_scene(TRAIN, seed, size_hw, questions=questions, crowd=crowd, sheet=sheet)


def evaluation_scene(
    index: int, size_hw: tuple[int, int] = EVALUATION_SIZE_HW, *, sheet: SpriteSheet | None = None
) -> tuple[Scene, list[Question]]:
    """Scene `index` of the evaluation split; the fixed split is 0 ... `EVALUATION_SCENES` - 1 at the default size.

    Results belong to the font that drew them: record `sheet.source_hash` beside them.
    """
    return make_scene(EVALUATION, index, size_hw, questions=EVALUATION_QUESTIONS, sheet=sheet)
