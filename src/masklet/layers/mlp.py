"""Feed-forward blocks and their activations.

The activations overwrite their argument where no gradient needs it: fresh memory for the wide hidden layer of the
vision encoder costs as much time as the activation itself. For the same reason many tokens go through in pieces.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# A third of the picture's tokens at 1008 px. The C library takes fresh pages for every allocation above 32 MB, which
# the hidden layer of a piece stays below; and the second product finds more of it in the cache.
_TOKENS_AT_ONCE = 1728


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
        tokens = x.numel() // x.shape[-1]
        if x.device.type != "cpu" or torch.is_grad_enabled() or tokens <= _TOKENS_AT_ONCE:
            return self._whole(x)
        pieces = x.reshape(tokens, -1).split(_TOKENS_AT_ONCE)
        return torch.cat([self._whole(piece) for piece in pieces]).view(x.shape)

    def _whole(self, x: Tensor) -> Tensor:
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
