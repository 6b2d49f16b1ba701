"""The vision transformer: pixels -> one map of patch features. Owns `vision_encoder.`

Unusual: rotary positions in every block, scaled so that the whole image spans one window's range in global blocks; an
absolute table that is tiled, not interpolated; no class token and no final norm. Windowed blocks come in runs, and the
tokens stay in window order from the first to the last block of a run (spec/image-model.md section 2).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from masklet.layers.attention import attend_and_merge
from masklet.layers.mlp import Mlp, gelu
from masklet.layers.rope import rotary_table, turned


@dataclass(frozen=True)
class Windows:
    """How a (B, h, w) grid is cut into square windows, padded at the bottom and right where they do not fit."""

    height: int
    width: int
    side: int

    @property
    def rows(self) -> int:
        """Windows from top to bottom."""
        return -(-self.height // self.side)

    @property
    def columns(self) -> int:
        """Windows from left to right."""
        return -(-self.width // self.side)

    @property
    def padded(self) -> bool:
        """Whether some windows reach beyond the grid."""
        return self.rows * self.side != self.height or self.columns * self.side != self.width

    def partition(self, x: Tensor) -> Tensor:
        """(B, h * w, C) -> (B * windows, side * side, C); windows and tokens row-major, padding 0."""
        grid = x.unflatten(1, (self.height, self.width))
        if self.padded:
            grid = F.pad(grid, (0, 0, 0, self.columns * self.side - self.width, 0, self.rows * self.side - self.height))
        grid = grid.unflatten(1, (self.rows, self.side)).unflatten(3, (self.columns, self.side))
        return grid.transpose(2, 3).flatten(0, 2).flatten(1, 2)

    def merge(self, x: Tensor) -> Tensor:
        """The inverse of `partition`: (B * windows, side * side, C) -> (B, h * w, C)."""
        grid = x.unflatten(1, (self.side, self.side)).unflatten(0, (-1, self.rows, self.columns))
        grid = grid.transpose(2, 3).flatten(1, 2).flatten(2, 3)
        return grid[:, : self.height, : self.width].flatten(1, 2)

    def inside(self, device: torch.device) -> Tensor:
        """(windows, side * side, 1) bool, False for padding tokens."""
        return self.partition(torch.ones(1, self.height * self.width, 1, dtype=torch.bool, device=device))


Turns = tuple[Tensor, Tensor]
"""Numbers (T, d / 2, 2) by which places turn the pairs of queries, which are scaled as well, and of keys: `turned`."""


class RotaryAttention(nn.Module):
    """Self-attention whose queries and keys are turned by their place in the grid."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, turns: Turns) -> Tensor:
        """(B, T, C) with the turns of T places -> (B, T, C)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, T, d) each
        q, k = turned(q, turns[0]), turned(k, turns[1])
        out: Tensor = self.out(attend_and_merge(q, k, v, scale=1.0))
        return out


class VisionBlock(nn.Module):
    """Pre-norm transformer block; windowed or global only by the tokens it is given."""

    def __init__(self, *, width: int, heads: int, mlp_width: int, norm_eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attention = RotaryAttention(width=width, heads=heads)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = Mlp(width=width, hidden=mlp_width, activation=gelu)

    def forward(self, x: Tensor, turns: Turns, inside: Tensor | None = None) -> Tensor:
        """(B, T, C) -> (B, T, C).

        `inside` (windows, T, 1) marks real tokens. Padding tokens are zeros *after* the norm and are attended to, as
        in the original, so they are blanked here in every block.
        """
        normed = self.norm1(x)
        if inside is not None:
            normed = (normed.unflatten(0, (-1, len(inside))) * inside).flatten(0, 1)
        x = x + self.attention(normed, turns)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class VisionEncoder(nn.Module):
    """Pixels (B, 3, R, R) in -1..1 -> patch features (B, Cv, h, w), stored channels last.

    Args:
        patch_size: side of a patch, pixels.
        width: channels Cv.
        depth: number of blocks.
        heads: attention heads, of a width divisible by 4.
        mlp_width: hidden width of the feed-forward halves.
        window: side of a window, patches.
        global_blocks: indices of the blocks that attend to the whole image.
        pretrain_grid: side of the absolute position table, patches.
        norm_eps: epsilon of all norms.
        rope_theta: base of the rotary frequencies.
    """

    def __init__(
        self,
        *,
        patch_size: int,
        width: int,
        depth: int,
        heads: int,
        mlp_width: int,
        window: int,
        global_blocks: tuple[int, ...],
        pretrain_grid: int,
        norm_eps: float,
        rope_theta: float,
    ) -> None:
        super().__init__()
        self.window = window
        self.global_blocks = frozenset(global_blocks)
        self.pretrain_grid = pretrain_grid
        self.head_width = width // heads
        self.rope_theta = rope_theta
        self.patch_embed = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size, bias=False)
        self.position = nn.Parameter(torch.zeros(pretrain_grid**2, width))
        self.norm_in = nn.LayerNorm(width, eps=norm_eps)
        self.blocks = nn.ModuleList(
            VisionBlock(width=width, heads=heads, mlp_width=mlp_width, norm_eps=norm_eps) for _ in range(depth)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, R, R) -> (B, Cv, h, w)."""
        patches = self.patch_embed(pixels)  # (B, Cv, h, w)
        height, width = patches.shape[-2:]
        x = self.norm_in(patches.flatten(2).transpose(1, 2) + self._tiled_position(height, width))  # (B, h*w, Cv)
        windows = Windows(height, width, self.window)
        inside = windows.inside(x.device) if windows.padded else None
        local_turns = self._turns(self.window, self.window, 1.0)
        global_turns = self._turns(height, width, self.window / height)
        in_windows = False
        for index, block in enumerate(self.blocks):
            is_global = index in self.global_blocks
            if is_global and in_windows:
                x = windows.merge(x)
            elif not is_global and not in_windows:
                x = windows.partition(x)
            in_windows = not is_global
            x = block(x, global_turns) if is_global else block(x, local_turns, inside)
        return x.unflatten(1, (height, width)).permute(0, 3, 1, 2)

    def _tiled_position(self, height: int, width: int) -> Tensor:
        """The absolute table repeated over the grid: (h * w, Cv)."""
        side = self.pretrain_grid
        table = self.position.unflatten(0, (side, side))
        tiled = table.repeat(-(-height // side), -(-width // side), 1)
        return tiled[:height, :width].flatten(0, 1)

    def _turns(self, height: int, width: int, scale: float) -> Turns:
        table = rotary_table(
            height=height,
            width=width,
            head_width=self.head_width,
            scale=scale,
            theta=self.rope_theta,
            device=self.position.device,
        )
        keys = torch.stack(table, dim=-1)
        return keys * self.head_width**-0.5, keys
