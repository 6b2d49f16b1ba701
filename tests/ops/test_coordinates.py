"""Pixels to fractions and back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from masklet.errors import InputError
from masklet.ops.coordinates import ImageCoordinates

WIDE = ImageCoordinates(height=50, width=200)


def test_known_values() -> None:
    boxes_xyxy = torch.tensor([[0.0, 0.0, 200.0, 50.0], [20.0, 10.0, 60.0, 15.0]])
    expected = torch.tensor([[0.5, 0.5, 1.0, 1.0], [0.2, 0.25, 0.2, 0.1]])
    torch.testing.assert_close(WIDE.boxes_to_norm(boxes_xyxy), expected)
    torch.testing.assert_close(WIDE.boxes_to_px(expected), boxes_xyxy)
    torch.testing.assert_close(WIDE.points_to_norm(torch.tensor([[20.0, 10.0]])), torch.tensor([[0.1, 0.2]]))
    torch.testing.assert_close(WIDE.points_to_px(torch.tensor([[0.1, 0.2]])), torch.tensor([[20.0, 10.0]]))


def test_clipping() -> None:
    boxes_xyxy = torch.tensor([[-5.0, -1.0, 250.0, 20.0], [10.0, 60.0, 20.0, 70.0]])
    expected = torch.tensor([[0.0, 0.0, 200.0, 20.0], [10.0, 50.0, 20.0, 50.0]])
    assert torch.equal(WIDE.clip(boxes_xyxy), expected)


@given(
    st.integers(1, 20_000),
    st.integers(1, 20_000),
    st.lists(st.tuples(*[st.floats(-1, 2, width=32)] * 4), max_size=5),
)
@settings(max_examples=50, derandomize=True, deadline=None)
def test_there_and_back(height: int, width: int, boxes: list[tuple[float, ...]]) -> None:
    coordinates = ImageCoordinates(height=height, width=width)
    norm = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)
    torch.testing.assert_close(coordinates.boxes_to_norm(coordinates.boxes_to_px(norm)), norm, atol=1e-9, rtol=0)
    points = norm[:, :2]
    torch.testing.assert_close(coordinates.points_to_norm(coordinates.points_to_px(points)), points, atol=1e-9, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(0, 5), (5, 0), (-1, 5)])
def test_no_picture(height: int, width: int) -> None:
    with pytest.raises(InputError, match="at least 1 x 1"):
        ImageCoordinates(height=height, width=width)
