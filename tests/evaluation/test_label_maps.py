"""Folders of label maps: example E from files, order of frames, what is missing, left over or of another size."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from label_map_cases import PREDICTED, TRUE, A, labels, write_maps
from masklet.errors import DataError
from masklet.evaluation.jaccard_boundary import jaccard_boundary, score_objects
from masklet.evaluation.label_maps import evaluate_label_maps


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    write_maps(tmp_path / "true" / "a", TRUE, palette=True)
    write_maps(tmp_path / "predicted" / "a", PREDICTED)
    return tmp_path / "true", tmp_path / "predicted"


@pytest.mark.parametrize("skip_ends", [True, False])
def test_files_are_what_arrays_are(folders: tuple[Path, Path], skip_ends: bool) -> None:
    true, predicted = folders
    other = labels({7: {1: A, 2: A}, 3: {0: A}})
    write_maps(true / "b", other)
    write_maps(predicted / "b", other[::-1].copy())
    by_hand = {
        "a": score_objects(TRUE, PREDICTED, skip_ends=skip_ends),
        "b": score_objects(other, other[::-1], skip_ends=skip_ends),
    }
    found = evaluate_label_maps(true, predicted, skip_ends=skip_ends)
    assert found.total == jaccard_boundary(by_hand.values())
    assert found.videos == {name: jaccard_boundary([own]) for name, own in by_hand.items()}
    assert found.total.objects == (3 if skip_ends else 4)


@pytest.mark.parametrize("names", [["9", "10", "11", "100", "101"], ["f08", "f09", "f10", "f11", "f12"]])
def test_frames_are_in_the_order_of_their_numbers(folders: tuple[Path, Path], names: list[str]) -> None:
    for folder in folders:
        for path, name in zip(sorted((folder / "a").iterdir()), names, strict=True):
            path.rename(path.with_stem(name))
    assert evaluate_label_maps(*folders).total.j == pytest.approx(44.898990, abs=1e-6)


def test_skipped_frames_need_no_prediction(folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture) -> None:
    whole = evaluate_label_maps(*folders)
    for frame in (0, 4):
        (folders[1] / "a" / f"0000{frame}.png").unlink()
    assert evaluate_label_maps(*folders) == whole
    assert not caplog.records
    with pytest.raises(DataError, match=r"a: expected a label map for each .* got none for 00000 and 1 more"):
        evaluate_label_maps(*folders, skip_ends=False)


def test_what_is_left_over_is_counted(folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture) -> None:
    true, predicted = folders
    whole = evaluate_label_maps(true, predicted)
    write_maps(predicted / "b", TRUE)
    write_maps(predicted / "c", TRUE)
    for frame in (5, 6, 7):
        Image.fromarray(TRUE[0]).save(predicted / "a" / f"0000{frame}.png")
    (predicted / "a" / "notes.txt").write_text("no map")
    (true / ".hidden").mkdir()
    with caplog.at_level(logging.WARNING):
        assert evaluate_label_maps(true, predicted) == whole
    assert [record.getMessage() for record in caplog.records] == [
        f"{predicted}: videos that are not in the ground truth do not count: 2",
        f"{predicted}: frames that are not in the ground truth do not count: 3",
    ]


def test_nothing_to_score(tmp_path: Path) -> None:
    for side in ("true", "predicted"):
        write_maps(tmp_path / side / "short", TRUE[:2])
        write_maps(tmp_path / side / "empty", labels({}))
    found = evaluate_label_maps(tmp_path / "true", tmp_path / "predicted")
    assert found.total.objects == 0 and math.isnan(found.total.j)
    nothing = {"J&F": None, "J": None, "F": None, "objects": 0}
    assert found.to_dict() == nothing | {"videos": {"empty": nothing, "short": nothing}}
    assert found.table().split("\n")[1].split() == ["all", "videos", "-", "-", "-", "0"]


def test_what_is_missing_is_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    true, predicted = folders
    (predicted / "a" / "00002.png").unlink()
    with pytest.raises(DataError, match=r"predicted/a: .* got none for 00002; write a map of zeros"):
        evaluate_label_maps(true, predicted)
    write_maps(true / "b", TRUE)
    write_maps(true / "c", TRUE)
    with pytest.raises(DataError, match=r"predicted: .* each of the 3 videos .* got none for b and 1 more; write one"):
        evaluate_label_maps(true, predicted)
    with pytest.raises(DataError, match=r"none: expected folders VIDEO .* got no folder; check the path"):
        evaluate_label_maps(tmp_path / "none", predicted)
    with pytest.raises(DataError, match=r"b: expected folders VIDEO .* give the folder above that of a video"):
        evaluate_label_maps(true / "b", predicted)
    (true / "0" / "object").mkdir(parents=True)
    (predicted / "0").mkdir()
    for name in "bc":
        write_maps(predicted / name, TRUE)
    with pytest.raises(
        DataError, match=r"true/0: expected .* got none; objects in folders of their own must be joined"
    ):
        evaluate_label_maps(true, predicted)


def test_maps_that_cannot_be_used_are_named(folders: tuple[Path, Path]) -> None:
    true, predicted = folders
    path = predicted / "a" / "00003.png"
    Image.fromarray(np.zeros((60, 79), dtype=np.uint8)).save(path)
    with pytest.raises(DataError, match=r"a/00003.png: expected a label map of 80 x 60 .* got 79 x 60; resize it"):
        evaluate_label_maps(true, predicted)
    Image.new("RGB", (80, 60)).save(path)
    with pytest.raises(DataError, match=r"a/00003.png: .* got mode RGB"):
        evaluate_label_maps(true, predicted)
