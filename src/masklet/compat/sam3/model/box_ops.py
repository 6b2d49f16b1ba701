"""Stands for the original's `sam3.model.box_ops`: other names for what `masklet.ops` computes."""

from __future__ import annotations

import torch
from torch import Tensor

from masklet.ops import masks as _masks
from masklet.ops.boxes import area_xyxy as box_area
from masklet.ops.boxes import cxcywh_to_xywh as box_cxcywh_to_xywh
from masklet.ops.boxes import cxcywh_to_xyxy as box_cxcywh_to_xyxy
from masklet.ops.boxes import pairwise_giou_xyxy as generalized_box_iou
from masklet.ops.boxes import pairwise_iou_xyxy
from masklet.ops.boxes import xywh_to_cxcywh as box_xywh_to_cxcywh
from masklet.ops.boxes import xywh_to_xyxy as box_xywh_to_xyxy
from masklet.ops.boxes import xyxy_to_cxcywh as box_xyxy_to_cxcywh
from masklet.ops.boxes import xyxy_to_xywh as box_xyxy_to_xywh

__all__ = [
    "box_area",
    "box_cxcywh_to_xywh",
    "box_cxcywh_to_xyxy",
    "box_iou",
    "box_xywh_to_cxcywh",
    "box_xywh_to_xyxy",
    "box_xyxy_to_cxcywh",
    "box_xyxy_to_xywh",
    "generalized_box_iou",
    "masks_to_boxes",
]


def box_iou(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """Overlap of each of (..., N, 4) boxes with each of (..., K, 4) others, xyxy.

    Returns:
        Intersection over union (..., N, K) in 0..1, and the areas of the unions (..., N, K).
    """
    iou = pairwise_iou_xyxy(boxes1, boxes2)
    first, second = boxes1[..., :, None, :], boxes2[..., None, :, :]
    shared = torch.cat(
        (torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])), dim=-1
    )
    return iou, box_area(first) + box_area(second) - box_area(shared)


def masks_to_boxes(masks: Tensor) -> Tensor:
    """(N, 4) float32 tight boxes, xyxy with the far edge exclusive, of (N, H, W) masks; zeros for an empty mask."""
    return _masks.masks_to_boxes(masks != 0)
