"""A result as a folder: what lies in it, whole or not at all, never over something else."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from full_disk import full_disk
from masklet.errors import OutputError
from masklet.inference.result_files import result_folder
from result_cases import MASKS, empty_result, make_result, picture


def content(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


WHOLE = ["labels.png", "masks/000.png", "masks/001.png", "masks/002.png", "overlay.png", "result.json"]


def test_all_files_of_a_result(tmp_path: Path) -> None:
    result = make_result(source=picture())
    folder = result.save(tmp_path / "out")
    assert folder == tmp_path / "out" / "street" / "yellow-school-bus"
    assert content(folder) == WHOLE
    assert content(tmp_path) == [f"out/street/yellow-school-bus/{name}" for name in WHOLE]  # nothing beside it
    assert json.loads((folder / "result.json").read_text()) == result.to_dict()
    for index, mask in enumerate(MASKS):
        with Image.open(folder / f"masks/{index:03d}.png") as image:
            assert image.mode == "1"
            assert np.array_equal(np.array(image), mask)
    with Image.open(folder / "labels.png") as image:
        assert image.mode == "I;16"
        assert np.array_equal(np.array(image), result.label_map())
    with Image.open(folder / "overlay.png") as image:
        assert np.array_equal(np.array(image), np.array(result.overlay()))


def test_nothing_found_and_no_picture_known(tmp_path: Path) -> None:
    folder = empty_result(concept="dog").save(tmp_path, name="trip/day 1")
    assert folder == tmp_path / "trip/day 1/dog"
    assert content(folder) == ["labels.png", "result.json"]


def test_an_earlier_result_is_replaced_as_a_whole(tmp_path: Path) -> None:
    make_result(source=picture()).save(tmp_path)
    folder = make_result(MASKS[:1]).save(tmp_path)
    assert content(folder) == ["labels.png", "masks/000.png", "result.json"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_what_is_no_result_is_left_alone(tmp_path: Path) -> None:
    target = result_folder(tmp_path, "street", "yellow school bus")
    target.mkdir(parents=True)
    make_result(MASKS[:1]).save(tmp_path)  # an empty folder is taken
    (target / "result.json").rename(target / "notes.json")
    before = content(target)
    with pytest.raises(OutputError, match="expected a folder of earlier results or none"):
        make_result().save(tmp_path)
    assert content(target) == before


def test_a_full_disk_leaves_the_earlier_result(tmp_path: Path) -> None:
    folder = make_result(MASKS[:1], source=picture()).save(tmp_path)
    with full_disk(1000), pytest.raises(OutputError, match="cannot be written"):  # the overlay has 4,000
        make_result(source=picture()).save(tmp_path)
    assert content(tmp_path / "street") == [
        f"yellow-school-bus/{name}" for name in WHOLE if name not in ("masks/001.png", "masks/002.png")
    ]
    assert len(json.loads((folder / "result.json").read_text())["detections"]) == 1


def test_an_interruption_leaves_the_earlier_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_result(MASKS[:1]).save(tmp_path)
    result = make_result()

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(result), "to_json", interrupted)
    with pytest.raises(KeyboardInterrupt):
        result.save(tmp_path)
    assert content(tmp_path / "street") == [f"{folder.name}/{name}" for name in content(folder)]
    assert len(json.loads((folder / "result.json").read_text())["detections"]) == 1


def test_saving_many_large_masks_needs_little_memory(tmp_path: Path) -> None:
    """60 masks of 1.5 megapixels are 90 MB as pixels; one, the label map and what numpy adds stay below 15 MB."""
    one = make_result(np.pad(MASKS[:1], ((0, 0), (500, 470), (700, 759))))
    result = replace(
        one, mask_counts=one.mask_counts * 60, scores=one.scores.repeat(60), boxes_xyxy=one.boxes_xyxy.repeat(60, 0)
    )
    tracemalloc.start()
    folder = result.save(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result.image_size_hw == (1000, 1500)
    assert len(content(folder)) == 62
    assert peak < 15e6


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        make_result().save(tmp_path / "file")


@pytest.mark.parametrize(
    "concepts",
    [
        ("dog", "Dog", "dog.", "  dog", "do-g"),
        ("red apple", "red/apple", "red-apple", "red_apple", "../red apple"),
        ("🚌", "🚗", "автобус", "حافلة", "\0"),
        ("x" * 61, "x" * 62, "word " * 500),
        ("..", ".", "/", "\\", "\udcff"),
    ],
)
def test_every_concept_has_a_folder_of_its_own(concepts: tuple[str, ...], tmp_path: Path) -> None:
    folders = [result_folder(tmp_path, "a", concept) for concept in concepts]
    assert len({folder.name.lower() for folder in folders}) == len(concepts)
    for folder in folders:
        assert folder.parent == tmp_path / "a"
        folder.mkdir(parents=True)  # the file system takes the name
    assert len(list((tmp_path / "a").iterdir())) == len(concepts)
