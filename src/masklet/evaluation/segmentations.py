"""Masks of records that are scored, read as those of data sets are; messages begin with the record.

Unusual: the compressed codes of a call are checked at once, which takes half the time of one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from masklet.data.segmentation import Polygons, RunLengths, parse_segmentation, read_codes
from masklet.errors import DataError
from masklet.ops.masks import Rle, rle_areas

T = TypeVar("T")
_AT_ONCE = 1000  # codes; their letters are taken apart in int64


def read_segmentations(values: Sequence[object], size_hw: tuple[int, int], wheres: Sequence[str]) -> list[Rle | None]:
    """The run-length codes of N masks; None where there is nothing: null, no runs, no polygons, no pixel set.

    Args:
        values: N in forms that `data.segmentation.parse_segmentation` takes.
        size_hw: height and width that the masks must have.
        wheres: what error messages call each.

    Raises:
        DataError: no such form, another size, runs that do not fill it, or corners that are no place in it.
    """
    found = [_named(where, parse_segmentation, value) for value, where in zip(values, wheres, strict=True)]
    areas = _areas_of_codes(found)
    rles: list[Rle | None] = []
    for idx, (one, where) in enumerate(zip(found, wheres, strict=True)):
        if isinstance(one, RunLengths) and one.size_hw == size_hw and idx in areas:
            rles.append(_checked(one) if areas[idx] else None)
        else:
            rle = None if one is None else _named(where, one.rle, size_hw)
            rles.append(rle if rle is not None and rle_areas([rle])[0] else None)
    return rles


def rles_of(values: Sequence[object], sizes_hw: Sequence[tuple[int, int] | None], wheres: Sequence[str]) -> list[Rle]:
    """The run-length codes of N masks that must be there but may be empty, in their own sizes if they have some.

    Args:
        values: as above, except null.
        sizes_hw: height and width of the picture of each; polygons need it.
        wheres: what error messages call each.

    Raises:
        DataError: null, or as above.
    """
    found = [_named(where, parse_segmentation, value) for value, where in zip(values, wheres, strict=True)]
    areas = _areas_of_codes(found)
    rles = []
    for idx, (value, one, size_hw, where) in enumerate(zip(values, found, sizes_hw, wheres, strict=True)):
        if value is None:
            raise DataError(f"{where}: expected a segmentation, got none; compare boxes with --iou bbox")
        if isinstance(one, RunLengths):
            rles.append(_checked(one) if idx in areas else _named(where, one.rle, one.size_hw))
        elif size_hw is None:
            raise DataError(f"{where}: polygons need width and height of their entry of images, got none; add them")
        else:
            rles.append(_named(where, (one or Polygons(parts=())).rle, size_hw))
    return rles


def rle_of(value: object, size_hw: tuple[int, int] | None, where: str) -> Rle:
    """The same of one mask."""
    return rles_of([value], [size_hw], [where])[0]


def _areas_of_codes(found: Sequence[RunLengths | Polygons | None]) -> Mapping[int, int]:
    """Pixels, by place, of those compressed codes that are whole."""
    codes: list[str] = []
    sizes, places = [], []
    for idx, one in enumerate(found):
        if isinstance(one, RunLengths) and isinstance(one.counts, str) and one.counts:
            codes.append(one.counts)
            sizes.append(one.size_hw)
            places.append(idx)
    result: dict[int, int] = {}
    for start in range(0, len(codes), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        whole, areas = read_codes(codes[part], sizes[part])
        result |= {idx: area for idx, ok, area in zip(places[part], whole.tolist(), areas.tolist(), strict=True) if ok}
    return result


def _checked(code: RunLengths) -> Rle:
    assert isinstance(code.counts, str)
    return {"size": list(code.size_hw), "counts": code.counts}


def _named(where: str, read: Callable[..., T], value: object) -> T:
    try:
        return read(value)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
