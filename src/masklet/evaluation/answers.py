"""Answers of a predictor to questions about scenes: exactly what a user gets who asks them."""

from __future__ import annotations

from collections.abc import Sequence

from masklet.evaluation.matching import Instances
from masklet.evaluation.world_scores import Answer, AnswerQuestions
from masklet.inference.image_predictor import ImagePredictor
from masklet.synthetic.phrases import Question
from masklet.synthetic.scenes import Scene
from masklet.types import Exemplar


def predictor_answers(predictor: ImagePredictor) -> AnswerQuestions:
    """What `predictor` finds at its model's own threshold and with its own removal of duplicates.

    A scene is encoded once. Questions without exemplars are asked together, the others one by one, since exemplars go
    with every concept of a call.
    """

    def answer(scene: Scene, questions: Sequence[Question]) -> list[Answer]:
        features = predictor.encode(scene.image)
        phrases = [question.phrase for question in questions if not _exemplars(scene, question)]
        together = iter(predictor.segment(features, phrases) if phrases else [])
        answers = []
        for question in questions:
            exemplars = _exemplars(scene, question)
            result = predictor.segment(features, question.phrase, exemplars=exemplars) if exemplars else next(together)
            found = Instances(rles=result.rle(), boxes_xyxy=result.boxes_xyxy)
            answers.append(Answer(presence=result.presence, instances=found))
        return answers

    return answer


def _exemplars(scene: Scene, question: Question) -> list[Exemplar]:
    labelled = [(idx, True) for idx in question.positives] + [(idx, False) for idx in question.negatives]
    return [Exemplar(scene.instances[idx].box_xyxy, positive) for idx, positive in labelled]
