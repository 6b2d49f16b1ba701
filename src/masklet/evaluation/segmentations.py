"""Masks as files tell them: COCO's compressed or plain run-length codes, polygons, nothing.

Unusual: every code is checked before anything works on it. The compiled functions of pycocotools trust what they get:
on a code whose runs do not fill the picture they run for ever or return memory that was never written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from masklet.errors import DataError
from masklet.ops.masks import Rle

_LONGEST_RUN_BYTES = 7  # five bits each: more than any picture needs, less than an int64 holds


def read_segmentation(value: object, size_hw: tuple[int, int], where: str) -> Rle | None:
    """The run-length code of one mask; None where there is nothing: null, no runs, no polygons, no pixel set.

    Args:
        value: null, `{"size": [height, width], "counts": text, bytes or list of runs}`, or a list of polygons, each
            `[x0, y0, x1, y1, ...]` in pixels. It is not changed.
        size_hw: height and width that the mask must have.
        where: what the error message calls it.

    Raises:
        DataError: anything else, another size, or runs that do not fill the picture.
    """
    if value is None:
        return None
    if isinstance(value, Mapping):
        return _read_runs(value, size_hw, where)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return _read_polygons(value, size_hw, where)
    raise DataError(
        f"{where} must be null, a run-length code or a list of polygons, got {type(value).__name__}; write it in one "
        "of COCO's forms"
    )


def _read_runs(value: Mapping[object, object], size_hw: tuple[int, int], where: str) -> Rle | None:
    size, counts = value.get("size"), value.get("counts")
    if not isinstance(size, Sequence) or list(size) != list(size_hw):
        raise DataError(
            f"{where} must have the size of its picture, {list(size_hw)} (height, width), got {size!r}; "
            "resize the mask before it is encoded"
        )
    if isinstance(counts, str | bytes):
        text = counts.encode("ascii", errors="replace") if isinstance(counts, str) else counts
        runs = _runs_of_text(text)
    elif isinstance(counts, Sequence):
        runs = _runs_of_list(counts)
    else:
        runs = None
    if runs is None or (runs.size and (runs.min() < 0 or runs.sum() != size_hw[0] * size_hw[1])):
        raise DataError(
            f"{where} must have counts whose runs fill {size_hw[0]} x {size_hw[1]} pixels, got {_shortened(counts)}; "
            "the code is damaged or belongs to another size: encode the mask again"
        )
    if not runs[1::2].any():
        return None
    if isinstance(counts, str):
        return {"size": list(size_hw), "counts": counts}
    if isinstance(counts, bytes):
        return {"size": list(size_hw), "counts": counts.decode("ascii")}
    return _as_text(coco_mask.frPyObjects({"size": list(size_hw), "counts": runs.tolist()}, *size_hw), size_hw)


def _runs_of_list(counts: Sequence[object]) -> npt.NDArray[np.int64] | None:
    runs = np.asarray(counts)
    if runs.size and (runs.ndim != 1 or runs.dtype.kind not in "iu"):
        return None
    return runs.astype(np.int64)


def _runs_of_text(text: bytes) -> npt.NDArray[np.int64] | None:
    """Run lengths of a compressed code; None if it is none.

    Each byte holds five bits of a number, lowest first, and a flag that more follow; the last one's fifth bit is the
    sign. From the fourth number on it is the difference to the run two before.
    """
    units = np.frombuffer(text, dtype=np.uint8).astype(np.int64) - ord("0")
    if not units.size:
        return units
    if units.min() < 0 or units.max() > 63 or units[-1] & 32:
        return None
    last = np.flatnonzero(units & 32 == 0)
    first = np.concatenate(([0], last[:-1] + 1))
    if (last - first).max() >= _LONGEST_RUN_BYTES:
        return None
    place = np.arange(units.size) - np.repeat(first, last - first + 1)
    numbers = np.add.reduceat((units & 31) << (5 * place), first)
    numbers -= np.where(units[last] & 16, np.int64(1) << (5 * (last - first + 1)), 0)
    runs = numbers.copy()
    runs[1::2] = np.cumsum(numbers[1::2])
    runs[2::2] = np.cumsum(numbers[2::2])
    return runs


def _read_polygons(value: Sequence[object], size_hw: tuple[int, int], where: str) -> Rle | None:
    polygons = []
    for polygon in value:
        try:
            numbers = np.asarray(polygon, dtype=np.float64)
        except (TypeError, ValueError):
            numbers = np.full(1, np.nan)
        if numbers.ndim != 1 or numbers.size < 6 or numbers.size % 2 or not np.isfinite(numbers).all():
            raise DataError(
                f"{where} must have polygons of at least three points, [x0, y0, x1, y1, ...] in finite pixels, got "
                f"{_shortened(polygon)}; leave such a polygon out"
            )
        polygons.append(numbers.tolist())
    if not polygons:
        return None
    merged = coco_mask.merge(coco_mask.frPyObjects(polygons, *size_hw))
    return _as_text(merged, size_hw) if coco_mask.area(merged) else None


def _as_text(rle: Mapping[str, object], size_hw: tuple[int, int]) -> Rle:
    counts = rle["counts"]
    assert isinstance(counts, bytes)
    return {"size": list(size_hw), "counts": counts.decode("ascii")}


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
