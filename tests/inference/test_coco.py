"""A COCO data set of many results: numbers, order of coordinates, read by pycocotools."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from masklet.errors import OutputError
from masklet.inference.coco import coco_dataset, write_coco
from result_cases import MASKS, empty_result, make_result


def documents() -> list[dict]:
    return [
        result.to_dict()
        for result in (
            make_result(),
            empty_result(concept="dog"),
            make_result(MASKS[:1], concept="dog", image="other.png"),
        )
    ]


def test_pictures_and_concepts_are_numbered_once() -> None:
    dataset = coco_dataset(documents())
    assert [(image["id"], image["file_name"]) for image in dataset["images"]] == [
        (1, "photos/street.jpg"),
        (2, "other.png"),
    ]
    assert (dataset["images"][0]["width"], dataset["images"][0]["height"]) == (41, 30)
    assert dataset["categories"] == [{"id": 1, "name": "yellow school bus"}, {"id": 2, "name": "dog"}]
    assert [(one["id"], one["image_id"], one["category_id"]) for one in dataset["annotations"]] == [
        (1, 1, 1),
        (2, 1, 1),
        (3, 1, 1),
        (4, 2, 2),
    ]
    assert dataset["annotations"][0]["bbox"] == [3.25, 4.25, 16.5, 20.5]  # x, y, width, height


def test_pycocotools_reads_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "annotations.json"
    write_coco(documents(), path)
    coco = COCO(path)
    capsys.readouterr()  # it prints
    found = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert all(np.array_equal(coco.annToMask(one), mask) for one, mask in zip(found, MASKS, strict=True))
    assert [one["area"] for one in found] == MASKS.sum((1, 2)).tolist()


def test_one_result_is_a_data_set_of_its_own() -> None:
    assert make_result().to_coco() == coco_dataset(documents()[:1])


def test_no_results() -> None:
    assert coco_dataset([]) == {"images": [], "categories": [], "annotations": []}


def test_a_failure_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    write_coco([], path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_coco([{**documents()[0], "size_wh": [float("nan"), 1]}], path)
    assert json.loads(path.read_text())["images"] == []
    assert [file.name for file in tmp_path.iterdir()] == ["annotations.json"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_coco([], tmp_path / "file" / "annotations.json")
