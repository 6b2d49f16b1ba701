"""Box formats, areas, overlaps and clipping; pure functions on tensors with any leading axes.

Formats, always four numbers on the last axis, in pixels or as fractions (the functions do not care which):

    xyxy    left, top, right, bottom
    cxcywh  centre x, centre y, width, height
    xywh    left, top, width, height

Unusual: overlaps are defined, with finite gradients, for every finite box. A reversed box (right < left or
bottom < top) counts as empty; an area below `SMALLEST_AREA` counts as zero, and a ratio over zero as zero. The
published losses divide by that area and become NaN (spec/training.md 6.1). Overlaps of half-precision boxes are
computed and returned in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from masklet.errors import InputError

SMALLEST_AREA = 1e-24
"""Areas below this count as zero: far below any real box (a side of 1e-12), far above where 1 / area overflows."""


def cxcywh_to_xyxy(boxes_cxcywh: Tensor) -> Tensor:
    """(..., 4) xyxy of (..., 4) cxcywh."""
    cx, cy, width, height = boxes_cxcywh.unbind(-1)
    half_width, half_height = 0.5 * width, 0.5 * height
    return torch.stack((cx - half_width, cy - half_height, cx + half_width, cy + half_height), dim=-1)


def xyxy_to_cxcywh(boxes_xyxy: Tensor) -> Tensor:
    """(..., 4) cxcywh of (..., 4) xyxy."""
    x0, y0, x1, y1 = boxes_xyxy.unbind(-1)
    return torch.stack((0.5 * (x0 + x1), 0.5 * (y0 + y1), x1 - x0, y1 - y0), dim=-1)


def xywh_to_xyxy(boxes_xywh: Tensor) -> Tensor:
    """(..., 4) xyxy of (..., 4) xywh."""
    x0, y0, width, height = boxes_xywh.unbind(-1)
    return torch.stack((x0, y0, x0 + width, y0 + height), dim=-1)


def xyxy_to_xywh(boxes_xyxy: Tensor) -> Tensor:
    """(..., 4) xywh of (..., 4) xyxy."""
    x0, y0, x1, y1 = boxes_xyxy.unbind(-1)
    return torch.stack((x0, y0, x1 - x0, y1 - y0), dim=-1)


def cxcywh_to_xywh(boxes_cxcywh: Tensor) -> Tensor:
    """(..., 4) xywh of (..., 4) cxcywh; width and height are carried over unchanged."""
    cx, cy, width, height = boxes_cxcywh.unbind(-1)
    return torch.stack((cx - 0.5 * width, cy - 0.5 * height, width, height), dim=-1)


def xywh_to_cxcywh(boxes_xywh: Tensor) -> Tensor:
    """(..., 4) cxcywh of (..., 4) xywh; width and height are carried over unchanged."""
    x0, y0, width, height = boxes_xywh.unbind(-1)
    return torch.stack((x0 + 0.5 * width, y0 + 0.5 * height, width, height), dim=-1)


def clip_xyxy(boxes_xyxy: Tensor, *, height: float, width: float) -> Tensor:
    """(..., 4) the part of each box inside an image of this size (1 and 1 for fractions).

    A box wholly outside becomes an empty one on the nearest edge.
    """
    x0, y0, x1, y1 = boxes_xyxy.unbind(-1)
    return torch.stack(
        (x0.clamp(0, width), y0.clamp(0, height), x1.clamp(0, width), y1.clamp(0, height)),
        dim=-1,
    )


def area_xyxy(boxes_xyxy: Tensor) -> Tensor:
    """(...) area of (..., 4) boxes; a reversed box has none."""
    x0, y0, x1, y1 = boxes_xyxy.unbind(-1)
    return (x1 - x0).clamp(min=0) * (y1 - y0).clamp(min=0)


def iou_xyxy(boxes_xyxy: Tensor, others_xyxy: Tensor) -> Tensor:
    """Intersection over union of boxes and others, pair by pair; leading axes broadcast.

    Args:
        boxes_xyxy: (..., 4).
        others_xyxy: (..., 4) in the same unit.

    Returns:
        (...) in 0..1; 0 where both are empty.
    """
    iou, _, _, _ = _overlap(boxes_xyxy, others_xyxy)
    return iou


def giou_xyxy(boxes_xyxy: Tensor, others_xyxy: Tensor) -> Tensor:
    """Generalised IoU, pair by pair: IoU minus the share of the enclosing box that neither covers.

    Arguments as for `iou_xyxy`. Source: Rezatofighi et al., CVPR 2019.

    Returns:
        (...) in -1..1; 0 where both are empty and lie on one line or point.
    """
    iou, union, first, second = _overlap(boxes_xyxy, others_xyxy)
    hull_width = torch.maximum(first[2], second[2]) - torch.minimum(first[0], second[0])
    hull_height = torch.maximum(first[3], second[3]) - torch.minimum(first[1], second[1])
    hull = hull_width.clamp(min=0) * hull_height.clamp(min=0)
    return iou - _ratio(hull - union, hull)


def pairwise_iou_xyxy(boxes_xyxy: Tensor, others_xyxy: Tensor) -> Tensor:
    """(..., N, K) IoU of each of (..., N, 4) boxes with each of (..., K, 4) others; in 0..1."""
    _check_pairwise(boxes_xyxy, others_xyxy)
    return iou_xyxy(boxes_xyxy[..., :, None, :], others_xyxy[..., None, :, :])


def pairwise_giou_xyxy(boxes_xyxy: Tensor, others_xyxy: Tensor) -> Tensor:
    """(..., N, K) generalised IoU of each of (..., N, 4) boxes with each of (..., K, 4) others; in -1..1."""
    _check_pairwise(boxes_xyxy, others_xyxy)
    return giou_xyxy(boxes_xyxy[..., :, None, :], others_xyxy[..., None, :, :])


def _overlap(boxes_xyxy: Tensor, others_xyxy: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
    """IoU, union area, and the coordinates of both, at least in float32 (areas of half-precision pixels overflow)."""
    first = _at_least_float32(boxes_xyxy).unbind(-1)
    second = _at_least_float32(others_xyxy).unbind(-1)
    width = torch.minimum(first[2], second[2]) - torch.maximum(first[0], second[0])
    height = torch.minimum(first[3], second[3]) - torch.maximum(first[1], second[1])
    intersection = width.clamp(min=0) * height.clamp(min=0)
    area = (first[2] - first[0]).clamp(min=0) * (first[3] - first[1]).clamp(min=0)
    other_area = (second[2] - second[0]).clamp(min=0) * (second[3] - second[1]).clamp(min=0)
    union = area + other_area - intersection
    return _ratio(intersection, union), union, first, second


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Part / whole, and 0 with gradient 0 where whole is (next to) nothing."""
    something = whole > SMALLEST_AREA
    # The inner `where` keeps the unused branch finite: without it its infinite gradient times 0 would be NaN.
    return torch.where(something, part / torch.where(something, whole, 1), 0)


def _at_least_float32(boxes: Tensor) -> Tensor:
    return boxes if boxes.dtype == torch.float64 else boxes.float()


def _check_pairwise(boxes_xyxy: Tensor, others_xyxy: Tensor) -> None:
    for name, boxes in (("boxes_xyxy", boxes_xyxy), ("others_xyxy", others_xyxy)):
        if boxes.dim() < 2 or boxes.shape[-1] != 4:
            raise InputError(f"{name} must be (..., N, 4), got shape {tuple(boxes.shape)}: add the missing axis")
