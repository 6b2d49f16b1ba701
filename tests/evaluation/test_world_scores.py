import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from masklet.config import DEFAULT
from masklet.evaluation.cgf1 import KEPT_SCORE, cgf1_values, evaluate_cgf1
from masklet.evaluation.matching import Instances
from masklet.evaluation.pairs import as_pairs
from masklet.evaluation.tally import SIZES, Tally
from masklet.evaluation.world_scores import (
    ABSENT,
    ALL,
    BARE,
    BOTH,
    HELD_OUT_COLOUR,
    KNOWN_COLOUR,
    PRESENT,
    SHOWN,
    TEXT,
    UNNAMED,
    UNNAMED_MORE,
    Answer,
    Scores,
    score_scenes,
    true_instances,
)
from masklet.ops.masks import decode_rle, encode_rle, rle_boxes
from masklet.synthetic.concepts import PhraseBook
from masklet.synthetic.phrases import KINDS, Question
from masklet.synthetic.scenes import Instance, Scene
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.world import EVALUATION, make_scene
from masklet.synthetic.writer import write_coco
from masklet.types import VISUAL

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
    for section in scores.rows.values():
        for name, tally in section.items():
            if tally.objects:
                assert (tally.f1, tally.precision, tally.recall, tally.mask_iou, tally.box_iou) == (1,) * 5, name
            assert tally.presence_accuracy in (1, None) and tally.rejection in (1, None), name
    overall = scores.rows["all"][ALL]
    assert overall.f1 == 1 and overall.presence_accuracy == 1 and overall.rejection == 1
    assert overall.prompts == sum(len(questions) for _, questions in scenes)
    assert overall.objects == sum(len(question.instances) for _, questions in scenes for question in questions)


def test_every_prompt_has_a_place_in_every_section(scenes: Scenes, book: PhraseBook) -> None:
    scores = score_scenes(scenes, everything, book)
    asked = [question for _, questions in scenes for question in questions]
    for section in ("answer", "asked by", "kind"):
        assert total(scores.rows[section]) == scores.rows["all"][ALL]  # areas and IoUs of 1: exact sums
    assert {kind: tally.prompts for kind, tally in scores.rows["kind"].items()} == {
        kind: Counter(question.kind for question in asked)[kind] for kind in KINDS
    }
    assert scores.rows["answer"][ABSENT].prompts == sum(not question.instances for question in asked)
    text = [question for question in asked if not question.positives and not question.negatives]
    alone = [question for question in asked if question.phrase == VISUAL]
    assert scores.rows["asked by"][TEXT].prompts == len(text)
    assert scores.rows["asked by"][SHOWN].prompts == len(alone)
    assert 0 < scores.rows["asked by"][BOTH].prompts == len(asked) - len(text) - len(alone)
    tinted = [question for question in asked if question.concept is not None and question.concept.colour is not None]
    held_out = sum(book.is_held_out(question.concept) for question in tinted)
    assert 0 < held_out < len(tinted)
    assert scores.rows["colour"][HELD_OUT_COLOUR].prompts == held_out
    assert scores.rows["colour"][KNOWN_COLOUR].prompts == len(tinted) - held_out
    sizes, overall = total(scores.rows["size"]), scores.rows["all"][ALL]
    assert (sizes.true_positives, sizes.false_positives) == (overall.true_positives, overall.false_positives)
    assert tuple(scores.rows["size"]) == SIZES


def test_silence_rejects_everything_and_finds_nothing(scenes: Scenes, book: PhraseBook) -> None:
    scores = score_scenes(scenes, silence, book)
    assert scores.rows["all"][ALL].f1 == 0 and scores.rows["all"][ALL].rejection == 1
    assert (
        scores.rows["answer"][PRESENT].presence_accuracy == 0 and scores.rows["answer"][ABSENT].presence_accuracy == 1
    )


def test_everything_finds_all_and_rejects_only_where_nothing_is_in_sight(scenes: Scenes, book: PhraseBook) -> None:
    scores = score_scenes(scenes, everything, book)
    overall = scores.rows["all"][ALL]
    assert overall.recall == 1 and overall.precision is not None and overall.precision < 0.5
    absent = [scene for scene, questions in scenes for question in questions if not question.instances]
    assert overall.rejected == sum(not scene.instances for scene in absent)
    assert 0 < overall.rejected < overall.absent == len(absent)


