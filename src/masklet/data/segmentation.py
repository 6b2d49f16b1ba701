"""Segmentations as files hold them: run-length codes, polygons, mask files; each gives an `Rle` on demand.

Unusual: nothing is handed to pycocotools that it does not check itself. It decodes a code that is too short to memory
that was never written, runs for ever on some others, takes a polygon of two corners for a box, and reserves memory in
proportion to a polygon's circumference, however far outside the picture that lies.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import numpy.typing as npt
from PIL import Image
from pycocotools import mask as coco_mask
from scipy import ndimage

from masklet.errors import DataError
from masklet.media.images import MAX_PIXELS
from masklet.ops.masks import Rle, encode_rle

MOST_PIXELS = 2**32 - 1
"""Height times width: pycocotools counts in 32 bits."""

FARTHEST = 8
"""Corners may lie outside a picture by this many times its longer side; farther ones are taken for a mistake."""

MOST_RUN_DIGITS = 7
"""Characters of one run in a code: 35 bits, more than any picture has pixels."""

FORMS = "a list of polygons [x, y, x, y ...] or {size: [height, width], counts}"
"""What `parse_segmentation` takes, for messages."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunLengths:
    """A mask as COCO writes it: runs of 0 and 1 in turns, column by column from the top left.

    Attributes:
        size_hw: height and width that the code is made for, pixels.
        counts: lengths of the runs: COCO's compressed string, or plain numbers.
    """

    size_hw: tuple[int, int]
    counts: str | tuple[int, ...]

    def rle(self, size_hw: tuple[int, int]) -> Rle:
        """The compressed code; that of an empty mask if there are no runs at all.

        Raises:
            DataError: made for another size, or damaged.
        """
        if self.size_hw != size_hw:
            raise DataError(
                f"expected a run-length code of {_size(size_hw)}, got one of {_size(self.size_hw)}; make it again for "
                "the picture it belongs to"
            )
        if isinstance(self.counts, str):
            if self.counts and not read_codes([self.counts], [self.size_hw]).whole[0]:
                raise DataError(
                    f"expected a run-length code of {size_hw[0] * size_hw[1]} pixels, got a damaged one: "
                    f"{_short(self.counts)!r}; write the file again"
                )
            return {"size": list(size_hw), "counts": self.counts} if self.counts else _empty(size_hw)
        if not self.counts:
            return _empty(size_hw)
        if min(self.counts) < 0 or sum(self.counts) != size_hw[0] * size_hw[1]:
            raise DataError(
                f"expected runs of 0 or more that sum to {size_hw[0] * size_hw[1]} pixels, got {len(self.counts)} of "
                f"them, smallest {min(self.counts)}, sum {sum(self.counts)}; write the file again"
            )
        return _text(coco_mask.frPyObjects({"counts": list(self.counts), "size": list(size_hw)}, *size_hw))

    def box(self) -> Box:
        """The tight box, xyxy pixels; (0, 0, 0, 0) if empty.

        Raises:
            DataError: the code is damaged.
        """
        left, top, width, height = (float(value) for value in coco_mask.toBbox(self.rle(self.size_hw)))
        return left, top, left + width, top + height


