from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from masklet.evaluation.matching import Instances
from masklet.evaluation.tally import SIZES, Tally
from masklet.evaluation.world_scores import (
    ABSENT,
    ALL,
    HELD_OUT_COLOUR,
    KNOWN_COLOUR,
    PRESENT,
    Answer,
    Scores,
    score_scenes,
    true_instances,
)
from masklet.synthetic.concepts import PhraseBook
from masklet.synthetic.phrases import KINDS, Question
from masklet.synthetic.scenes import Scene

Scenes = list[tuple[Scene, list[Question]]]


def truth(scene: Scene, questions: Sequence[Question]) -> list[Answer]:
    """The perfect model."""
    return [
        Answer(presence=float(bool(question.instances)), instances=true_instances(scene, question))
        for question in questions
    ]


def silence(scene: Scene, questions: Sequence[Question]) -> list[Answer]:
    nothing = Instances(rles=[], boxes_xyxy=np.zeros((0, 4), dtype=np.float32))
    return [Answer(presence=0.0, instances=nothing)] * len(questions)


def everything(scene: Scene, questions: Sequence[Question]) -> list[Answer]:
    """Says to every question that it is every sprite in sight."""
    all_of_them = true_instances(scene, Question(phrase="all", kind="name", instances=(*range(len(scene.instances)),)))
    return [Answer(presence=1.0, instances=all_of_them)] * len(questions)


def total(section: dict[str, Tally]) -> Tally:
    return sum(section.values(), start=Tally())


def test_the_truth_is_perfect_everywhere(scenes: Scenes, book: PhraseBook) -> None:
    scores = score_scenes(scenes, truth, book)
    for section in scores.values():
        for name, tally in section.items():
            if tally.objects:
                assert (tally.f1, tally.precision, tally.recall, tally.mask_iou, tally.box_iou) == (1,) * 5, name
            assert tally.presence_accuracy in (1, None) and tally.rejection in (1, None), name
    overall = scores["all"][ALL]
    assert overall.f1 == 1 and overall.presence_accuracy == 1 and overall.rejection == 1
    assert overall.prompts == sum(len(questions) for _, questions in scenes)
    assert overall.objects == sum(len(question.instances) for _, questions in scenes for question in questions)


def test_every_prompt_has_a_place_in_every_section(scenes: Scenes, book: PhraseBook) -> None:
    scores = score_scenes(scenes, everything, book)
    asked = [question for _, questions in scenes for question in questions]
    assert total(scores["answer"]) == total(scores["kind"]) == scores["all"][ALL]  # areas and IoUs of 1: exact sums
    assert {kind: tally.prompts for kind, tally in scores["kind"].items()} == {
        kind: Counter(question.kind for question in asked)[kind] for kind in KINDS
    }
    assert scores["answer"][ABSENT].prompts == sum(not question.instances for question in asked)
    tinted = [question for question in asked if question.concept is not None and question.concept.colour is not None]
    held_out = sum(book.is_held_out(question.concept) for question in tinted)
    assert 0 < held_out < len(tinted)
    assert scores["colour"][HELD_OUT_COLOUR].prompts == held_out
    assert scores["colour"][KNOWN_COLOUR].prompts == len(tinted) - held_out
    sizes, overall = total(scores["size"]), scores["all"][ALL]
    assert (sizes.true_positives, sizes.false_positives) == (overall.true_positives, overall.false_positives)
    assert tuple(scores["size"]) == SIZES


def test_silence_rejects_everything_and_finds_nothing(scenes: Scenes, book: PhraseBook) -> None:
    scores = score_scenes(scenes, silence, book)
    assert scores["all"][ALL].f1 == 0 and scores["all"][ALL].rejection == 1
    assert scores["answer"][PRESENT].presence_accuracy == 0 and scores["answer"][ABSENT].presence_accuracy == 1


def test_everything_finds_all_and_rejects_only_where_nothing_is_in_sight(scenes: Scenes, book: PhraseBook) -> None:
    scores = score_scenes(scenes, everything, book)
    overall = scores["all"][ALL]
    assert overall.recall == 1 and overall.precision is not None and overall.precision < 0.5
    absent = [scene for scene, questions in scenes for question in questions if not question.instances]
    assert overall.rejected == sum(not scene.instances for scene in absent)
    assert 0 < overall.rejected < overall.absent == len(absent)


def test_wrong_predictions_where_nothing_is_to_be_found_lower_the_score(scenes: Scenes, book: PhraseBook) -> None:
    def truth_and_more(scene: Scene, questions: Sequence[Question]) -> list[Answer]:
        pairs = zip(truth(scene, questions), everything(scene, questions), questions, strict=True)
        return [right if question.instances else loud for right, loud, question in pairs]

    scores = score_scenes(scenes, truth_and_more, book)
    assert scores["answer"][PRESENT].f1 == 1
    assert scores["all"][ALL].f1 is not None and scores["all"][ALL].f1 < 0.8


def test_no_scenes_and_scenes_without_questions(scenes: Scenes, book: PhraseBook) -> None:
    def only_zeros(scores: Scores) -> bool:
        return all(tally == Tally() for section in scores.values() for tally in section.values())

    assert only_zeros(score_scenes([], truth, book))
    assert only_zeros(score_scenes([(scenes[0][0], [])], truth, book))


def test_an_answer_to_every_question_is_wanted(scenes: Scenes, book: PhraseBook) -> None:
    with pytest.raises(ValueError, match="shorter"):
        score_scenes(scenes, lambda scene, questions: truth(scene, questions)[:-1], book)
