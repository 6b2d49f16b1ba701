"""Maps to another size."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def resized(maps: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """(O, H, W) in any number format -> (O, *size_hw) float32, bilinear; smoothed beforehand where it shrinks.

    Of the right size already, it is only cast.
    """
    size = (maps.shape[-2], maps.shape[-1])
    if size == size_hw:
        return maps.float()
    if not len(maps):  # PyTorch refuses to resize nothing
        return maps.new_zeros((0, *size_hw)).float()
    shrinks = size_hw[0] < size[0] or size_hw[1] < size[1]
    return F.interpolate(maps.float()[:, None], size_hw, mode="bilinear", align_corners=False, antialias=shrinks)[:, 0]
