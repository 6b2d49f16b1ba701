"""YOLO's files: numbered concepts, polygons as fractions that fill to the masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from masklet.errors import OutputError
from masklet.inference.yolo import write_yolo
from result_cases import MASKS, empty_result, make_result


def test_files_of_several_pictures_and_concepts(tmp_path: Path) -> None:
    write_yolo(
        [
            ("day/street", make_result(MASKS[:2]).to_dict()),
            ("day/street", empty_result(concept="dog").to_dict()),
            ("empty", empty_result(concept="dog").to_dict()),
            ("other", make_result(MASKS[:1], concept="dog").to_dict()),
        ],
        tmp_path,
    )
    assert (tmp_path / "data.yaml").read_text() == (
        'train: images\nval: images\nnames:\n  0: "yellow school bus"\n  1: "dog"\n'
    )
    lines = (tmp_path / "labels/day/street.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["0", "0"]
    corners = np.array(lines[0].split()[1:], dtype=float).reshape(-1, 2) * (41, 30)
    assert corners.round(3).tolist() == [[3, 4], [20, 4], [20, 25], [3, 25]]  # 1e-6 of 41 pixels
    assert (tmp_path / "labels/empty.txt").read_text() == ""
    assert (tmp_path / "labels/other.txt").read_text().startswith("1 ")


def test_parts_and_holes_are_one_polygon(tmp_path: Path) -> None:
    y, x = np.mgrid[:300, :410]
    distance = np.hypot(x - 150, (y - 140) * 1.2)
    mask = ((distance < 120) & (distance > 60)) | (np.hypot(x - 340, y - 200) < 45)
    write_yolo([("a", make_result(mask[None]).to_dict())], tmp_path)
    (line,) = (tmp_path / "labels/a.txt").read_text().splitlines()
    corners = np.array(line.split()[1:], dtype=float).reshape(-1, 2) * (410, 300)
    canvas = Image.new("1", (410, 300))
    ImageDraw.Draw(canvas).polygon([tuple(corner - 0.5) for corner in corners], fill=1)  # Pillow's 0 is a centre
    drawn = np.array(canvas)
    assert (drawn & mask).sum() / (drawn | mask).sum() > 0.97  # a pixel of tolerance, and Pillow paints all edges
    assert len(corners) < 150


def test_an_empty_mask_has_no_line(tmp_path: Path) -> None:
    write_yolo([("a", make_result(np.zeros((1, 30, 41), dtype=bool)).to_dict())], tmp_path)
    assert (tmp_path / "labels/a.txt").read_text() == ""


def test_names_that_yaml_would_misread(tmp_path: Path) -> None:
    write_yolo([("a", empty_result(concept='no: "🚌" #1').to_dict())], tmp_path)
    assert (tmp_path / "data.yaml").read_text(encoding="utf-8").endswith('  0: "no: \\"🚌\\" #1"\n')


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_yolo([], tmp_path / "file")
