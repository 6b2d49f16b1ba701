"""Focal and dice loss of single numbers, shared by the score, mask and semantic losses.

Unusual: targets may be soft (0..1), since masks can be compared at a resolution where an edge pixel is partly covered.
Everything is computed in float32 or better, also under autocast.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def focal_loss(logits: Tensor, targets: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Element-wise sigmoid focal loss (Lin et al., ICCV 2017).

    Args:
        logits: any shape.
        targets: the same shape, 0..1.
        alpha: weight of targets of 1; 1 - alpha is that of targets of 0.
        gamma: exponent that mutes what is already right; 0 leaves weighted cross-entropy.

    Returns:
        The shape of `logits`, >= 0.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    balance = alpha * targets + (1 - alpha) * (1 - targets)
    if gamma == 0:
        return balance * cross_entropy
    probability = logits.sigmoid()
    # 1 - p_t written so that a soft target that is met exactly is muted as far as the usual formula does
    miss = probability + targets - 2 * probability * targets
    return balance * cross_entropy * miss**gamma


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """(N,) 1 - (2 * overlap + 1) / (sum + sum + 1) of N flat masks; 0 where both are empty.

    Args:
        logits: (N, K) K pixels or points of each mask.
        targets: (N, K) 0..1.
    """
    probability = logits.sigmoid()
    overlap = (probability * targets).sum(-1)
    return 1 - (2 * overlap + 1) / (probability.sum(-1) + targets.sum(-1) + 1)


def at_least_float32(values: Tensor) -> Tensor:
    """The values in float32, or as they are in float64."""
    return values if values.dtype.itemsize >= 4 and values.is_floating_point() else values.float()
