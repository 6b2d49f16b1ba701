"""The fusion encoder: image tokens attend to each other and to the prompt. Owns `fusion_encoder.`

Pre-norm, positions only on queries and keys of the self-attention, no final norm; the prompt itself is not changed
(spec/image-model.md section 6).
"""

from __future__ import annotations

from torch import Tensor, nn

from masklet.layers.attention import MultiHeadAttention, padding_mask
from masklet.layers.mlp import Mlp
from masklet.types import PromptTokens


class FusionLayer(nn.Module):
    """Image tokens read each other, then the prompt."""

    def __init__(self, *, width: int, heads: int, mlp_width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.self_attention = MultiHeadAttention(width=width, heads=heads)
        self.norm2 = nn.LayerNorm(width)
        self.prompt_attention = MultiHeadAttention(width=width, heads=heads)
        self.norm3 = nn.LayerNorm(width)
        self.mlp = Mlp(width=width, hidden=mlp_width)

    def forward(self, x: Tensor, position: Tensor, prompt: Tensor, prompt_mask: Tensor) -> Tensor:
        """Image tokens (P, N, C), their positions (N, C), prompt (P, T, C) and its mask -> (P, N, C)."""
        normed = self.norm1(x)
        placed = normed + position
        x = x + self.self_attention(placed, placed, normed)
        x = x + self.prompt_attention(self.norm2(x), prompt, prompt, mask=prompt_mask)
        out: Tensor = x + self.mlp(self.norm3(x))
        return out


class FusionEncoder(nn.Module):
    """Image tokens and prompt -> image tokens that know the prompt."""

    def __init__(self, *, width: int, depth: int, heads: int, mlp_width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(FusionLayer(width=width, heads=heads, mlp_width=mlp_width) for _ in range(depth))

    def forward(self, x: Tensor, position: Tensor, prompt: PromptTokens) -> Tensor:
        """Image tokens (P, N, C) row-major, their position map (N, C), prompt of P -> memory (P, N, C)."""
        mask = padding_mask(prompt.valid)
        for layer in self.layers:
            x = layer(x, position, prompt.tokens, mask)
        return x
