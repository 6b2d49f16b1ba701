"""Files, folders and patterns to pictures with names for their results."""

from __future__ import annotations

from pathlib import Path

import pytest

from masklet.errors import ImageError
from masklet.media.find_images import FoundImage, find_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    names = ["b.jpg", "a.PNG", "sub/c.jpeg", "sub/deep/d.webp", "notes.txt", ".hidden.jpg", ".trash/e.jpg", "out/a.png"]
    for name in names:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "photos"


def names(images: list[FoundImage]) -> list[str]:
    return [image.name for image in images]


def test_a_folder_with_all_below_it(folder: Path) -> None:
    assert names(find_images([folder], skip=folder / "out")) == ["a", "b", "sub/c", "sub/deep/d"]


def test_results_inside_the_folder_are_not_taken_for_pictures(folder: Path) -> None:
    assert "out/a" in names(find_images([folder]))
    assert "out/a" not in names(find_images([folder], skip=folder / "out"))


def test_patterns(folder: Path) -> None:
    assert names(find_images([f"{folder}/*.jpg"])) == ["b"]
    assert names(find_images([f"{folder}/**/*.jpeg"])) == ["sub/c"]
    assert names(find_images([f"{folder}/sub/*/*"])) == ["deep/d"]


def test_files_keep_their_order_and_count_once(folder: Path) -> None:
    found = find_images([folder / "b.jpg", folder / "sub/c.jpeg", folder / "sub/../b.jpg", folder / "missing.jpg"])
    assert names(found) == ["b", "c", "missing"]


def test_a_file_whose_name_looks_like_a_pattern(folder: Path) -> None:
    path = folder / "photo[1].jpg"
    path.touch()
    assert find_images([path]) == [FoundImage(path=path, name="photo[1]")]


def test_names_never_meet(folder: Path) -> None:
    for name in ("one/x.jpg", "one/x.png", "two/x.jpg", "one/X.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    found = find_images([folder / name for name in ("one/x.jpg", "one/x.png", "two/x.jpg", "one/X.jpg")])
    assert names(found) == ["x.jpg", "x.png", "x.jpg-2", "X.jpg-3"]


def test_nothing_found_is_an_error(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="found none"):
        find_images([folder, tmp_path / "empty"])
    with pytest.raises(ImageError, match="no file fits"):
        find_images([f"{folder}/*.bmp"])
    assert find_images([]) == []
