"""How far matched boxes are from their targets: L1 and generalised IoU (spec/training.md 6.1).

Unusual: a degenerate pair has a defined GIoU and gradient (`ops.boxes`), where the published loss is NaN; for two boxes
of no area in one spot GIoU counts 0, thus a loss of 1, and only L1 moves them.
"""

from __future__ import annotations

from torch import Tensor

from masklet.losses.focal import at_least_float32
from masklet.losses.matcher import Match
from masklet.ops.boxes import cxcywh_to_xyxy, giou_xyxy


def box_losses(
    boxes_cxcywh_norm: Tensor, target_boxes_cxcywh_norm: Tensor, match: Match, normalizer: Tensor | float
) -> tuple[Tensor, Tensor]:
    """Both box losses of one layer, summed over the pairs and divided by the normaliser.

    Args:
        boxes_cxcywh_norm: (P, Q, 4) predictions, fractions of the image.
        target_boxes_cxcywh_norm: (M, 4) packed targets.
        match: which prediction answers for which target.
        normalizer: number of objects of the step (spec/training.md 7.1), > 0.

    Returns:
        L1, the four coordinates of a pair summed; and 1 - GIoU. Scalars; 0 without pairs.
    """
    boxes = at_least_float32(boxes_cxcywh_norm[match.prompt_idx, match.query_idx])  # (N, 4)
    targets = target_boxes_cxcywh_norm[match.target_idx]
    l1 = (boxes - targets).abs().sum() / normalizer
    giou = (1 - giou_xyxy(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(targets))).sum() / normalizer
    return l1, giou
