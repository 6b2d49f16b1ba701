import json

from masklet.evaluation.report import RATES, bars_of, document, summary, table
from masklet.evaluation.tally import SIZES, Tally
from masklet.evaluation.world_scores import ABSENT, ALL, HELD_OUT_COLOUR, KNOWN_COLOUR, PRESENT, Scores
from masklet.synthetic.phrases import KINDS


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


def some_scores() -> Scores:
    kinds = dict.fromkeys(KINDS, Tally()) | {
        "name": tally(10, 0, 0),
        "category": tally(2, 8, 8),  # with the one above: 0.6
        "colour": tally(7, 3, 3),  # 0.7
        "exemplar": tally(9, 1, 1),
        "exemplar_negative": tally(1, 9, 9),  # with the one above: 0.5
    }
    return {
        "all": {ALL: tally(36_000, 14_000, 14_000, absent=1000, rejected=919)},  # F1 exactly 0.72
        "answer": {PRESENT: tally(36_000, 0, 14_000), ABSENT: tally(0, 14_000, 0, absent=1000, rejected=919)},
        "kind": kinds,
        "colour": {KNOWN_COLOUR: tally(3, 1, 1), HELD_OUT_COLOUR: tally(1, 1, 1)},
        "size": dict.fromkeys(SIZES, Tally(true_positives=1, mask_iou_sum=0.5)),
    }


def no_scores() -> Scores:
    return {section: dict.fromkeys(rows, Tally()) for section, rows in some_scores().items()}


def test_bars() -> None:
    bars = bars_of(some_scores())
    assert [(bar.value, bar.least, bar.met) for bar in bars] == [
        (0.72, 0.72, True),
        (0.919, 0.92, False),
        (0.7, 0.6, True),
        (0.5, 0.6, False),
    ]


def test_bars_of_nothing_are_neither_met_nor_missed() -> None:
    assert [bar.met for bar in bars_of(no_scores())] == [None] * 4


def test_the_table_has_every_row_fits_and_says_what_is_missed() -> None:
    for scores in (some_scores(), no_scores()):
        lines = table(scores).splitlines()
        assert max(map(len, lines)) <= 100
        names = [line[:24].rstrip() for line in lines]
        for section in scores.values():
            assert all(names.count(row) == 1 for row in section)
    lines = table(some_scores()).splitlines()
    assert lines[0].split() == [
        *("prompts", "objects", "F1", "precision", "recall", "mask", "IoU", "box", "IoU", "presence", "rejected")
    ]
    row = next(line for line in lines if line.startswith(ALL))
    assert row.split()[2:] == ["50000", "50000", "0.720", "0.720", "0.720", "0.750", "0.500", "0.800", "0.919"]
    assert next(line for line in lines if line.startswith("name ")).split()[-1] == "-"
    assert [line.split()[-1] for line in lines[-4:]] == ["met", "MISSED", "met", "MISSED"]


def test_the_document_is_plain_json_with_counts_and_rates() -> None:
    for scores in (some_scores(), no_scores()):
        values = document(scores)
        assert json.loads(json.dumps(values, allow_nan=False)) == values
        assert set(values) == {*scores, "bars"}
    values = document(some_scores())
    assert values["kind"]["name"]["true_positives"] == 10 and values["kind"]["category"]["f1"] == 0.2
    assert values["kind"]["synonym"]["f1"] is None
    assert [bar["met"] for bar in values["bars"]] == [True, False, True, False]


def test_the_summary_has_the_rates_of_all_prompts_and_two_of_every_row_that_has_them() -> None:
    values = summary(some_scores())
    overall = {"f1": 0.72, "precision": 0.72, "recall": 0.72, "mask_iou": 0.75, "box_iou": 0.5}
    assert {name: values[name] for name in overall} == overall
    assert values["presence_accuracy"] == 0.8 and values["rejection"] == 0.919
    assert values["f1_by"] == {
        PRESENT: 0.8372,  # 72 / 86
        "name": 1.0,
        "category": 0.2,
        "colour": 0.7,
        "exemplar": 0.9,
        "exemplar_negative": 0.1,
        KNOWN_COLOUR: 0.75,
        HELD_OUT_COLOUR: 0.5,
        **dict.fromkeys(SIZES, 1.0),
    }
    assert values["rejection_by"] == {ABSENT: 0.919}
    assert summary(no_scores()) == dict.fromkeys(RATES) | {"f1_by": {}, "rejection_by": {}}
