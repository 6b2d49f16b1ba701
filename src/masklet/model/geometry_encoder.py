"""The exemplar encoder: example boxes and points -> prompt tokens. Owns `geometry_encoder.`

A box token is the sum of its label, its four numbers, the picture inside it and the code of its place; a summary token
comes last. Nothing downstream knows the order of these tokens, so padding stays where it is and is masked
(spec/image-model.md section 5). Code orders differ on purpose: boxes y, x, h, w; points x, y.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from masklet.layers.attention import MultiHeadAttention, padding_mask
from masklet.layers.mlp import Mlp
from masklet.layers.position import coordinate_code, position_map
from masklet.ops.boxes import cxcywh_to_xyxy
from masklet.ops.roi_align import roi_align
from masklet.types import ExemplarBatch, PromptTokens


class GeometryLayer(nn.Module):
    """Exemplar tokens read each other, then the image."""

    def __init__(self, *, width: int, heads: int, mlp_width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.self_attention = MultiHeadAttention(width=width, heads=heads)
        self.norm2 = nn.LayerNorm(width)
        self.image_attention = MultiHeadAttention(width=width, heads=heads)
        self.norm3 = nn.LayerNorm(width)
        self.mlp = Mlp(width=width, hidden=mlp_width)

    def forward(self, x: Tensor, mask: Tensor, image_keys: Tensor, image_values: Tensor) -> Tensor:
        """Tokens (P, T, C) with their padding mask; image keys and values (P, h*w, C) -> (P, T, C)."""
        normed = self.norm1(x)
        x = x + self.self_attention(normed, normed, normed, mask=mask)
        x = x + self.image_attention(self.norm2(x), image_keys, image_values)
        out: Tensor = x + self.mlp(self.norm3(x))
        return out


class GeometryEncoder(nn.Module):
    """Exemplars and the image they lie in -> prompt tokens.

    Args:
        width: channels C.
        depth: number of layers.
        heads: attention heads.
        mlp_width: hidden width of the feed-forward halves.
        roi_size: bins along a side of the pooled box.
        points: whether there are weights for exemplar points.
        cls_without_exemplars: run the summary token even where no exemplar was given (as the original does).
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        mlp_width: int,
        roi_size: int,
        points: bool,
        cls_without_exemplars: bool,
    ) -> None:
        super().__init__()
        self.width = width
        self.roi_size = roi_size
        self.points = points
        self.cls_without_exemplars = cls_without_exemplars
        self.label_embedding = nn.Embedding(2, width)
        self.cls_embedding = nn.Embedding(1, width)
        self.pool_norm = nn.LayerNorm(width)
        self.box_direct = nn.Linear(4, width)
        self.box_pool = nn.Conv2d(width, width, kernel_size=roi_size)
        self.box_position = nn.Linear(width + 2, width)
        if points:
            self.point_direct = nn.Linear(2, width)
            self.point_pool = nn.Linear(width, width)
            self.point_position = nn.Linear(width, width)
        self.project = nn.Linear(width, width)
        self.norm_in = nn.LayerNorm(width)
        self.layers = nn.ModuleList(GeometryLayer(width=width, heads=heads, mlp_width=mlp_width) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width)

    def forward(self, level: Tensor, image_idx: Tensor, exemplars: ExemplarBatch) -> PromptTokens:
        """Encodes the exemplars of P prompts.

        Args:
            level: (B, C, h, w) coarsest level of the pyramid.
            image_idx: (P,) the image of each prompt.
            exemplars: boxes and points of the P prompts.

        Returns:
            Tokens (P, K + N + 1, C) in the order points, boxes, summary; (P, 0, C) when there are no exemplars and
            `cls_without_exemplars` is off.
        """
        prompts = len(image_idx)
        if exemplars.box_valid.shape[1] + exemplars.point_valid.shape[1] == 0:
            if not self.cls_without_exemplars:
                empty = level.new_zeros(prompts, 0, self.width)
                return PromptTokens(tokens=empty, valid=torch.zeros(prompts, 0, dtype=torch.bool, device=level.device))
            # The summary token then depends on the image alone: run it once per image, not once per prompt.
            every = torch.arange(len(level), device=level.device)
            none = ExemplarBatch.empty(len(level), device=level.device, dtype=level.dtype)
            tokens, valid = self._run(level, every, *self._assemble(level, every, none))
            return PromptTokens(tokens=tokens[image_idx], valid=valid[image_idx])
        tokens, valid = self._run(level, image_idx, *self._assemble(level, image_idx, exemplars))
        return PromptTokens(tokens=tokens, valid=valid)

    def _assemble(self, level: Tensor, image_idx: Tensor, exemplars: ExemplarBatch) -> tuple[Tensor, Tensor]:
        """Tokens before the layers, (P, T, C), and their validity (P, T)."""
        pooled = self.pool_norm(level.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # (B, C, h, w)
        prompts = len(image_idx)
        parts: list[Tensor] = []
        if self.points and exemplars.point_valid.shape[1]:
            parts.append(self._point_tokens(pooled, image_idx, exemplars))
        if exemplars.box_valid.shape[1]:
            parts.append(self._box_tokens(pooled, image_idx, exemplars))
        parts.append(self.cls_embedding.weight.expand(prompts, 1, -1))
        valid = [exemplars.point_valid] if self.points else []
        valid += [exemplars.box_valid, torch.ones(prompts, 1, dtype=torch.bool, device=level.device)]
        return self.norm_in(self.project(torch.cat(parts, dim=1))), torch.cat(valid, dim=1)

    def _run(self, level: Tensor, image_idx: Tensor, tokens: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        height, width = level.shape[-2:]
        values = level.flatten(2).transpose(1, 2)  # (B, h*w, C), not normed
        position = position_map(height=height, width=width, channels=self.width, device=level.device, dtype=level.dtype)
        keys = (values + position).index_select(0, image_idx)
        values = values.index_select(0, image_idx)
        mask = padding_mask(valid)
        for layer in self.layers:
            tokens = layer(tokens, mask, keys, values)
        return self.norm_out(tokens), valid

    def _box_tokens(self, pooled: Tensor, image_idx: Tensor, exemplars: ExemplarBatch) -> Tensor:
        """(P, N, C)."""
        boxes = exemplars.boxes_cxcywh_norm.float()
        dtype = self.box_direct.weight.dtype
        cx, cy, w, h = boxes.unbind(-1)
        half = self.width // 2
        place = torch.cat((coordinate_code(cy, half), coordinate_code(cx, half), h[..., None], w[..., None]), dim=-1)
        tokens = self.box_direct(boxes.to(dtype)) + self.box_position(place.to(dtype))
        tokens = tokens + self._box_pictures(pooled, image_idx, boxes)
        return tokens + self.label_embedding(exemplars.box_labels)

    def _box_pictures(self, pooled: Tensor, image_idx: Tensor, boxes: Tensor) -> Tensor:
        """What each box shows: (P, N, C)."""
        height, width = pooled.shape[-2:]
        scale = boxes.new_tensor([width, height, width, height])
        corners = cxcywh_to_xyxy(boxes) * scale  # (P, N, 4) in cells
        pictures = [
            roi_align(pooled[image], corners[prompt], self.roi_size) for prompt, image in enumerate(image_idx.tolist())
        ]
        bins = torch.stack(pictures).to(self.box_pool.weight.dtype)  # (P, N, C, roi, roi)
        # The convolution covers all bins, so it is one matrix product.
        return F.linear(bins.flatten(2), self.box_pool.weight.flatten(1), self.box_pool.bias)

    def _point_tokens(self, pooled: Tensor, image_idx: Tensor, exemplars: ExemplarBatch) -> Tensor:
        """(P, K, C)."""
        points = exemplars.points_xy_norm.float()
        dtype = self.point_direct.weight.dtype
        half = self.width // 2
        grid = (2 * points - 1)[:, :, None]  # (P, K, 1, 2)
        sampled = F.grid_sample(pooled[image_idx].float(), grid, align_corners=False)[..., 0].transpose(1, 2)
        place = torch.cat([coordinate_code(points[..., axis], half) for axis in (0, 1)], dim=-1)
        tokens = self.point_direct(points.to(dtype)) + self.point_pool(sampled.to(dtype))
        return tokens + self.point_position(place.to(dtype)) + self.label_embedding(exemplars.point_labels)
