"""The world's two halves: training scenes without end, and a fixed evaluation split that is never trained on.

Both are pure functions of (split, seed), so that any worker process can make any of them. Evaluation has its own seed
space, its own background families, its own absent words, and shows symbols in colours that training never paints.
Two small sets go with it: symbols that training never names, asked by exemplars, and pictures without sprites. Clips
are made in the same way: training clips without end, and fixed ones, as many of each difficulty.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from masklet.errors import InputError
from masklet.synthetic.backgrounds import HELD_OUT_FAMILIES, TRAIN_FAMILIES
from masklet.synthetic.clips import KINDS as CLIP_KINDS
from masklet.synthetic.clips import Clip, ClipSettings, of_kind, render_clip
from masklet.synthetic.concepts import PhraseBook
from masklet.synthetic.phrases import EXEMPLAR_KINDS, KINDS, Question, QuestionSettings, ask
from masklet.synthetic.scenes import Crowd, Scene, SceneSettings, render_scene
from masklet.synthetic.sprites import SpriteSheet, default_sheet

EVALUATION_SCENES = 1000
EVALUATION_QUESTIONS = 5  # per scene
EVALUATION_SIZE_HW = (336, 336)  # pixels
UNNAMED_SCENES = 300
UNNAMED_QUESTIONS = 2  # per scene
BARE_SCENES = 200
EVALUATION_CLIPS = 120
EVALUATION_CLIP_FRAMES = 32
EVALUATION_CLIP_QUESTIONS = 2  # per clip

_CLIP_SPACE = 2  # beside 0 and 1 of ordinary and crowded scenes


@dataclass(frozen=True, kw_only=True)
class Split:
    """One half of the world.

    Attributes:
        name: "train" or "evaluation".
        seed_space: mixed into every seed, so that the same number gives other scenes in the other half.
        scenes: what scenes look like.
        clips: what clips look like.
        questions: what is asked.
    """

    name: str
    seed_space: int
    scenes: SceneSettings
    clips: ClipSettings
    questions: QuestionSettings


# Held-out families twice: half of the evaluation's backgrounds are of kinds never trained on.
_EVALUATION_FAMILIES = (*TRAIN_FAMILIES, *HELD_OUT_FAMILIES, *HELD_OUT_FAMILIES)

TRAIN = Split(name="train", seed_space=1, scenes=SceneSettings(), clips=ClipSettings(), questions=QuestionSettings())
EVALUATION = Split(
    name="evaluation",
    seed_space=2,
    scenes=SceneSettings(families=_EVALUATION_FAMILIES, held_out_colours=True),
    clips=ClipSettings(families=_EVALUATION_FAMILIES, held_out_colours=True),
    questions=QuestionSettings(held_out_words=True, held_out_colours=True),
)
_UNNAMED = replace(
    EVALUATION, questions=replace(EVALUATION.questions, kinds=("exemplar", "exemplar_negative"), unnamed_only=True)
)
_BARE = replace(
    EVALUATION,
    scenes=replace(EVALUATION.scenes, sprites=False),
    questions=replace(EVALUATION.questions, kinds=("absent_random", "absent_word")),
)
_VALIDATION = replace(TRAIN, seed_space=3)
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


def unnamed_scenes(
    count: int, size_hw: tuple[int, int] = EVALUATION_SIZE_HW, *, sheet: SpriteSheet | None = None
) -> Iterator[tuple[Scene, list[Question]]]:
    """The first `count` scenes behind the fixed split with a symbol that training never names, one at a time.

    Up to `UNNAMED_QUESTIONS` questions each, by exemplars alone: the positive ones are of such a symbol, and the answer
    is every instance of it. The fixed set is the first `UNNAMED_SCENES` at the default size.

    Raises:
        InputError: no symbol of the sheet is without a name.
    """
    chosen = default_sheet() if sheet is None else sheet
    if all(symbol.named for symbol in chosen.symbols):
        raise InputError("expected sprites of which some are never asked by name, but all of the sheet are named")
    found = 0
    for seed in itertools.count(EVALUATION_SCENES):
        if found == count:
            return
        scene, questions = make_scene(_UNNAMED, seed, size_hw, questions=UNNAMED_QUESTIONS, sheet=chosen)
        if questions:
            found += 1
            yield scene, questions


def bare_scene(
    index: int, size_hw: tuple[int, int] = EVALUATION_SIZE_HW, *, sheet: SpriteSheet | None = None
) -> tuple[Scene, list[Question]]:
    """Picture `index` without sprites: a background of the evaluation, asked for what is never there.

    Names, synonyms, categories, some with a colour, and held-out words that are no symbol. The fixed set is
    0 ... `BARE_SCENES` - 1 at the default size.
    """
    return make_scene(_BARE, EVALUATION_SCENES + index, size_hw, questions=EVALUATION_QUESTIONS, sheet=sheet)


def make_clip(
    split: Split,
    seed: int,
    size_hw: tuple[int, int],
    frames: int,
    *,
    questions: int = 0,
    kind: str | None = None,
    stride: int = 1,
    sheet: SpriteSheet | None = None,
) -> tuple[Clip, list[Question]]:
    """The clip of one seed and questions in words about it; the same arguments always give the same result.

    Args:
        split: `TRAIN` or `EVALUATION`.
        seed: 0 or more.
        size_hw: height and width, pixels.
        frames: how many.
        questions: how many to ask. An answer is every instance that is seen on any frame.
        kind: the difficulty, one of `clips.KINDS`; None draws one.
        stride: see `render_clip`.
        sheet: sprites; None takes the installed font's.
    """
    chosen = default_sheet() if sheet is None else sheet
    rng = np.random.default_rng([split.seed_space, seed, _CLIP_SPACE])
    settings = split.clips if kind is None else of_kind(split.clips, kind)
    clip = render_clip(chosen, rng, size_hw, frames, settings, stride=stride)
    in_words = replace(split.questions, kinds=tuple(kind for kind in KINDS if kind not in EXEMPLAR_KINDS))
    return clip, ask(phrase_book(chosen), clip, rng, questions, in_words)


def evaluation_clip(
    index: int, size_hw: tuple[int, int] = EVALUATION_SIZE_HW, *, sheet: SpriteSheet | None = None
) -> tuple[Clip, list[Question]]:
    """Clip `index` of the evaluation; the fixed ones are 0 ... `EVALUATION_CLIPS` - 1 at the default size.

    The difficulties take turns, so that there are as many clips of each.
    """
    return _fixed_clip(EVALUATION, index, size_hw, sheet)


def validation_clip(
    index: int, size_hw: tuple[int, int] = EVALUATION_SIZE_HW, *, sheet: SpriteSheet | None = None
) -> tuple[Clip, list[Question]]:
    """As `evaluation_clip`, of the training half: to choose rules and settings by. Training draws none of them."""
    return _fixed_clip(_VALIDATION, index, size_hw, sheet)


def _fixed_clip(
    split: Split, index: int, size_hw: tuple[int, int], sheet: SpriteSheet | None
) -> tuple[Clip, list[Question]]:
    return make_clip(
        split,
        index,
        size_hw,
        EVALUATION_CLIP_FRAMES,
        questions=EVALUATION_CLIP_QUESTIONS,
        kind=CLIP_KINDS[index % len(CLIP_KINDS)],
        sheet=sheet,
    )
