"""Folders of masks: numbers are instances, folders are concepts."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_readers.label_cases import SIZE_HW, save_mask, save_picture
from masklet.data.dataset import Dataset
from masklet.data.mask_folder import read_mask_folder
from masklet.errors import DataError
from masklet.ops.masks import decode_rle


def asked(dataset: Dataset) -> list[dict[str, tuple[int, ...]]]:
    return [{prompt.phrase: prompt.instance_idx for prompt in picture.prompts} for picture in dataset]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jpg", "sub/b.jpg", "c.png"):
        save_picture(tmp_path / "images" / name)
    save_mask(tmp_path / "masks/red_apple/a.png", [(3, (2, 3, 9, 20)), (300, (30, 1, 47, 5))])
    save_mask(tmp_path / "masks/red_apple/sub/b.png", [(1, (0, 0, 4, 5))])
    save_mask(tmp_path / "masks/cat/a.png", [(1, (5, 5, 6, 7))])
    save_mask(tmp_path / "masks/cat/sub/b.png", [])
    return tmp_path


def test_folders_are_concepts_and_values_instances(folder: Path) -> None:
    dataset = read_mask_folder(folder)
    assert (dataset.format, dataset.source, dataset.vocabulary) == ("masks", folder, ("cat", "red apple"))
    assert [picture.id for picture in dataset] == ["a.jpg", "c.png", "sub/b.jpg"]
    assert asked(dataset) == [{"cat": (0,), "red apple": (1, 2)}, {}, {"cat": (), "red apple": (0,)}]
    first = dataset[0]
    assert first.size_hw == SIZE_HW
    assert [i.box_xyxy for i in first.instances] == [(5, 5, 6, 7), (2, 3, 9, 20), (30, 1, 47, 5)]
    assert [i.id for i in first.instances] == ["cat 1", "red apple 3", "red apple 300"]
    assert [int(decode_rle(code).sum()) for code in first.rles() if code] == [2, 7 * 17, 17 * 4]


def test_which_concepts_are_absent(folder: Path) -> None:
    assert asked(read_mask_folder(folder, negatives="all"))[1] == {"cat": (), "red apple": ()}
    assert asked(read_mask_folder(folder, negatives="none"))[2] == {"red apple": (0,)}


def test_no_pictures_and_no_masks(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="masks: expected a folder of pictures"):
        read_mask_folder(tmp_path)
    (tmp_path / "masks").mkdir()
    assert len(read_mask_folder(tmp_path)) == 0


def test_masks_decide_whether_a_picture_is_turned(tmp_path: Path) -> None:
    save_mask(tmp_path / "masks/cat/a.png", [(1, (5, 5, 6, 7))])
    save_picture(tmp_path / "images/a.jpg", SIZE_HW, orientation=8)
    assert read_mask_folder(tmp_path)[0].size_hw == SIZE_HW
    save_picture(tmp_path / "images/a.jpg", SIZE_HW[::-1], orientation=8)
    assert read_mask_folder(tmp_path)[0].size_hw == SIZE_HW


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("masks/cat/x.png", "expected a picture x"),
        ("masks/a.png", "expected masks/CONCEPT/NAME.png"),
        ("masks/cat/a.jpg", "expected masks/CONCEPT/NAME.png"),
        ("masks/red apple/a.png", "expected one mask of 'red apple'"),
        ("images/a.png", "expected names that differ, got that of a.jpg"),
    ],
)
def test_a_file_that_belongs_nowhere_is_named(folder: Path, name: str, message: str) -> None:
    save_picture(folder / name)
    with pytest.raises(DataError, match=message):
        read_mask_folder(folder)
