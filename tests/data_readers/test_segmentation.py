"""Run-length codes, polygons and mask files against pycocotools called directly, and what is damaged in them."""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco_mask

from data_readers.label_cases import SIZE_HW, rectangle, save_mask
from masklet.data.segmentation import (
    MaskFile,
    Polygons,
    RunLengths,
    boxes_by_value,
    read_codes,
    read_mask_values,
)
from masklet.errors import DataError
from masklet.ops.masks import decode_rle, encode_rle

# --- polygons ---------------------------------------------------------------------------------------------------------

corners = st.floats(-20, 80, allow_nan=False, width=32)
parts = st.lists(
    st.lists(corners, min_size=6, max_size=14).filter(lambda part: len(part) % 2 == 0), min_size=1, max_size=3
)


@given(parts)
def test_polygons_are_drawn_as_pycocotools_draws_them(polygons: list[list[float]]) -> None:
    # Each part by itself: of several in one call, a first one of four numbers would be a box.
    expected = np.zeros(SIZE_HW, dtype=np.uint8)
    for polygon in polygons:
        expected |= coco_mask.decode(coco_mask.frPyObjects([polygon], *SIZE_HW))[:, :, 0]
    rle = Polygons(parts=tuple(array("d", polygon) for polygon in polygons)).rle(SIZE_HW)
    assert rle["size"] == list(SIZE_HW)
    assert np.array_equal(decode_rle(rle), expected.astype(bool))


def test_polygons_without_an_area_have_no_pixels() -> None:
    for none in ((), ((),), ((3.0, 4.0),), ((1.0, 2.0, 9.0, 8.0),)):
        rle = Polygons(parts=none).rle(SIZE_HW)
        assert rle["size"] == list(SIZE_HW) and not decode_rle(rle).any()
    # Two corners are no box.
    both = Polygons(parts=((1.0, 2.0, 9.0, 8.0), tuple(rectangle(20, 3, 25, 9)))).rle(SIZE_HW)
    assert decode_rle(both).sum() == 30 and decode_rle(both)[3:9, 20:25].all()


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -1e9, 1e300])
@pytest.mark.parametrize("place", [0, 3, 5])
def test_corners_that_are_no_place_are_refused(wrong: float, place: int) -> None:
    polygon = [1.0, 2.0, 8.0, 2.0, 8.0, 9.0]
    polygon[place] = wrong
    with pytest.raises(DataError, match="is it another unit"):
        Polygons(parts=(polygon,)).rle(SIZE_HW)


def test_half_a_corner_is_refused() -> None:
    with pytest.raises(DataError, match="got 7 numbers"):
        Polygons(parts=([1.0] * 7,)).rle(SIZE_HW)


def test_box_of_polygons_is_around_all_corners() -> None:
    assert Polygons(parts=(rectangle(5, 7, 9, 20), rectangle(2, 9, 6, 11))).box() == (2, 7, 9, 20)
    assert Polygons(parts=()).box() == (0, 0, 0, 0)


# --- run-length codes -------------------------------------------------------------------------------------------------

masks = st.tuples(st.integers(1, 40), st.integers(1, 23)).flatmap(lambda size: arrays(np.bool_, size))


def compressed(mask: np.ndarray) -> RunLengths:
    return RunLengths(size_hw=mask.shape, counts=encode_rle(mask)["counts"])


@given(st.lists(masks, max_size=5))
def test_codes_are_read_without_decoding(stack: list[np.ndarray]) -> None:
    codes = [encode_rle(mask)["counts"] for mask in stack]
    whole, areas = read_codes(codes, [mask.shape for mask in stack])
    assert whole.all() and whole.shape == (len(stack),)
    assert areas.tolist() == [mask.sum() for mask in stack]


def test_long_runs_are_read() -> None:
    mask = np.zeros((1500, 2111), dtype=np.bool_)
    mask[700:, 5:] = True
    mask[3, 2100] = True
    assert read_codes([encode_rle(mask)["counts"]] * 3, [mask.shape] * 3).areas.tolist() == [mask.sum()] * 3


@given(masks, st.data())
def test_a_damaged_code_is_seen_and_spoils_no_other(mask: np.ndarray, data: st.DataObject) -> None:
    code = encode_rle(mask)["counts"]
    place = data.draw(st.integers(0, len(code) - 1))
    broken = data.draw(
        st.sampled_from(
            [code[:place], code[:place] + "o" + code[place + 1 :], code + "1", code[:place] + "~" + code[place:]]
        )
    )
    # Some changes give another whole code.
    runs = slow_runs(broken)
    valid = runs is not None and min(runs) >= 0 and sum(runs) == mask.size
    whole, areas = read_codes([code, broken, code], [mask.shape] * 3)
    assert whole.tolist() == [True, valid, True]
    assert areas.tolist() == [mask.sum(), sum(runs[1::2]) if valid else 0, mask.sum()]


def slow_runs(code: str) -> list[int] | None:
    """The runs of a code, letter by letter; None if it is none."""
    runs: list[int] = []
    run = shift = 0
    for letter in code:
        digit = ord(letter) - 48
        if not 0 <= digit < 64:
            return None
        run |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            run -= 1 << shift
        runs.append(run + (runs[-2] if len(runs) > 2 else 0))
        run = shift = 0
    return None if shift or not runs else runs


