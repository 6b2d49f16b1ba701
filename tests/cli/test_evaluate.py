"""`masklet evaluate` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import video_cases
from command import masklet
from label_map_cases import PREDICTED, TRUE, write_maps
from masklet.checkpoint.save import save_native
from masklet.model.build import build_model
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.world import EVALUATION
from masklet.synthetic.writer import write_coco
from pair_cases import EXAMPLE_A, EXAMPLE_C

JF = ("--metric", "jf", "--ground-truth", "a.json", "--predictions", "p.json")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    contents = {"a": EXAMPLE_A[0], "p": EXAMPLE_A[1], "c1": EXAMPLE_C[0][0], "c2": EXAMPLE_C[0][1]}
    contents |= {"c3": EXAMPLE_C[0][2], "cp": EXAMPLE_C[1]}
    for name, content in contents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def test_one_json_object(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ("--metric", "cgf1", "--ground-truth", files / "a.json", "--predictions", files / "p.json", "--json")
    code, out, err = masklet(capsys, "evaluate", *line)
    assert (code, err) == (0, "")
    values = json.loads(out)
    assert len(values) == 26
    assert values["cgF1_eval_segm_cgF1"] == pytest.approx(0.45709707, abs=1e-6)
    code, out, _ = masklet(capsys, "evaluate", *line, "--iou", "bbox")
    assert json.loads(out)["cgF1_eval_bbox_cgF1@0.5"] == pytest.approx(0.57137950, abs=1e-6)


def test_annotators_table_and_report(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = [word for name in ("c1", "c2", "c3") for word in ("--ground-truth", files / f"{name}.json")]
    line = ("--predictions", files / "cp.json", "--report", files / "report.html")
    code, out, err = masklet(capsys, "evaluate", *labels, *line)
    assert (code, err) == (0, "")
    assert out.split("\n")[1] == "cgF1                        0.8666    0.9999    0.9999"
    assert out.endswith("3 pairs; concept there: 2 found, 0 missed; not there: 1 rejected, 0 with something found\n")
    assert (files / "report.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("metric", "name", "value"),
    [
        ("counting", "accuracy", 0.8),
        ("presence", "auc", 1.0),
        # All right up to 0.8; of the three highest overlaps one object in three, precise up to a recall of a third.
        ("ap", "coco_eval_segm_AP", 0.7 + 0.3 * 34 / 101),
    ],
)
def test_other_metrics(files: Path, capsys: pytest.CaptureFixture[str], metric: str, name: str, value: float) -> None:
    line = ("--metric", metric, "--ground-truth", files / "a.json", "--predictions", files / "p.json")
    code, out, _ = masklet(capsys, "evaluate", *line, "--json")
    assert code == 0
    assert json.loads(out)[name] == pytest.approx(value)
    code, out, _ = masklet(capsys, "evaluate", *line)
    assert code == 0
    assert any(row.startswith(name) for row in out.split("\n"))


def test_lvis(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = json.loads((files / "a.json").read_text())
    for image in labels["images"]:
        image |= {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    labels["categories"][0]["frequency"] = "c"
    (files / "l.json").write_text(json.dumps(labels))
    line = ("--metric", "lvis", "--ground-truth", files / "l.json", "--predictions", files / "p.json")
    code, out, err = masklet(capsys, "evaluate", *line, "--json")
    assert (code, err) == (0, "")
    values = json.loads(out)
    # As with --metric ap, where pairs without objects come after the right answers.
    assert values["lvis_eval_segm_AP"] == values["lvis_eval_segm_AP_c"] == pytest.approx(0.7 + 0.3 * 34 / 101)
    code, out, _ = masklet(capsys, "evaluate", *line, "--iou", "bbox")
    assert code == 0
    assert any(row.startswith("lvis_eval_bbox_AP_c ") for row in out.split("\n"))


def test_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    box = {0: (0, 0, 10, 10), 1: (0, 0, 10, 10)}
    labels = video_cases.ground_truth([video_cases.masklet(1, box)], [(1, 1), (1, 2)])
    (tmp_path / "l.json").write_text(json.dumps(labels))
    (tmp_path / "p.json").write_text(json.dumps([video_cases.masklet(1, {0: (0, 0, 10, 10)}, score=0.9)]))
    line = ("--metric", "video", "--ground-truth", tmp_path / "l.json", "--predictions", tmp_path / "p.json")
    code, out, err = masklet(capsys, "evaluate", *line, "--json")
    assert (code, err) == (0, "")
    values = json.loads(out)
    assert values["video_mask_demo_ilmcc_50_95"] == pytest.approx(1, abs=1e-5)
    assert values["video_mask_demo_positive_micro_f1_50"] == pytest.approx(1, abs=1e-3)
    assert values["video_mask_demo_ilmcc_75"] is None  # a quotient of nothing: half the volume is right
    code, out, _ = masklet(capsys, "evaluate", *line, "--iou", "bbox")
    assert code == 0
    assert "video_bbox_all_phrase_HOTA" in out
    code, _, err = masklet(capsys, "evaluate", *line[:4], "--model", "default")
    assert (code, err.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("options", "mean", "row"),
    [  # spec/evaluation.md 7.6
        ((), (44.938530, 44.898990, 44.978070), "    44.94    44.90    44.98        2"),
        (("--all-frames",), (55.144936, 54.969697, 55.320175), "    55.14    54.97    55.32        2"),
    ],
)
def test_followed_objects(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], mean: tuple[float, ...], row: str
) -> None:
    write_maps(tmp_path / "true" / "bear", TRUE, palette=True)
    write_maps(tmp_path / "mine" / "bear", PREDICTED)
    write_maps(tmp_path / "mine" / "deer", PREDICTED)
    line = ("--metric", "jf", "--ground-truth", tmp_path / "true", "--predictions", tmp_path / "mine", *options)
    code, out, err = masklet(capsys, "evaluate", *line, "--json")
    assert code == 0
    assert "videos that are not in the ground truth do not count: 1" in err
    values = json.loads(out)
    videos = values.pop("videos")
    assert values == pytest.approx({"J&F": mean[0], "J": mean[1], "F": mean[2], "objects": 2}, abs=1e-6)
    assert videos == {"bear": values}
    code, out, _ = masklet(capsys, "evaluate", *line)
    assert (code, out.splitlines()[1:]) == (0, ["all videos" + row, "bear      " + row])
    (tmp_path / "mine" / "bear" / "00001.png").unlink()
    code, out, err = masklet(capsys, "evaluate", *line)
    assert (code, out, err.count("\n")) == (1, "", 2)
    assert "got none for 00001" in err


def test_a_model_and_then_what_it_said(tmp_path: Path, sheet: SpriteSheet, capsys: pytest.CaptureFixture[str]) -> None:
    write_coco(tmp_path / "w", count=2, size_hw=(48, 64), seed=0, split=EVALUATION, questions=4, sheet=sheet)
    save_native(build_model("test", seed=0), tmp_path / "m.safetensors")
    labels = ("--ground-truth", tmp_path / "w" / "annotations.json")
    line = ("--model", tmp_path / "m.safetensors", "--save", tmp_path / "p.json", "--json")
    code, out, _ = masklet(capsys, "evaluate", *labels, *line)
    assert code == 0
    asked = json.loads(out)
    assert asked["cgF1_eval_segm_IL_FPR"] >= 0
    code, out, _ = masklet(capsys, "evaluate", *labels, "--metric", "presence", *line[:2], "--json")
    assert code == 0
    assert json.loads(out)["pairs"] == 8
    code, out, _ = masklet(capsys, "evaluate", *labels, "--metric", "ap", *line[:2], "--json")
    assert code == 0
    assert len(json.loads(out)) == 12
    code, out, err = masklet(capsys, "evaluate", *labels, "--predictions", tmp_path / "p.json", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == pytest.approx(asked)


def test_categories_are_told_apart_if_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels: dict[str, Any] = {
        "images": [{"id": 1, "width": 40, "height": 20, "file_name": "1.jpg"}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [EXAMPLE_A[0]["annotations"][0]],
    }
    (tmp_path / "l.json").write_text(json.dumps(labels))
    (tmp_path / "p.json").write_text(json.dumps([EXAMPLE_A[1][0] | {"category_id": 2}]))
    line = ("--ground-truth", tmp_path / "l.json", "--predictions", tmp_path / "p.json", "--json")
    code, out, err = masklet(capsys, "evaluate", *line)
    assert (code, json.loads(out)["cgF1_eval_segm_IL_recall"]) == (0, pytest.approx(1))
    assert "2 categories and no text_input" in err
    code, out, err = masklet(capsys, "evaluate", *line, "--per-category")
    assert (code, err) == (0, "")
    assert json.loads(out)["cgF1_eval_segm_IL_MCC"] == pytest.approx(-1, abs=1e-5)


def test_average_precision_tells_categories_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = {
        "images": [{"id": 1, "width": 40, "height": 20, "file_name": "1.jpg"}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [EXAMPLE_A[0]["annotations"][0]],
    }
    (tmp_path / "l.json").write_text(json.dumps(labels))
    for category, expected in ((1, 1.0), (2, 0.0)):
        (tmp_path / "p.json").write_text(json.dumps([EXAMPLE_A[1][0] | {"category_id": category}]))
        line = ("--ground-truth", tmp_path / "l.json", "--predictions", tmp_path / "p.json", "--json")
        code, out, err = masklet(capsys, "evaluate", *line, "--metric", "ap")
        assert (code, err) == (0, "")
        assert json.loads(out)["coco_eval_segm_AP"] == pytest.approx(expected)


def test_a_folder_of_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a model was tuned on in another format than JSON can be measured too."""
    for folder in ("images", "masks/cat", "masks/dog"):
        (tmp_path / "labels" / folder).mkdir(parents=True)
    Image.new("RGB", (40, 20), (80, 90, 100)).save(tmp_path / "labels/images/a.png")
    mask = np.zeros((20, 40), dtype=np.uint8)
    Image.fromarray(mask).save(tmp_path / "labels/masks/dog/a.png")
    mask[:10, :10] = 1
    Image.fromarray(mask).save(tmp_path / "labels/masks/cat/a.png")
    save_native(build_model("test", seed=0), tmp_path / "m.safetensors")
    line = ("--ground-truth", tmp_path / "labels", "--model", tmp_path / "m.safetensors")
    code, out, err = masklet(capsys, "evaluate", *line, "--metric", "presence", "--json")
    assert (code, err) == (0, "")
    assert (json.loads(out)["pairs"], json.loads(out)["positives"]) == (2, 1)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--predictions", "p.json"), 2, "--ground-truth"),
        (("--ground-truth", "a.json"), 2, "give one of --predictions and --model"),
        (("--ground-truth", "a.json", "--predictions", "p.json", "--model", "default"), 2, "give one of"),
        (("--ground-truth", "a.json", "--predictions", "p.json", "--metric", "f1"), 2, "'f1' is not one of"),
        (
            ("--ground-truth", "a.json", "--predictions", "none.json"),
            1,
            "none.json: expected a file with the",
        ),
        (("--ground-truth", "p.json", "--predictions", "p.json"), 1, "p.json: expected an object with images"),
        (("--ground-truth", "a.json", "--predictions", "p.json", "--save", "x"), 2, "it goes with --model"),
        (("--ground-truth", "a.json", "--predictions", "p.json", "--positives-only"), 2, "it goes with --metric ap"),
        (("--ground-truth", "a.json", "--predictions", "p.json", "--report", "a.json/r.html"), 1, "a.json"),
        (("--ground-truth", "a.json", "--predictions", "p.json", "--all-frames"), 2, "it goes with --metric jf"),
        ((*JF, "--ground-truth", "a.json"), 2, "several annotators go with --metric cgf1"),
        ((*JF[:4], "--model", "default"), 2, "videos are scored from --predictions"),
        ((*JF, "--images", "."), 2, "it does not go with videos"),
        ((*JF, "--per-category"), 2, "it does not go with videos"),
        ((*JF, "--iou", "bbox"), 2, "--metric jf compares masks"),
        ((*JF, "--report", "r.html"), 2, "a report goes with --metric cgf1"),
        (("--metric", "lvis", *JF[2:4], "--model", "default"), 2, "LVIS is scored from --predictions"),
        (("--metric", "lvis", *JF[2:], "--per-category"), 2, "LVIS says what is asked of a picture"),
        (("--metric", "lvis", *JF[2:]), 1, "a.json: expected LVIS' frequency r, c or f"),
        (JF, 1, "a.json: expected folders VIDEO with label maps FRAME.png, got no folder"),
    ],
)
def test_bad_usage(
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(files)
    found, out, err = masklet(capsys, "evaluate", *words)
    assert (found, out) == (code, "")
    assert message in err
    assert err.count("\n") == 1
