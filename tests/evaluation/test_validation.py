"""A model measured on labels of any format."""

from __future__ import annotations

from pathlib import Path

import pytest

from masklet.data.open import open_dataset
from masklet.evaluation.cgf1 import evaluate_cgf1
from masklet.evaluation.pair_files import read_truth
from masklet.evaluation.validation import dataset_pairs, validator
from masklet.model.build import build_model
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.world import TRAIN
from masklet.synthetic.writer import write_coco


@pytest.fixture
def folder(tmp_path: Path, sheet: SpriteSheet) -> Path:
    write_coco(tmp_path / "w", count=3, size_hw=(64, 80), seed=3, split=TRAIN, questions=5, sheet=sheet)
    return tmp_path / "w"


def test_prompts_are_pairs(folder: Path) -> None:
    """The labels themselves are a perfect answer, and lie beside the pictures."""
    dataset = open_dataset(folder)
    pairs = dataset_pairs(dataset)
    truth = read_truth(pairs)
    prompts = [prompt for picture in dataset for prompt in picture.prompts]
    assert [truth.phrase(pair) for pair in truth.pairs] == [prompt.phrase for prompt in prompts]
    assert [len(truth.objects.get(pair, ())) for pair in truth.pairs] == [len(one.instance_idx) for one in prompts]
    shown = [entry for entry in truth.pairs.values() if entry["exemplars"]]
    assert len(shown) == sum(1 for prompt in prompts if prompt.positive_idx or prompt.negative_idx)
    assert all(Path(entry["file_name"]).is_file() for entry in truth.pairs.values())
    answers = [{**one, "score": 0.9} for one in pairs["annotations"]]
    values, _ = evaluate_cgf1([pairs], answers)
    assert values["cgF1_eval_segm_cgF1"] == pytest.approx(1, abs=1e-3)


def test_figures_of_a_model(folder: Path) -> None:
    figures = validator(open_dataset(folder))(build_model("test", seed=0))
    assert list(figures) == ["cgF1", "IL_MCC", "positive_micro_F1", "F1@0.5", "precision@0.5", "recall@0.5"]
    assert all(-1 <= value <= 1 for value in figures.values())


def test_the_first_figure_says_something_where_nothing_is_absent(folder: Path) -> None:
    dataset = open_dataset(folder)
    present = {prompt.phrase for picture in dataset for prompt in picture.prompts if prompt.instance_idx}
    absent = {prompt.phrase for picture in dataset for prompt in picture.prompts if not prompt.instance_idx}
    only = dataset.only([phrase for phrase in dataset.vocabulary if phrase in present - absent])
    assert next(iter(validator(only)(build_model("test", seed=0)))) == "positive_micro_F1"