def test_wrong_predictions_where_nothing_is_to_be_found_lower_the_score(scenes: Scenes, book: PhraseBook) -> None:
    def truth_and_more(scene: Scene, questions: Sequence[Question]) -> list[Answer]:
        pairs = zip(truth(scene, questions), everything(scene, questions), questions, strict=True)
        return [right if question.instances else loud for right, loud, question in pairs]

    scores = score_scenes(scenes, truth_and_more, book)
    assert scores.rows["answer"][PRESENT].f1 == 1
    assert scores.rows["all"][ALL].f1 is not None and scores.rows["all"][ALL].f1 < 0.8


def test_no_scenes_and_scenes_without_questions(scenes: Scenes, book: PhraseBook) -> None:
    def only_zeros(scores: Scores) -> bool:
        return (
            all(tally == Tally() for section in scores.rows.values() for tally in section.values())
            and not scores.text.pairs
        )

    assert only_zeros(score_scenes([], truth, book))
    assert only_zeros(score_scenes([(scenes[0][0], [])], truth, book))


def test_an_answer_to_every_question_is_wanted(scenes: Scenes, book: PhraseBook) -> None:
    with pytest.raises(ValueError, match="shorter"):
        score_scenes(scenes, lambda scene, questions: truth(scene, questions)[:-1], book)


def found(masks: list[np.ndarray]) -> Answer:
    rles = [encode_rle(mask) for mask in masks]
    return Answer(presence=float(bool(rles)), instances=Instances(rles=rles, boxes_xyxy=rle_boxes(rles)))


def blocks(count: int) -> Scene:
    """So many squares of 100 pixels in a row."""
    label_map = np.zeros((12, 40), dtype=np.uint8)
    instances = []
    for idx in range(count):
        label_map[1:11, 12 * idx : 12 * idx + 10] = idx + 1
        box = (12 * idx, 1, 12 * idx + 10, 11)
        instances.append(Instance(symbol_idx=0, colour=None, box_xyxy=box, area_px=100, visible_fraction=1.0))
    image = np.zeros((12, 40, 3), dtype=np.uint8)
    return Scene(image=image, label_map=label_map, instances=tuple(instances), symbols=())


def part(scene: Scene, instance: int, pixels: int) -> np.ndarray:
    """The first pixels of a square: its overlap with it is so many hundredths."""
    mask = scene.masks((instance,))[0]
    return mask & (np.cumsum(mask).reshape(mask.shape) <= pixels)


def test_cgf1_is_that_of_text_prompts_counted_by_hand(book: PhraseBook) -> None:
    """Found, missed, found where nothing is; 1, 2, 1 and 2 prompts of each; an exemplar that would spoil it all."""
    scene = blocks(3)
    prompts = [
        (Question(phrase="two", kind="plural", instances=(0, 1)), [part(scene, 1, 100), part(scene, 0, 62)]),
        (Question(phrase="one", kind="name", instances=(2,)), [part(scene, 2, 81)]),
        (Question(phrase="missed", kind="name", instances=(1,)), []),
        (Question(phrase="wrong", kind="absent_word", instances=()), [part(scene, 0, 100)]),
        (Question(phrase="right", kind="absent_word", instances=()), []),
        (Question(phrase="too", kind="absent_random", instances=()), []),
        (Question(phrase=VISUAL, kind="exemplar", instances=(0, 1), positives=(0,)), [part(scene, 2, 50)] * 3),
        (Question(phrase="both", kind="exemplar_absent", instances=(), negatives=(0,)), [part(scene, 1, 100)]),
    ]
    questions, masks = zip(*prompts, strict=True)
    scores = score_scenes([(scene, questions)], lambda *_: [found(each) for each in masks], book)
    assert scores.text.pairs == tuple((0, phrase) for phrase in ("two", "one", "missed", "wrong", "right", "too"))
    values = cgf1_values(scores.text)
    # 3 predictions for prompts that have the 4 objects: 3 are right at 0.5, 0.55 and 0.6, 2 up to 0.8, then 1.
    pmf1 = (3 * 6 / 7 + 4 * 4 / 7 + 3 * 2 / 7) / 10
    # 2 found, 1 missed, 1 wrong, 2 right: (2 * 2 - 1 * 1) / sqrt(3 * 3 * 3 * 3)
    assert values["IL_MCC"] == pytest.approx(1 / 3, abs=1e-5)
    assert values["positive_micro_F1"] == pytest.approx(pmf1, abs=1e-4)
    assert values["cgF1"] == pytest.approx(pmf1 / 3, abs=1e-4)
    assert values["cgF1@0.5"] == pytest.approx(6 / 7 / 3, abs=1e-4)


