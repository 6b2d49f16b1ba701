"""Norms that PyTorch has no module for."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class PixelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel of a map (LN2d of spec/tracker.md); epsilon 1e-6."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(O, C, h, w) -> the same, stored channels last."""
        normed = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return normed.permute(0, 3, 1, 2)
