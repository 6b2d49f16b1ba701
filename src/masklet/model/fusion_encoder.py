"""The fusion encoder: image tokens attend to each other and to the prompt. Owns `fusion_encoder.`

Pre-norm, positions only on queries and keys of the self-attention, no final norm; the prompt itself is not changed
(spec/image-model.md section 6).
"""

from __future__ import annotations

import torch
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

    def forward(
        self, x: Tensor, position: Tensor, prompt: Tensor, prompt_mask: Tensor, image_idx: Tensor | None = None
    ) -> Tensor:
        """Image tokens (P, N, C), their positions (N, C), prompt (P, T, C) and its mask -> (P, N, C).

        With `image_idx` (P,), the image of each prompt, tokens come in as those of B images (B, N, C).
        """
        normed = self.norm1(x)
        placed = normed + position
        x = x + self.self_attention(placed, placed, normed)
        if image_idx is not None:
            x = x.index_select(0, image_idx)
        x = x + self.prompt_attention(self.norm2(x), prompt, prompt, mask=prompt_mask)
        out: Tensor = x + self.mlp(self.norm3(x))
        return out


class FusionEncoder(nn.Module):
    """Image tokens and prompt -> image tokens that know the prompt."""

    def __init__(self, *, width: int, depth: int, heads: int, mlp_width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(FusionLayer(width=width, heads=heads, mlp_width=mlp_width) for _ in range(depth))

    def forward(self, x: Tensor, image_idx: Tensor, position: Tensor, prompt: PromptTokens) -> Tensor:
        """Fuses P prompts with their images.

        All prompts of an image are alike until the first layer reads the prompt: so far it runs once per image.

        Args:
            x: (B, N, C) image tokens, row-major.
            image_idx: (P,) int64 the image of each prompt.
            position: (N, C) position map.
            prompt: tokens of the P prompts.

        Returns:
            Memory (P, N, C).
        """
        if len(image_idx) < len(x):  # not all images have a prompt
            x, image_idx = x.index_select(0, image_idx), torch.arange(len(image_idx), device=x.device)
        mask = padding_mask(prompt.valid)
        x = self.layers[0](x, position, prompt.tokens, mask, image_idx)
        for layer in self.layers[1:]:
            x = layer(x, position, prompt.tokens, mask)
        return x
