"""Which query answers for which target: one-to-one (Hungarian) and one-to-many matching (spec/training.md 5).

Unusual: costs are computed for *packed* targets only, (L, M, Q) for all layers at once, so there is no padding to
mask and one copy to the processor; scipy then solves one small problem per layer and prompt. Peak memory is about
60 bytes per layer, target and query: 5 layers x 128 targets x 40 queries 1.5 MB, 11 x 3200 x 200 0.4 GB.
Target indices are always packed (position in `Targets.boxes_cxcywh_norm`), never relative to a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from masklet.errors import InputError
from masklet.ops.boxes import cxcywh_to_xyxy, giou_xyxy, iou_xyxy
from masklet.types import LayerOutputs, Targets

_HOPELESS = 1e9
"""Cost that stands for a non-finite one, so that a diverged model shows as a non-finite loss, not as a scipy error."""


@dataclass(frozen=True, kw_only=True)
class MatchSettings:
    """How queries and targets are paired; the released numbers.

    Attributes:
        class_weight: weight of the focal class cost (one-to-one).
        l1_weight: weight of the L1 distance of normalised cxcywh boxes (one-to-one).
        giou_weight: weight of -GIoU (one-to-one).
        focal_alpha: balance of the focal class cost, 0..1.
        focal_gamma: exponent of the focal class cost.
        score_share: share of the class probability in the one-to-many score, the rest is IoU; 0..1.
        threshold: a one-to-many pair must score above this.
        topk: best queries per target that may match one-to-many.
        one_to_many_on_aux: one-to-many matching on the earlier layers too; False (released) matches the one-to-many
            queries of the earlier layers one-to-one.
    """

    class_weight: float = 2.0
    l1_weight: float = 5.0
    giou_weight: float = 2.0
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    score_share: float = 0.3
    threshold: float = 0.4
    topk: int = 4
    one_to_many_on_aux: bool = False


@dataclass(frozen=True)
class Match:
    """N pairs of query and target; three int64 vectors of one length on the device of the predictions.

    Attributes:
        prompt_idx: (N,) which prompt, ascending.
        query_idx: (N,) which query of that prompt.
        target_idx: (N,) which target, packed over all prompts.
    """

    prompt_idx: Tensor
    query_idx: Tensor
    target_idx: Tensor

    def __len__(self) -> int:
        return self.prompt_idx.shape[0]


def prompt_of_targets(targets: Targets) -> Tensor:
    """(M,) int64: the prompt that each packed target belongs to."""
    counts, boxes = targets.counts, targets.boxes_cxcywh_norm
    # output_size spares accelerators a synchronisation; that counts sum to it is what `check_targets` looks at.
    prompts = torch.arange(counts.shape[0], device=counts.device)
    return torch.repeat_interleave(prompts, counts, output_size=boxes.shape[0]).to(boxes.device)


def match_one_to_one(
    layers: Sequence[LayerOutputs], targets: Targets, settings: MatchSettings | None = None
) -> list[Match]:
    """The assignment of least total cost of each layer, at most one query per target (spec/training.md 5.1).

    Cost of a pair: l1_weight * |box - target|_1 + class_weight * focal class cost - giou_weight * GIoU. A prompt with
    more targets than queries keeps its cheapest pairs. Pairs come in the order of their targets.

    Args:
        layers: predictions of L layers with the same (P, Q).
        targets: of the same P prompts.
        settings: weights of the costs; None takes the released ones.

    Returns:
        L matches.

    Raises:
        InputError: layers of different shapes, or targets that do not fit them.
    """
    from scipy.optimize import linear_sum_assignment  # half a second to import: only training needs it

    settings = settings or MatchSettings()
    counts = check_targets(layers, targets)
    if not layers:
        return []
    device = layers[0].class_logits.device
    if sum(counts) == 0:
        return [_empty_match(device) for _ in layers]

    costs = one_to_one_costs(layers, targets, settings).cpu().numpy()  # (L, M, Q), the one copy
    costs = np.nan_to_num(costs, nan=_HOPELESS, posinf=_HOPELESS, neginf=-_HOPELESS)
    pairs: list[np.ndarray] = []  # per layer (3, N): prompt, query, target
    for layer_costs in costs:
        columns, start = [], 0
        for prompt, count in enumerate(counts):
            if count:
                target, query = linear_sum_assignment(layer_costs[start : start + count])
                columns.append(np.stack((np.full_like(query, prompt), query, target + start)))
                start += count
        pairs.append(np.concatenate(columns, axis=1))

    lengths = [p.shape[1] for p in pairs]
    packed = torch.from_numpy(np.concatenate(pairs, axis=1)).to(device=device, dtype=torch.int64)
    return [Match(*part) for part in torch.split(packed, lengths, dim=1)]


def match_one_to_many(
    layers: Sequence[LayerOutputs], targets: Targets, settings: MatchSettings | None = None
) -> list[Match]:
    """Up to `topk` good queries for each target of each layer (spec/training.md 5.2).

    Score of a pair: score_share * probability + (1 - score_share) * IoU. A query matches a target when its score is
    above `threshold` and strictly above the score at rank topk (0-based; the last rank if there are fewer queries),
    hence among equal scores at the edge none matches. That is the published comparison with an interpolated quantile,
    without sorting all queries. A query may serve several targets and a target may get none. Pairs come in the order
    (prompt, query, target).

    Arguments, result and errors as for `match_one_to_one`.
    """
    settings = settings or MatchSettings()
    counts = check_targets(layers, targets)
    if not layers:
        return []
    logits, boxes = _stack(layers)
    queries = logits.shape[-1]
    if sum(counts) == 0 or queries == 0:
        return [_empty_match(logits.device) for _ in layers]

    with torch.no_grad():
        owner = prompt_of_targets(targets)  # (M,)
        target_xyxy = cxcywh_to_xyxy(targets.boxes_cxcywh_norm)[:, None]  # (M, 1, 4)
        iou = iou_xyxy(cxcywh_to_xyxy(boxes)[:, owner], target_xyxy)  # (L, M, Q)
        scores = settings.score_share * logits.sigmoid()[:, owner] + (1 - settings.score_share) * iou
        rank = min(settings.topk, queries - 1)
        edge = scores.topk(rank + 1, dim=-1).values[..., -1:]  # (L, M, 1)
        layer_idx, target_idx, query_idx = ((scores > edge) & (scores > settings.threshold)).nonzero(as_tuple=True)
        prompt_idx = owner[target_idx]
        # nonzero is ordered by (layer, target): one integer key orders it by (layer, prompt, query, target)
        key = ((layer_idx * len(counts) + prompt_idx) * queries + query_idx) * owner.shape[0] + target_idx
        order = key.argsort()
        packed = torch.stack((prompt_idx, query_idx, target_idx))[:, order]
        lengths = torch.bincount(layer_idx, minlength=len(layers)).tolist()
    return [Match(*part) for part in torch.split(packed, lengths, dim=1)]


@torch.no_grad()
def one_to_one_costs(layers: Sequence[LayerOutputs], targets: Targets, settings: MatchSettings) -> Tensor:
    """(L, M, Q) cost of giving each packed target to each query of its prompt (spec/training.md 5.1)."""
    logits, boxes = _stack(layers)
    owner = prompt_of_targets(targets)
    target_boxes = targets.boxes_cxcywh_norm[:, None]  # (M, 1, 4)

    probability = logits.sigmoid()  # (L, P, Q)
    present = (1 - probability) ** settings.focal_gamma * F.logsigmoid(logits)
    absent = probability**settings.focal_gamma * F.logsigmoid(-logits)
    class_cost = (1 - settings.focal_alpha) * absent - settings.focal_alpha * present

    l1 = (boxes[:, owner] - target_boxes).abs().sum(-1)
    giou = giou_xyxy(cxcywh_to_xyxy(boxes)[:, owner], cxcywh_to_xyxy(target_boxes))
    return settings.l1_weight * l1 + settings.class_weight * class_cost[:, owner] - settings.giou_weight * giou


def check_targets(layers: Sequence[LayerOutputs], targets: Targets) -> list[int]:
    """The counts of `targets` as integers, after a look whether layers and targets fit each other.

    Raises:
        InputError: what does not fit.
    """
    counts: list[int] = targets.counts.tolist()
    boxes = targets.boxes_cxcywh_norm
    if boxes.shape != (sum(counts), 4):
        raise InputError(
            f"targets.boxes_cxcywh_norm must be ({sum(counts)}, 4) since counts sum to that, got {tuple(boxes.shape)}: "
            "pack the boxes of all prompts in prompt order"
        )
    for layer in layers:
        if layer.class_logits.shape != layers[0].class_logits.shape or layer.class_logits.shape[0] != len(counts):
            raise InputError(
                f"class_logits of every layer must be ({len(counts)} prompts, Q) as targets.counts says, got "
                f"{[tuple(each.class_logits.shape) for each in layers]}: match each set of queries on its own"
            )
    return counts


def _stack(layers: Sequence[LayerOutputs]) -> tuple[Tensor, Tensor]:
    """Logits (L, P, Q) and cxcywh boxes (L, P, Q, 4) in float32 or better, without gradient."""
    logits = torch.stack([layer.class_logits.detach() for layer in layers])
    boxes = torch.stack([layer.boxes_cxcywh_norm.detach() for layer in layers])
    if logits.dtype != torch.float64:
        logits, boxes = logits.float(), boxes.float()
    return logits, boxes


def _empty_match(device: torch.device) -> Match:
    nothing = torch.zeros(0, dtype=torch.int64, device=device)
    return Match(nothing, nothing, nothing)
