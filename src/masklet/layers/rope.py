"""Rotary positions in two dimensions (Su et al. 2021, axial form; spec/image-model.md section 2).

Channel pairs (2i, 2i + 1) of a head are rotated; the first half of the pairs by the column, the second by the row.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

# Of all heads: 576 x 1024 channels of float32 are 2.4 MB.
_TOKENS_AT_ONCE = 576


def rotary_table(
    *, height: int, width: int, head_width: int, scale: float, theta: float, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Cosines and sines for a grid of tokens in row-major order.

    Args:
        height: rows of the grid.
        width: columns of the grid.
        head_width: channels of a head, divisible by 4.
        scale: factor on the positions.
        theta: base of the frequencies.
        device: where the tables are made.

    Returns:
        Two (height * width, head_width / 2) float32 tables.
    """
    return _rotary_table(height, width, head_width, scale, theta, device)  # which a compiler takes for a constant


@functools.lru_cache(maxsize=16)
def _rotary_table(
    height: int, width: int, head_width: int, scale: float, theta: float, device: torch.device
) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):  # the memo must serve training too
        steps = torch.arange(0, head_width, 4, dtype=torch.float32, device=device)
        frequencies = 1.0 / theta ** (steps / head_width)  # (head_width / 4,)
        token = torch.arange(height * width, device=device)
        columns = (token % width).float() * scale
        rows = torch.div(token, width, rounding_mode="floor").float() * scale
        angles = torch.cat((torch.outer(columns, frequencies), torch.outer(rows, frequencies)), dim=-1)
        return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns the channel pairs of `x` (..., T, d) by the angles of the tables (T, d / 2); computed in float32.

    A pair is a complex number, and turning is one product: five times faster than four real ones on a processor.
    """
    return _turned(x, torch.complex(cos, sin))


def turned(x: Tensor, turns: Tensor) -> Tensor:
    """`x` (B, heads, T, d) with its pairs multiplied by complex numbers; may overwrite `x`.

    `turns` (T, d / 2, 2) are their two parts. Computed in float32. On a processor piece by piece through memory that
    stays in its cache, which takes a fifth of the time (docs/decisions/0022-int8.md).
    """
    if torch.compiler.is_compiling():  # which can't be done with complex numbers
        first, second = x[..., ::2].float(), x[..., 1::2].float()
        cos, sin = turns.unbind(-1)
        return torch.stack((first * cos - second * sin, first * sin + second * cos), dim=-1).flatten(-2).to(x.dtype)
    turns = torch.view_as_complex(turns)
    if x.device.type != "cpu" or (torch.is_grad_enabled() and x.requires_grad):
        return _turned(x, turns)
    if x.dtype == torch.float32:
        _pairs(x).mul_(turns)
        return x
    items = max(1, _TOKENS_AT_ONCE // x.shape[-2])
    for some in x.split(items):
        for piece, turns_of_piece in zip(
            some.split(_TOKENS_AT_ONCE, dim=-2), turns.split(_TOKENS_AT_ONCE), strict=True
        ):
            numbers = torch.empty_like(piece, dtype=torch.float32).copy_(piece)
            _pairs(numbers).mul_(turns_of_piece)
            piece.copy_(numbers)
    return x


def _turned(x: Tensor, turns: Tensor) -> Tensor:
    return torch.view_as_real(_pairs(x.float()) * turns).flatten(-2).to(x.dtype)


def _pairs(x: Tensor) -> Tensor:
    """A float32 (..., d) as complex (..., d / 2)."""
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))
