"""Feed-forward blocks and their activations.

The activations overwrite their argument where no gradient needs it: fresh memory for the wide hidden layer of the
vision encoder costs as much time as the activation itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def gelu(x: Tensor) -> Tensor:
    """Exact GELU; may overwrite `x`."""
    if torch.is_grad_enabled() and x.requires_grad:
        return F.gelu(x)
    out: Tensor = torch.ops.aten.gelu_(x)
    return out


def relu(x: Tensor) -> Tensor:
    """ReLU; may overwrite `x`."""
    return F.relu(x, inplace=not (torch.is_grad_enabled() and x.requires_grad))


class Mlp(nn.Module):
    """Two linear layers with an activation between, which may overwrite: the feed-forward half of a block."""

    def __init__(self, *, width: int, hidden: int, activation: Callable[[Tensor], Tensor] = relu) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., width)."""
        out: Tensor = self.fc2(self.activation(self.fc1(x)))
        return out


class MlpHead(nn.Module):
    """Linear layers of the given widths with ReLU between and nothing at the end: a prediction head."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in itertools.pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """(..., first width) -> (..., last width)."""
        for layer in self.layers[:-1]:
            x = relu(layer(x))
        out: Tensor = self.layers[-1](x)
        return out
