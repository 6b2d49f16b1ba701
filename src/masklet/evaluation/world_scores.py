"""Scores of a model on scenes of the synthetic world, over all prompts and by what was asked, painted, or how large.

What answers is a callable, so that a test can put the truth in the place of a model; `predictor_answers` makes one of
an `ImagePredictor`, so that what is measured is what a user gets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from masklet.evaluation.matching import Instances, compare
from masklet.evaluation.tally import SIZES, Tally, tally_prompt, tally_sizes
from masklet.ops.masks import encode_rle
from masklet.synthetic.concepts import PhraseBook
from masklet.synthetic.phrases import KINDS, Question
from masklet.synthetic.scenes import Scene

ALL, PRESENT, ABSENT = "all prompts", "concept present", "concept absent"
KNOWN_COLOUR, HELD_OUT_COLOUR = "colour seen in training", "colour held out"

Scores = dict[str, dict[str, Tally]]
"""Tallies by section ("all", "answer", "kind", "colour", "size") and row, both in the order of a report."""


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
    scenes: Iterable[tuple[Scene, Sequence[Question]]], answer: AnswerQuestions, book: PhraseBook
) -> Scores:
    """The scores over some scenes, one scene in memory at a time.

    Args:
        scenes: with their questions.
        answer: the model.
        book: tells which colour phrases training never shows.
    """
    scores: Scores = {
        "all": {ALL: Tally()},
        "answer": {PRESENT: Tally(), ABSENT: Tally()},
        "kind": {kind: Tally() for kind in KINDS},
        "colour": {KNOWN_COLOUR: Tally(), HELD_OUT_COLOUR: Tally()},
        "size": {size: Tally() for size in SIZES},
    }
    for scene, questions in scenes:
        for question, given in zip(questions, answer(scene, questions), strict=True):
            comparison = compare(given.instances, true_instances(scene, question))
            tally = tally_prompt(comparison, given.presence)
            for section, row in _rows(question, book):
                scores[section][row] += tally
            for size, part in tally_sizes(comparison).items():
                scores["size"][size] += part
    return scores


def true_instances(scene: Scene, question: Question) -> Instances:
    """The right answer: visible masks and their tight boxes."""
    return Instances(
        rles=[encode_rle(mask) for mask in scene.masks(question.instances)],
        boxes_xyxy=scene.boxes_xyxy(question.instances),
    )


def _rows(question: Question, book: PhraseBook) -> list[tuple[str, str]]:
    """Section and row of all that a prompt counts for as a whole."""
    rows = [("all", ALL), ("answer", PRESENT if question.instances else ABSENT), ("kind", question.kind)]
    concept = question.concept
    if concept is not None and concept.colour is not None:
        rows.append(("colour", HELD_OUT_COLOUR if book.is_held_out(concept) else KNOWN_COLOUR))
    return rows
