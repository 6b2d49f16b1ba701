"""Box conversions, overlaps and clipping against arithmetic by hand, an obvious loop, and their properties."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from masklet.errors import InputError
from masklet.ops import boxes as B

CONVERSIONS = {
    ("cxcywh", "xyxy"): B.cxcywh_to_xyxy,
    ("xyxy", "cxcywh"): B.xyxy_to_cxcywh,
    ("xywh", "xyxy"): B.xywh_to_xyxy,
    ("xyxy", "xywh"): B.xyxy_to_xywh,
    ("cxcywh", "xywh"): B.cxcywh_to_xywh,
    ("xywh", "cxcywh"): B.xywh_to_cxcywh,
}
SAME_BOX = {"xyxy": (10.0, 20.0, 40.0, 90.0), "cxcywh": (25.0, 55.0, 30.0, 70.0), "xywh": (10.0, 20.0, 30.0, 70.0)}

coordinate = st.floats(-100, 100, width=32)
side = st.floats(0, 100, width=32)
box_xywh = st.tuples(coordinate, coordinate, side, side)
few = settings(derandomize=True, max_examples=60, deadline=None)


def overlap_by_hand(a, b):
    """(IoU, GIoU) of two xyxy tuples, in plain Python."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return width * height / union, width * height / union - (hull - union) / hull


@pytest.mark.parametrize("formats", CONVERSIONS, ids="_to_".join)
def test_conversion_of_a_known_box(formats):
    source, target = (torch.tensor(SAME_BOX[name]) for name in formats)
    assert torch.equal(CONVERSIONS[formats](source), target)


@pytest.mark.parametrize("formats", CONVERSIONS, ids="_to_".join)
@pytest.mark.parametrize("shape", [(0, 4), (3, 4), (2, 0, 4), (2, 3, 5, 4)])
def test_conversion_keeps_any_leading_axes(formats, shape):
    boxes = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    converted = CONVERSIONS[formats](boxes)
    assert converted.shape == shape
    rows = [CONVERSIONS[formats](row) for row in boxes.reshape(-1, 4)]
    assert torch.equal(converted.reshape(-1, 4), torch.stack(rows) if rows else boxes.reshape(-1, 4))


@few
@given(box_xywh)
def test_every_round_trip_returns_the_box(values):
    box = torch.tensor(values, dtype=torch.float64)
    for source, target in CONVERSIONS:
        start = box if source == "xywh" else CONVERSIONS[("xywh", source)](box)
        back = CONVERSIONS[(target, source)](CONVERSIONS[(source, target)](start))
        torch.testing.assert_close(back, start, rtol=0, atol=1e-12)  # float64 rounding of numbers up to 200


@few
@given(box_xywh, box_xywh)
def test_overlap_properties(first, second):
    a, b = (B.xywh_to_xyxy(torch.tensor(v, dtype=torch.float64)) for v in (first, second))
    iou, giou = B.iou_xyxy(a, b), B.giou_xyxy(a, b)
    tolerance = 1e-9  # a ratio of areas that float64 knows to 1e-12 of the coordinates
    assert 0 <= iou <= 1 + tolerance
    assert -1 - tolerance <= giou <= iou + tolerance
    assert torch.equal(iou, B.iou_xyxy(b, a))
    assert torch.equal(giou, B.giou_xyxy(b, a))
    if B.area_xyxy(a) > 1e-6:
        assert math.isclose(B.iou_xyxy(a, a), 1, abs_tol=tolerance)
        assert math.isclose(B.giou_xyxy(a, a), 1, abs_tol=tolerance)


@few
@given(box_xywh, box_xywh, st.floats(0.5, 4), coordinate)
def test_overlap_does_not_depend_on_scale_and_place(first, second, scale, shift):
    a, b = (B.xywh_to_xyxy(torch.tensor(v, dtype=torch.float64)) for v in (first, second))
    if B.area_xyxy(a) < 1e-3 or B.area_xyxy(b) < 1e-3:
        return
    moved = B.giou_xyxy(a * scale + shift, b * scale + shift)
    torch.testing.assert_close(moved, B.giou_xyxy(a, b), rtol=0, atol=1e-8)  # rounding of the shift, in a small box


@few
@given(box_xywh)
def test_clipped_box_lies_inside_and_clipping_twice_changes_nothing(values):
    clipped = B.clip_xyxy(B.xywh_to_xyxy(torch.tensor(values)), height=30, width=50)
    assert (clipped >= 0).all()
    assert (clipped[[0, 2]] <= 50).all()
    assert (clipped[[1, 3]] <= 30).all()
    assert torch.equal(B.clip_xyxy(clipped, height=30, width=50), clipped)


