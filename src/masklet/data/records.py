"""Values out of JSON documents, each of a known type or one clear line that names file, table and record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from masklet.data.segmentation import FORMS, MOST_PIXELS, Box, Polygons, RunLengths, is_size, parse_segmentation
from masklet.errors import DataError

Record = Mapping[str, Any]
Id = int | str
T = TypeVar("T")

_NUMBERS: Final = {int, float}
_NAMES: Final = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "list": "a list",
    "dict": "an object",
    "bool": "true or false",
    "NoneType": "null",
}


class Place(NamedTuple):
    """Where a record stands, for messages; a tuple, because there are as many as records.

    Attributes:
        path: the file.
        table: its top-level key.
        row: position in the table.
    """

    path: Path
    table: str
    row: int

    def __str__(self) -> str:
        return f"{self.path}, {self.table}[{self.row}]"


def read_text(path: Path) -> str:
    """The content of a UTF-8 file.

    Raises:
        DataError: it cannot be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise DataError(f"{path}: expected a text file, it cannot be read ({reason}); check the path") from error


def read_document(path: Path) -> Record:
    """The object in a JSON file.

    Raises:
        DataError: it cannot be read, is no JSON, or holds something else than an object.
    """
    try:
        document = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected JSON, got something else or half of it ({error}); is it whole?") from error
    if not isinstance(document, dict):
        came = kind_of(document)
        raise DataError(f"{path}: expected a JSON object with 'images' and more, got {came}; see docs/data.md")
    return document


def table(document: Record, name: str, path: Path, *, optional: bool = False) -> list[tuple[Place, Record]]:
    """The records of a top-level list with their places; an optional one may be missing or null.

    Raises:
        DataError: it is missing, or holds something else than objects.
    """
    rows = document.get(name)
    if rows is None and optional:
        return []
    if not isinstance(rows, list):
        came = kind_of(rows) if name in document else "none"
        raise DataError(f"{path}: expected a list {name!r}, got {came}; see docs/data.md for the layout")
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise DataError(f"{Place(path, name, index)}: expected an object, got {kind_of(row)}; correct the record")
    return [(Place(path, name, index), row) for index, row in enumerate(rows)]


def value(record: Record, key: str, kind: type[T], place: Place) -> T:
    """The value of a key, which must be there and of exactly this type.

    Raises:
        DataError: missing, or of another type.
    """
    found = record.get(key)
    if type(found) is kind:
        return found
    raise _unexpected(record, key, _NAMES[kind.__name__], place)


def value_or(record: Record, key: str, kind: type[T], place: Place, default: T) -> T:
    """The same, or the default where the key is missing or null."""
    return default if record.get(key) is None else value(record, key, kind, place)


def identifier(record: Record, key: str, place: Place) -> Id:
    """A number or text that others refer to."""
    found = record.get(key)
    if type(found) is int or type(found) is str:
        return found
    raise _unexpected(record, key, "a whole number or text", place)


def flag(record: Record, key: str, place: Place, default: bool) -> bool:
    """0, 1, true or false; the default where the key is missing or null."""
    found = record.get(key)
    if found is None:
        return default
    if type(found) in (int, bool) and found in (0, 1):
        return bool(found)
    raise _unexpected(record, key, "0 or 1", place)


def strings(record: Record, key: str, place: Place) -> list[str]:
    """A list of texts; empty where the key is missing or null."""
    found = record.get(key)
    if found is None:
        return []
    if type(found) is list and all(type(item) is str for item in found):
        return found
    raise _unexpected(record, key, "a list of texts", place)


def identifiers(record: Record, key: str, place: Place) -> list[Id]:
    """A list of numbers or texts that others go by; empty where the key is missing or null."""
    found = record.get(key)
    if found is None:
        return []
    if type(found) is list and all(type(item) in (int, str) for item in found):
        return found
    raise _unexpected(record, key, "a list of whole numbers or texts", place)


def size_of(record: Record, place: Place) -> tuple[int, int]:
    """`height` and `width` of a picture, pixels.

    Raises:
        DataError: one is missing, no whole number, or below 1.
    """
    size_hw = value(record, "height", int, place), value(record, "width", int, place)
    if not is_size(size_hw):
        raise DataError(
            f"{place}: expected a height and width of at least 1 pixel and at most {MOST_PIXELS} together, got "
            f"{size_hw}; enter the picture's size"
        )
    return size_hw


def box_of(record: Record, place: Place, *, scale_hw: tuple[int, int] = (1, 1)) -> Box | None:
    """`bbox`, left, top, width, height, as xyxy; None where it is missing or empty.

    Args:
        record: an annotation.
        place: where it stands.
        scale_hw: what heights and widths are multiplied by: the picture's size if they are fractions.
    """
    found = record.get("bbox")
    if found is None or found == []:
        return None
    if type(found) is not list or len(found) != 4 or not set(map(type, found)) <= _NUMBERS:
        raise _unexpected(record, "bbox", "four numbers: left, top, width, height", place)
    left, top, width, height = found
    y_scale, x_scale = scale_hw
    try:
        return (
            float(left * x_scale),
            float(top * y_scale),
            float((left + width) * x_scale),
            float((top + height) * y_scale),
        )
    except OverflowError as error:  # JSON's whole numbers have no limit
        raise _unexpected(record, "bbox", "four numbers of ordinary size", place) from error


def segmentation_of(record: Record, place: Place) -> RunLengths | Polygons | None:
    """`segmentation`: polygons, or a run-length code of either kind; None where it is missing or empty."""
    try:
        return parse_segmentation(record.get("segmentation"))
    except DataError as error:
        raise _unexpected(record, "segmentation", FORMS, place) from error


def kind_of(found: object) -> str:
    """What came, in JSON's words; short values themselves."""
    if isinstance(found, int | float | str | bool) and len(repr(found)) <= 40:
        return repr(found)
    return _NAMES.get(type(found).__name__, type(found).__name__)


def _unexpected(record: Record, key: str, expected: str, place: Place) -> DataError:
    came = "nothing" if key not in record else kind_of(record[key])
    if isinstance(record.get(key), list) and len(repr(record[key])) <= 60:
        came = repr(record[key])
    return DataError(f"{place}: expected {key!r} to be {expected}, got {came}; correct the record")
