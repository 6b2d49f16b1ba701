"""The text encoder: token ids -> one vector per token. Owns `text_encoder.`

A causal pre-norm transformer (CLIP's). All tokens are used, not a pooled one. Padding follows the text and the mask is
causal, so padding never reaches a valid token: only the part up to the last valid token is computed
(spec/image-model.md section 4.2).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from masklet.layers.attention import MultiHeadAttention
from masklet.layers.mlp import Mlp, gelu
from masklet.types import PromptTokens


class TextBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, *, width: int, heads: int, mlp_width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width=width, heads=heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width=width, hidden=mlp_width, activation=gelu)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(P, T, C) with the causal mask (T, T) -> (P, T, C)."""
        normed = self.norm1(x)
        x = x + self.attention(normed, normed, normed, mask=mask)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class TextEncoder(nn.Module):
    """Token ids -> prompt tokens.

    Args:
        vocabulary: number of token ids.
        context: most tokens of a phrase.
        width: channels inside.
        depth: number of blocks.
        heads: attention heads.
        mlp_width: hidden width of the feed-forward halves.
        out_width: channels of the result.
    """

    def __init__(
        self, *, vocabulary: int, context: int, width: int, depth: int, heads: int, mlp_width: int, out_width: int
    ) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.zeros(context, width))
        self.blocks = nn.ModuleList(TextBlock(width=width, heads=heads, mlp_width=mlp_width) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width)
        self.project = nn.Linear(width, out_width)

    def forward(self, token_ids: Tensor) -> PromptTokens:
        """(P, T) int64, padded with 0 -> tokens (P, T, C), zero behind the longest phrase, and which are valid."""
        valid = token_ids != 0
        length = int(valid.any(0).nonzero().max()) + 1 if valid.any() else 1
        x = self.token_embedding(token_ids[:, :length]) + self.position[:length]
        mask = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        for block in self.blocks:
            x = block(x, mask)
        tokens = self.project(self.norm_out(x))
        return PromptTokens(tokens=F.pad(tokens, (0, 0, 0, token_ids.shape[1] - length)), valid=valid)
