"""Corrections as a user would make them in training: a box on what was missed, or on what was found wrongly.

The published description (spec/training.md 8) leaves the thresholds open; those here are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from masklet.ops.boxes import cxcywh_to_xyxy, pairwise_iou_xyxy
from masklet.types import ExemplarBatch, LayerOutputs, Targets

FOUND_SCORE = 0.5  # class times presence: what a user would be shown
FOUND_IOU = 0.5  # a target that no shown box overlaps as much was missed
WRONG_IOU = 0.1  # a shown box that overlaps every target less is wrong


@torch.no_grad()
def corrected(exemplars: ExemplarBatch, outputs: LayerOutputs, targets: Targets) -> ExemplarBatch:
    """The exemplars of P prompts with one more box each, where there is something to correct.

    A missed target gives a positive box, a wrong detection a negative one; if there are both, a coin decides, and among
    several one is drawn. Random numbers come from PyTorch's global generator.

    Args:
        exemplars: what was shown already.
        outputs: of the last layer, with presence.
        targets: what should have been found.
    """
    assert outputs.presence_logits is not None
    scores = outputs.class_logits.float().sigmoid() * outputs.presence_logits.float().sigmoid()[:, None]
    boxes = torch.zeros_like(outputs.boxes_cxcywh_norm[:, :1]).float()
    labels = exemplars.box_labels.new_zeros(len(scores), 1)
    valid = torch.zeros_like(labels, dtype=torch.bool)
    for row, mine in enumerate(targets.boxes_cxcywh_norm.split(targets.counts.tolist())):
        shown = outputs.boxes_cxcywh_norm[row, scores[row] > FOUND_SCORE].float().clamp(0, 1)
        missed, wrong = _mistakes(shown, mine.float())
        if targets.exhaustive is not None and not targets.exhaustive[row]:
            wrong = wrong[:0]  # it may be an instance that nobody labelled
        if not len(missed) and not len(wrong):
            continue
        positive = bool(torch.rand(()) < 0.5) if len(missed) and len(wrong) else bool(len(missed))
        candidates = missed if positive else wrong
        boxes[row, 0] = candidates[int(torch.randint(len(candidates), ()))]
        labels[row, 0], valid[row, 0] = int(positive), True
    return ExemplarBatch(
        boxes_cxcywh_norm=torch.cat((exemplars.boxes_cxcywh_norm, boxes.to(exemplars.boxes_cxcywh_norm)), dim=1),
        box_labels=torch.cat((exemplars.box_labels, labels), dim=1),
        box_valid=torch.cat((exemplars.box_valid, valid), dim=1),
        points_xy_norm=exemplars.points_xy_norm,
        point_labels=exemplars.point_labels,
        point_valid=exemplars.point_valid,
    )


def _mistakes(shown: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Missed targets (N, 4) and wrong boxes (K, 4), both cxcywh, of (S, 4) shown boxes and (M, 4) targets."""
    wide = shown[:, 2:].prod(1) > 0  # a box of no area cannot be shown
    shown = shown[wide]
    if not len(shown) or not len(targets):
        return targets, shown
    overlap = pairwise_iou_xyxy(cxcywh_to_xyxy(shown), cxcywh_to_xyxy(targets))  # (S, M)
    return targets[overlap.amax(0) < FOUND_IOU], shown[overlap.amax(1) < WRONG_IOU]