def code_of(runs: list[int]) -> str:
    """The code of runs, letter by letter; they may be below 0."""
    code = ""
    for idx, run in enumerate(runs):
        left = run - runs[idx - 2] if idx > 2 else run
        while True:
            digit, left = left & 31, left >> 5
            more = left != (-1 if digit & 16 else 0)
            code += chr(48 + digit + 32 * more)
            if not more:
                break
    return code


@given(masks)
def test_codes_that_are_made_by_hand(mask: np.ndarray) -> None:
    code = encode_rle(mask)["counts"]
    assert code_of(slow_runs(code) or []) == code


@pytest.mark.parametrize("runs", [[1460, -3], [-3, 1460], [5, 1460, -8], [1500, -40, -10, 7], [1457, 0, 0, 0]])
def test_runs_below_0_are_damaged_even_if_they_fill_the_mask(runs: list[int]) -> None:
    assert sum(runs) == SIZE_HW[0] * SIZE_HW[1]
    assert read_codes([code_of(runs)], [SIZE_HW]).whole.tolist() == [min(runs) >= 0]


def test_no_codes() -> None:
    whole, areas = read_codes([], [])
    assert whole.shape == areas.shape == (0,)


@given(masks)
def test_compressed_and_plain_runs_are_the_same_mask(mask: np.ndarray) -> None:
    ends = np.flatnonzero(np.diff(np.concatenate(([0], mask.T.ravel().astype(int), [-1]))))
    plain = RunLengths(size_hw=mask.shape, counts=tuple(np.diff(ends, prepend=0).tolist()))
    for segmentation in (compressed(mask), plain):
        rle = segmentation.rle(mask.shape)
        assert rle["size"] == list(mask.shape)
        assert np.array_equal(decode_rle(rle), mask)
    assert plain.box() == compressed(mask).box() == tight_box(mask)


def tight_box(mask: np.ndarray) -> tuple[float, ...]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) if len(rows) else (0, 0, 0, 0)


def test_no_runs_are_an_empty_mask() -> None:
    for none in ("", ()):
        rle = RunLengths(size_hw=SIZE_HW, counts=none).rle(SIZE_HW)
        assert decode_rle(rle).shape == SIZE_HW and not decode_rle(rle).any()


@pytest.mark.parametrize("counts", ["0", "0o", "é1", "0S1S1", "oooooooooooooooooooo1", (5, 6), (-1, 1458), (1457, 1)])
def test_damaged_runs_are_refused(counts: str | tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="write the file again"):
        RunLengths(size_hw=SIZE_HW, counts=counts).rle(SIZE_HW)


def test_runs_for_another_size_are_refused() -> None:
    mask = np.ones(SIZE_HW, dtype=np.bool_)
    with pytest.raises(DataError, match=r"31 x 47 \(width x height\), got one of 47 x 31"):
        compressed(mask).rle(SIZE_HW[::-1])


# --- mask files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [(1, 7), (3, 255), (2, 60_000)])
def test_values_of_a_mask_file_are_instances(tmp_path: Path, values: tuple[int, int]) -> None:
    first, second = values
    path = save_mask(tmp_path / "mask.png", [(first, (2, 3, 9, 20)), (second, (30, 1, 47, 5))])
    read = read_mask_values(path)
    assert read.shape == SIZE_HW
    assert boxes_by_value(read) == {first: (2, 3, 9, 20), second: (30, 1, 47, 5)}
    mask = decode_rle(MaskFile(path=path, value=second).rle(SIZE_HW))
    assert mask.sum() == 17 * 4 and mask[1:5, 30:].all()


def test_a_mask_of_one_bit_and_one_with_a_palette_are_read(tmp_path: Path) -> None:
    pixels = np.zeros(SIZE_HW, dtype=np.uint8)
    pixels[4:6, 8:11] = 2
    palette = Image.fromarray(pixels, mode="L").convert("P")
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    palette.putdata(pixels.ravel().tolist())
    palette.save(tmp_path / "palette.png")
    Image.fromarray(pixels > 0).save(tmp_path / "bit.png")
    assert boxes_by_value(read_mask_values(tmp_path / "palette.png")) == {2: (8, 4, 11, 6)}
    assert boxes_by_value(read_mask_values(tmp_path / "bit.png")) == {1: (8, 4, 11, 6)}


def test_an_empty_mask_file_has_no_instances(tmp_path: Path) -> None:
    assert boxes_by_value(read_mask_values(save_mask(tmp_path / "mask.png", []))) == {}


def test_mask_files_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (4, 5)).save(tmp_path / "colour.png")
    (tmp_path / "text.png").write_text("no picture")
    whole = save_mask(tmp_path / "whole.png", [(1, (0, 0, 40, 30))])
    (tmp_path / "half.png").write_bytes(whole.read_bytes()[:60])
    for name, message in (
        ("colour.png", "got mode RGB"),
        ("text.png", "cannot be read"),
        ("half.png", "cannot be read"),
        ("none.png", "cannot be read"),
    ):
        with pytest.raises(DataError, match=f"{name}.*{message}"):
            read_mask_values(tmp_path / name)
    with pytest.raises(DataError, match="make it again"):
        MaskFile(path=whole, value=1).rle(SIZE_HW[::-1])
