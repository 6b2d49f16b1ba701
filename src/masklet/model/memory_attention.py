"""Memory attention: a frame reads what is remembered of each masklet. Owns `tracker.memory_attention.`

Unusual: a single head as wide as the features; queries and keys are turned by their place in the grid, every map by the
same table, pointers not at all; sine positions are added to the keys before their projection and never to the values
(spec/tracker.md sections 6 and 7.4).

Memory has a half or a quarter of the features' channels. Shares of attention add up to 1, so it is the memory that is
averaged, and the average that is projected: fewer products, and no values to be made.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from masklet.layers.attention import ProjectedAttention, attend, use_kernel
from masklet.layers.folded import Folded
from masklet.layers.mlp import Mlp
from masklet.layers.position import distance_code, position_map
from masklet.layers.rope import rotary_table, rotate
from masklet.types import Memory

_POSITION_SHARE = 0.1  # of the frame's own sine positions
_THETA = 10000.0
# Scores that stay in a cache. The public model's 36,000 keys are read by 128 queries at a time: with 576 it takes 1.3
# times as long, with 64 products lose more than the cache gains.
_SCORES, _LEAST_ROWS = 1 << 22, 128

Table = tuple[Tensor, Tensor]


class MemoryLayer(nn.Module):
    """The frame reads itself, then its memory; pre-norm."""

    def __init__(self, *, width: int, memory_width: int, mlp_width: int) -> None:
        super().__init__()
        self.norm_self = nn.LayerNorm(width)
        self.self_attention = ProjectedAttention(width=width, inner_width=width)
        self.norm_memory = nn.LayerNorm(width)
        self.memory_attention = ProjectedAttention(width=width, inner_width=width, key_width=memory_width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = Mlp(width=width, hidden=mlp_width)
        self._folded: Folded[tuple[Tensor, Tensor]] = Folded()

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, pointer_tokens: int, table: Table) -> Tensor:
        """(O, h*w, C).

        Args:
            x: (1 or O, h*w, C) the frame.
            keys: (O, S, Cm) memory with positions: whole maps, then pointers.
            values: (O, S, Cm) memory.
            pointer_tokens: how many of the S are pointers.
            table: cosines and sines of the h*w places.
        """
        x = x + self._read_itself(self.norm_self(x), table)
        x = x + self._read_memory(self.norm_memory(x), keys, values, pointer_tokens, table)
        out: Tensor = x + self.mlp(self.norm_mlp(x))
        return out

    def _read_itself(self, x: Tensor, table: Table) -> Tensor:
        attention = self.self_attention
        q, k, v = (part(x)[:, None] for part in (attention.q, attention.k, attention.v))  # one head
        return attention.read(rotate(q, *table), rotate(k, *table), v)

    def _read_memory(self, x: Tensor, keys: Tensor, values: Tensor, pointer_tokens: int, table: Table) -> Tensor:
        attention = self.memory_attention
        q, k = rotate(attention.q(x), *table), attention.k(keys)
        _turn(k[:, : k.shape[1] - pointer_tokens].unflatten(1, (-1, x.shape[1])), table)
        if x.device.type != "cpu" or torch.is_grad_enabled():  # elsewhere kernels want values as wide as keys
            return attention.read(q[:, None], k[:, None], attention.v(values)[:, None])
        weight, bias = self._folded.of((*attention.v.parameters(), *attention.out.parameters()), self._fold)
        return F.linear(_averaged(q.expand(len(k), -1, -1), k, values), weight, bias)

    def _fold(self) -> tuple[Tensor, Tensor]:
        """Weight (C, Cm) and bias (C,) of the projection of values, then that of what comes out."""
        value, out = self.memory_attention.v, self.memory_attention.out
        matrix = out.weight.float()
        bias = matrix @ value.bias.float() + out.bias.float()
        return (matrix @ value.weight.float()).to(out.weight.dtype), bias.to(out.weight.dtype)


def _turn(maps: Tensor, table: Table) -> None:
    """Turns maps of keys (O, K, h*w, C) in place, as `rotate` does."""
    pairs = torch.view_as_complex(maps.float().unflatten(-1, (-1, 2)))  # in float32 the maps themselves
    pairs *= torch.complex(*table)
    if maps.dtype != torch.float32:
        maps.copy_(torch.view_as_real(pairs).flatten(-2))


def _averaged(q: Tensor, k: Tensor, values: Tensor) -> Tensor:
    """Attention of queries (O, N, C) to keys (O, S, C) with values (O, S, Cm): (O, N, Cm)."""
    keys, values = k[:, None], values[:, None]  # one head
    pieces = q[:, None].split(max(_LEAST_ROWS, _SCORES // k.shape[1]), dim=2)
    with use_kernel("products"):
        return torch.cat([attend(piece, keys, values)[:, 0] for piece in pieces], dim=1)


class MemoryAttention(nn.Module):
    """A frame and the memory of O masklets -> the frame as each of them sees it.

    Args:
        width: channels C, divisible by 4 and by `memory_width`.
        memory_width: channels Cm of a map; a pointer is cut into C / Cm tokens.
        depth: number of layers.
        mlp_width: hidden width of the feed-forward halves.
        maps: rows of the code of distances in time.
    """

    def __init__(self, *, width: int, memory_width: int, depth: int, mlp_width: int, maps: int) -> None:
        super().__init__()
        self.width = width
        self.memory_width = memory_width
        self.time_embedding = nn.Embedding(maps, memory_width)
        self.pointer_time = nn.Linear(width, memory_width)
        self.layers = nn.ModuleList(
            MemoryLayer(width=width, memory_width=memory_width, mlp_width=mlp_width) for _ in range(depth)
        )
        self.norm_out = nn.LayerNorm(width)

    def forward(self, coarse: Tensor, memory: Memory) -> Tensor:
        """(1 or O, C, h, w) -> (O, C, h, w)."""
        height, width = coarse.shape[-2:]
        position = self._map(height, width, self.width, coarse)
        table = rotary_table(
            height=height, width=width, head_width=self.width, scale=1.0, theta=_THETA, device=coarse.device
        )
        values, positions, pointer_tokens = self._tokens(memory, (height, width), coarse)
        keys = values + positions
        x = coarse.flatten(2).transpose(1, 2) + _POSITION_SHARE * position
        for layer in self.layers:
            x = layer(x, keys, values, pointer_tokens, table)
        out: Tensor = self.norm_out(x).transpose(1, 2).unflatten(2, (height, width))
        return out

    def _tokens(self, memory: Memory, grid_hw: tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor, int]:
        """Memory tokens (O, S, Cm), their positions (1 or O, S, Cm), and how many of them, at the end, are pointers."""
        pieces = self.width // self.memory_width
        pointers = memory.pointers.unflatten(2, (pieces, -1)).flatten(1, 2)  # (O, J * C / Cm, Cm)
        tokens = torch.cat([part.to(like.dtype) for part in (*memory.map_tokens, pointers)], dim=1)
        place = self._map(*grid_hw, self.memory_width, like)
        of_maps = (self.time_embedding(memory.rows)[..., None, :] + place).flatten(-3, -2)  # (O, K * h*w, Cm)
        code = distance_code(memory.offsets / (memory.horizon - 1), self.width).to(like.dtype)
        of_pointers = self.pointer_time(code).repeat_interleave(pieces, dim=-2)
        return tokens, torch.cat((of_maps, of_pointers), dim=-2), pointers.shape[1]

    @staticmethod
    def _map(height: int, width: int, channels: int, like: Tensor) -> Tensor:
        return position_map(height=height, width=width, channels=channels, device=like.device, dtype=like.dtype)
