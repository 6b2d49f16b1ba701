"""Results as a data set in YOLO's segmentation format: a text file of polygons for each picture.

<folder>/
  data.yaml             the concepts, numbered in the order in which they first come
  labels/<name>.txt     a line for each detection: number of the concept, x, y, x, y ... as fractions of the picture
  images/<name>.<any>   where YOLO looks for the pictures; they are not put there

The format has one polygon for an object: parts and holes are joined by lines without width. Scores are not in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from masklet.checkpoint.save import written_aside
from masklet.inference.coco import Document
from masklet.ops.masks import Rle, decode_crop
from masklet.ops.polygons import joined, outlines, simplified

_TOLERANCE = 1.0
"""Pixels that a polygon may leave the mask's edge: takes the steps of slanted edges away and little else."""


def write_yolo(results: Iterable[tuple[str, Document]], folder: str | Path) -> None:
    """Writes data.yaml and the labels of some pictures; files of other pictures stay.

    Args:
        results: name of the picture (may hold "/"; has no ending) and a document as result.schema.json describes it; a
            picture comes once for each of its concepts. A picture without detections has an empty file.
        folder: made if it does not exist.

    Raises:
        OutputError: a file cannot be written.
    """
    concepts: dict[str, int] = {}
    pictures: dict[str, list[str]] = {}
    for name, document in results:
        number = concepts.setdefault(document["concept"], len(concepts))
        lines = pictures.setdefault(name, [])
        lines += [
            f"{number} {_polygon(detection['mask'])}\n" for detection in document["detections"] if detection["area"]
        ]
    for name, lines in pictures.items():
        _write(Path(folder) / "labels" / f"{name}.txt", "".join(lines))
    # JSON's strings are YAML's as well, but not its escapes of letters beyond 16 bits.
    names = "".join(f"  {number}: {json.dumps(concept, ensure_ascii=False)}\n" for concept, number in concepts.items())
    _write(Path(folder) / "data.yaml", f"train: images\nval: images\nnames:\n{names}")


def _polygon(mask: Mapping[str, Any]) -> str:
    height, width = mask["size"]
    crop, (left, top, _, _) = decode_crop(Rle(size=[height, width], counts=mask["counts"]))
    line = joined([simplified(outline, _TOLERANCE) for outline in outlines(crop)])
    fractions = (line + np.array([left, top])) / np.array([width, height])
    return " ".join(f"{value:.6f}".rstrip("0").rstrip(".") for value in fractions.flatten())


def _write(path: Path, text: str) -> None:
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8", errors="replace")  # a concept may come from bytes that are no text
