"""Masks of records that are scored, read as those of data sets are; messages begin with the record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from masklet.data.segmentation import Polygons, RunLengths, parse_segmentation
from masklet.errors import DataError
from masklet.ops.masks import Rle, rle_areas


def read_segmentation(value: object, size_hw: tuple[int, int], where: str) -> Rle | None:
    """The run-length code of one mask; None where there is nothing: null, no runs, no polygons, no pixel set.

    Args:
        value: in a form that `data.segmentation.parse_segmentation` takes.
        size_hw: height and width that the mask must have.
        where: what the error message calls it.

    Raises:
        DataError: no such form, another size, runs that do not fill it, or corners that are no place in it.
    """
    with _named(where):
        found = parse_segmentation(value)
        rle = None if found is None else found.rle(size_hw)
    return rle if rle is not None and rle_areas([rle])[0] else None


def rle_of(value: object, size_hw: tuple[int, int] | None, where: str) -> Rle:
    """The run-length code of a mask that must be there but may be empty, in its own size if it has one.

    Args:
        value: as above, except null.
        size_hw: height and width of the picture; polygons need it.
        where: what the error message calls it.

    Raises:
        DataError: null, or as above.
    """
    with _named(where):
        found = parse_segmentation(value)
        if value is None:
            raise DataError("expected a segmentation, got none; compare boxes with --iou bbox")
        if isinstance(found, RunLengths):
            return found.rle(found.size_hw)
        if size_hw is None:
            raise DataError("polygons need width and height of their entry of images, got none; add them")
        return (found or Polygons(parts=())).rle(size_hw)


@contextmanager
def _named(where: str) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
