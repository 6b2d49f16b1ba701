import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from masklet.evaluation.cgf1 import PairCounts
from masklet.evaluation.matching import Instances
from masklet.evaluation.report import RATES, bars_of, document, figures_of, summary, table
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
from masklet.ops.masks import encode_rle, rle_boxes
from masklet.synthetic.concepts import PhraseBook
from masklet.synthetic.phrases import KINDS, Question
from masklet.synthetic.scenes import Scene

Scenes = list[tuple[Scene, list[Question]]]


def tally(true_positives: int, false_positives: int, false_negatives: int, absent: int = 0, rejected: int = 0) -> Tally:
    return Tally(
        prompts=50_000,
        presence_right=40_000,
        absent=absent,
        rejected=rejected,
        true_positives=true_positives,
        false_positives=false_positives,
        false_negatives=false_negatives,
        mask_iou_sum=0.75 * true_positives,
        box_iou_sum=0.5 * true_positives,
    )


def absences(absent: int, rejected: int) -> Tally:
    return Tally(prompts=absent, absent=absent, rejected=rejected)


def pairs(*rows: tuple[int, int, int]) -> PairCounts:
    """Of (true, predicted, right at every overlap)."""
    true, predicted, right = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return PairCounts(
        pairs=tuple(range(len(rows))), true=true, predicted=predicted, right=np.repeat(right[:, None], 10, 1)
    )


def some_scores() -> Scores:
    kinds = dict.fromkeys(KINDS, Tally()) | {
        "name": tally(10, 0, 0),
        "category": tally(2, 8, 8),  # with the one above: 0.6
        "colour": tally(7, 3, 3),  # 0.7
        "exemplar": tally(9, 1, 1),
        "exemplar_negative": tally(1, 9, 9),  # with the one above: 0.5
        "absent_colour": absences(100, 85),
        "absent_word": absences(100, 96),
    }
    rows = {
        "all": {ALL: tally(36_000, 14_000, 14_000, absent=1000, rejected=949)},  # F1 exactly 0.72
        "answer": {PRESENT: tally(36_000, 0, 14_000), ABSENT: tally(0, 14_000, 0, absent=1000, rejected=949)},
        "asked by": {TEXT: tally(88, 12, 12), SHOWN: tally(3, 1, 1), BOTH: Tally()},
        "kind": kinds,
        "colour": {KNOWN_COLOUR: tally(3, 1, 1), HELD_OUT_COLOUR: tally(1, 1, 1)},
        "size": dict.fromkeys(SIZES, Tally(true_positives=1, mask_iou_sum=0.5)),
        "further sets": {UNNAMED: tally(69, 31, 31), UNNAMED_MORE: tally(1, 3, 3), BARE: absences(100, 97)},
    }
    # 4 of 5 right, 4 of 5 found; 3 found, 1 missed, 1 wrong, 3 right: cgF1 is 0.8 * 0.5.
    found, nothing = [(1, 2, 1), (1, 1, 1), (2, 2, 2)], [(0, 0, 0)] * 3
    return Scores(rows=rows, text=pairs(*found, (1, 0, 0), (0, 3, 0), *nothing))


def no_scores() -> Scores:
    rows = {section: dict.fromkeys(rows, Tally()) for section, rows in some_scores().rows.items()}
    return Scores(rows=rows, text=pairs())


def test_bars() -> None:
    bars = bars_of(some_scores())
    assert [(bar.value, bar.least, bar.met) for bar in bars] == [
        (pytest.approx(0.4, abs=1e-4), 0.5, False),
        (0.88, 0.88, True),
        (0.949, 0.95, False),
        (0.69, 0.7, False),
        (0.85, 0.85, True),
        (0.96, 0.97, False),
        (0.97, 0.97, True),
    ]


def test_bars_and_figures_of_nothing_are_neither_met_nor_missed() -> None:
    assert [bar.met for bar in bars_of(no_scores())] == [None] * 7
    assert set(figures_of(no_scores()).values()) == {None}


