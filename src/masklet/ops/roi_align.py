"""Average of a feature map inside boxes (He et al. 2017; spec/image-model.md section 5), in plain PyTorch.

The kernel is separable: per box, one small matrix says how much each row of the map gives to each bin, another does so
for columns. Everything is float32 and in the stated order, because `ceil` decides how many samples a bin gets.
"""

from __future__ import annotations

import torch
from torch import Tensor


def roi_align(features: Tensor, boxes_xyxy: Tensor, size: int) -> Tensor:
    """Pools `size` x `size` bins from one map for each box.

    Adaptive sampling (ceil of the bin's side in cells) and no half-cell shift: torchvision's defaults
    `sampling_ratio=-1, aligned=False`. Boxes narrower than one cell count as one cell wide.

    Args:
        features: (C, h, w).
        boxes_xyxy: (N, 4) in cells of the map; may lie outside of it.
        size: bins along each side.

    Returns:
        (N, C, size, size) float32.
    """
    _, height, width = features.shape
    boxes = boxes_xyxy.float()
    rows = _bin_weights(boxes[:, 1], boxes[:, 3], size, height)  # (N, size, h)
    columns = _bin_weights(boxes[:, 0], boxes[:, 2], size, width)  # (N, size, w)
    return torch.einsum("nyh,chw,nxw->ncyx", rows, features.float(), columns)


def _bin_weights(start: Tensor, end: Tensor, bins: int, cells: int) -> Tensor:
    """How much each cell gives to each bin along one axis: (N,), (N,) -> (N, bins, cells)."""
    length = (end - start).clamp(min=1.0)
    bin_length = length / bins
    samples = bin_length.ceil()  # per bin
    most = int(samples.max()) if len(samples) else 0
    bin_idx = torch.arange(bins, device=start.device, dtype=torch.float32)[None, :, None]
    sample_idx = torch.arange(most, device=start.device, dtype=torch.float32)[None, None, :]
    origin, step, count = (value[:, None, None] for value in (start, bin_length, samples))
    position = origin + bin_idx * step + (sample_idx + 0.5) * step / count  # (N, bins, most)
    counts = (sample_idx < count) & (position >= -1.0) & (position <= cells)
    weight = counts.float() / count
    position = position.clamp(min=0.0)
    low = position.floor().clamp(max=cells - 1)
    inside = low < cells - 1
    high_share = torch.where(inside, position - low, 0.0)
    low_idx = low.long()
    high_idx = (low_idx + 1).clamp(max=cells - 1)
    weights = torch.zeros(len(start), bins, cells, device=start.device)
    weights.scatter_add_(2, low_idx, weight * (1.0 - high_share))
    weights.scatter_add_(2, high_idx, weight * high_share)
    return weights
