"""Outlines of masks: exact, joined without changing the inside, simplified within the tolerance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masklet.ops.polygons import Polygon, joined, outlines, signed_area, simplified

BoolArray = npt.NDArray[np.bool_]


def filled(polygons: list[Polygon], size_hw: tuple[int, int]) -> BoolArray:
    """Pixels whose centre is left of an odd number of edges: the rule of odd crossings, edge by edge."""
    height, width = size_hw
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    inside = np.zeros(size_hw, dtype=bool)
    for polygon in polygons:
        for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            if y0 != y1:
                inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


def disc(height: int, width: int, radius: float) -> BoolArray:
    y, x = np.mgrid[:height, :width]
    return (y - 0.45 * height) ** 2 + (x - 0.55 * width) ** 2 < radius**2


masks = st.builds(
    lambda height, width, density, seed: np.random.default_rng(seed).random((height, width)) < density,
    st.integers(1, 12),
    st.integers(1, 15),
    st.sampled_from([0.1, 0.5, 0.85, 1.0]),
    st.integers(0, 10_000),
)


@given(masks)
@settings(max_examples=60, derandomize=True, deadline=None)
def test_outlines_are_exact_and_stay_so_when_joined(mask: BoolArray) -> None:
    found = outlines(mask)
    assert sum(map(signed_area, found)) == mask.sum()
    assert np.array_equal(filled(found, mask.shape), mask)
    if found:
        line = joined(found)
        assert signed_area(line) == pytest.approx(mask.sum(), abs=1e-9)
        assert np.array_equal(filled([line], mask.shape), mask)


def test_one_pixel_is_a_square_clockwise_as_seen() -> None:
    mask = np.zeros((3, 5), dtype=bool)
    mask[1, 3] = True
    assert [polygon.tolist() for polygon in outlines(mask)] == [[[3, 1], [4, 1], [4, 2], [3, 2]]]


def test_a_hole_and_pixels_that_touch_at_a_corner() -> None:
    ring = np.ones((4, 5), dtype=bool)
    ring[1:3, 1:3] = False
    assert sorted(map(signed_area, outlines(ring))) == [-4, 20]
    for corner in (np.eye(2, dtype=bool), np.eye(2, dtype=bool)[::-1]):
        assert [signed_area(polygon) for polygon in outlines(corner)] == [1, 1]


@pytest.mark.parametrize("size_hw", [(0, 0), (3, 0), (4, 6)])
def test_nothing_has_no_outline(size_hw: tuple[int, int]) -> None:
    assert outlines(np.zeros(size_hw, dtype=bool)) == []


def test_simplified_keeps_within_the_tolerance_and_drops_most_corners() -> None:
    (outline,) = outlines(disc(90, 120, 35.3))
    fewer = simplified(outline, 1.0)
    assert len(fewer) < len(outline) / 5
    assert signed_area(fewer) == pytest.approx(signed_area(outline), rel=0.03)
    ends = np.roll(fewer, -1, axis=0)
    along = ends - fewer
    for corner in outline:
        share = (((corner - fewer) * along).sum(1) / (along**2).sum(1)).clip(0, 1)
        assert np.hypot(*(corner - fewer - share[:, None] * along).T).min() <= 1.0


def test_simplified_never_makes_a_polygon_a_line() -> None:
    square = np.array([[2.0, 5.0], [3.0, 5.0], [3.0, 6.0], [2.0, 6.0]])
    assert simplified(square, 1.0) is square
