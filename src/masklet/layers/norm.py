"""Norms that PyTorch has no module for."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

_FEW = 8  # channels; a layer norm has a cost for every pixel, whole planes have none


class PixelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel of a map (LN2d of spec/tracker.md); epsilon 1e-6."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(O, C, h, w) -> the same, stored channels last if there are more than a few channels."""
        if x.shape[1] <= _FEW:
            return self._by_planes(x)
        normed = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return normed.permute(0, 3, 1, 2)

    def _by_planes(self, x: Tensor) -> Tensor:
        planes = x.float()
        planes = planes - planes.mean(1, keepdim=True)
        scale = (planes.square().mean(1, keepdim=True) + self.eps).rsqrt()
        weight, bias = self.weight.float()[:, None, None], self.bias.float()[:, None, None]
        return (planes * scale * weight + bias).to(x.dtype)
