"""The neck: one map of patch features -> a pyramid of three. Owns `neck.` and `tracker_neck.`

Every level starts from the same map (ViTDet's simple pyramid, Li et al. 2022): no lateral path, no norm, and only the
finest level has an activation (spec/image-model.md section 3). The original's fourth level, at half the resolution, is
never used; checkpoints carry its weights along.

Everything behind the last upsampling of a level is linear, so it is multiplied into that upsampling: a transposed
convolution of four taps at the coarser resolution where there were one, a projection and nine taps at the finer one.
At the finest level of the default model that is a third of the products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from masklet.layers.folded import Folded
from masklet.layers.mlp import gelu


@dataclass(frozen=True, eq=False)
class _Upsampling:
    """Upsampling by 2, then a smoothing convolution of what comes out, padded with zeros.

    Attributes:
        kernel: (in, C, 4, 4) of both as one transposed convolution, or (in, C, 2, 2) of the upsampling alone.
        bias: (C,) that goes with it.
        edges: (N, 3, 3) what the bias adds more at corners and edges, where zeros lie beside it; for both as one.
        smooth: (N, C, 3, 3) and (N,) of the convolution; for the upsampling alone.
    """

    kernel: Tensor
    bias: Tensor
    edges: Tensor | None = None
    smooth: tuple[Tensor, Tensor] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """(B, in, h, w) -> (B, N, 2h, 2w)."""
        if self.smooth is not None:
            weight, bias = self.smooth
            return F.conv2d(F.conv_transpose2d(x, self.kernel, self.bias, stride=2), weight, bias, padding=1)
        assert self.edges is not None
        out = F.conv_transpose2d(x, self.kernel, self.bias, stride=2, padding=1)
        for row, beyond in ((0, 0), (-1, 2)):
            out[:, :, row] += _along(self.edges[:, beyond], out.shape[3])
            out[:, :, 1:-1, row] += self.edges[:, 1, beyond, None]
        return out


def _along(edge: Tensor, length: int) -> Tensor:
    """(N, 3) what is at the first, at every inner and at the last place of an edge -> (N, length)."""
    return torch.cat((edge[:, :1], edge[:, 1:2].expand(-1, length - 2), edge[:, 2:]), dim=1)


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
        self._folded: Folded[_Upsampling] = Folded()

    def forward(self, x: Tensor, narrow: nn.Conv2d | None = None) -> Tensor:
        """(B, Cv, h, w) -> (B, C, s*h, s*w); with a 1x1 convolution C -> N `narrow` (B, N, s*h, s*w)."""
        if self.upsample1 is None:
            weight, bias = self._smoothing(narrow)
            return F.conv2d(self.project(x), weight, bias, padding=1)
        if self.upsample2 is None:
            return self._upsample_and_project(x, self.upsample1, narrow)
        return self._upsample_and_project(gelu(self.upsample1(x)), self.upsample2, narrow)

    def _upsample_and_project(self, x: Tensor, upsample: nn.ConvTranspose2d, narrow: nn.Conv2d | None) -> Tensor:
        """Upsamples, projects and smooths in one step or two."""
        modules = [each for each in (upsample, self.project, self.smooth, narrow) if each is not None]
        parameters = [parameter for module in modules for parameter in module.parameters()]
        return self._folded.of(parameters, lambda: self._fold(upsample, narrow))(x)

    def _fold(self, upsample: nn.ConvTranspose2d, narrow: nn.Conv2d | None) -> _Upsampling:
        matrix = self.project.weight[:, :, 0, 0].float()  # (C, channels)
        taps = upsample.weight.float().permute(0, 2, 3, 1)  # (in, 2, 2, channels)
        # Flat: the product of a permuted tensor falls into thousands of small ones.
        kernel = F.linear(taps.flatten(0, 2), matrix).view(*taps.shape[:3], -1).permute(0, 3, 1, 2)  # (in, C, 2, 2)
        assert upsample.bias is not None and self.project.bias is not None  # nn.ConvTranspose2d may have none
        bias = matrix @ upsample.bias.float() + self.project.bias.float()
        smooth, smooth_bias = self._smoothing(narrow)
        dtype, (out, _) = smooth.dtype, smooth.shape[:2]
        taps_apart, taps_as_one = len(bias) * (len(kernel) + 9 * out), 4 * len(kernel) * out
        if taps_apart <= taps_as_one:
            return _Upsampling(kernel.to(dtype), bias.to(dtype), smooth=(smooth, smooth_bias))
        smooth, smooth_bias = smooth.float(), smooth_bias.float()
        # A constant of three by three pixels has all kinds of neighbours: corners, edges, and pixels all around.
        around = F.conv2d(bias[:, None, None].expand(-1, 3, 3), smooth, smooth_bias, padding=1)  # (N, 3, 3)
        inner = around[:, 1, 1]
        return _Upsampling(
            F.conv2d(kernel, smooth, padding=2).to(dtype),
            inner.to(dtype),
            edges=(around - inner[:, None, None]).to(dtype),
        )

    def _smoothing(self, narrow: nn.Conv2d | None) -> tuple[Tensor, Tensor]:
        """Weight (N, C, 3, 3) and bias (N,) of the last convolution, seen through `narrow`.

        Both are linear: multiplied, the wide map is never made, and at the finest level that is most of the work.
        """
        smooth = self.smooth.weight
        assert self.smooth.bias is not None  # nn.Conv2d may have none
        if narrow is None:
            return smooth, self.smooth.bias
        assert narrow.bias is not None
        matrix = narrow.weight[:, :, 0, 0]  # (N, C)
        weight = (matrix @ smooth.flatten(1)).view(-1, *smooth.shape[1:])
        return weight, matrix @ self.smooth.bias + narrow.bias


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
