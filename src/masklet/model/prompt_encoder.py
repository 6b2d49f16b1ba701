"""The prompt encoder: clicks, boxes and masks become what the mask decoder reads. Owns `tracker.prompt_encoder.`

Unusual: places are coded by random frequencies that the checkpoint stores; half a pixel is added to every place, and
whenever there are points, one more that is none is put behind them (spec/tracker.md section 3).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from masklet.layers.mlp import gelu
from masklet.layers.norm import PixelNorm
from masklet.ops.resize import resized
from masklet.types import PointPrompts

_LABELS = 4  # not on the object, on it, the two corners of a box
_MASK_CHANNELS = (4, 16)  # after the first and second halving of a mask prompt


class PromptEncoder(nn.Module):
    """Points -> tokens; mask -> a map that is added to the image.

    Args:
        width: channels C.
    """

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(torch.zeros(2, width // 2), requires_grad=False)
        self.label_embedding = nn.Embedding(_LABELS, width)
        self.no_point = nn.Embedding(1, width)
        self.no_mask = nn.Embedding(1, width)
        first, second = _MASK_CHANNELS
        self.mask_conv1 = nn.Conv2d(1, first, kernel_size=2, stride=2)
        self.mask_norm1 = PixelNorm(first)
        self.mask_conv2 = nn.Conv2d(first, second, kernel_size=2, stride=2)
        self.mask_norm2 = PixelNorm(second)
        self.mask_project = nn.Conv2d(second, width, kernel_size=1)

    def points(self, points: PointPrompts, image_size_hw: tuple[int, int]) -> Tensor:
        """Tokens of P points on each of O masklets, and one that is none: (O, P + 1, C).

        Args:
            points: in pixels of the square input.
            image_size_hw: height and width of that input, pixels.
        """
        height, width = image_size_hw
        size = torch.tensor([width, height], dtype=torch.float32, device=points.xy_px.device)
        code = self._code((points.xy_px.float() + 0.5) / size)
        tokens = code + self.label_embedding(points.labels.clamp(min=0))
        nothing = self.no_point.weight  # (1, C)
        tokens = torch.where((points.labels == -1)[..., None], nothing, tokens)
        return torch.cat((tokens, nothing.expand(len(points), 1, -1)), dim=1)

    def mask(self, mask_logits: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """What a mask adds to the image: logits (O, H, W) of any size -> (O, C, h, w)."""
        height, width = grid_hw
        x = resized(mask_logits, (4 * height, 4 * width))[:, None].to(self.no_mask.weight.dtype)
        x = gelu(self.mask_norm1(self.mask_conv1(x)))
        x = gelu(self.mask_norm2(self.mask_conv2(x)))
        out: Tensor = self.mask_project(x)
        return out

    def without_mask(self) -> Tensor:
        """What is added to the image when there is no mask: (1, C, 1, 1)."""
        return self.no_mask.weight[..., None, None]

    def position(self, grid_hw: tuple[int, int]) -> Tensor:
        """Codes of the centres of all cells: (h*w, C), row-major."""
        height, width = grid_hw
        device = self.frequencies.device
        y = (torch.arange(height, device=device) + 0.5) / height
        x = (torch.arange(width, device=device) + 0.5) / width
        places = torch.stack((x.expand(height, width), y[:, None].expand(height, width)), dim=-1)
        return self._code(places).flatten(0, 1)

    def _code(self, xy_norm: Tensor) -> Tensor:
        """Sines, then cosines, of places (..., 2) given as fractions of the image: (..., C).

        Angles are made in float32 whatever the parameters are: they reach hundreds of radians.
        """
        angles = (2 * xy_norm - 1) @ self.frequencies.float() * (2 * math.pi)
        return torch.cat((angles.sin(), angles.cos()), dim=-1).to(self.no_point.weight.dtype)
