"""What following an object is trained by: its masks, how good they are said to be, and whether it is in sight.

The paper gives the parts and their weights (spec/training.md 9). Where it is silent the nearest published recipe, SAM
2.1's, is followed: the quality of every candidate is supervised, and all but sight counts only where the object is
visible. Sums over objects are divided by their number.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from masklet.errors import InputError
from masklet.losses.focal import at_least_float32, dice_loss, focal_loss

_FOCAL_ALPHA, _FOCAL_GAMMA = 0.25, 2.0
TERMS = ("mask_focal", "mask_dice", "quality", "sight")


@dataclass(frozen=True, kw_only=True)
class TrackerWeights:
    """How much each part counts; 20 : 1 : 1 : 1 in the paper.

    Attributes:
        mask_focal: focal loss of the masks, mean over pixels.
        mask_dice: dice loss of the masks.
        quality: distance of the predicted overlap from the true one.
        sight: cross-entropy of "the object is visible on this frame".
        spread: share of the mask losses, 0..1, that is not the best candidate's but that of the others together, so
            that none stays as it began ("relaxed winner takes all", Rupprecht et al. 2017); 0 in the paper.
    """

    mask_focal: float = 20.0
    mask_dice: float = 1.0
    quality: float = 1.0
    sight: float = 1.0
    spread: float = 0.0


@dataclass(frozen=True)
class TrackerLoss:
    """The loss of some objects on some frames.

    Attributes:
        total: scalar to be differentiated.
        terms: each part as a detached scalar without its weight, by its name in `TrackerWeights`.
        best_idx: (O,) int64 the candidate of each object with the least mask loss.
    """

    total: Tensor
    terms: dict[str, Tensor]
    best_idx: Tensor


def tracker_loss(
    mask_logits: Tensor,
    quality: Tensor,
    sight_logits: Tensor,
    target_masks: Tensor,
    visible: Tensor,
    weights: TrackerWeights | None = None,
) -> TrackerLoss:
    """The loss of O objects (an object on two frames counts as two) with M candidate masks each.

    Of several candidates the one with the least mask loss is trained, so that an ambiguous click may have several
    answers, and the others as far as `weights.spread` says; the quality of all is.

    Args:
        mask_logits: (O, M, h, w).
        quality: (O, M) predicted overlap with the true mask, 0..1.
        sight_logits: (O,).
        target_masks: (O, H, W) bool; of objects that are not visible they do not matter. Compared at H x W.
        visible: (O,) bool.
        weights: None for the paper's.

    Returns:
        Total and parts, finite for finite predictions; 0 of no object.

    Raises:
        InputError: shapes that do not fit each other.
    """
    weights = weights or TrackerWeights()
    count, candidates = mask_logits.shape[:2]
    shapes = {"quality": (quality, (count, candidates)), "sight_logits": (sight_logits, (count,))}
    shapes |= {"visible": (visible, (count,)), "target_masks": (target_masks, (count, *target_masks.shape[-2:]))}
    for name, (tensor, shape) in shapes.items():
        if tuple(tensor.shape) != shape:
            raise InputError(
                f"{name} must be {shape} beside mask_logits {tuple(mask_logits.shape)}, got {tuple(tensor.shape)}"
            )
    if not count:
        nothing = mask_logits.sum().float() + quality.sum() + sight_logits.sum()
        best = torch.zeros(0, dtype=torch.int64, device=mask_logits.device)
        return TrackerLoss(nothing, dict.fromkeys(TERMS, nothing.detach()), best)

    logits = at_least_float32(mask_logits)
    if logits.shape[-2:] != target_masks.shape[-2:]:
        size_hw = (int(target_masks.shape[-2]), int(target_masks.shape[-1]))
        logits = F.interpolate(logits, size_hw, mode="bilinear", align_corners=False)
    flat = logits.flatten(2)  # (O, M, K)
    targets = target_masks.flatten(1)[:, None].expand_as(flat).to(flat.dtype)
    focal = focal_loss(flat, targets, alpha=_FOCAL_ALPHA, gamma=_FOCAL_GAMMA).mean(-1)  # (O, M)
    dice = dice_loss(flat.flatten(0, 1), targets.flatten(0, 1)).unflatten(0, (count, candidates))
    best_idx = (weights.mask_focal * focal + weights.mask_dice * dice).detach().argmin(1)
    seen = visible.to(flat.dtype)
    quality_off = (at_least_float32(quality) - _overlap(flat.detach() > 0, targets > 0.5)).abs().mean(1)

    others = weights.spread / (candidates - 1) if candidates > 1 else 0.0
    shares = torch.full_like(focal, others).scatter_(1, best_idx[:, None], 1 - others * (candidates - 1))

    terms = {
        "mask_focal": ((focal * shares).sum(1) * seen).sum() / count,
        "mask_dice": ((dice * shares).sum(1) * seen).sum() / count,
        "quality": (quality_off * seen).sum() / count,
        "sight": F.binary_cross_entropy_with_logits(at_least_float32(sight_logits), seen),
    }
    total = torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()
    return TrackerLoss(total, {name: term.detach() for name, term in terms.items()}, best_idx)


def _overlap(predicted: Tensor, true: Tensor) -> Tensor:
    """(O, M) intersection over union of (O, M, K) bool masks; 0 of two empty ones."""
    either = (predicted | true).sum(-1)
    return (predicted & true).sum(-1) / either.clamp(min=1)
