"""How well scores tell right queries from wrong ones and present concepts from absent ones (spec/training.md 6.2-6.3).

Unusual: a matched query is trained towards the quality of its box, not towards 1; queries of absent concepts are not
trained at all (presence learns absence alone); and the sum is divided by all queries, not by the number of objects.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from masklet.losses.focal import at_least_float32, focal_loss
from masklet.losses.matcher import Match, prompt_of_targets
from masklet.ops.boxes import cxcywh_to_xyxy, iou_xyxy
from masklet.types import Targets


@dataclass(frozen=True, kw_only=True)
class ScoreSettings:
    """Shape of the classification loss; the released numbers.

    Attributes:
        alpha: share of the probability in the target of a matched query, p^alpha * IoU^(iou_power (1 - alpha)); 0..1.
        iou_power: exponent of the IoU in that target; below 1 a score says less of the box and more of the concept.
        gamma: exponent of the probability that weighs an unmatched query.
        smallest_target: lower limit of the target of a matched query.
        presence_gating: count only prompts that have a visible target.
        pos_focal: matched queries by focal loss (alpha 0.5, this gamma) instead of cross-entropy.
        weak_loss: leave out the unmatched queries of prompts that are not exhaustively labelled.
        pad_n_queries: divide by at least this many queries per prompt; with 200 a model of fewer queries gets
            gradients as small as one of 200 would, 1 switches it off. Not used with `weak_loss`.
        pad_scale_pos: factor of matched queries where there are fewer queries than `pad_n_queries`.
    """

    alpha: float = 0.25
    iou_power: float = 1.0
    gamma: float = 2.0
    smallest_target: float = 0.01
    presence_gating: bool = True
    pos_focal: bool = False
    weak_loss: bool = False
    pad_n_queries: int = 200
    pad_scale_pos: float = 1.0


def visible_prompts(targets: Targets) -> Tensor:
    """(P,) bool: prompts with at least one target of positive width and height."""
    seen = (targets.boxes_cxcywh_norm[:, 2:] > 0).all(-1)  # (M,)
    number = torch.zeros(targets.counts.shape[0], device=seen.device)
    return number.index_add_(0, prompt_of_targets(targets), seen.float()) > 0


def presence_loss(presence_logits: Tensor, visible: Tensor) -> Tensor:
    """Half the mean cross-entropy of (P,) logits against (P,) bool `visible` (focal with alpha 0.5, gamma 0)."""
    logits = at_least_float32(presence_logits)
    return focal_loss(logits, visible.to(logits), alpha=0.5, gamma=0).sum() / max(1, logits.numel())


def query_qualities(
    class_logits: Tensor, boxes_cxcywh_norm: Tensor, targets: Targets, match: Match, settings: ScoreSettings
) -> tuple[Tensor, Tensor]:
    """What each query should score, and which queries are matched at all.

    A query that serves several targets takes the largest IoU (spec/training.md 6.2).

    Args:
        class_logits: (P, Q).
        boxes_cxcywh_norm: (P, Q, 4).
        targets: of the same prompts.
        match: pairs of queries and targets.
        settings: see there.

    Returns:
        (P, Q) quality in 0..1, 0 where unmatched, without gradient; and (P, Q) bool matched.
    """
    with torch.no_grad():
        boxes = cxcywh_to_xyxy(at_least_float32(boxes_cxcywh_norm[match.prompt_idx, match.query_idx]))
        iou = iou_xyxy(boxes, cxcywh_to_xyxy(targets.boxes_cxcywh_norm[match.target_idx])).to(class_logits.dtype)
        flat_idx = match.prompt_idx * class_logits.shape[1] + match.query_idx
        best = class_logits.new_zeros(class_logits.numel())
        best = best.scatter_reduce_(0, flat_idx, iou, "amax").view_as(class_logits)
        matched = torch.zeros_like(class_logits, dtype=torch.bool)
        matched[match.prompt_idx, match.query_idx] = True
        quality = class_logits.sigmoid() ** settings.alpha * best ** (settings.iou_power * (1 - settings.alpha))
        return quality.clamp(min=settings.smallest_target) * matched, matched


def classification_loss(
    class_logits: Tensor,
    boxes_cxcywh_norm: Tensor,
    targets: Targets,
    match: Match,
    *,
    pos_weight: float = 10.0,
    settings: ScoreSettings | None = None,
    visible: Tensor | None = None,
) -> Tensor:
    """IoU-aware cross-entropy of one layer (spec/training.md 6.2).

    Args:
        class_logits: (P, Q).
        boxes_cxcywh_norm: (P, Q, 4) fractions of the image; no gradient flows to them.
        targets: of the same prompts.
        match: pairs of queries and targets.
        pos_weight: weight of matched queries; the released configurations use 10 or 5.
        settings: the rest of its shape; None takes the released one.
        visible: (P,) `visible_prompts(targets)` where the caller has it already.

    Returns:
        A scalar; 0 for a batch without prompts, queries or (with presence gating) visible targets.
    """
    settings = settings or ScoreSettings()
    logits = at_least_float32(class_logits)
    prompts, queries = logits.shape
    quality, matched = query_qualities(logits, boxes_cxcywh_norm, targets, match, settings)

    if settings.pos_focal:
        positive = focal_loss(logits, quality, alpha=0.5, gamma=settings.gamma)
    else:
        positive = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    padded = queries < settings.pad_n_queries
    positive = positive * (pos_weight * (settings.pad_scale_pos if padded else 1.0))
    # p^gamma as exp(gamma * log p): its gradient, which counts (spec 12), stays finite for every gamma and logit
    negative = (settings.gamma * F.logsigmoid(logits)).exp() * F.softplus(logits)
    rows = torch.where(matched, positive, negative)
    if settings.presence_gating:
        rows = rows * (visible_prompts(targets) if visible is None else visible)[:, None]

    if settings.weak_loss:
        kept = torch.ones_like(matched) if targets.exhaustive is None else matched | targets.exhaustive[:, None]
        return (rows * kept).sum() / (kept.sum() + 1e-6)
    return rows.sum() / max(1, prompts * max(queries, settings.pad_n_queries))
