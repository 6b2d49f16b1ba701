"""Scoring: does a query show the concept of the prompt. Owns `scoring.`

Dot product of each decoder state with the mean of the prompt's tokens (spec/image-model.md section 8).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from masklet.layers.mlp import Mlp
from masklet.types import PromptTokens

_LOGIT_LIMIT = 12.0  # spec/image-model.md section 8


class Scoring(nn.Module):
    """Decoder states and prompt -> class logits within +-12."""

    def __init__(self, *, width: int, mlp_width: int) -> None:
        super().__init__()
        self.scale = width**-0.5
        self.prompt_mlp = Mlp(width=width, hidden=mlp_width)
        self.prompt_norm = nn.LayerNorm(width)
        self.prompt_project = nn.Linear(width, width)
        self.query_project = nn.Linear(width, width)

    def forward(self, queries: Tensor, prompt: PromptTokens) -> Tensor:
        """States (..., P, Q, C) and a prompt of P -> class logits (..., P, Q)."""
        tokens = self.prompt_norm(prompt.tokens + self.prompt_mlp(prompt.tokens))
        valid = prompt.valid[..., None].to(tokens.dtype)
        pooled = (tokens * valid).sum(1) / valid.sum(1).clamp(min=1)  # (P, C)
        logits = torch.einsum("...pqc,pc->...pq", self.query_project(queries), self.prompt_project(pooled))
        return (logits * self.scale).clamp(-_LOGIT_LIMIT, _LOGIT_LIMIT)
