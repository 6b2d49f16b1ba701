"""The neck: one map of patch features -> a pyramid of three. Owns `neck.` and `tracker_neck.`

Every level starts from the same map (ViTDet's simple pyramid, Li et al. 2022): no lateral path, no norm, and only the
finest level has an activation (spec/image-model.md section 3). The original's fourth level, at half the resolution, is
never used; checkpoints carry its weights along.

The 1x1 projection is linear, so it is multiplied into the upsampling before it, at the coarser resolution: an eighth
of the neck's time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from masklet.layers.mlp import gelu


class NeckLevel(nn.Module):
    """Upsamples by 4, 2 or 1, then projects and smooths."""

    def __init__(self, *, in_width: int, width: int, upsamplings: int) -> None:
        super().__init__()
        channels = in_width
        self.upsample1: nn.ConvTranspose2d | None = None
        self.upsample2: nn.ConvTranspose2d | None = None
        if upsamplings >= 1:
            self.upsample1 = nn.ConvTranspose2d(channels, channels // 2, kernel_size=2, stride=2)
            channels //= 2
        if upsamplings == 2:
            self.upsample2 = nn.ConvTranspose2d(channels, channels // 2, kernel_size=2, stride=2)
            channels //= 2
        self.project = nn.Conv2d(channels, width, kernel_size=1)
        self.smooth = nn.Conv2d(width, width, kernel_size=3, padding=1)

    def forward(self, x: Tensor, narrow: nn.Conv2d | None = None) -> Tensor:
        """(B, Cv, h, w) -> (B, C, s*h, s*w); with a 1x1 convolution C -> N `narrow` (B, N, s*h, s*w)."""
        if self.upsample1 is None:
            projected = self.project(x)
        elif self.upsample2 is None:
            projected = self._upsample_and_project(x, self.upsample1)
        else:
            projected = self._upsample_and_project(gelu(self.upsample1(x)), self.upsample2)
        if narrow is None:
            out: Tensor = self.smooth(projected)
            return out
        # Both are linear: multiplied, the wide map is never made, and at the finest level that is most of the work.
        matrix, smooth = narrow.weight[:, :, 0, 0], self.smooth.weight  # (N, C), (C, C, 3, 3)
        assert narrow.bias is not None and self.smooth.bias is not None  # nn.Conv2d may have none
        weight = (matrix @ smooth.flatten(1)).view(-1, *smooth.shape[1:])
        return F.conv2d(projected, weight, matrix @ self.smooth.bias + narrow.bias, padding=1)

    def _upsample_and_project(self, x: Tensor, upsample: nn.ConvTranspose2d) -> Tensor:
        """`project(upsample(x))` in one step."""
        matrix = self.project.weight[:, :, 0, 0]  # (C, channels)
        taps = upsample.weight.permute(0, 2, 3, 1)  # (in, 2, 2, channels)
        # Flat: the product of a permuted tensor falls into thousands of small ones.
        weight = F.linear(taps.flatten(0, 2), matrix).view(*taps.shape[:3], -1).permute(0, 3, 1, 2)  # (in, C, 2, 2)
        assert upsample.bias is not None and self.project.bias is not None  # nn.ConvTranspose2d may have none
        return F.conv_transpose2d(x, weight, matrix @ upsample.bias + self.project.bias, stride=2)


class Neck(nn.Module):
    """(B, Cv, h, w) -> three maps of C channels, at 4, 2 and 1 times the resolution."""

    def __init__(self, *, in_width: int, width: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            NeckLevel(in_width=in_width, width=width, upsamplings=upsamplings) for upsamplings in (2, 1, 0)
        )

    def forward(self, x: Tensor, narrow: Sequence[nn.Conv2d | None] = (None, None, None)) -> tuple[Tensor, ...]:
        """The pyramid, finest first: (B, C, 4h, 4w), (B, C, 2h, 2w), (B, C, h, w).

        Args:
            x: (B, Cv, h, w).
            narrow: 1x1 convolutions through which levels are seen, if they are; such a level has their channels.
        """
        return tuple(level(x, through) for level, through in zip(self.levels, narrow, strict=True))
