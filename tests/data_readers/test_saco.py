"""Pairs of picture and phrase: pictures of several phrases, fractions, negatives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_readers.label_cases import save_json
from masklet.data.saco import read_saco
from masklet.errors import DataError
from masklet.ops.masks import encode_rle


def gold() -> dict[str, Any]:
    mask = np.zeros((20, 50), dtype=np.bool_)
    mask[5:15, 10:40] = True
    pair = {"height": 20, "width": 50, "queried_category": "1", "is_instance_exhaustive": 1, "is_pixel_exhaustive": 1}
    return {
        "images": [
            {"id": 900, "file_name": "x/1.jpg", "text_input": "the red bus", **pair},
            {"id": 901, "file_name": "2.jpg", "text_input": "cat", **pair, "height": 30, "is_instance_exhaustive": 0},
            {"id": 902, "file_name": "x/1.jpg", "text_input": "cat", **pair},
            {"id": 903, "file_name": "x/1.jpg", "text_input": "wheel", **pair},
        ],
        "annotations": [
            {"id": 1, "image_id": 903, "bbox": [0.5, 0.25, 0.1, 0.3], "category_id": 1, "iscrowd": 0},
            {
                "id": 2,
                "image_id": 900,
                "bbox": [0.2, 0.25, 0.6, 0.5],
                "area": 0.3,
                "segmentation": dict(encode_rle(mask)),
                "category_id": 1,
                "iscrowd": 1,
            },
            {"id": 3, "image_id": 903, "bbox": [0, 0, 1, 1], "category_id": 1},
            {"id": 4, "image_id": 901, "bbox": [0.1, 0.1, 0.1, 0.1], "category_id": 1},
        ],
        "categories": [{"id": 1, "name": "object"}],
    }


def read(tmp_path: Path, document: object, **options: Any) -> Any:
    return read_saco(save_json(tmp_path / "gold.json", document), **options)


def test_pairs_of_one_file_are_one_picture(tmp_path: Path) -> None:
    dataset = read(tmp_path, gold(), pictures="there")
    assert (len(dataset), dataset.format, dataset.vocabulary) == (2, "saco", ("the red bus", "cat", "wheel"))
    first, second = dataset
    assert (first.path, first.size_hw, first.id) == (Path("there/x/1.jpg"), (20, 50), "x/1.jpg")
    assert [(p.phrase, p.instance_idx, p.exhaustive) for p in first.prompts] == [
        ("the red bus", (1,), True),
        ("cat", (), True),
        ("wheel", (0, 2), True),
    ]
    boxes = [instance.box_xyxy for instance in first.instances]
    assert np.allclose(boxes, [(25, 5, 30, 11), (10, 5, 40, 15), (0, 0, 50, 20)])
    assert [instance.crowd for instance in first.instances] == [False, True, False]
    codes = first.rles()
    assert codes[0] is None and codes[1] == gold()["annotations"][1]["segmentation"]
    assert [(p.phrase, p.instance_idx, p.exhaustive) for p in second.prompts] == [("cat", (0,), False)]
    assert np.allclose(second.instances[0].box_xyxy, (5, 3, 10, 6))


def test_no_pairs(tmp_path: Path) -> None:
    assert len(read(tmp_path, {"images": []})) == 0


def test_files_beside_the_json(tmp_path: Path) -> None:
    assert read(tmp_path, gold())[1].path == tmp_path / "2.jpg"


@pytest.mark.parametrize(
    ("table", "index", "changes", "message"),
    [
        (
            "images",
            2,
            {"width": 51},
            r"images\[2\]: expected height and width \(20, 50\) .* of x/1.jpg, got \(20, 51\)",
        ),
        ("images", 1, {"text_input": None}, r"images\[1\]: expected 'text_input' to be text, got null"),
        (
            "images",
            1,
            {"is_instance_exhaustive": "yes"},
            r"images\[1\]: expected 'is_instance_exhaustive' to be 0 or 1",
        ),
        ("annotations", 0, {"image_id": 5}, r"annotations\[0\]: expected 'image_id' .* 4 images, got 5"),
    ],
)
def test_a_broken_file_is_one_clear_line(
    tmp_path: Path, table: str, index: int, changes: dict[str, Any], message: str
) -> None:
    document = gold()
    document[table][index] |= changes
    with pytest.raises(DataError, match=message):
        read(tmp_path, document)
