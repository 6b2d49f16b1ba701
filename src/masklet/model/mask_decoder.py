"""The mask decoder: prompt tokens and the image read each other, then tokens become masks. Owns `tracker.mask_decoder.`

Unusual: the first self-attention replaces the tokens instead of adding to them; the tokens as they came are added again
as positions in every attention; image and tokens change in turns; one mask answers a clear prompt, three an ambiguous
one, and an unstable single mask gives way to the best of the three (spec/tracker.md 4.1 to 4.4).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from masklet.layers.attention import ProjectedAttention
from masklet.layers.mlp import Mlp, MlpHead, gelu
from masklet.layers.norm import PixelNorm
from masklet.ops.masks import mask_stability
from masklet.types import MaskCandidates, TrackerFeatures

_STABILITY_MARGIN = 0.05  # logits; a stable mask hardly changes when its threshold moves by this much
_STABLE = 0.98  # least share of the larger mask that the smaller one covers


class FewKeys(ProjectedAttention):
    """Attention of many queries to few keys: that of all heads as two products.

    Each key is a row for each head, with zeros in the channels of the others: more products than are needed, but
    attention kernels have a cost for every query of every head. A query's scores stand below each other, since a
    softmax along an axis of few entries takes ten times longer when it is the last one.
    """

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(O, Tq, C), as `ProjectedAttention` gives it."""
        own = torch.eye(self.heads, dtype=query.dtype, device=query.device)[:, :, None]  # (heads, heads, 1)
        k, v = (x.unflatten(-1, (self.heads, -1)) for x in (self.k(key), self.v(value)))  # (O, Tk, heads, d)
        k, v = ((x[:, :, None] * own).flatten(3) for x in (k * k.shape[-1] ** -0.5, v))  # (O, Tk, heads, heads * d)
        scores = k.flatten(1, 2) @ self.q(query).transpose(1, 2)  # (O, Tk * heads, Tq)
        shares = scores.unflatten(1, (key.shape[1], self.heads)).softmax(1).flatten(1, 2)
        out: Tensor = self.out(shares.transpose(1, 2) @ v.flatten(1, 2))
        return out