@dataclass(frozen=True, kw_only=True, slots=True)
class Polygons:
    """A mask as the inside of polygons: parts add up, crossings within a part count by the rule of odd crossings.

    Attributes:
        parts: corners x, y, x, y ... of each, pixels; pixel 0 covers 0..1.
    """

    parts: tuple[Sequence[float], ...]

    def rle(self, size_hw: tuple[int, int]) -> Rle:
        """The pixels inside, as pycocotools draws them; parts of less than three corners have none.

        Raises:
            DataError: a corner that is not finite or far outside the picture, or half a corner.
        """
        limit = FARTHEST * max(size_hw)
        drawn = []
        for part in self.parts:
            if len(part) % 2:
                raise DataError(f"expected corners x, y, x, y ..., got {len(part)} numbers; add the missing one")
            if not part:
                continue
            if not (-limit <= min(part) and max(part) <= limit) or math.isnan(sum(part)):
                worst = next(value for value in part if not -limit <= value <= limit)
                raise DataError(
                    f"expected corners in pixels of a picture of {_size(size_hw)}, got {_short(repr(worst))}; "
                    "is it another unit?"
                )
            if len(part) >= 6:
                drawn.append(list(part))
        if not drawn:
            return _empty(size_hw)
        codes = [code for part in drawn for code in coco_mask.frPyObjects([part], *size_hw)]
        return _text(codes[0] if len(codes) == 1 else coco_mask.merge(codes))

    def box(self) -> Box:
        """The box around all corners, xyxy pixels; (0, 0, 0, 0) if there is none."""
        x = [value for part in self.parts for value in part[::2]]
        y = [value for part in self.parts for value in part[1::2]]
        if not x or not y:
            return 0.0, 0.0, 0.0, 0.0
        return float(min(x)), float(min(y)), float(max(x)), float(max(y))


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskFile:
    """A mask as those pixels of a file that have one value.

    Attributes:
        path: a grey or palette picture of 1, 8 or 16 bit.
        value: which pixels, 1 or more.
    """

    path: Path
    value: int

    def rle(self, size_hw: tuple[int, int]) -> Rle:
        """The pixels with the value.

        Raises:
            DataError: the file cannot be read, or has another size.
        """
        return self.rle_of(read_mask_values(self.path), size_hw)

    def rle_of(self, values: npt.NDArray[np.integer], size_hw: tuple[int, int]) -> Rle:
        """The same from the file's values, for who needs several masks of a file.

        Args:
            values: (H, W) as `read_mask_values` gives them.
            size_hw: height and width of the picture.
        """
        if values.shape != size_hw:
            raise DataError(
                f"{self.path}: expected a mask of {_size(size_hw)}, got {_size(values.shape)}; make it again for the "
                "picture it belongs to"
            )
        return encode_rle(values == self.value)


Segmentation = RunLengths | Polygons | MaskFile


# --- values out of JSON -----------------------------------------------------------------------------------------------


def parse_segmentation(value: object) -> RunLengths | Polygons | None:
    """COCO's forms of a mask, of any numbers: whether these make one is seen when its code is asked for.

    Args:
        value: a list of polygons, or an object with `size` and `counts`, compressed (text or bytes) or a list of runs;
            null, `[]` and `{}` are none. It is not changed.

    Raises:
        DataError: anything else.
    """
    if value is None:
        return None
    if isinstance(value, list | tuple):
        if not value:
            return None
        if all(isinstance(part, list | tuple | np.ndarray) for part in value):
            # Arrays: a quarter of the memory, and they check the type of every number.
            with suppress(TypeError, OverflowError):
                return Polygons(parts=tuple(array("d", part) for part in value))
    elif isinstance(value, Mapping):
        if not value:
            return None
        size, counts = value.get("size"), value.get("counts")
        if is_size(size):
            size_hw = (int(size[0]), int(size[1]))
            if isinstance(counts, str):
                return RunLengths(size_hw=size_hw, counts=counts)
            if isinstance(counts, bytes):
                return RunLengths(size_hw=size_hw, counts=counts.decode("ascii", errors="replace"))
            if isinstance(counts, list | tuple | np.ndarray) and all(map(_is_whole, set(map(type, counts)))):
                return RunLengths(size_hw=size_hw, counts=tuple(map(int, counts)))
    raise DataError(f"expected {FORMS}, got {_short(repr(value), 60)}; write it in one of COCO's forms")


def is_size(value: Any) -> TypeGuard[Sequence[int]]:
    """Whether these are two whole numbers that can be the height and width of a picture."""
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(_is_whole(type(side)) and side >= 1 for side in value)
        and int(value[0]) * int(value[1]) <= MOST_PIXELS
    )


def _is_whole(kind: type) -> bool:
    return kind is int or issubclass(kind, np.integer)


# --- mask files -------------------------------------------------------------------------------------------------------


def read_mask_values(path: Path) -> npt.NDArray[np.integer]:
    """(H, W) values of a mask file: 0 outside, instances numbered from 1 on.

    Raises:
        DataError: missing, damaged, larger than `media.images.MAX_PIXELS`, or in colour.
    """
    try:
        with path.open("rb") as file, Image.open(file) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{path}: expected a mask of at most {MAX_PIXELS} pixels, got {image.size}; cut it")
            if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
                raise DataError(
                    f"{path}: expected a mask in grey or with a palette, whose values number the instances, got mode "
                    f"{image.mode}; save it with one channel"
                )
            values: npt.NDArray[np.integer] = np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: expected a mask, it cannot be read ({error}); is the file whole?") from error
    return values.astype(np.uint8) if values.dtype == np.bool_ else values


