"""Maps brought to another size as the original does it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def stretched(mask_logits: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """(N, C, h, w) -> (N, C, *size_hw), bilinear and never smoothed; not the exact way of `inference.postprocess`."""
    if not len(mask_logits):  # PyTorch refuses to resize nothing
        return mask_logits.new_zeros(0, mask_logits.shape[1], *size_hw)
    return F.interpolate(mask_logits, size_hw, mode="bilinear", align_corners=False)
