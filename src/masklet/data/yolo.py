"""YOLO's folders: a text file of polygons or boxes for each picture.

    data.yaml                names, and folders of pictures under train, val, test; or classes.txt, a name a line
    images/a/b.jpg           pictures
    labels/a/b.txt           a line for each instance: number of the class, then x y x y x y ... (polygon) or
                             cx cy w h (box), as fractions of the picture

The labels of a picture are found as YOLO finds them: the last folder called `images` on its path becomes `labels`. A
picture without a file, or with an empty one, shows nothing of the vocabulary.

Unusual: fractions are of the picture as a viewer shows it (EXIF data turns it), as YOLO's trainers read it; its size
comes from its header. Of data.yaml the small part of YAML is read that these files are written in (`yaml_subset.py`);
`path` is relative to the file, and a leading `../` is dropped where it leads nowhere, which exports of Roboflow need.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any, Literal

from masklet.data.dataset import Dataset, Instance, LabelledPicture
from masklet.data.folders import file_id, pictures_below, sizes_of
from masklet.data.prompts import PromptMaker
from masklet.data.records import kind_of, read_text
from masklet.data.segmentation import Polygons
from masklet.data.yaml_subset import parse_yaml
from masklet.errors import DataError


def read_yolo(
    path: str | Path, *, split: str | None = None, negatives: Literal["all", "none"] | None = None
) -> Dataset:
    """The pictures of a YOLO folder, sorted by path, with prompts in the order of the classes.

    Args:
        path: data.yaml, or a folder with data.yaml, or with images/, labels/ and classes.txt.
        split: key of data.yaml that names the pictures; "train" if None. Must be None where there is no data.yaml.
        negatives: whether classes without an instance are known to be absent; None is "all".

    Raises:
        DataError: a file is missing or not in this layout; a picture's size cannot be read.
    """
    given = Path(path)
    file = given / "data.yaml" if given.is_dir() else given
    if file.is_file() or not given.is_dir():
        source, names, folders = file, *_from_yaml(file, "train" if split is None else split)
    elif split is not None:
        raise DataError(f"{file}: expected data.yaml, which says what is in {split!r}, there is none; leave out split")
    else:
        source, names, folders = given, _names_of_lines(given / "classes.txt"), [given / "images"]
    maker = PromptMaker(names, negatives or "all")
    pictures = []
    for folder in folders:
        paths = pictures_below(folder)
        for picture, size in zip(paths, sizes_of(paths), strict=True):
            instances, classes = _read_labels(_label_file(picture), size.shown_hw, len(names))
            found: dict[str, list[int]] = {}
            for instance_idx, class_idx in enumerate(classes):
                found.setdefault(names[class_idx], []).append(instance_idx)
            pictures.append(
                LabelledPicture(
                    path=picture,
                    size_hw=size.shown_hw,
                    instances=tuple(instances),
                    prompts=maker.prompts(found),
                    id=file_id(picture, folder),
                )
            )
    return Dataset(pictures=tuple(pictures), source=source, format="yolo", vocabulary=tuple(dict.fromkeys(names)))


# --- labels -----------------------------------------------------------------------------------------------------------


def _label_file(picture: Path) -> Path:
    parts = list(picture.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            return Path(*parts).with_suffix(".txt")
    raise DataError(
        f"{picture}: expected a folder called images on the way to a picture, so that its labels are in labels; "
        "rename the folder"
    )


def _read_labels(path: Path, size_hw: tuple[int, int], class_count: int) -> tuple[list[Instance], list[int]]:
    """Instances of a label file and their classes; none if there is no file."""
    instances: list[Instance] = []
    classes: list[int] = []
    lines = read_text(path).splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        first, *rest = line.split()
        if not re.fullmatch(r"[0-9]{1,9}", first) or int(first) >= class_count:
            raise DataError(
                f"{path}, line {number}: expected the number of one of {class_count} classes, got {first!r}; "
                "correct it or add a name"
            )
        try:
            numbers = [float(word) for word in rest]
        except ValueError as error:
            raise DataError(f"{path}, line {number}: expected numbers, got {line[:60]!r}; correct it") from error
        if len(numbers) != 4 and (len(numbers) < 6 or len(numbers) % 2):
            raise DataError(
                f"{path}, line {number}: expected a class and 4 numbers cx cy w h, or at least 3 corners x y, got "
                f"{len(numbers)} numbers; correct it"
            )
        instances.append(_instance(numbers, size_hw, str(number)))
        classes.append(int(first))
    return instances, classes


def _instance(numbers: list[float], size_hw: tuple[int, int], line: str) -> Instance:
    height, width = size_hw
    if len(numbers) == 4:
        cx, cy, w, h = numbers
        box = ((cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height)
        return Instance(box_xyxy=box, id=line)
    x, y = [value * width for value in numbers[::2]], [value * height for value in numbers[1::2]]
    corners = [value for corner in zip(x, y, strict=True) for value in corner]
    # `min` and `max` may pass over a NaN, which must show in the box.
    whole = all(map(math.isfinite, corners))
    box = (min(x), min(y), max(x), max(y)) if whole else (math.nan,) * 4
    return Instance(box_xyxy=box, segmentation=Polygons(parts=(tuple(corners),)), id=line)


# --- names and folders ------------------------------------------------------------------------------------------------


def _names_of_lines(path: Path) -> list[str]:
    if not path.exists():
        raise DataError(
            f"{path.parent}: expected data.yaml or classes.txt, which name the classes, got neither; add one"
        )
    lines = [line.strip() for line in read_text(path).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _from_yaml(path: Path, split: str) -> tuple[list[str], list[Path]]:
    """Names of the classes and folders of pictures."""
    document = parse_yaml(read_text(path), path)
    names = _names(document.get("names"), path)
    if split not in document:
        known = ", ".join(key for key in ("train", "val", "valid", "test") if key in document) or "none of them"
        raise DataError(f"{path}: expected a key {split!r} with a folder of pictures, got {known}; name another split")
    base = path.parent / _text(document.get("path") or "", "path", path)
    entries = document[split] if isinstance(document[split], list) else [document[split]]
    return names, [_folder(base, _text(entry, split, path)) for entry in entries]


def _folder(base: Path, entry: str) -> Path:
    folder = base / entry
    if not os.path.exists(folder) and entry.startswith("../"):
        return base / entry.removeprefix("../")
    return folder


def _text(found: Any, key: str, path: Path) -> str:
    if isinstance(found, str):
        return found
    raise DataError(f"{path}: expected {key!r} to be a folder or a list of folders, got {kind_of(found)}; correct it")


def _names(found: Any, path: Path) -> list[str]:
    if isinstance(found, list):
        return [str(name) for name in found]
    if isinstance(found, dict):
        if sorted(found) == sorted(str(number) for number in range(len(found))):
            return [str(found[str(number)]) for number in range(len(found))]
        raise DataError(
            f"{path}: expected 'names' to number the classes from 0 without gaps, got {', '.join(list(found)[:8])}; "
            "correct the numbers"
        )
    raise DataError(f"{path}: expected 'names', a list or numbered, got {kind_of(found)}; add the names of the classes")
