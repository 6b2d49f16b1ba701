"""RoIAlign against onnxruntime's compiled kernel and against a loop written from the definition."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from masklet.ops.roi_align import roi_align
from roi_references import loop_roi_align, onnx_roi_align

BINS = 7
# Sums of up to some hundred float32 products of values around 1 in another order.
TOLERANCE = {"rtol": 0, "atol": 2e-5}


def noise(channels: int, height: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(channels, height, width, generator=torch.Generator().manual_seed(seed))


def check(features: torch.Tensor, boxes: torch.Tensor, bins: int = BINS) -> None:
    images = torch.zeros(len(boxes), dtype=torch.int64)
    found = roi_align(features, boxes, bins)
    torch.testing.assert_close(found, onnx_roi_align(features[None], boxes, images, bins), **TOLERANCE)


def random_boxes(count: int, height: int, width: int, seed: int) -> torch.Tensor:
    """Corners up to half a map outside of it on every side, in any order (so a quarter is reversed in each axis)."""
    corners = torch.rand(count, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 0.5
    return corners * torch.tensor([width, height, width, height])


@pytest.mark.parametrize("size_hw", [(9, 12), (12, 9), (24, 24), (1, 5), (72, 72)])
def test_random_boxes(size_hw):
    """Inside, partly and wholly outside, reversed; 200 for each map."""
    check(noise(3, *size_hw, seed=1), random_boxes(200, *size_hw, seed=sum(size_hw)))


@pytest.mark.parametrize("bins", [1, 2, 7])
def test_other_numbers_of_bins(bins):
    check(noise(2, 10, 14, seed=2), random_boxes(50, 10, 14, seed=3), bins)


def test_boxes_smaller_than_a_cell_count_as_one_cell():
    generator = torch.Generator().manual_seed(4)
    start = torch.rand(100, 2, generator=generator) * 12 - 1
    check(noise(2, 10, 10, seed=5), torch.cat((start, start + torch.rand(100, 2, generator=generator)), -1))


def test_sides_that_are_multiples_of_the_bins():
    """Here rounding decides how many samples a bin has: corners come from fractions, in float32, as in the model."""
    generator = torch.Generator().manual_seed(6)
    grid = 72
    centres = torch.rand(400, 2, generator=generator)
    sides = torch.randint(1, 6, (400, 2), generator=generator) * BINS / grid
    corners = torch.cat((centres - sides / 2, centres + sides / 2), -1) * torch.tensor(float(grid))
    check(noise(2, grid, grid, seed=7), corners)


def test_samples_on_the_edges():
    """Boxes of which samples lie exactly on -1, on the last row and column, and on h and w."""
    height, width = 6, 8
    places = torch.tensor([-3.0, -2.0, -1.5, -1.0, -0.5, 0.0])
    low_y, low_x = torch.meshgrid(places, places, indexing="ij")
    near = torch.stack((low_x, low_y, low_x + 7, low_y + 7), -1).flatten(0, 1)
    far = torch.stack((width + low_x, height + low_y, width + low_x + 7, height + low_y + 7), -1).flatten(0, 1)
    check(noise(2, height, width, seed=8), torch.cat((near, far)))


def test_whole_map_and_none():
    features = noise(4, 11, 17, seed=9)
    check(features, torch.tensor([[0.0, 0.0, 17.0, 11.0], [-1.0, -1.0, 18.0, 12.0]]))
    assert roi_align(features, torch.zeros(0, 4), BINS).shape == (0, 4, BINS, BINS)


def test_constant_map_gives_its_value_inside():
    features = torch.full((1, 8, 8), 2.5)
    inside = random_boxes(50, 6, 6, seed=10).clamp(0, 6)
    torch.testing.assert_close(roi_align(features, inside, BINS), torch.full((50, 1, BINS, BINS), 2.5))


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    size_hw=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    box=st.lists(st.floats(-4, 14, width=32), min_size=4, max_size=4),
    bins=st.integers(1, 4),
)
def test_definition(size_hw, box, bins):
    """The loop knows none of our matrices; it also holds where the compiled kernel and the definition could part."""
    features = noise(2, *size_hw, seed=11)
    boxes = torch.tensor([box])
    expected = loop_roi_align(features[None], boxes, torch.zeros(1, dtype=torch.int64), bins)
    torch.testing.assert_close(roi_align(features, boxes, bins), expected, **TOLERANCE)


def test_reduced_precision_is_pooled_in_float32():
    features = noise(2, 9, 9, seed=12).bfloat16()
    boxes = random_boxes(20, 9, 9, seed=13)
    assert roi_align(features, boxes, BINS).dtype == torch.float32
    check(features, boxes)
