"""Tables, breakdowns and the HTML page of an evaluation."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PIL import Image

from masklet.evaluation.breakdown import by_phrase, by_size, precision_recall, worst_pairs
from masklet.evaluation.cgf1 import cgf1_values, count_files
from masklet.evaluation.pair_files import read_predictions, read_truth
from masklet.evaluation.pair_report import (
    count_of_pairs,
    figures_table,
    levels_line,
    pair_report,
    presence_of_pairs,
)
from masklet.evaluation.tally import SIZES
from pair_cases import EXAMPLE_A, EXAMPLE_B, EXAMPLE_C, prediction, truth

TRUTH, FOUND = read_truth(EXAMPLE_A[0]), read_predictions(EXAMPLE_A[1])
COUNTS = count_files([TRUTH], FOUND, "segm")


def test_by_phrase() -> None:
    rows = by_phrase([TRUTH], COUNTS)
    assert list(rows)[:2] == ["thing 1", "thing 3"]  # those with mistakes come first
    assert (rows["thing 1"].true_positives, rows["thing 1"].false_positives, rows["thing 1"].objects) == (2, 1, 2)
    assert (rows["thing 3"].rejection, rows["thing 4"].rejection, rows["thing 1"].rejection) == (0, 1, None)
    assert sum(row.prompts for row in rows.values()) == 5


@pytest.mark.parametrize("iou", ["segm", "bbox"])
def test_by_size(iou: Any) -> None:
    labels = truth({1: [(0, 0, 40, 20)], 2: [(0, 0, 10, 10)]})
    for image in labels["images"]:
        image |= {"width": 400, "height": 200}  # boxes are pixels: no change
    big = read_predictions([prediction(1, (0, 0, 40, 20), 0.9), prediction(2, (20, 0, 10, 10), 0.9)])
    counts = count_files([read_truth(labels)], big, iou)
    rows = by_size([read_truth(labels)], big, counts, iou)
    found = {size: (row.true_positives, row.false_positives, row.false_negatives) for size, row in rows.items()}
    assert found == {SIZES[0]: (1, 1, 1), SIZES[1]: (0, 0, 0), SIZES[2]: (0, 0, 0)}


def test_worst_pairs_first() -> None:
    assert worst_pairs(COUNTS, 9) == [0, 2]
    assert worst_pairs(COUNTS, 1) == [0]


def test_precision_over_recall() -> None:
    """Four answers right at 0.5 in the order of their scores: yes, yes, yes, no (0.6), no (0.5), and two below."""
    curve = precision_recall([TRUTH], FOUND, COUNTS, "segm", overlap=0.5)
    assert curve.shape == (101,)
    assert curve == pytest.approx(np.ones(101))
    late = [{**one, "score": 1 - one["score"]} for one in EXAMPLE_A[1]]
    curve = precision_recall([TRUTH], read_predictions(late), COUNTS, "segm", overlap=0.5)
    # Backwards the right ones are number 5, 6 and 7 of 7.
    assert curve[[0, 40, 100]] == pytest.approx([3 / 7, 3 / 7, 3 / 7])


def test_counting_and_presence() -> None:
    pairs = COUNTS.pairs
    assert count_of_pairs(TRUTH, FOUND, pairs).to_dict() == {
        "pairs": 5,
        "mean_absolute_error": pytest.approx(1 / 5),
        "accuracy": pytest.approx(4 / 5),
    }
    by_best_score = presence_of_pairs(TRUTH, FOUND, pairs)
    assert (by_best_score.accuracy, by_best_score.auc) == (0.8, 1.0)
    given = presence_of_pairs(TRUTH, FOUND, pairs, dict.fromkeys(pairs, 0.9))
    assert (given.accuracy, given.auc) == (0.4, 0.5)


def test_table() -> None:
    table = figures_table({"F1": 0.5, "MCC": None, "pairs": 3, "F1@0.5": 0.25, "AR@10": 1.0})
    assert table.split("\n") == [
        "           mean    at 0.5",
        "F1       0.5000    0.2500",
        "MCC           -",
        "pairs         3",
        "AR@10    1.0000",
    ]
    assert figures_table({}) == ""
    expected = "5 pairs; concept there: 2 found, 0 missed; not there: 2 rejected, 1 with something found"
    assert levels_line(COUNTS) == expected


class Page(HTMLParser):
    """Checks that every tag that is opened is closed, and gathers text and pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.pictures: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)
        if tag == "img":
            self.pictures.append(dict(attrs)["src"])

    def handle_endtag(self, tag: str) -> None:
        if tag != "polyline":
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        assert tag == "polyline"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def page_of(files: Any, predictions: Any, folder: Any = None) -> Page:
    annotators, found = [read_truth(one) for one in files], read_predictions(predictions)
    counts = count_files(annotators, found, "segm")
    values = cgf1_values(counts)
    facts = {"labels": "a <b> & c"}
    return Page(pair_report(annotators, found, counts, values, iou="segm", facts=facts, folder=folder))


def test_page_with_pictures(tmp_path: Any) -> None:
    Image.new("RGB", (40, 20), (200, 30, 30)).save(tmp_path / "1.jpg")
    page = page_of([EXAMPLE_B[0]], EXAMPLE_B[1], tmp_path)
    text = " ".join(page.texts)
    assert "labels: a <b> & c" in text  # escaped in the source
    assert "0.233" in text
    assert "thing 2 in 2.jpg: 0 right, 1 wrong, 1 missed" in text
    assert len(page.pictures) == 2  # only pair 2 has mistakes at an overlap of 0.5
    assert all(re.match(r"data:image/jpeg;base64,[A-Za-z0-9+/=]{200,}$", source) for source in page.pictures)


def test_page_of_several_annotators_and_of_nothing() -> None:
    assert "None: no mistake was made." in page_of(EXAMPLE_C[0], EXAMPLE_C[1]).texts
    assert "0 pairs; concept there: 0 found" in " ".join(page_of([truth({})], []).texts)
