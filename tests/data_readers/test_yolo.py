"""YOLO's folders: polygons and boxes, names and splits, round trip of what masklet writes, broken lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_readers.label_cases import save_picture
from masklet.data.dataset import Dataset
from masklet.data.yolo import read_yolo
from masklet.errors import DataError
from masklet.inference.yolo import write_yolo
from masklet.ops.masks import decode_rle, rle_iou
from result_cases import MASKS, empty_result, make_result

NAMES = "names: [red apple, Dog, tram]\n"


def write(root: Path, labels: dict[str, str], *, images: str = "images", size_hw: tuple[int, int] = (20, 50)) -> None:
    for name, text in labels.items():
        save_picture(root / images / f"{name}.jpg", size_hw)
        path = root / images.replace("images", "labels") / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def asked(dataset: Dataset, index: int) -> dict[str, tuple[int, ...]]:
    return {prompt.phrase: prompt.instance_idx for prompt in dataset[index].prompts}


def test_polygons_and_boxes(tmp_path: Path) -> None:
    write(tmp_path, {"b": "1 0.1 0.2 0.5 0.2 0.5 0.6 0.1 0.6\n\n0 0.5 0.5 0.2 0.4\n1 0.9 .95 0.1 0.1\n", "a/c": ""})
    save_picture(tmp_path / "images/z.png", (33, 21))
    (tmp_path / "data.yaml").write_text("train: images\n" + NAMES)
    dataset = read_yolo(tmp_path)
    assert (dataset.format, dataset.source) == ("yolo", tmp_path / "data.yaml")
    assert dataset.vocabulary == ("red apple", "Dog", "tram")
    assert [picture.id for picture in dataset] == ["a/c.jpg", "b.jpg", "z.png"]
    assert [picture.size_hw for picture in dataset] == [(20, 50), (20, 50), (33, 21)]
    assert asked(dataset, 0) == asked(dataset, 2) == {"red apple": (), "Dog": (), "tram": ()}
    assert list(asked(dataset, 1).items()) == [("red apple", (1,)), ("Dog", (0, 2)), ("tram", ())]
    boxes = [instance.box_xyxy for instance in dataset[1].instances]
    assert np.allclose(boxes, [(5, 4, 25, 12), (20, 6, 30, 14), (42.5, 18, 47.5, 20)])
    codes = dataset[1].rles()
    assert codes[0] is not None and decode_rle(codes[0])[4:12, 5:25].all() and decode_rle(codes[0]).sum() == 8 * 20
    assert codes[1:] == [None, None]
    assert [instance.id for instance in dataset[1].instances] == ["1", "3", "4"]
    assert asked(read_yolo(tmp_path, negatives="none"), 1) == {"red apple": (1,), "Dog": (0, 2)}


def test_names_of_lines(tmp_path: Path) -> None:
    write(tmp_path, {"b": "1 0.5 0.5 0.2 0.4"})
    (tmp_path / "classes.txt").write_text("red apple\r\nDog \n\n")
    dataset = read_yolo(tmp_path)
    assert dataset.vocabulary == ("red apple", "Dog")
    assert asked(dataset, 0) == {"red apple": (), "Dog": (0,)}
    with pytest.raises(DataError, match="leave out split"):
        read_yolo(tmp_path, split="train")


def test_splits_and_folders(tmp_path: Path) -> None:
    write(tmp_path, {"1": "0 0.5 0.5 0.2 0.4"}, images="train/images")
    write(tmp_path, {"2": ""}, images="valid/images")
    write(tmp_path / "more", {"3": ""}, images="images/day")
    (tmp_path / "data.yaml").write_text(
        f"train: ../train/images\nval: valid/images\ntest:\n- more/images\n- valid/images\n{NAMES}"
    )
    assert [picture.id for picture in read_yolo(tmp_path)] == ["1.jpg"]
    assert len(read_yolo(tmp_path)[0].instances) == 1
    assert [picture.id for picture in read_yolo(tmp_path / "data.yaml", split="val")] == ["2.jpg"]
    assert [picture.id for picture in read_yolo(tmp_path, split="test")] == ["day/3.jpg", "2.jpg"]
    with pytest.raises(DataError, match=r"expected a key 'minival' .*, got train, val, test"):
        read_yolo(tmp_path, split="minival")
    (tmp_path / "data.yaml").write_text(f"path: more\ntrain: images/day\n{NAMES}")
    assert [picture.id for picture in read_yolo(tmp_path)] == ["3.jpg"]


def test_labels_are_beside_the_last_folder_called_images(tmp_path: Path) -> None:
    root = tmp_path / "images" / "set"
    write(root, {"1": "0 0.5 0.5 0.2 0.4"}, images="images/images")
    (root / "images/labels").mkdir(exist_ok=True)
    (root / "images/labels/1.txt").write_text("0 0.5 0.5 0.2 0.4\n" * 3)
    (root / "classes.txt").write_text("tram")
    assert len(read_yolo(root)[0].instances) == 3


def test_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "data.yaml").write_text("train: images\n" + NAMES)
    assert len(read_yolo(tmp_path)) == 0


def test_fractions_are_of_the_picture_that_is_shown(tmp_path: Path) -> None:
    write(tmp_path, {"b": "0 0.5 0.5 0.2 0.4"})
    save_picture(tmp_path / "images/b.jpg", (20, 50), orientation=6)
    (tmp_path / "classes.txt").write_text("tram")
    (picture,) = read_yolo(tmp_path)
    assert picture.size_hw == (50, 20)
    assert np.allclose(picture.instances[0].box_xyxy, (8, 15, 12, 35))


def test_what_masklet_writes_is_read(tmp_path: Path) -> None:
    result = make_result(MASKS)
    name = "Ünï/street"
    write_yolo([(name, result.to_dict()), (name, empty_result(concept='say "no": #1').to_dict())], tmp_path)
    save_picture(tmp_path / f"images/{name}.png", result.image_size_hw)
    (picture,) = read_yolo(tmp_path)
    assert [prompt.phrase for prompt in picture.prompts] == [result.concept, 'say "no": #1']
    codes = [code for code in picture.rles() if code is not None]
    assert len(codes) == len(MASKS)
    # Polygons leave the edge by up to a pixel.
    assert (np.diag(rle_iou(codes, result.rle())) > 0.8).all()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3 0.5 0.5 0.2 0.4", "line 2: expected the number of one of 3 classes, got '3'"),
        ("-1 0.5 0.5 0.2 0.4", "line 2: .* got '-1'"),
        ("0.0 0.5 0.5 0.2 0.4", "line 2: .* got '0.0'"),
        ("9" * 5000 + " 0.5 0.5 0.2 0.4", "line 2: expected the number"),
        ("0 0.5 0.5 0.2 x", "line 2: expected numbers, got '0 0.5"),
        ("0 0.5 0.5", "line 2: .* got 2 numbers"),
        ("0 1 2 3 4 5", "line 2: .* got 5 numbers"),
        ("0 1 2 3 4 5 6 7", "line 2: .* got 7 numbers"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    write(tmp_path, {"b": "0 0.5 0.5 0.2 0.4\n" + line})
    (tmp_path / "data.yaml").write_text("train: images\n" + NAMES)
    with pytest.raises(DataError, match=r"labels/b\.txt, " + message):
        read_yolo(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: images", "expected 'names', a list or numbered, got null"),
        ("train: images\nnames: {0: a, 2: b}", "number the classes from 0 without gaps, got 0, 2"),
        ("train: {0: images}\nnames: [a]", "expected 'train' to be a folder or a list of folders, got an object"),
        ("train: none\nnames: [a]", "none: expected a folder of pictures"),
        (f"train: {'a' * 5000}\nnames: [a]", "expected a folder of pictures"),
        ("train: pictures\nnames: [a]", "expected a folder called images on the way"),
    ],
)
def test_a_broken_data_yaml_is_refused(tmp_path: Path, text: str, message: str) -> None:
    save_picture(tmp_path / "pictures/b.jpg")
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        read_yolo(tmp_path)


def test_names_and_pictures_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected data\.yaml or classes\.txt"):
        read_yolo(tmp_path)
    write(tmp_path, dict.fromkeys("abcde", ""))
    for name in "bcde":
        (tmp_path / f"images/{name}.jpg").write_text("no picture")
    (tmp_path / "classes.txt").write_text("tram")
    with pytest.raises(DataError, match=r"mend or remove these 4: .*b\.jpg.*and 1 more"):
        read_yolo(tmp_path)