def boxes_by_value(values: npt.NDArray[np.integer]) -> dict[int, Box]:
    """The tight box, xyxy pixels, of each value above 0 in an (H, W) mask, ascending."""
    present = np.unique(values)
    present = present[present > 0]
    # Numbered without gaps, because the search takes time and memory for every number up to the largest.
    numbered = np.searchsorted(present, values) + 1
    slices = ndimage.find_objects(np.where(values > 0, numbered, 0), max_label=len(present))
    boxes = {}
    for value, found in zip(present.tolist(), slices, strict=True):
        assert found is not None
        rows, columns = found
        boxes[value] = (float(columns.start), float(rows.start), float(columns.stop), float(rows.stop))
    return boxes


# --- compressed codes -------------------------------------------------------------------------------------------------


class ReadCodes(NamedTuple):
    """What compressed codes say, without decoding them.

    Attributes:
        whole: (N,) bool, False where a code is damaged or its runs do not fill its size.
        areas: (N,) int64 pixels; 0 where a code is damaged.
    """

    whole: npt.NDArray[np.bool_]
    areas: npt.NDArray[np.int64]


def read_codes(codes: Sequence[str], sizes_hw: Sequence[tuple[int, int]]) -> ReadCodes:
    """Which of N codes are whole, and their areas; all at once.

    A run is written in characters of 5 bits, lowest first, each 48 more than its value; 32 more says that another one
    follows. From the fourth on it is the difference to the run two before.

    Args:
        codes: compressed codes; an empty one is damaged.
        sizes_hw: height and width of each.
    """
    lengths = np.array([len(code) for code in codes], dtype=np.int64)
    letters = "".join(codes).encode("utf-32-le", "surrogatepass")  # one number a letter, whatever it is
    digits = np.frombuffer(letters, dtype=np.uint32).astype(np.int64) - 48
    code_idx = np.repeat(np.arange(len(codes)), lengths)  # of each digit
    whole = lengths > 0
    whole[code_idx[(digits < 0) | (digits > 63)]] = False

    is_last = (digits & 32) == 0
    ends = np.cumsum(lengths) - 1
    whole[np.flatnonzero(lengths > 0)[~is_last[ends[lengths > 0]]]] = False
    is_last[ends[lengths > 0]] = True  # a run that is cut off must not go on in the next code
    last = np.flatnonzero(is_last)
    first = np.concatenate(([0], last[:-1] + 1)) if len(last) else last
    owner = code_idx[last]  # of each run
    whole[owner[last - first >= MOST_RUN_DIGITS]] = False
    place = np.minimum(np.arange(len(digits)) - np.repeat(first, last - first + 1), MOST_RUN_DIGITS)
    runs = np.add.reduceat((digits & 31) << (5 * place), first) if len(first) else np.zeros(0, dtype=np.int64)
    runs -= np.where(digits[last] & 16, 1, 0) << (5 * np.minimum(last - first + 1, MOST_RUN_DIGITS))

    run_counts = np.bincount(owner, minlength=len(codes))
    run_idx = np.arange(len(runs)) - np.repeat(np.cumsum(run_counts) - run_counts, run_counts)  # within its code
    for parity in (0, 1):
        chain = np.flatnonzero((run_idx % 2 == parity) & (run_idx > 0))
        sums = np.cumsum(runs[chain])
        begins = np.flatnonzero(run_idx[chain] == (1 if parity else 2))
        before = np.concatenate(([0], sums))[begins]
        runs[chain] = sums - np.repeat(before, np.diff(np.append(begins, len(chain))))
    whole[owner[runs < 0]] = False

    pixels = np.array([height * width for height, width in sizes_hw], dtype=np.int64)
    totals, areas = np.zeros(len(codes), dtype=np.int64), np.zeros(len(codes), dtype=np.int64)
    np.add.at(totals, owner, runs)
    np.add.at(areas, owner[run_idx % 2 == 1], runs[run_idx % 2 == 1])
    whole &= totals == pixels
    return ReadCodes(whole=whole, areas=np.where(whole, areas, 0))


def _empty(size_hw: tuple[int, int]) -> Rle:
    return _text(coco_mask.frPyObjects({"counts": [size_hw[0] * size_hw[1]], "size": list(size_hw)}, *size_hw))


def _text(code: dict[str, object]) -> Rle:
    size, counts = code["size"], code["counts"]
    assert isinstance(size, list) and isinstance(counts, bytes)
    return {"size": [int(size[0]), int(size[1])], "counts": counts.decode("ascii")}


def _size(size_hw: Sequence[int]) -> str:
    """As pictures are usually described: width x height."""
    return f"{size_hw[1]} x {size_hw[0]} (width x height)"


def _short(text: str, length: int = 24) -> str:
    return text if len(text) <= length else f"{text[:length]}..."