def test_clip_cuts_the_right_axis():
    box = torch.tensor([[-5.0, 3.0, 99.0, 99.0], [200.0, 1.0, 210.0, 2.0]])
    expected = torch.tensor([[0.0, 3.0, 50.0, 30.0], [50.0, 1.0, 50.0, 2.0]])
    assert torch.equal(B.clip_xyxy(box, height=30, width=50), expected)


def test_pairwise_equals_a_loop():
    generator = torch.Generator().manual_seed(1)
    a = B.xywh_to_xyxy(torch.rand(2, 5, 4, generator=generator, dtype=torch.float64))
    b = B.xywh_to_xyxy(torch.rand(2, 3, 4, generator=generator, dtype=torch.float64))
    iou, giou = B.pairwise_iou_xyxy(a, b), B.pairwise_giou_xyxy(a, b)
    assert iou.shape == giou.shape == (2, 5, 3)
    for i in range(2):
        for j in range(5):
            for k in range(3):
                by_hand = overlap_by_hand(a[i, j].tolist(), b[i, k].tolist())
                assert math.isclose(iou[i, j, k], by_hand[0], abs_tol=1e-12)
                assert math.isclose(giou[i, j, k], by_hand[1], abs_tol=1e-12)


@pytest.mark.parametrize(("n", "k"), [(0, 3), (3, 0), (0, 0)])
def test_pairwise_of_nothing(n, k):
    assert B.pairwise_iou_xyxy(torch.zeros(n, 4), torch.zeros(k, 4)).shape == (n, k)
    assert B.pairwise_giou_xyxy(torch.zeros(2, n, 4), torch.zeros(2, k, 4)).shape == (2, n, k)


def test_pairwise_refuses_a_single_box():
    with pytest.raises(InputError, match=r"boxes_xyxy must be \(\.\.\., N, 4\), got shape \(4,\)"):
        B.pairwise_iou_xyxy(torch.zeros(4), torch.zeros(3, 4))


POINT = (0.3, 0.3, 0.3, 0.3)
LINE = (0.1, 0.3, 0.5, 0.3)
FAR_POINT = (0.7, 0.8, 0.7, 0.8)
FULL = (0.1, 0.1, 0.5, 0.5)
REVERSED = (0.5, 0.5, 0.1, 0.1)


@pytest.mark.parametrize(
    ("first", "second", "giou"),
    [
        (POINT, POINT, 0.0),
        (POINT, LINE, 0.0),
        (POINT, FAR_POINT, -1.0),
        (POINT, FULL, 0.0),
        (LINE, FULL, 0.0),
        (REVERSED, FULL, 0.0),
        (REVERSED, REVERSED, 0.0),
    ],
)
def test_degenerate_pairs_have_numbers_and_finite_gradients(first, second, giou):
    for a, b in ((first, second), (second, first)):
        box = torch.tensor(a, requires_grad=True)
        value = B.giou_xyxy(box, torch.tensor(b))
        assert math.isclose(value.item(), giou, abs_tol=1e-6)  # float32
        assert B.iou_xyxy(box, torch.tensor(b)).item() == 0
        (gradient,) = torch.autograd.grad(value, box)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("size", [1e-25, 1e-20, 1e-15, 1e-10, 1e-5])
def test_gradient_stays_finite_down_to_vanishing_boxes(size):
    box = torch.tensor((0.0, 0.0, size, size), requires_grad=True)
    value = B.giou_xyxy(box, torch.tensor((0.0, 0.0, size, 2 * size)))
    (gradient,) = torch.autograd.grad(value, box)
    assert value.isfinite()
    assert gradient.isfinite().all()


def test_half_precision_pixels_do_not_overflow():
    box = torch.tensor((0.0, 0.0, 1000.0, 500.0), dtype=torch.float16)  # its area is beyond float16
    assert B.iou_xyxy(box, box).item() == 1
    assert B.giou_xyxy(box, box).dtype == torch.float32


def test_area():
    boxes = torch.tensor([[1.0, 2.0, 4.0, 7.0], [4.0, 7.0, 1.0, 2.0], [1.0, 1.0, 1.0, 5.0]])
    assert B.area_xyxy(boxes).tolist() == [15.0, 0.0, 0.0]


@pytest.mark.parametrize("function", [B.iou_xyxy, B.giou_xyxy])
def test_gradient(function):
    generator = torch.Generator().manual_seed(2)
    a, b = (B.xywh_to_xyxy(torch.rand(4, 4, generator=generator, dtype=torch.float64) + 0.3) for _ in range(2))
    assert torch.autograd.gradcheck(function, (a.requires_grad_(), b.requires_grad_()))
