"""Scores of a model on scenes of the synthetic world, over all prompts and by what was asked, painted, or how large.

Prompts asked by text alone are also the (picture, phrase) pairs of cgF1. All that is returned counts: the threshold of
the packaged model is the score from which cgF1 keeps predictions.

What answers is a callable, so that a test can put the truth in the place of a model; `predictor_answers` makes one of
an `ImagePredictor`, so that what is measured is what a user gets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from masklet.evaluation.cgf1 import PairCounts, count_comparisons
from masklet.evaluation.matching import Comparison, Instances, compare
from masklet.evaluation.tally import SIZES, Tally, tally_prompt, tally_sizes
from masklet.ops.masks import encode_rle
from masklet.synthetic.concepts import PhraseBook
from masklet.synthetic.phrases import KINDS, Question
from masklet.synthetic.scenes import Scene
from masklet.types import VISUAL

ALL, PRESENT, ABSENT = "all prompts", "concept present", "concept absent"
TEXT, SHOWN, BOTH = "asked by text", "asked by exemplars", "asked by both"
KNOWN_COLOUR, HELD_OUT_COLOUR = "colour seen in training", "colour held out"
UNNAMED, BARE = "names never trained", "background only"
UNNAMED_MORE = "more there than shown"

Scenes = Iterable[tuple[Scene, Sequence[Question]]]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a report is made of.

    Attributes:
        rows: tallies by section ("all", "answer", "asked by", "kind", "colour", "size", "further sets") and row, both
            in the order of a report. Rows of further sets count in no other row.
        text: counts for cgF1 of the prompts asked by text alone; the pairs are (number of the scene, phrase).
    """

    rows: dict[str, dict[str, Tally]]
    text: PairCounts


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model says to one question.

    Attributes:
        presence: 0..1, is the concept anywhere in the picture.
        instances: what it found.
    """

    presence: float
    instances: Instances


AnswerQuestions = Callable[[Scene, Sequence[Question]], Sequence[Answer]]
"""From a scene, of which a model may look at the image only, and Q questions to Q answers in their order."""


def score_scenes(
    scenes: Scenes, answer: AnswerQuestions, book: PhraseBook, *, unnamed: Scenes = (), bare: Scenes = ()
) -> Scores:
    """The scores over some scenes, one scene in memory at a time.

    Args:
        scenes: with their questions.
        answer: the model.
        book: tells which colour phrases training never shows.
        unnamed: scenes of `world.unnamed_scenes`.
        bare: scenes of `world.bare_scene`.
    """
    rows: dict[str, dict[str, Tally]] = {
        "all": {ALL: Tally()},
        "answer": {PRESENT: Tally(), ABSENT: Tally()},
        "asked by": {TEXT: Tally(), SHOWN: Tally(), BOTH: Tally()},
        "kind": {kind: Tally() for kind in KINDS},
        "colour": {KNOWN_COLOUR: Tally(), HELD_OUT_COLOUR: Tally()},
        "size": {size: Tally() for size in SIZES},
        "further sets": {UNNAMED: Tally(), UNNAMED_MORE: Tally(), BARE: Tally()},
    }
    text: dict[tuple[int, str], Comparison] = {}
    for number, question, comparison, tally in _compared(scenes, answer):
        for section, row in _rows(question, book):
            rows[section][row] += tally
        for size, part in tally_sizes(comparison).items():
            rows["size"][size] += part
        if _asked_by(question) == TEXT:
            assert (number, question.phrase) not in text  # a scene is asked a phrase once
            text[number, question.phrase] = comparison
    further = rows["further sets"]
    for _, question, _, tally in _compared(unnamed, answer):
        further[UNNAMED] += tally
        if len(question.instances) > len(question.positives):  # to give back the exemplars is not enough
            further[UNNAMED_MORE] += tally
    for _, _, _, tally in _compared(bare, answer):
        further[BARE] += tally
    return Scores(rows=rows, text=count_comparisons(text))


def _compared(scenes: Scenes, answer: AnswerQuestions) -> Iterator[tuple[int, Question, Comparison, Tally]]:
    """Each question with the number of its scene, and its answer beside the truth."""
    for number, (scene, questions) in enumerate(scenes):
        for question, given in zip(questions, answer(scene, questions), strict=True):
            comparison = compare(given.instances, true_instances(scene, question))
            yield number, question, comparison, tally_prompt(comparison, given.presence)


def true_instances(scene: Scene, question: Question) -> Instances:
    """The right answer: visible masks and their tight boxes."""
    return Instances(
        rles=[encode_rle(mask) for mask in scene.masks(question.instances)],
        boxes_xyxy=scene.boxes_xyxy(question.instances),
    )


def _rows(question: Question, book: PhraseBook) -> list[tuple[str, str]]:
    """Section and row of all that a prompt counts for as a whole."""
    rows = [
        ("all", ALL),
        ("answer", PRESENT if question.instances else ABSENT),
        ("asked by", _asked_by(question)),
        ("kind", question.kind),
    ]
    concept = question.concept
    if concept is not None and concept.colour is not None:
        rows.append(("colour", HELD_OUT_COLOUR if book.is_held_out(concept) else KNOWN_COLOUR))
    return rows


def _asked_by(question: Question) -> str:
    if not (question.positives or question.negatives):
        return TEXT
    return SHOWN if question.phrase == VISUAL else BOTH
