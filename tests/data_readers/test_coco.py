"""COCO files: phrases, negatives, segmentations of every kind, additions, and what is broken in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_readers.label_cases import coco_document, rectangle, save_json
from masklet.data.check import check_dataset
from masklet.data.coco import read_coco
from masklet.data.dataset import Dataset, Instance, LabelledPicture, Prompt
from masklet.data.decode import decode
from masklet.data.segmentation import Polygons, RunLengths
from masklet.errors import DataError
from masklet.inference.coco import write_coco as write_results
from masklet.ops.masks import decode_rle, encode_rle
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.world import TRAIN, make_scene
from masklet.synthetic.writer import write_coco
from result_cases import MASKS, empty_result, make_result


def read(tmp_path: Path, document: object, **options: Any) -> Dataset:
    return read_coco(save_json(tmp_path / "set.json", document), **options)


def asked(picture: LabelledPicture) -> dict[str, tuple[int, ...]]:
    assert len({prompt.phrase for prompt in picture.prompts}) == len(picture.prompts)
    return {prompt.phrase: prompt.instance_idx for prompt in picture.prompts}


def test_pictures_instances_and_prompts(tmp_path: Path) -> None:
    dataset = read(tmp_path, coco_document())
    assert (dataset.format, dataset.source) == ("coco", tmp_path / "set.json")
    assert dataset.vocabulary == ("Dog", "tram", "red apple"), "by category id"
    first, second = dataset
    assert (first.id, first.path, first.size_hw) == ("7", tmp_path / "b.jpg", (31, 47))
    assert (second.id, second.path, second.size_hw) == ("3", tmp_path / "sub/a.jpg", (20, 55))
    assert first.instances == (Instance(box_xyxy=(1.5, 2.5, 21.5, 12.5), id="51"),)
    assert [instance.box_xyxy for instance in second.instances] == [(5, 2, 15, 14), (0, 0, 55, 20), (30, 1, 34, 7)]
    assert [instance.crowd for instance in second.instances] == [False, True, False]
    assert [instance.id for instance in second.instances] == ["50", "52", "53"]
    assert list(asked(second).items()) == [("Dog", (1,)), ("tram", ()), ("red apple", (0, 2))]
    assert asked(first) == {"Dog": (0,), "tram": (), "red apple": ()}
    assert all(prompt.exhaustive for picture in dataset for prompt in picture.prompts)


def test_pictures_in_another_folder(tmp_path: Path) -> None:
    dataset = read(tmp_path, coco_document(), pictures="elsewhere")
    assert [picture.path for picture in dataset] == [Path("elsewhere/b.jpg"), Path("elsewhere/sub/a.jpg")]


def test_only_the_keys_that_are_needed(tmp_path: Path) -> None:
    assert read(tmp_path, {"images": []}).pictures == ()
    bare = {"images": [{"id": "x", "file_name": "a", "height": 3, "width": 5}], "categories": None}
    assert read(tmp_path, bare)[0] == LabelledPicture(path=tmp_path / "a", size_hw=(3, 5), id="x")


# --- negatives --------------------------------------------------------------------------------------------------------


def test_absent_categories(tmp_path: Path) -> None:
    assert asked(read(tmp_path, coco_document(), negatives="none")[0]) == {"Dog": (0,)}
    assert asked(read(tmp_path, coco_document(), negatives="listed")[0]) == {"Dog": (0,)}
    assert asked(read(tmp_path, coco_document(), negatives="all")[0]) == {"Dog": (0,), "tram": (), "red apple": ()}


def test_negatives_as_lvis_lists_them(tmp_path: Path) -> None:
    document = coco_document()
    document["images"][0] |= {"neg_category_ids": [9], "not_exhaustive_category_ids": [2]}
    document["images"][1] |= {"neg_category_ids": [], "not_exhaustive_category_ids": [4]}
    first, second = read(tmp_path, document)
    assert asked(first) == {"Dog": (0,), "red apple": ()}
    assert [prompt.exhaustive for prompt in first.prompts] == [False, True]
    assert asked(second) == {"Dog": (1,), "red apple": (0, 2)}
    everything = read(tmp_path, document, negatives="all")[1]
    assert "tram" not in asked(everything), "not known to be absent"
    assert asked(read(tmp_path, document, negatives="none")[0]) == {"Dog": (0,)}


def test_phrases_of_single_pictures(tmp_path: Path) -> None:
    document = coco_document()
    document["images"][1]["negatives"] = ["green apple", "tram", "the left dog"]
    document["annotations"][0]["phrase"] = "big apple"
    document["annotations"][1] |= {"noun_phrase": "tram", "category_id": None}
    document["annotations"][2]["noun_phrase"] = "the left dog"
    dataset = read(tmp_path, document, negatives="listed")
    assert asked(dataset[0]) == {"tram": (0,)}
    assert list(asked(dataset[1]).items()) == [
        ("tram", ()),
        ("red apple", (2,)),
        ("big apple", (0,)),
        ("the left dog", (1,)),  # labelled, so it is there
        ("green apple", ()),
    ]
    assert dataset.vocabulary == ("Dog", "tram", "red apple", "big apple", "the left dog", "green apple")
    assert "green apple" not in asked(read(tmp_path, document, negatives="none")[1])


def test_categories_of_one_name_are_one_phrase(tmp_path: Path) -> None:
    document = coco_document()
    document["categories"][0]["name"] = "Dog"
    dataset = read(tmp_path, document)
    assert dataset.vocabulary == ("Dog", "tram")
    assert asked(dataset[1]) == {"Dog": (0, 1, 2), "tram": ()}


# --- segmentations ----------------------------------------------------------------------------------------------------


def test_segmentations_of_every_kind(tmp_path: Path) -> None:
    mask = np.zeros((20, 55), dtype=np.bool_)
    mask[2:14, 5:15] = True
    plain = [5 * 20 + 2] + [12, 8] * 9 + [12, 6 + 40 * 20]
    document = coco_document()
    kinds = [[rectangle(5, 2, 15, 14)], dict(encode_rle(mask)), {"size": [20, 55], "counts": plain}, None, [], {}]
    document["annotations"] = [{"image_id": 3, "category_id": 9, "segmentation": kind} for kind in kinds[:3]]
    document["annotations"] += [
        {"image_id": 3, "category_id": 9, "bbox": [1, 2, 3, 4], "segmentation": kind} for kind in kinds[3:]
    ]
    picture = read(tmp_path, document)[1]
    assert [type(instance.segmentation) for instance in picture.instances] == [
        *(Polygons, RunLengths, RunLengths),
        *[type(None)] * 3,
    ]
    codes = picture.rles()
    for code in codes[:3]:
        assert code is not None and np.array_equal(decode_rle(code), mask)
    assert codes[3:] == [None] * 3
    assert [instance.box_xyxy for instance in picture.instances] == [(5, 2, 15, 14)] * 3 + [(1, 2, 4, 6)] * 3
    assert [instance.id for instance in picture.instances] == ["0", "1", "2", "3", "4", "5"]


def test_opening_makes_no_masks(tmp_path: Path) -> None:
    document = coco_document()
    for annotation in document["annotations"]:
        annotation["segmentation"] = {"size": [999, 1], "counts": "damaged"}
    assert len(read(tmp_path, document)) == 2


# --- what masklet writes ----------------------------------------------------------------------------------------------


def test_synthetic_scenes_are_read(sheet: SpriteSheet, tmp_path: Path) -> None:
    write_coco(tmp_path / "set", count=5, size_hw=(48, 70), seed=40, split=TRAIN, image_format="png", sheet=sheet)
    dataset = read_coco(tmp_path / "set" / "annotations.json")
    assert check_dataset(dataset) == []
    exemplars = 0
    for seed, picture in enumerate(dataset, start=40):
        scene, questions = make_scene(TRAIN, seed, (48, 70), questions=6, sheet=sheet)
        assert [instance.box_xyxy for instance in picture.instances] == [own.box_xyxy for own in scene.instances]
        decoded = decode(picture)
        assert np.array_equal(decoded.image, scene.image)
        assert np.array_equal(decoded.masks, scene.masks()) and decoded.masks_valid.all()
        assert picture.prompts == tuple(
            Prompt(
                phrase=question.phrase,
                instance_idx=question.instances,
                positive_idx=question.positives,
                negative_idx=question.negatives,
            )
            for question in questions
        )
        exemplars += sum(bool(prompt.positive_idx) for prompt in picture.prompts)
    assert exemplars, "the scenes show what this test is about"
    positive = read_coco(tmp_path / "set" / "annotations.json", negatives="none")
    assert all(prompt.instance_idx for picture in positive for prompt in picture.prompts)
    assert [prompt for own in dataset for prompt in own.prompts if prompt.instance_idx] == [
        prompt for own in positive for prompt in own.prompts
    ]


def test_results_are_read(tmp_path: Path) -> None:
    results = [make_result(MASKS), empty_result(concept="dog")]
    write_results([result.to_dict() for result in results], tmp_path / "annotations.json")
    (picture,) = read_coco(tmp_path / "annotations.json")
    assert [code for code in picture.rles()] == results[0].rle()
    assert asked(picture)["dog"] == ()


# --- what is broken ---------------------------------------------------------------------------------------------------


def broken(table: str, index: int, changes: dict[str, Any]) -> dict[str, Any]:
    document = coco_document()
    for key, value in changes.items():
        if value is KeyError:
            del document[table][index][key]
        else:
            document[table][index][key] = value
    return document


def queries(*rows: dict[str, Any]) -> dict[str, Any]:
    return coco_document() | {"queries": list(rows)}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], r"expected a JSON object with 'images' and more, got a list"),
        ({}, r"expected a list 'images', got none"),
        ({"images": {}}, r"expected a list 'images', got an object"),
        ({"images": [3]}, r"images\[0\]: expected an object, got 3"),
        (broken("images", 1, {"id": KeyError}), r"images\[1\]: expected 'id' to be .*, got nothing"),
        (broken("images", 1, {"id": 7}), r"images\[1\]: expected ids that differ, got 7 as in images\[0\]"),
        (broken("images", 1, {"file_name": 5}), r"images\[1\]: expected 'file_name' to be text, got 5"),
        (broken("images", 0, {"height": "31"}), r"images\[0\]: expected 'height' to be a whole number, got '31'"),
        (broken("images", 0, {"width": 0}), r"images\[0\]: expected a height and width of at least 1 pixel"),
        (broken("images", 0, {"width": 2**40}), r"images\[0\]: expected a height and width of .* at most"),
        (broken("images", 0, {"negatives": "tram"}), r"images\[0\]: expected 'negatives' to be a list of texts"),
        (broken("images", 0, {"neg_category_ids": [5]}), r"'neg_category_ids' to be among .* 3 categories, got 5"),
        (broken("images", 0, {"neg_category_ids": 5}), r"'neg_category_ids' to be a list"),
        (broken("annotations", 2, {"image_id": 4}), r"annotations\[2\]: expected 'image_id' .* 2 images, got 4"),
        (broken("annotations", 2, {"image_id": True}), r"annotations\[2\]: expected 'image_id'"),
        (broken("annotations", 2, {"category_id": 3}), r"annotations\[2\]: expected 'category_id' .*, got 3"),
        (
            broken("annotations", 2, {"category_id": KeyError}),
            r"annotations\[2\]: expected 'category_id' .*, got nothing",
        ),
        (broken("annotations", 2, {"phrase": 3}), r"annotations\[2\]: expected 'phrase' to be text, got 3"),
        (broken("annotations", 3, {"bbox": KeyError}), r"annotations\[3\]: expected 'bbox' or 'segmentation'"),
        (broken("annotations", 3, {"bbox": [1, 2, 3]}), r"'bbox' to be four numbers: .*, got \[1, 2, 3\]"),
        (broken("annotations", 3, {"bbox": [1, 2, 3, "4"]}), r"'bbox' to be four numbers"),
        (broken("annotations", 3, {"bbox": [1, 2, 3, 10**400]}), r"annotations\[3\]: expected 'bbox'"),
        (broken("annotations", 3, {"bbox": "1 2 3 4"}), r"'bbox' to be four numbers: .*, got '1 2 3 4'"),
        (broken("annotations", 0, {"iscrowd": 2}), r"annotations\[0\]: expected 'iscrowd' to be 0 or 1, got 2"),
        (broken("annotations", 0, {"segmentation": "x"}), r"annotations\[0\]: expected 'segmentation' to be"),
        (broken("annotations", 0, {"segmentation": [1, 2, 3]}), r"annotations\[0\]: expected 'segmentation' to be"),
        (broken("annotations", 0, {"segmentation": [["1", "2"]]}), r"annotations\[0\]: expected 'segmentation' to be"),
        (broken("annotations", 0, {"segmentation": {"size": [0, 5], "counts": ""}}), r"expected 'segmentation' to be"),
        (broken("annotations", 0, {"segmentation": {"size": [3, 5], "counts": [1.5]}}), r"expected 'segmentation'"),
        (
            broken("annotations", 0, {"segmentation": {"size": [3, 5], "counts": "zz"}, "bbox": None}),
            r"annotations\[0\]: expected a run-length code of 15 pixels, got a damaged one",
        ),
        (broken("categories", 1, {"name": None}), r"categories\[1\]: expected 'name' to be text, got null"),
        (broken("categories", 1, {"id": 1.5}), r"categories\[1\]: expected 'id' to be .*, got 1.5"),
        (
            coco_document() | {"queries": [{"image_id": 3, "phrase": "x", "annotation_ids": [51]}]},
            r"queries\[0\]: .*51",
        ),
        (
            coco_document() | {"queries": [{"image_id": 3, "phrase": "x", "annotation_ids": [99]}]},
            r"queries\[0\]: .*99",
        ),
        (queries({"image_id": 3, "phrase": "x", "annotation_ids": [51]}), r"queries\[0\]: .* same picture, got 51"),
        (queries({"image_id": 3, "phrase": "x", "annotation_ids": [99]}), r"queries\[0\]: .* same picture, got 99"),
        (queries({"image_id": 3}), r"queries\[0\]: expected 'phrase' to be text, got nothing"),
        (queries({"image_id": 5, "phrase": "x"}), r"queries\[0\]: expected 'image_id'"),
    ],
)
def test_a_broken_file_is_one_clear_line(tmp_path: Path, document: object, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, document)
    text = str(caught.value)
    assert text.startswith(str(tmp_path / "set.json")) and "\n" not in text and ";" in text


@pytest.mark.parametrize(
    "content", [b"", b'{"images": [', b"\xff\xfe\x00", b"[" * 100_000, b'{"images": ' + b"9" * 5000 + b"}"]
)
def test_a_file_that_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "set.json").write_bytes(content)
    with pytest.raises(DataError, match=r"set\.json: expected"):
        read_coco(tmp_path / "set.json")


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    path.write_bytes(b"\xef\xbb\xbf" + save_json(path, coco_document()).read_bytes())
    assert len(read_coco(path)) == 2


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(DataError, match="expected a text file, it cannot be read"):
            read_coco(path)
