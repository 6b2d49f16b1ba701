import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from masklet.cli.synth import parse_size
from masklet.errors import InputError, OutputError
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.world import EVALUATION, TRAIN, make_scene
from masklet.synthetic.writer import write_coco

SIZE_HW = (48, 70)


# pycocotools 2.0 decodes with an __array__ that numpy 2 calls outdated.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_what_is_written_is_what_was_made(sheet: SpriteSheet, tmp_path: Path) -> None:
    done: list[int] = []
    out = tmp_path / "new" / "set"
    write_coco(
        out,
        count=8,
        size_hw=SIZE_HW,
        seed=40,
        split=EVALUATION,
        questions=3,
        image_format="png",
        sheet=sheet,
        on_progress=done.append,
    )
    assert done == list(range(1, 9))
    assert sorted(path.name for path in out.parent.iterdir()) == ["set"], "nothing is left aside"
    document = json.loads((out / "annotations.json").read_text())
    assert document["info"]["sprites_sha256"] == sheet.source_hash
    assert [category["name"] for category in document["categories"]] == [symbol.name for symbol in sheet.symbols]
    annotations = {annotation["id"]: annotation for annotation in document["annotations"]}
    assert len(annotations) == len(document["annotations"]) > 8
    for image in document["images"]:
        scene, questions = make_scene(EVALUATION, image["seed"], SIZE_HW, questions=3, sheet=sheet)
        assert (image["height"], image["width"]) == SIZE_HW
        assert np.array_equal(np.asarray(Image.open(out / image["file_name"]).convert("RGB")), scene.image)
        own = [a for a in document["annotations"] if a["image_id"] == image["id"]]
        for annotation, instance, mask in zip(own, scene.instances, scene.masks(), strict=True):
            assert np.array_equal(coco_mask.decode(annotation["segmentation"]).astype(bool), mask)
            assert annotation["area"] == mask.sum()
            assert annotation["bbox"] == list(coco_mask.toBbox(annotation["segmentation"]))
            assert annotation["category_id"] == instance.symbol_idx + 1
        asked = [query for query in document["queries"] if query["image_id"] == image["id"]]
        first = own[0]["id"] if own else 0
        for query, question in zip(asked, questions, strict=True):
            assert (query["phrase"], query["kind"]) == (question.phrase, question.kind)
            assert [i - first for i in query["annotation_ids"]] == list(question.instances)
            assert [i - first for i in query["positive_exemplar_ids"]] == list(question.positives)
            assert [i - first for i in query["negative_exemplar_ids"]] == list(question.negatives)


def test_a_data_set_of_no_pictures_is_valid(sheet: SpriteSheet, tmp_path: Path) -> None:
    write_coco(tmp_path / "none", count=0, size_hw=SIZE_HW, seed=0, split=TRAIN, sheet=sheet)
    document = json.loads((tmp_path / "none" / "annotations.json").read_text())
    assert document["images"] == document["annotations"] == document["queries"] == []


def test_jpeg_pictures_are_written_by_default(sheet: SpriteSheet, tmp_path: Path) -> None:
    write_coco(tmp_path / "set", count=1, size_hw=SIZE_HW, seed=0, split=TRAIN, sheet=sheet)
    with Image.open(tmp_path / "set" / "images" / "000000.jpg") as image:
        assert image.format == "JPEG" and image.size == (70, 48)


def test_a_folder_in_use_is_left_alone(sheet: SpriteSheet, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="new or empty"):
        write_coco(tmp_path, count=1, size_hw=SIZE_HW, seed=0, split=TRAIN, sheet=sheet)
    with pytest.raises(OutputError, match="new or empty"):
        write_coco(tmp_path / "mine.txt", count=1, size_hw=SIZE_HW, seed=0, split=TRAIN, sheet=sheet)
    with pytest.raises(OutputError, match="cannot write"):
        write_coco(tmp_path / "mine.txt" / "x", count=1, size_hw=SIZE_HW, seed=0, split=TRAIN, sheet=sheet)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_an_interrupted_run_leaves_nothing_half_written(sheet: SpriteSheet, tmp_path: Path) -> None:
    def stop(done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_coco(tmp_path / "set", count=5, size_hw=SIZE_HW, seed=0, split=TRAIN, sheet=sheet, on_progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong", [{"count": -1}, {"seed": -1}, {"questions": -1}, {"image_format": "gif"}, {"size_hw": (8, 70), "count": 1}]
)
def test_senseless_arguments_are_refused(sheet: SpriteSheet, tmp_path: Path, wrong: dict) -> None:
    arguments = {"count": 1, "size_hw": SIZE_HW, "seed": 0, "split": TRAIN, "sheet": sheet} | wrong
    with pytest.raises(InputError):
        write_coco(tmp_path / "set", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_sizes_are_a_side_or_width_by_height() -> None:
    assert parse_size("336") == (336, 336)
    assert parse_size(" 640x480 ") == (480, 640)
    for wrong in ("", "31", "640x", "x480", "640x480x3", "9000", "-5", "big"):
        with pytest.raises(InputError, match="WIDTHxHEIGHT"):
            parse_size(wrong)
