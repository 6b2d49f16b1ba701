"""Run-length codes straight from logits are those of the masks stretched in full."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from masklet.inference.postprocess import masks_to_rles
from masklet.ops.masks import decode_rles, encode_rle, rle_areas


def stretched(mask_logits: torch.Tensor, size_hw: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(mask_logits[:, None], size_hw, mode="bilinear", align_corners=False)[:, 0]


def in_full(mask_logits: torch.Tensor, size_hw: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The definition: every pixel's logit, in float64 so that its sign is certain, above 0."""
    return (stretched(mask_logits.double(), size_hw) > 0).numpy()


def assert_equal_in_full(mask_logits: torch.Tensor, size_hw: tuple[int, int]) -> None:
    expected = in_full(mask_logits, size_hw)
    rles = masks_to_rles(mask_logits, size_hw)
    assert np.array_equal(decode_rles(rles, size_hw), expected)
    assert rles == [encode_rle(mask) for mask in expected]  # the same text as well: no run of length 0 but the first


sides = st.integers(1, 40)


@given(sides, sides, st.integers(1, 130), st.integers(1, 130), st.integers(0, 10_000), st.floats(-2, 2))
@settings(max_examples=200, derandomize=True, deadline=None)
def test_noise_of_any_size_enlarged_and_reduced(
    height: int, width: int, image_height: int, image_width: int, seed: int, offset: float
) -> None:
    noise = torch.randn(2, height, width, generator=torch.Generator().manual_seed(seed)) + offset
    assert_equal_in_full(noise, (image_height, image_width))


@pytest.mark.parametrize("image_size_hw", [(37, 53), (288, 288), (600, 411), (90, 1000), (1, 1), (1, 2000), (2000, 1)])
def test_objects(image_size_hw: tuple[int, int]) -> None:
    axis = torch.linspace(-1, 1, 288)
    centres = torch.tensor([[0.0, 0.0], [-1.0, -1.0], [1.0, 0.3], [0.2, 0.9], [0.33, -0.41]])
    distance = (axis - centres[:, :1, None]) ** 2 * 3 + (axis[:, None] - centres[:, 1:, None]) ** 2
    assert_equal_in_full(3.7 * (0.1 - distance), image_size_hw)


def test_thin_lines_and_single_logits() -> None:
    for place in (0, 5, 10):
        logits = torch.full((3, 11, 11), -1.3)
        logits[0, place] = 2.1
        logits[1, :, place] = 2.1
        logits[2, place, place] = 2.1
        assert_equal_in_full(logits, (100, 71))
        assert_equal_in_full(-logits, (100, 71))
        assert_equal_in_full(logits, (7, 5))


def test_a_dip_between_two_pixels_leaves_no_gap() -> None:
    # Reduced sevenfold: nearly every change of sign falls between two pixels.
    signs = torch.randn(4, 70, 70, generator=torch.Generator().manual_seed(0))
    assert_equal_in_full(signs, (10, 9))


def test_all_inside_and_all_outside_and_exactly_zero() -> None:
    logits = torch.tensor([1.0, -1.0, 0.0])[:, None, None].expand(3, 6, 5)
    assert rle_areas(masks_to_rles(logits, (31, 47))).tolist() == [31 * 47, 0, 0]
    assert_equal_in_full(logits, (31, 47))


@pytest.mark.parametrize("image_size_hw", [(5, 5), (10, 15), (4, 1), (9, 2)])
def test_a_logit_of_exactly_zero_is_outside(image_size_hw: tuple[int, int]) -> None:
    """Whole numbers on simple ratios: many stretched logits are 0, which rounding would hide."""
    logits = torch.tensor([[[1.0, -1.0], [0.0, 2.0]], [[-1.0, 1.0], [1.0, -1.0]]])
    masks = decode_rles(masks_to_rles(logits, image_size_hw), image_size_hw)
    for mask, one in zip(masks, logits.tolist(), strict=True):
        assert mask.tolist() == [
            [exact_logit(one, image_size_hw, x, y) > 0 for x in range(image_size_hw[1])]
            for y in range(image_size_hw[0])
        ]


def exact_logit(logits: list[list[float]], image_size_hw: tuple[int, int], x: int, y: int) -> Fraction:
    """The stretched logit at picture pixel (x, y) as a fraction."""
    ((top, below), down), ((left, beside), along) = (
        neighbours(place, len(source), size)
        for place, source, size in ((y, logits, image_size_hw[0]), (x, logits[0], image_size_hw[1]))
    )
    upper, lower = (
        (1 - along) * Fraction(row[left]) + along * Fraction(row[beside]) for row in (logits[top], logits[below])
    )
    return (1 - down) * upper + down * lower


def neighbours(place: int, source: int, size: int) -> tuple[tuple[int, int], Fraction]:
    centre = max((Fraction(place) + Fraction(1, 2)) * source / size - Fraction(1, 2), Fraction(0))
    first = min(int(centre), source - 1)
    return (first, min(first + 1, source - 1)), centre - first


def test_no_masks() -> None:
    assert masks_to_rles(torch.zeros(0, 8, 8), (30, 40)) == []


def test_infinite_and_undefined_logits() -> None:
    logits = torch.full((1, 4, 4), -1.0)
    logits[0, 1, 1] = float("inf")
    logits[0, 3, 0] = float("-inf")
    logits[0, 0, 3] = float("nan")
    mask = decode_rles(masks_to_rles(logits, (16, 16)), (16, 16))[0]
    assert mask[4:8, 4:8].all()
    assert not mask[:4, 13:].any()
    assert not mask[13:].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_number_formats(dtype: torch.dtype) -> None:
    logits = torch.randn(3, 12, 10, generator=torch.Generator().manual_seed(1)).to(dtype)
    assert masks_to_rles(logits, (50, 61)) == masks_to_rles(logits.float(), (50, 61))


def test_any_layout_and_gradients() -> None:
    logits = torch.randn(3, 12, 10, generator=torch.Generator().manual_seed(2))
    expected = masks_to_rles(logits, (50, 61))
    assert masks_to_rles(logits.permute(2, 1, 0).contiguous().permute(2, 1, 0), (50, 61)) == expected
    assert masks_to_rles(logits.clone().requires_grad_(), (50, 61)) == expected


def test_float32_stretching_differs_only_where_it_cannot_tell_the_sign() -> None:
    """Limit: 16 roundings of float32 in an average of four logits below 6 in size."""
    logits = torch.randn(4, 72, 72, generator=torch.Generator().manual_seed(3))
    size_hw = (720, 531)
    different = decode_rles(masks_to_rles(logits, size_hw), size_hw) != (stretched(logits, size_hw) > 0).numpy()
    assert np.abs(stretched(logits.double(), size_hw).numpy()[different]).max(initial=0) < 16 * 6 * 2**-24


def test_many_large_masks_need_little_memory() -> None:
    """200 masks of 24 megapixels are 4.8 GB as pixels; Python's and numpy's own allocations stay below 40 MB."""
    axis = torch.linspace(-1, 1, 144)
    logits = (0.2 - axis**2 - axis[:, None] ** 2).expand(200, 144, 144)
    tracemalloc.start()
    rles = masks_to_rles(logits, (4000, 6000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rles) == 200
    disc = np.pi * 0.2 / 4 * (143 / 144) ** 2  # of a square that is half a logit larger on each side
    assert rle_areas(rles[:1])[0] == pytest.approx(24e6 * disc, rel=1e-3)
    assert peak < 40e6
