"""The mask head: masks of chosen queries and the union of all instances. Owns `mask_head.`

Two stages of nearest upsampling, addition of the finer pyramid level, 3x3 convolution, group norm and ReLU
(spec/image-model.md section 9). The 1x1 projection to mask space is linear, so it is applied to the few queries
instead of the many pixels: q . (W a + b) = (W^T q) . a + q . b.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from masklet.layers.attention import MultiHeadAttention, padding_mask
from masklet.layers.mlp import MlpHead, relu
from masklet.types import PromptTokens

_STAGES = 2
_GROUPS = 8


@dataclass(frozen=True, eq=False)
class Laterals:
    """What masks of all concepts on a picture have in common; worth making for two or more.

    A convolution is linear: that of an enlarged map and a finer level is that of the enlarged map, and that of the
    level, which no concept changes. A 3x3 convolution of a map that was enlarged twofold by repeating pixels reads only
    2x2 different ones: it is a transposed convolution of the small map, with four ninths of the products.

    Attributes:
        maps: finer levels behind their convolutions, (B, C, 2h, 2w) and (B, C, 4h, 4w).
        kernels: of the transposed convolutions, (C, C, 4, 4) each.
    """

    maps: tuple[Tensor, ...]
    kernels: tuple[Tensor, ...]


class MaskHead(nn.Module):
    """Fused image tokens and pyramid -> pixel features; pixel features and queries -> mask logits."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.prompt_norm = nn.LayerNorm(width)
        self.prompt_attention = MultiHeadAttention(width=width, heads=heads)
        self.convs = nn.ModuleList(nn.Conv2d(width, width, kernel_size=3, padding=1) for _ in range(_STAGES))
        self.norms = nn.ModuleList(nn.GroupNorm(_GROUPS, width) for _ in range(_STAGES))
        self.instance_project = nn.Conv2d(width, width, kernel_size=1)
        self.semantic_project = nn.Conv2d(width, 1, kernel_size=1)
        self.mask_embedding = MlpHead(width, width, width, width)

    def laterals(self, levels: tuple[Tensor, ...]) -> Laterals:
        """Of the pyramid of B images, finest first."""
        return Laterals(
            maps=tuple(conv(level) for conv, level in zip(self.convs, reversed(levels[:-1]), strict=True)),
            kernels=tuple(_of_repeated_pixels(conv.weight) for conv in self.convs),  # type: ignore[arg-type]
        )

    def pixel_features(
        self,
        memory: Tensor,
        prompt: PromptTokens,
        levels: tuple[Tensor, ...],
        image_idx: Tensor,
        laterals: Laterals | None = None,
    ) -> Tensor:
        """Features at the finest resolution.

        Args:
            memory: (P, h*w, C) fused image tokens; they take the place of the coarsest level.
            prompt: tokens of the P prompts.
            levels: the pyramid of B images, finest first.
            image_idx: (P,) the image of each prompt.
            laterals: of these images, if they were made.

        Returns:
            (P, C, 4h, 4w).
        """
        mask = padding_mask(prompt.valid)
        tokens = memory + self.prompt_attention(self.prompt_norm(memory), prompt.tokens, prompt.tokens, mask=mask)
        coarse = tokens.unflatten(1, levels[-1].shape[-2:]).permute(0, 3, 1, 2)
        if laterals is None:
            return self.upsample(coarse, levels, image_idx)
        for kernel, norm, lateral in zip(laterals.kernels, self.norms, laterals.maps, strict=True):
            enlarged = F.conv_transpose2d(coarse, kernel, stride=2, padding=1)
            coarse = relu(norm(enlarged + _gathered(lateral, image_idx)))
        return coarse

    def upsample(self, coarse: Tensor, levels: tuple[Tensor, ...], image_idx: Tensor) -> Tensor:
        """Coarse features of P prompts (P, C, h, w) and the finer levels of their images -> (P, C, 4h, 4w)."""
        pixels = coarse
        for conv, norm, level in zip(self.convs, self.norms, reversed(levels[:-1]), strict=True):
            finer = F.interpolate(pixels, size=level.shape[-2:], mode="nearest") + _gathered(level, image_idx)
            pixels = relu(norm(conv(finer)))
        return pixels

    def masks(self, queries: Tensor, pixels: Tensor) -> Tensor:
        """Mask logits of queries (P, Q, C) on pixel features (P, C, H, W): (P, Q, H, W)."""
        prompts, count = queries.shape[:2]
        if not prompts:
            return pixels.new_zeros(0, count, *pixels.shape[-2:])
        packed = self.packed_masks(queries.flatten(0, 1), pixels.permute(0, 2, 3, 1), [count] * prompts)
        return packed.unflatten(0, (prompts, count))

    def packed_masks(self, queries: Tensor, pixels: Tensor | Sequence[Tensor], counts: Sequence[int]) -> Tensor:
        """Mask logits of queries that are packed over the prompts, in prompt order.

        Args:
            queries: (N, C).
            pixels: features (H, W, C) of one prompt or more.
            counts: queries of each prompt; they sum to N.

        Returns:
            (N, H, W).
        """
        embedding = self.mask_embedding(queries)
        weight, bias = self.instance_project.weight[:, :, 0, 0], self.instance_project.bias
        offset = (embedding * bias).sum(-1)
        return _products((embedding @ weight).split(list(counts)), pixels) + offset[:, None, None]

    def semantic(self, pixels: Tensor) -> Tensor:
        """Logits of "some instance is here": (P, C, H, W) -> (P, 1, H, W)."""
        logits: Tensor = self.semantic_project(pixels)
        return logits

    def packed_semantic(self, pixels: Sequence[Tensor], counts: Sequence[int]) -> Tensor:
        """The same of one prompt or more, each `counts` times: K maps (H, W, C) -> (N, H, W)."""
        weight, bias = self.semantic_project.weight[:, :, 0, 0], self.semantic_project.bias
        assert bias is not None  # made with one
        return _products([weight.expand(count, -1) for count in counts], pixels) + bias


def _of_repeated_pixels(weight: Tensor) -> Tensor:
    """(O, I, 3, 3) -> (I, O, 4, 4): a convolution of repeated pixels as `conv_transpose2d` with stride 2, padding 1.

    Each small pixel fills two by two large ones, so the kernel is seen four times, each time shifted by one.
    """
    turned = weight.transpose(0, 1).flip(2, 3)
    kernel = turned.new_zeros(*turned.shape[:2], 4, 4)
    for row in (0, 1):
        for column in (0, 1):
            kernel[:, :, row : row + 3, column : column + 3] += turned
    return kernel


def _gathered(maps: Tensor, idx: Tensor) -> Tensor:
    """Maps (P, C, H, W) at `idx` (P,) of maps (B, C, H, W).

    They are stored channels last. With the axes in that order each is one block, and gradients come back ten times as
    fast.
    """
    return maps.permute(0, 2, 3, 1).index_select(0, idx).permute(0, 3, 1, 2)


def _products(vectors: Iterable[Tensor], pixels: Tensor | Sequence[Tensor]) -> Tensor:
    """Products of the vectors (n, C) of each prompt with its pixels (H, W, C), packed: (N, H, W).

    One for each prompt: in bfloat16 a batched one on pixels stored channels last takes 20 times as long.
    """
    products = [each @ image.flatten(0, 1).T for each, image in zip(vectors, pixels, strict=True)]
    return torch.cat(products).unflatten(1, pixels[0].shape[:2])
