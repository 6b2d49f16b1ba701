from dataclasses import replace

import numpy as np
import pytest
from torch import Tensor

from masklet.config import TEST, SelectionConfig
from masklet.evaluation.answers import predictor_answers
from masklet.inference.image_predictor import ImagePredictor
from masklet.model.build import build_model
from masklet.synthetic.phrases import Question
from masklet.synthetic.scenes import Scene
from masklet.types import Exemplar, ImageFeatures

Scenes = list[tuple[Scene, list[Question]]]


@pytest.fixture(scope="module")
def predictor() -> ImagePredictor:
    """Random weights that find something everywhere: what is found must only depend on what is asked."""
    config = replace(TEST, selection=SelectionConfig(score_threshold=0.2, nms_iou=0.9))
    return ImagePredictor(build_model(config, seed=0).eval())


def test_answers_are_those_of_single_calls_in_the_order_of_the_questions(
    scenes: Scenes, predictor: ImagePredictor
) -> None:
    kinds, found = set(), 0
    for scene, questions in scenes[:8]:
        boxes = [tuple(map(float, instance.box_xyxy)) for instance in scene.instances]
        answers = predictor_answers(predictor)(scene, questions)
        assert len(answers) == len(questions)
        for question, answer in zip(questions, answers, strict=True):
            exemplars = [Exemplar(boxes[idx]) for idx in question.positives]
            exemplars += [Exemplar(boxes[idx], positive=False) for idx in question.negatives]
            alone = predictor.segment(scene.image, question.phrase, exemplars=exemplars)
            # Batches of other sizes may sum in another order: the last bits of float32.
            assert answer.presence == pytest.approx(alone.presence, abs=1e-5)
            assert len(answer.instances.rles) == len(alone)
            np.testing.assert_allclose(answer.instances.boxes_xyxy, alone.boxes_xyxy, atol=1e-3)
            kinds.add(question.kind)
            found += len(alone)
    assert found > 20 and {"exemplar", "exemplar_negative", "colour", "absent_word"} <= kinds


def test_a_scene_is_encoded_once(scenes: Scenes, predictor: ImagePredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded, encode = [], predictor.model.encode_image

    def counted(pixels: Tensor, *arguments: object, **options: object) -> ImageFeatures:
        encoded.append(len(pixels))
        return encode(pixels, *arguments, **options)

    monkeypatch.setattr(predictor.model, "encode_image", counted)
    scene, questions = next(pair for pair in scenes if any(question.positives for question in pair[1]))
    predictor_answers(predictor)(scene, questions)
    assert encoded == [1]


def test_no_questions_and_only_questions_with_exemplars(scenes: Scenes, predictor: ImagePredictor) -> None:
    scene, questions = next(pair for pair in scenes if any(question.positives for question in pair[1]))
    answer = predictor_answers(predictor)
    assert answer(scene, []) == []
    assert len(answer(scene, [question for question in questions if question.positives])) >= 1