@pytest.mark.parametrize("rows", [[(1, 1, 1), (2, 2, 2)], [(0, 0, 0), (0, 1, 0)]])
def test_cgf1_is_not_said_where_a_concept_is_always_or_never_there(rows: list[tuple[int, int, int]]) -> None:
    assert bars_of(Scores(rows=some_scores().rows, text=pairs(*rows)))[0].value is None


def test_figures() -> None:
    assert list(figures_of(some_scores()).values()) == [
        *(0.72, 0.6, 0.7, 0.5),
        *(pytest.approx(value, abs=1e-4) for value in (0.5, 0.8, 0.4)),
    ]


def text(question: Question) -> bool:
    return not question.positives and not question.negatives


# What a model gets wrong -> the bars that fall, by their place. Wrong predictions lower F1 wherever they are made.
MISTAKES: dict[str, tuple[Callable[[str, Question], bool], set[int]]] = {
    "nothing": (lambda of, one: False, set()),
    "phrases of what is there": (lambda of, one: of == "split" and text(one) and bool(one.instances), {0, 1}),
    "exemplars": (lambda of, one: of == "split" and not text(one) and bool(one.instances), set()),
    "absent things with exemplars": (lambda of, one: one.kind == "exemplar_absent", {2}),
    "near relatives": (lambda of, one: of == "split" and one.kind == "absent_sibling", {0, 1, 2}),
    "exemplars of unnamed symbols": (lambda of, one: of == "unnamed", {3}),
    "wrong colours": (lambda of, one: one.kind == "absent_colour", {0, 1, 2, 4}),
    "foreign words": (lambda of, one: of == "split" and one.kind == "absent_word", {0, 1, 2, 5}),
    "pictures without sprites": (lambda of, one: of == "bare", {6}),
    "everything": (lambda of, one: True, {0, 1, 2, 3, 4, 5, 6}),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_model_that_is_wrong_misses_the_bars_that_say_so(
    mistake: str, scenes: Scenes, unnamed: Scenes, bare: Scenes, book: PhraseBook
) -> None:
    """It finds the whole picture where it is wrong, and the truth elsewhere."""
    is_wrong, falling = MISTAKES[mistake]
    sets = {"split": scenes, "unnamed": unnamed, "bare": bare}
    set_of = {id(scene): name for name, made in sets.items() for scene, _ in made}

    def answer(scene: Scene, questions: Sequence[Question]) -> list[Answer]:
        rles = [encode_rle(np.ones(scene.size_hw, dtype=bool))]
        whole = Instances(rles=rles, boxes_xyxy=rle_boxes(rles))
        return [
            Answer(presence=1.0, instances=whole if is_wrong(set_of[id(scene)], one) else true_instances(scene, one))
            for one in questions
        ]

    bars = bars_of(score_scenes(scenes, answer, book, unnamed=unnamed, bare=bare))
    # The published evaluator's small constants take 1e-5 from a perfect cgF1 of so many prompts.
    assert {place for place, bar in enumerate(bars) if bar.value < 0.999} == falling
    assert all(bar.met for place, bar in enumerate(bars) if place not in falling)
    if mistake == "everything":
        assert [bar.met for bar in bars] == [False] * 7
        assert all(bar.value <= 0 for bar in bars)


def test_silence_meets_what_is_about_rejection_and_nothing_else(
    scenes: Scenes, unnamed: Scenes, bare: Scenes, book: PhraseBook
) -> None:
    nothing = Answer(presence=0.0, instances=Instances(rles=[], boxes_xyxy=np.zeros((0, 4), dtype=np.float32)))
    scores = score_scenes(scenes, lambda _, questions: [nothing] * len(questions), book, unnamed=unnamed, bare=bare)
    bars = bars_of(scores)
    assert [bar.value for bar in bars] == [0, 0, 1, 0, 1, 1, 1]
    assert [bar.met for bar in bars] == [False, False, True, False, True, True, True]


def test_the_table_has_every_row_fits_and_says_what_is_missed() -> None:
    for scores in (some_scores(), no_scores()):
        lines = table(scores).splitlines()
        assert max(map(len, lines)) <= 100
        names = [line[:24].rstrip() for line in lines]
        for section in scores.rows.values():
            assert all(names.count(row) == 1 for row in section)
    lines = table(some_scores()).splitlines()
    assert lines[0].split() == [
        *("prompts", "objects", "F1", "precision", "recall", "mask", "IoU", "box", "IoU", "presence", "rejected")
    ]
    row = next(line for line in lines if line.startswith(ALL))
    assert row.split()[2:] == ["50000", "50000", "0.720", "0.720", "0.720", "0.750", "0.500", "0.800", "0.949"]
    assert next(line for line in lines if line.startswith("name ")).split()[-1] == "-"
    bars, figures = lines[-15:-8], lines[-7:]
    assert [line.split()[-1] for line in bars] == ["MISSED", "met", "MISSED", "MISSED", "met", "MISSED", "met"]
    assert bars[1].split()[-4:] == ["0.880", "bar", "0.88", "met"]
    assert [line.split()[-1] for line in figures] == ["0.720", "0.600", "0.700", "0.500", "0.500", "0.800", "0.400"]
    assert all(line.endswith("not measured") for line in table(no_scores()).splitlines()[-15:-8])


def test_the_document_is_plain_json_with_counts_and_rates() -> None:
    for scores in (some_scores(), no_scores()):
        values = document(scores)
        assert json.loads(json.dumps(values, allow_nan=False)) == values
        assert set(values) == {*scores.rows, "bars", "figures", "text_cgf1"}
    values = document(some_scores())
    assert values["kind"]["name"]["true_positives"] == 10 and values["kind"]["category"]["f1"] == 0.2
    assert values["kind"]["synonym"]["f1"] is None
    assert [bar["met"] for bar in values["bars"]] == [False, True, False, False, True, False, True]
    assert values["figures"]["F1 over all prompts"] == 0.72
    assert values["text_cgf1"]["cgF1"] == pytest.approx(0.4, abs=1e-4) and len(values["text_cgf1"]) == 26


def test_the_summary_has_the_rates_of_all_prompts_and_two_of_every_row_that_has_them() -> None:
    values = summary(some_scores())
    overall = {"f1": 0.72, "precision": 0.72, "recall": 0.72, "mask_iou": 0.75, "box_iou": 0.5}
    assert {name: values[name] for name in overall} == overall
    assert values["presence_accuracy"] == 0.8 and values["rejection"] == 0.949
    assert values["f1_by"] == {
        PRESENT: 0.8372,  # 72 / 86
        TEXT: 0.88,
        SHOWN: 0.75,
        "name": 1.0,
        "category": 0.2,
        "colour": 0.7,
        "exemplar": 0.9,
        "exemplar_negative": 0.1,
        KNOWN_COLOUR: 0.75,
        HELD_OUT_COLOUR: 0.5,
        **dict.fromkeys(SIZES, 1.0),
        UNNAMED: 0.69,
        UNNAMED_MORE: 0.25,
    }
    assert values["rejection_by"] == {ABSENT: 0.949, "absent_colour": 0.85, "absent_word": 0.96, BARE: 0.97}
    assert values["text_cgf1"] == pytest.approx(
        {"cgF1": 0.4, "IL_MCC": 0.5, "positive_micro_F1": 0.8, "cgF1@0.5": 0.4}, abs=1e-4
    )
    nothing = {"f1_by": {}, "rejection_by": {}, "text_cgf1": dict.fromkeys(values["text_cgf1"])}
    assert summary(no_scores()) == dict.fromkeys(RATES) | nothing
