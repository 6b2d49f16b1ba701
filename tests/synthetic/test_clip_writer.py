import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from masklet.cli.synth import synth
from masklet.errors import InputError, OutputError
from masklet.evaluation.video_files import read_video_ground_truth, read_video_predictions
from masklet.evaluation.video_report import evaluate_video
from masklet.ops.masks import decode_rle
from masklet.synthetic import clip_writer
from masklet.synthetic.clip_writer import write_clips
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.world import EVALUATION, make_clip

SIZE_HW = (48, 64)


@pytest.fixture(scope="module")
def written(sheet: SpriteSheet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("clips") / "set"
    options = {"count": 12, "frames": 6, "size_hw": SIZE_HW, "seed": 30, "split": EVALUATION, "image_format": "png"}
    write_clips(out, **options, sheet=sheet)
    return out


def test_what_is_written_is_what_was_made(written: Path, sheet: SpriteSheet) -> None:
    document = json.loads((written / "annotations.json").read_text())
    phrases = {category["id"]: category["name"] for category in document["categories"]}
    found = 0
    for video in document["videos"]:
        clip, asked = make_clip(EVALUATION, video["seed"], SIZE_HW, 6, questions=2, sheet=sheet)
        assert video["kind"] == clip.kind and video["length"] == 6
        for name, picture in zip(video["file_names"], clip.frames, strict=True):
            assert np.array_equal(np.asarray(Image.open(written / name)), picture)
        pairs = [pair for pair in document["video_np_pairs"] if pair["video_id"] == video["id"]]
        for pair, question in zip(pairs, asked, strict=True):
            assert phrases[pair["category_id"]] == question.phrase
            assert pair["num_masklets"] == len(question.instances)
            own = [a for a in document["annotations"] if (a["video_id"], a["category_id"]) == tuple(pair.values())[:2]]
            assert [annotation["instance"] for annotation in own] == list(question.instances)
            for annotation in own:
                found += 1
                masks = clip.masks(annotation["instance"])
                for mask, rle, box, area in zip(
                    masks, annotation["segmentations"], annotation["bboxes"], annotation["areas"], strict=True
                ):
                    if rle is None:
                        assert not mask.any() and box is None and area is None
                        continue
                    rows, columns = np.nonzero(mask)
                    assert np.array_equal(decode_rle(rle), mask) and area == mask.sum()
                    left, top = int(columns.min()), int(rows.min())
                    assert box == [left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top]
    assert found > 5


def test_the_evaluator_reads_it_and_gives_full_marks_to_the_truth(written: Path) -> None:
    document = json.loads((written / "annotations.json").read_text())
    truth = read_video_ground_truth(written / "annotations.json")
    predictions = [{**annotation, "score": 0.9} for annotation in document["annotations"]]
    assert len(read_video_predictions(predictions, truth)) == len(predictions)
    scores = evaluate_video(truth, predictions, iou=("mask",)).scores
    assert scores["video_mask_all_phrase_HOTA"] == pytest.approx(1)


def test_the_verb_makes_clips(sheet: SpriteSheet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_writer, "default_sheet", lambda: sheet)
    app = typer.Typer()
    app.command()(synth)
    out = tmp_path / "set"
    result = CliRunner().invoke(app, ["--out", str(out), "--count", "2", "--frames", "3", "--size", "64x48"])
    assert result.exit_code == 0, result.output
    assert "2 clips" in result.stderr and result.stdout == ""
    assert len(list(out.glob("frames/*/*.jpg"))) == 6
    assert CliRunner().invoke(app, ["--out", str(out), "--frames", "0"]).exit_code == 2


def test_what_cannot_be_written(sheet: SpriteSheet, tmp_path: Path) -> None:
    options = {"count": 1, "frames": 2, "size_hw": SIZE_HW, "seed": 0, "split": EVALUATION, "sheet": sheet}
    for wrong in ({"frames": 0}, {"count": -1}, {"image_format": "gif"}):
        with pytest.raises(InputError, match=r"expected 1 frame|image_format"):
            write_clips(tmp_path / "set", **{**options, **wrong})
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("")
    with pytest.raises(OutputError, match="new or empty"):
        write_clips(tmp_path / "used", **options)
