"""Formats are recognised by their files; an option that a format does not have is refused."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, get_args

import pytest

from data_readers.label_cases import coco_document, save_json, save_mask, save_picture
from masklet.data.coco import read_coco
from masklet.data.open import FORMATS, Format, open_dataset
from masklet.errors import DataError, InputError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set of each format in a folder called like it."""
    save_json(tmp_path / "coco/annotations.json", coco_document())
    pair = {"id": 1, "file_name": "a.jpg", "height": 31, "width": 47, "text_input": "cat"}
    save_json(tmp_path / "saco/gold.json", {"images": [pair]})
    save_picture(tmp_path / "yolo/images/a.jpg")
    (tmp_path / "yolo/data.yaml").write_text("train: images\nval: images\nnames: [cat]")
    save_picture(tmp_path / "masks/images/a.jpg")
    save_mask(tmp_path / "masks/masks/cat/a.png", [(1, (0, 0, 5, 6))])
    return tmp_path


PATHS = {
    "coco": ("coco", "coco/annotations.json"),
    "saco": ("saco/gold.json",),
    "yolo": ("yolo", "yolo/data.yaml"),
    "masks": ("masks",),
}


@pytest.mark.parametrize(("found", "name"), [(found, name) for found, names in PATHS.items() for name in names])
def test_formats_are_recognised_and_told(root: Path, found: Format, name: str) -> None:
    dataset = open_dataset(root / name)
    assert dataset.format == found and len(dataset) > 0
    assert open_dataset(str(root / name), format=found) == dataset


def test_formats_are_those_of_the_type() -> None:
    assert tuple(FORMATS) == get_args(Format) == tuple(PATHS)


def test_a_told_format_wins(root: Path) -> None:
    # Pairs are COCO as well, with pictures that have no phrase.
    assert open_dataset(root / "saco/gold.json", format="coco").format == "coco"
    save_json(root / "yolo/annotations.json", coco_document())
    assert open_dataset(root / "yolo").format == "coco"
    assert open_dataset(root / "yolo", format="yolo").format == "yolo"


def test_other_files_that_are_recognised(root: Path) -> None:
    save_json(root / "roboflow/_annotations.coco.json", coco_document())
    assert open_dataset(root / "roboflow") == read_coco(root / "roboflow/_annotations.coco.json")
    save_picture(root / "lines/images/a.jpg")
    (root / "lines/labels").mkdir()
    (root / "lines/classes.txt").write_text("cat")
    assert open_dataset(root / "lines").format == "yolo"


def test_options_arrive(root: Path) -> None:
    assert len(open_dataset(root / "coco", negatives="none")[0].prompts) == 1
    assert open_dataset(root / "coco", pictures=root)[0].path == root / "b.jpg"
    assert open_dataset(root / "saco/gold.json", pictures=root)[0].path == root / "a.jpg"
    assert open_dataset(root / "yolo", negatives="none", split="val")[0].prompts == ()
    save_picture(root / "masks/images/b.jpg")
    assert len(open_dataset(root / "masks", negatives="all")[1].prompts) == 1


VALUES = {"pictures": "folder", "negatives": "none", "split": "val"}


@pytest.mark.parametrize("found", PATHS)
@pytest.mark.parametrize("option", VALUES)
def test_an_option_of_another_format_is_refused(root: Path, found: str, option: str) -> None:
    takers = {"pictures": ("coco", "saco"), "negatives": ("coco", "yolo", "masks"), "split": ("yolo",)}[option]
    options: dict[str, Any] = {option: VALUES[option]}
    if found in takers:
        open_dataset(root / PATHS[found][0], **options)
    else:
        with pytest.raises(
            InputError, match=f"{option} must be left out for {found} data, it is for {', '.join(takers)}"
        ):
            open_dataset(root / PATHS[found][0], **options)


def test_every_option_is_among_those_tested() -> None:
    assert set(inspect.signature(open_dataset).parameters) == {"path", "format", *VALUES}


def test_senseless_options_are_refused(root: Path) -> None:
    wrong: Any
    for wrong in ({"format": "voc"}, {"negatives": "some"}):
        with pytest.raises(InputError, match=f"must be one of .*, got '{next(iter(wrong.values()))}'"):
            open_dataset(root / "coco", **wrong)
    with pytest.raises(InputError, match="'all' or 'none' for yolo"):
        open_dataset(root / "yolo", negatives="listed")


def test_what_is_not_recognised_is_named(tmp_path: Path) -> None:
    for name in ("none", "a" * 5000, "a\0b"):
        with pytest.raises(DataError, match="no such file or folder"):
            open_dataset(tmp_path / name)
    with pytest.raises(DataError, match=r"expected a COCO \.json file.*; or data\.yaml"):
        open_dataset(tmp_path)
    with pytest.raises(DataError, match=r"expected a COCO \.json file, or a folder with annotations\.json"):
        open_dataset(tmp_path, format="coco")
    (tmp_path / "a.csv").write_text("a,b")
    with pytest.raises(DataError, match=r"a\.csv: expected"):
        open_dataset(tmp_path / "a.csv")
