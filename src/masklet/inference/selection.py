"""What is kept of the detector's queries: threshold, order, removal of duplicates. Pure functions.

    keep = queries_above(raw, thresholds)                           (P, Q) bool
    masks = model.decode_masks(..., raw, keep)                      only these are made
    detections = best_first(raw, keep, masks)                       one `Detections` for each prompt
    detections = without_duplicates(detections, iou=0.5)            if wanted

The original keeps query order and removes nothing (spec/image-model.md 10.2); here the best come first.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from masklet.errors import InputError
from masklet.ops.masks import keep_distinct, mask_iou
from masklet.types import Detections, RawDetections


def queries_above(raw: RawDetections, thresholds: float | Sequence[float]) -> Tensor:
    """Which queries score strictly more than the threshold of their prompt.

    Args:
        raw: of P prompts.
        thresholds: 0..1; one for all prompts, or P of them.

    Returns:
        (P, Q) bool; a score that is NaN is not above anything.

    Raises:
        InputError: a threshold is not in 0..1, or there are not P of them.
    """
    scores = raw.scores()
    each = list(thresholds) if isinstance(thresholds, Sequence) else [thresholds] * len(scores)
    if len(each) != len(scores):
        raise InputError(f"expected one score threshold or one for each of {len(scores)} prompts, got {len(each)}")
    for threshold in each:
        if not 0 <= threshold <= 1:  # false for NaN as well
            raise InputError(f"a score threshold must be in 0..1, got {threshold!r}")
    return scores > scores.new_tensor(each)[:, None]


def best_first(raw: RawDetections, keep: Tensor, mask_logits: Sequence[Tensor]) -> list[Detections]:
    """The kept queries of each prompt, highest score first, equal scores in query order.

    Args:
        raw: of P prompts.
        keep: (P, Q) bool.
        mask_logits: P tensors (n_p, h, w) in query order, as `Detector.decode_masks` gives them for `keep`.

    Returns:
        P values.
    """
    scores = raw.scores()
    detections = []
    for prompt_idx, masks in enumerate(mask_logits):
        query_idx = keep[prompt_idx].nonzero()[:, 0]
        assert len(query_idx) == len(masks)
        order = scores[prompt_idx, query_idx].argsort(descending=True, stable=True)
        chosen = query_idx[order]
        detections.append(
            Detections(
                query_idx=chosen,
                scores=scores[prompt_idx, chosen],
                boxes_cxcywh_norm=raw.boxes_cxcywh_norm[prompt_idx, chosen].float(),
                mask_logits=masks[order],
            )
        )
    return detections


def without_duplicates(detections: Sequence[Detections], iou: float, *, across: bool = False) -> list[Detections]:
    """The detections less those whose mask overlaps that of a better one.

    Overlaps are measured at the resolution of the mask head, so that removed masks are never stretched.

    Args:
        detections: of P prompts, each best first; all on one image if `across`.
        iou: in 0..1; a mask overlap strictly above it makes two detections duplicates.
        across: whether detections of other prompts remove as well: then each object keeps its best concept, and of
            equal scores the earlier prompt's.

    Returns:
        P values, order kept.

    Raises:
        InputError: `iou` is not in 0..1.
    """
    if not 0 <= iou <= 1:  # false for NaN as well
        raise InputError(f"the mask overlap of duplicates must be in 0..1, got {iou!r}")
    groups = [list(detections)] if across else [[one] for one in detections]
    return [kept for group in groups for kept in _distinct(group, iou)]


def _distinct(group: list[Detections], iou: float) -> list[Detections]:
    """Those of several prompts that stay when all compete."""
    counts = [len(one) for one in group]
    if sum(counts) < 2:
        return group
    masks = torch.cat([one.mask_logits for one in group]) > 0
    order = torch.cat([one.scores for one in group]).argsort(descending=True, stable=True)
    ranked = masks[order]
    keep_ranked = keep_distinct(mask_iou(ranked, ranked), iou).to(order.device)
    keep = torch.empty_like(keep_ranked)
    keep[order] = keep_ranked
    return [one.select(chosen) for one, chosen in zip(group, keep.split(counts), strict=True)]