def sloppy(scene: Scene, questions: Sequence[Question]) -> list[Answer]:
    """Cuts rows off, forgets some objects, and now and then finds what is not there."""
    answers = []
    for question in questions:
        length = len(question.phrase)
        masks = [decode_rle(rle) for rle in true_instances(scene, question).rles][length % 2 :]
        for number, mask in enumerate(masks):
            rows = np.flatnonzero(mask.any(1))
            mask[rows[: max(1, len(rows) * (number + 1) // 8)]] = False
        if not question.instances and length % 3 == 0:
            masks = [np.ones(scene.size_hw, dtype=bool)]
        answers.append(found(masks))
    return answers


def test_cgf1_is_that_of_the_files_of_the_same_scenes(sheet: SpriteSheet, book: PhraseBook, tmp_path: Path) -> None:
    size_hw = (90, 120)
    write_coco(
        tmp_path / "w",
        count=12,
        size_hw=size_hw,
        seed=0,
        split=EVALUATION,
        questions=6,
        image_format="png",
        sheet=sheet,
    )
    content = json.loads((tmp_path / "w/annotations.json").read_text(encoding="utf-8"))
    made = [make_scene(EVALUATION, seed, size_hw, questions=6, sheet=sheet) for seed in range(12)]
    queries = iter(content["queries"])
    predictions, kept = [], []
    for scene, questions in made:
        for question, answer in zip(questions, sloppy(scene, questions), strict=True):
            query = next(queries)
            assert query["phrase"] == question.phrase
            if not query["positive_exemplar_ids"] and not query["negative_exemplar_ids"]:
                kept.append(query)
                predictions += [
                    {"image_id": query["id"], "category_id": 1, "segmentation": rle, "score": 0.9}
                    for rle in answer.instances.rles
                ]
    expected, counts = evaluate_cgf1([as_pairs(content | {"queries": kept})], predictions)
    scores = score_scenes(made, sloppy, book)
    values = cgf1_values(scores.text)
    assert {f"cgF1_eval_segm_{name}": value for name, value in values.items()} == expected
    assert 0.1 < values["cgF1"] < 0.9 and 0 < values["IL_MCC"] < 1
    assert np.array_equal(scores.text.f1, counts.f1, equal_nan=True)


def test_the_packaged_model_returns_what_cgf1_keeps() -> None:
    assert DEFAULT.selection.score_threshold == KEPT_SCORE


def test_further_sets_have_rows_of_their_own_alone(
    scenes: Scenes, unnamed: Scenes, bare: Scenes, book: PhraseBook
) -> None:
    alone = score_scenes(scenes, everything, book)
    scores = score_scenes(scenes, everything, book, unnamed=unnamed, bare=bare)
    further = scores.rows["further sets"]
    assert scores.rows | {"further sets": {}} == alone.rows | {"further sets": {}}
    assert scores.text.pairs == alone.text.pairs
    assert all(tally == Tally() for tally in alone.rows["further sets"].values())
    asked = [question for _, questions in unnamed for question in questions]
    more = [question for question in asked if set(question.instances) > set(question.positives)]
    assert further[UNNAMED].prompts == len(asked) and 0 < further[UNNAMED_MORE].prompts == len(more) < len(asked)
    assert further[UNNAMED].objects == sum(len(question.instances) for question in asked)
    assert further[UNNAMED].recall == 1 and further[UNNAMED].precision < 1
    assert further[BARE].prompts == further[BARE].absent == sum(len(questions) for _, questions in bare)
    assert further[BARE].objects == 0 and further[BARE].rejection == 1  # every sprite in sight is none