class TwoWayLayer(nn.Module):
    """Tokens read each other and the image, then the image reads the tokens; post-norm.

    Args:
        width: channels C.
        heads: attention heads; attention between tokens and image has half the width.
        mlp_width: hidden width of the feed-forward half.
        replaces: the self-attention takes the place of the tokens and sees no positions (the first layer).
    """

    def __init__(self, *, width: int, heads: int, mlp_width: int, replaces: bool) -> None:
        super().__init__()
        self.replaces = replaces
        self.self_attention = ProjectedAttention(width=width, inner_width=width, heads=heads)
        self.norm_self = nn.LayerNorm(width)
        self.image_attention = ProjectedAttention(width=width, inner_width=width // 2, heads=heads)
        self.norm_image = nn.LayerNorm(width)
        self.mlp = Mlp(width=width, hidden=mlp_width)
        self.norm_mlp = nn.LayerNorm(width)
        self.token_attention = FewKeys(width=width, inner_width=width // 2, heads=heads)
        self.norm_token = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, image: Tensor, first: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """New tokens (O, T, C) and image (O, h*w, C).

        Args:
            tokens: (O, T, C).
            image: (1 or O, h*w, C).
            first: (O, T, C) the tokens as they came, their positions.
            position: (h*w, C) of the image.
        """
        if self.replaces:
            tokens = self.self_attention(tokens, tokens, tokens)
        else:
            placed = tokens + first
            tokens = tokens + self.self_attention(placed, placed, tokens)
        tokens = self.norm_self(tokens)
        placed_image = image + position
        tokens = self.norm_image(tokens + self.image_attention(tokens + first, placed_image, image))
        tokens = self.norm_mlp(tokens + self.mlp(tokens))
        image = self.norm_token(image + self.token_attention(placed_image, tokens + first, tokens))
        return tokens, image


class MaskDecoder(nn.Module):
    """Image, prompt tokens -> candidate masks.

    Args:
        width: channels C, divisible by 8.
        depth: number of two-way layers.
        heads: attention heads.
        mlp_width: hidden width of the feed-forward halves.
        candidates: masks M for an ambiguous prompt.
    """

    def __init__(self, *, width: int, depth: int, heads: int, mlp_width: int, candidates: int) -> None:
        super().__init__()
        self.sight_token = nn.Embedding(1, width)
        self.quality_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(1 + candidates, width)  # row 0 for a clear prompt
        self.layers = nn.ModuleList(
            TwoWayLayer(width=width, heads=heads, mlp_width=mlp_width, replaces=index == 0) for index in range(depth)
        )
        self.image_attention = ProjectedAttention(width=width, inner_width=width // 2, heads=heads)
        self.norm_out = nn.LayerNorm(width)
        self.fine_project = nn.Conv2d(width, width // 8, kernel_size=1)
        self.middle_project = nn.Conv2d(width, width // 4, kernel_size=1)
        self.upsample1 = nn.ConvTranspose2d(width, width // 4, kernel_size=2, stride=2)
        self.upsample_norm = PixelNorm(width // 4)
        self.upsample2 = nn.ConvTranspose2d(width // 4, width // 8, kernel_size=2, stride=2)
        self.mask_heads = nn.ModuleList(MlpHead(width, width, width, width // 8) for _ in range(1 + candidates))
        self.quality_head = MlpHead(width, width, width, 1 + candidates)
        self.sight_head = MlpHead(width, width, width, 1)

    @property
    def narrow(self) -> tuple[nn.Conv2d, nn.Conv2d, None]:
        """Through what the tracker's pyramid is seen, finest level first."""
        return self.fine_project, self.middle_project, None

    def features(self, levels: tuple[Tensor, ...]) -> TrackerFeatures:
        """The tracker's pyramid (finest first) with its fine levels made narrow; once per frame."""
        fine, middle, coarse = levels
        return TrackerFeatures(fine=self.fine_project(fine), middle=self.middle_project(middle), coarse=coarse)

    def forward(
        self,
        features: TrackerFeatures,
        image: Tensor,
        position: Tensor,
        prompt: Tensor,
        *,
        ambiguous: bool,
        masks: bool = True,
    ) -> MaskCandidates:
        """Masks for O prompts.

        Args:
            features: of the frame; its two finer levels are read here.
            image: (1 or O, C, h, w) what the tokens look at: the coarse level with memory and mask prompt.
            position: (h*w, C) of the image.
            prompt: (O, T, C) prompt tokens; T may be 0.
            ambiguous: give the M candidates for prompts of several meanings, else one mask.
            masks: make them; else they are empty, which counts as stable.

        Returns:
            M masks, or the one.
        """
        own = torch.cat((self.sight_token.weight, self.quality_token.weight, self.mask_tokens.weight))
        first = torch.cat((own.expand(len(prompt), -1, -1).to(prompt.dtype), prompt), dim=1)
        tokens, pixels = first, image.flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens, pixels = layer(tokens, pixels, first, position)
        tokens = self.norm_out(tokens + self.image_attention(tokens + first, pixels + position, pixels))
        mask_tokens = tokens[:, 2 : 2 + len(self.mask_heads)]
        chosen = range(1, len(self.mask_heads)) if ambiguous else range(len(self.mask_heads))
        if masks:
            kernels = torch.stack([self.mask_heads[index](mask_tokens[:, index]) for index in chosen], dim=1)
            logits = self._masks(kernels, pixels.transpose(1, 2).unflatten(2, features.grid_hw), features)
        else:
            logits = tokens.new_zeros(len(tokens), len(chosen), 0, 0)
        quality = self.quality_head(tokens[:, 1]).float().sigmoid()[:, chosen.start :]
        sight_logits = self.sight_head(tokens[:, 0])[:, 0].float()
        if ambiguous:
            return MaskCandidates(
                mask_logits=logits, quality=quality, sight_logits=sight_logits, tokens=mask_tokens[:, 1:]
            )
        # In training the mask for clear prompts learns to be one.
        logits, quality = (logits[:, :1], quality[:, :1]) if self.training else _stable_or_best(logits, quality)
        return MaskCandidates(mask_logits=logits, quality=quality, sight_logits=sight_logits, tokens=mask_tokens[:, :1])

    def _masks(self, kernels: Tensor, image: Tensor, features: TrackerFeatures) -> Tensor:
        """Kernels (O, M, C / 8) times the image (O, C, h, w) at four times its resolution: (O, M, 4h, 4w)."""
        x = gelu(self.upsample_norm(self.upsample1(image) + features.middle))
        x = gelu(self.upsample2(x) + features.fine)  # (O, C / 8, 4h, 4w)
        return (kernels @ x.flatten(2)).unflatten(2, x.shape[-2:])


def _stable_or_best(masks: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
    """The first of (O, 1 + M) masks where it is stable, else the best of the others: (O, 1, 4h, 4w) and (O, 1)."""
    stable = mask_stability(masks[:, 0].float(), _STABILITY_MARGIN) >= _STABLE  # (O,)
    best = torch.where(stable, 0, 1 + quality[:, 1:].argmax(1))
    rows = torch.arange(len(masks), device=masks.device)
    return masks[rows, best][:, None], quality[rows, best][:, None]
