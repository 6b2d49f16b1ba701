"""The memory encoder: masks on a frame become memory maps. Owns `tracker.memory_encoder.`

Unusual: probabilities are scaled to -10..10 before the mask is brought to 16 times the grid's size; an object that is
out of sight adds one vector to every cell of its map (spec/tracker.md section 5).
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from masklet.layers.mlp import Mlp, gelu
from masklet.layers.norm import PixelNorm
from masklet.ops.resize import resized

_SCALE, _BIAS = 20.0, -10.0
_MASK_CHANNELS = (1, 4, 16, 64, 256)  # before the first and after each of four halvings
_STRIDE = 2 ** (len(_MASK_CHANNELS) - 1)


class MaskDownsampler(nn.Module):
    """(O, 1, 16h, 16w) -> (O, C, h, w)."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(_MASK_CHANNELS))
        self.convs = nn.ModuleList(nn.Conv2d(a, b, kernel_size=3, stride=2, padding=1) for a, b in pairs)
        self.norms = nn.ModuleList(PixelNorm(channels) for _, channels in pairs)
        self.project = nn.Conv2d(_MASK_CHANNELS[-1], width, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Halves the mask four times."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = gelu(norm(conv(x)))
        out: Tensor = self.project(x)
        return out


class FuserBlock(nn.Module):
    """ConvNeXt's block (Liu et al. 2022): a wide convolution for each channel, then an MLP for each pixel."""

    def __init__(self, *, width: int, mlp_width: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(width, width, kernel_size=7, padding=3, groups=width)
        self.norm = PixelNorm(width)
        self.mlp = Mlp(width=width, hidden=mlp_width, activation=gelu)
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(O, C, h, w) -> (O, C, h, w)."""
        pixels = self.norm(self.spatial(x)).permute(0, 2, 3, 1)
        return x + (self.scale * self.mlp(pixels)).permute(0, 3, 1, 2)


class MemoryEncoder(nn.Module):
    """Masks and the frame -> memory maps.

    Args:
        width: channels C of the frame.
        memory_width: channels Cm of a map.
        depth: number of fusing blocks.
        mlp_width: hidden width of their MLPs.
    """

    def __init__(self, *, width: int, memory_width: int, depth: int, mlp_width: int) -> None:
        super().__init__()
        self.mask_downsampler = MaskDownsampler(width=width)
        self.image_project = nn.Conv2d(width, width, kernel_size=1)
        self.fuser = nn.ModuleList(FuserBlock(width=width, mlp_width=mlp_width) for _ in range(depth))
        self.project = nn.Conv2d(width, memory_width, kernel_size=1)
        self.out_of_sight = nn.Embedding(1, memory_width)

    def forward(self, coarse: Tensor, mask_logits: Tensor, sight_logits: Tensor, *, binary: bool) -> Tensor:
        """Memory maps of O masklets: (O, h*w, Cm), row-major.

        Args:
            coarse: (1 or O, C, h, w) the neck's own map of the frame.
            mask_logits: (O, H, W) at any size.
            sight_logits: (O,); an object is out of sight where they are not positive.
            binary: the masks count as 0 or 1, which is how masks of prompted frames are remembered; else by their
                probabilities.
        """
        height, width = coarse.shape[-2:]
        logits = mask_logits.float()
        masks = (logits > 0).float() if binary else logits.sigmoid()
        masks = resized(masks * _SCALE + _BIAS, (_STRIDE * height, _STRIDE * width))
        x = self.image_project(coarse) + self.mask_downsampler(masks[:, None].to(coarse.dtype))
        for block in self.fuser:
            x = block(x)
        tokens: Tensor = self.project(x).flatten(2).transpose(1, 2)
        return torch.where((sight_logits > 0)[:, None, None], tokens, tokens + self.out_of_sight.weight)
