from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from masklet.errors import DataError
from masklet.evaluation.segmentations import read_segmentations, rle_of, rles_of
from masklet.ops.masks import BoolArray, Rle, decode_rle, encode_rle

Reader = Callable[[object, tuple[int, int], str], Rle | None]
SIZE_HW = (7, 5)
MASK = np.zeros(SIZE_HW, dtype=np.bool_)
MASK[2:5, 1:4] = True


def read_segmentation(value: object, size_hw: tuple[int, int], where: str) -> Rle | None:
    return read_segmentations([value], size_hw, [where])[0]


def runs_of(mask: BoolArray) -> list[int]:
    """The slow obvious way."""
    runs, value = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


@given(arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40))))
@settings(max_examples=200, derandomize=True, deadline=None)
def test_all_forms_of_a_code_are_the_same_mask(mask: BoolArray) -> None:
    compressed = encode_rle(mask)
    forms = [
        compressed,
        {"size": list(mask.shape), "counts": compressed["counts"].encode("ascii")},
        {"size": list(mask.shape), "counts": runs_of(mask)},
        {"size": tuple(mask.shape), "counts": np.array(runs_of(mask), dtype=np.uint32)},
    ]
    for form in forms:
        rle = read_segmentation(form, mask.shape, "mask")
        assert (rle is None) == (not mask.any())
        assert rle is None or (decode_rle(rle) == mask).all()


@pytest.mark.parametrize("seed", range(20))
def test_long_runs_and_large_pictures(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((1080, 1921), dtype=np.bool_)
    x, y = rng.integers(0, 1000, 2)
    mask[y : y + 70, x : x + 500] = rng.random((min(70, 1080 - y), 500)) < rng.random()
    assert read_segmentation(encode_rle(mask), mask.shape, "mask") == encode_rle(mask)


@pytest.mark.parametrize(
    "nothing",
    [
        None,
        [],
        encode_rle(np.zeros(SIZE_HW, dtype=np.bool_)),
        {"size": [7, 5], "counts": [35]},
        {"size": [7, 5], "counts": []},
        {"size": [7, 5], "counts": ""},
        {},
        [[0.1, 0.1, 0.2, 0.1, 0.2, 0.2]],  # between the pixels
        [[1, 2, 3, 4]],  # a line
    ],
)
def test_nothing_has_many_forms(nothing: object) -> None:
    assert read_segmentation(nothing, SIZE_HW, "mask") is None


def test_polygons_are_united() -> None:
    rle = read_segmentation([[1, 2, 4, 2, 4, 5, 1, 5], [0, 0, 1, 0, 1, 1, 0, 1]], SIZE_HW, "mask")
    expected = MASK.copy()
    expected[0, 0] = True
    assert rle is not None and (decode_rle(rle) == expected).all()


def damaged() -> list[object]:
    text = encode_rle(MASK)["counts"]
    return [
        text[:-1],
        text + "1",
        text + "o",  # a number that does not end
        "~~~",
        " " + text,
        "é",
        "o" * 20 + "0",
        [3, 4],
        [-1, 36],
        [35.5],
        [[35]],
        None,
        35,
    ]


@pytest.mark.parametrize("counts", damaged())
@pytest.mark.parametrize("read", [read_segmentation, rle_of])
def test_damaged_codes_are_refused(read: Reader, counts: object) -> None:
    # Some of these make pycocotools run for ever.
    with pytest.raises(DataError, match=r"^frame 3: expected "):
        read({"size": [7, 5], "counts": counts}, SIZE_HW, "frame 3")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ([5, 7], r"^mask: expected a run-length code of 5 x 7 \(width x height\), got one of 7 x 5"),
        *((size, "^mask: expected a list of polygons .* or {size") for size in ([7], None, "75", [7.0, 5.0], [0, 5])),
    ],
)
def test_another_size_is_refused(size: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_segmentation({"size": size, "counts": encode_rle(MASK)["counts"]}, SIZE_HW, "mask")


@pytest.mark.parametrize(
    "polygon", [[1, 2, 3], [1, 2, 3, 4, 5, 6, 7], ["a"] * 6, [np.nan] * 6, [1e9] * 6, 3, "abcdef", [[1, 2]] * 3]
)
@pytest.mark.parametrize("read", [read_segmentation, rle_of])
def test_polygons_that_are_none_are_refused(read: Reader, polygon: object) -> None:
    with pytest.raises(DataError, match=r"^mask: expected (a list of polygons|corners)"):
        read([polygon], SIZE_HW, "mask")


@pytest.mark.parametrize("value", ["text", 3, b"code", [1, 2, 3]])
@pytest.mark.parametrize("read", [read_segmentation, rle_of])
def test_other_things_are_refused(read: Reader, value: object) -> None:
    with pytest.raises(DataError, match=r"^mask: expected a list of polygons .* write it in one of COCO's forms"):
        read(value, SIZE_HW, "mask")


def test_a_mask_that_must_be_there() -> None:
    for empty in ([], {}, [[1, 2, 3, 4]], {"size": [7, 5], "counts": []}):
        assert decode_rle(rle_of(empty, SIZE_HW, "mask")).shape == SIZE_HW
    # A code keeps its size, which is for the metric to judge; pycocotools gives an overlap of -1.
    assert rle_of(encode_rle(MASK), (9, 9), "mask") == rle_of(encode_rle(MASK), None, "mask") == encode_rle(MASK)
    with pytest.raises(DataError, match=r"^mask: expected a segmentation, got none"):
        rle_of(None, SIZE_HW, "mask")
    with pytest.raises(DataError, match=r"^mask: polygons need width and height"):
        rle_of([[1, 2, 4, 2, 4, 5]], None, "mask")


def test_many_at_once_are_what_they_are_alone() -> None:
    whole, large = encode_rle(MASK), np.ones((9, 4), dtype=np.bool_)
    values = [whole, None, [[1, 2, 4, 2, 4, 5, 1, 5]], {"size": [7, 5], "counts": runs_of(MASK)}, [], whole]
    names = [f"frame {idx}" for idx in range(len(values))]
    assert read_segmentations(values, SIZE_HW, names) == [whole, None, whole, whole, None, whole]
    assert read_segmentations([], SIZE_HW, []) == rles_of([], [], []) == []
    assert rles_of([whole, encode_rle(large), whole], [None] * 3, names[:3]) == [whole, encode_rle(large), whole]
    for wrong, message in (
        (whole | {"counts": whole["counts"][:-1]}, "^frame 4: .* got a damaged one"),
        (encode_rle(large), "^frame 4: .* got one of 4 x 9"),
        ("text", "^frame 4: expected a list of polygons"),
    ):
        values[4] = wrong
        with pytest.raises(DataError, match=message):
            read_segmentations(values, SIZE_HW, names)
    with pytest.raises(DataError, match=r"^frame 1: .* got a damaged one"):
        rles_of([whole, whole | {"counts": "0"}], [None] * 2, names[:2])
