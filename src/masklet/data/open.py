"""Any data set by its path: the format is recognised by its files, or told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal, get_args

from masklet.data.coco import coco_dataset
from masklet.data.dataset import Dataset
from masklet.data.mask_folder import read_mask_folder
from masklet.data.prompts import Negatives
from masklet.data.records import Record, read_document
from masklet.data.saco import saco_dataset
from masklet.data.yolo import read_yolo
from masklet.errors import DataError, InputError

Format = Literal["coco", "saco", "yolo", "masks"]

FORMATS: Final[dict[str, str]] = {
    "coco": "a COCO .json file, or a folder with annotations.json or _annotations.coco.json",
    "saco": "a .json file whose images have text_input",
    "yolo": "data.yaml or its folder, or a folder with images/, labels/ and classes.txt",
    "masks": "a folder with images/ and masks/CONCEPT/",
}
"""Formats and what is recognised as such."""

COCO_NAMES = ("annotations.json", "_annotations.coco.json")
"""Files that make a folder a COCO data set: what masklet writes, and what Roboflow does."""


def open_dataset(
    path: str | Path,
    *,
    format: Format | None = None,
    pictures: str | Path | None = None,
    negatives: Negatives | None = None,
    split: str | None = None,
) -> Dataset:
    """The data set at a path, whatever its format.

    Args:
        path: a file or folder, see `FORMATS`.
        format: one of `FORMATS`; None recognises it.
        pictures: folder of the pictures, for coco and saco; None is that of the file.
        negatives: which concepts are known to be absent from a picture: "all" others that the source knows, those
            that it has "listed" for the picture, or "none"; None is the format's own choice, see its reader. Not for
            saco, whose entries say it all; yolo has no lists.
        split: which pictures, for yolo with a data.yaml; None is "train".

    Raises:
        DataError: no format is recognised, or the data is not in the one told.
        InputError: an unknown format, or an option that the format does not have.
    """
    if format is not None and format not in FORMATS:
        raise InputError(
            f"format must be one of {', '.join(FORMATS)}, got {format!r}; leave it out to have it recognised"
        )
    if negatives is not None and negatives not in get_args(Negatives):
        raise InputError(f"negatives must be one of {', '.join(get_args(Negatives))}, got {negatives!r}")
    given = Path(path)
    file, document, found = _recognised(given, format)
    options = {"pictures": pictures, "negatives": negatives, "split": split}
    _refuse(found, {name for name, value in options.items() if value is not None})
    if document is not None:
        if found == "saco":
            return saco_dataset(document, file, pictures=pictures)
        return coco_dataset(document, file, pictures=pictures, negatives=negatives)
    if found == "yolo":
        if negatives == "listed":
            raise InputError("negatives must be 'all' or 'none' for yolo, which lists none, got 'listed'; choose one")
        return read_yolo(file, split=split, negatives=negatives)
    return read_mask_folder(file, negatives=negatives)


def _recognised(path: Path, told: Format | None) -> tuple[Path, Record | None, Format]:
    """The file or folder to read, its JSON document if it has one, and the format."""
    if not os.path.exists(path):  # False for a name that cannot be one, too
        raise DataError(f"{path}: expected a data set, there is no such file or folder; check the path")
    if told in ("yolo", "masks"):
        return path, None, told
    file = path
    if path.is_dir():
        names = [name for name in COCO_NAMES if (path / name).is_file()]
        if not names:
            return path, None, _recognised_folder(path, told)
        file = path / names[0]
    elif told is None and path.suffix.lower() in (".yaml", ".yml"):
        return path, None, "yolo"
    elif told is None and path.suffix.lower() != ".json":
        raise _unrecognised(path, told)
    document = read_document(file)
    images = document.get("images")
    first = images[0] if isinstance(images, list) and images else None
    return file, document, told or ("saco" if isinstance(first, dict) and "text_input" in first else "coco")


def _recognised_folder(path: Path, told: Format | None) -> Format:
    if told is None and ((path / "data.yaml").is_file() or (path / "labels").is_dir()):
        return "yolo"
    if told is None and (path / "masks").is_dir():
        return "masks"
    raise _unrecognised(path, told)


def _unrecognised(path: Path, told: Format | None) -> DataError:
    kinds = [text for name, text in FORMATS.items() if told in (None, name)]
    return DataError(
        f"{path}: expected {'; or '.join(kinds)}; it is none of them: name the file itself or see docs/data.md"
    )


_OPTIONS: Final[dict[str, set[str]]] = {
    "coco": {"pictures", "negatives"},
    "saco": {"pictures"},
    "yolo": {"negatives", "split"},
    "masks": {"negatives"},
}


def _refuse(found: Format, options: set[str]) -> None:
    for name in sorted(options - _OPTIONS[found]):
        owners = ", ".join(format_ for format_, own in _OPTIONS.items() if name in own)
        raise InputError(f"{name} must be left out for {found} data, it is for {owners}; got a value")
