"""The decoder: object queries and a presence token read the prompt and the image. Owns `decoder.`

Unusual: post-norm, in the order self, prompt, image, feed-forward; the presence token is row 0 with neither position
nor bias; attention to the image is biased by where each cell lies relative to the query's box; boxes are refined layer
by layer (spec/image-model.md section 7).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from masklet.layers.attention import MultiHeadAttention, padding_mask
from masklet.layers.mlp import Mlp, MlpHead
from masklet.layers.position import coordinate_code
from masklet.ops.boxes import cxcywh_to_xyxy
from masklet.types import PromptTokens

_LOGIT_EPS = 1e-3  # coordinates nearer to 0 or 1 restart from +-6.907


def inverse_sigmoid(x: Tensor) -> Tensor:
    """Logit of values in 0..1, finite at the ends."""
    x = x.clamp(0, 1)
    return torch.log(x.clamp(min=_LOGIT_EPS) / (1 - x).clamp(min=_LOGIT_EPS))


def refine(boxes: Tensor, step: Tensor) -> Tensor:
    """Boxes in 0..1 moved by `step` in logit space."""
    return (inverse_sigmoid(boxes) + step).sigmoid()


@dataclass(frozen=True, kw_only=True)
class DecoderOutputs:
    """Per layer, first layer first; the Q axis holds the queries, then their duplicates if there are any.

    Attributes:
        queries: (L, P, Q, C) normed states.
        boxes_cxcywh_norm: (L, P, Q, 4).
        presence_logits: (L, P).
    """

    queries: Tensor
    boxes_cxcywh_norm: Tensor
    presence_logits: Tensor


class DecoderLayer(nn.Module):
    """One refinement of the presence token and the queries."""

    def __init__(self, *, width: int, heads: int, mlp_width: int) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(width=width, heads=heads)
        self.norm_self = nn.LayerNorm(width)
        self.prompt_attention = MultiHeadAttention(width=width, heads=heads)
        self.norm_prompt = nn.LayerNorm(width)
        self.image_attention = MultiHeadAttention(width=width, heads=heads)
        self.norm_image = nn.LayerNorm(width)
        self.mlp = Mlp(width=width, hidden=mlp_width)
        self.norm_mlp = nn.LayerNorm(width)

    def forward(
        self,
        z: Tensor,
        position: Tensor,
        prompt: Tensor,
        prompt_mask: Tensor,
        image_keys: Tensor,
        memory: Tensor,
        image_bias: Tensor,
        attending: int,
    ) -> Tensor:
        """Refines the rows z (P, 1 + Q, C).

        Args:
            z: presence token, then queries.
            position: (P, 1 + Q, C), zero for the presence token.
            prompt: (P, T, C).
            prompt_mask: (P, 1, 1, T) bool.
            image_keys: (P, h*w, C) memory with positions.
            memory: (P, h*w, C).
            image_bias: (P, heads, 1 + Q, h*w) added to the attention scores of the image.
            attending: only the first `attending` rows take part in the self-attention; duplicated queries do not.

        Returns:
            (P, 1 + Q, C).
        """
        rows = z[:, :attending]
        placed = rows + position[:, :attending]
        attended = rows + self.self_attention(placed, placed, rows)
        z = self.norm_self(torch.cat((attended, z[:, attending:]), dim=1))
        z = self.norm_prompt(z + self.prompt_attention(z + position, prompt, prompt, mask=prompt_mask))
        z = self.norm_image(z + self.image_attention(z + position, image_keys, memory, mask=image_bias))
        out: Tensor = self.norm_mlp(z + self.mlp(z))
        return out


class Decoder(nn.Module):
    """Queries + presence token -> states, boxes and presence of every layer.

    Args:
        width: channels C.
        depth: number of layers.
        heads: attention heads, also of the position bias.
        mlp_width: hidden width of the feed-forward halves.
        queries: number of object queries Q.
        presence_clamp: limit of the presence logits, or None.
    """

    def __init__(
        self, *, width: int, depth: int, heads: int, mlp_width: int, queries: int, presence_clamp: float | None
    ) -> None:
        super().__init__()
        self.width = width
        self.presence_clamp = presence_clamp
        self.query_embedding = nn.Embedding(queries, width)
        self.reference_boxes = nn.Embedding(queries, 4)
        self.presence_embedding = nn.Embedding(1, width)
        self.layers = nn.ModuleList(DecoderLayer(width=width, heads=heads, mlp_width=mlp_width) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width)
        self.box_head = MlpHead(width, width, width, 4)
        self.position_head = MlpHead(2 * width, width, width)
        self.bias_x = MlpHead(2, width, heads)
        self.bias_y = MlpHead(2, width, heads)
        self.presence_norm = nn.LayerNorm(width)
        self.presence_head = MlpHead(width, width, width, 1)

    def forward(
        self,
        memory: Tensor,
        position: Tensor,
        prompt: PromptTokens,
        *,
        grid_hw: tuple[int, int],
        one_to_many: bool = False,
    ) -> DecoderOutputs:
        """Decodes the queries of P prompts.

        Args:
            memory: (P, h*w, C) fused image tokens.
            position: (h*w, C) their position map.
            prompt: tokens of the P prompts.
            grid_hw: (h, w).
            one_to_many: also run a second copy of the queries that skips self-attention (for training,
                spec/training.md section 4); it changes nothing for the first copy.

        Returns:
            All layers; with `one_to_many` the query axis has 2 Q entries.
        """
        prompts = len(memory)
        copies = 2 if one_to_many else 1
        attending = 1 + self.query_embedding.num_embeddings
        z = torch.cat([self.presence_embedding.weight] + [self.query_embedding.weight] * copies)
        z = z.expand(prompts, -1, -1)
        boxes = self.reference_boxes.weight.float().sigmoid().repeat(copies, 1)
        boxes = boxes[None]  # one row for all prompts: what is computed from it in the first layer is alike too
        reference = boxes
        image_keys = memory + position
        prompt_mask = padding_mask(prompt.valid)
        states, all_boxes, presence = [], [], []
        for layer in self.layers:
            z = layer(
                z,
                F.pad(self._query_position(reference), (0, 0, 1, 0)),
                prompt.tokens,
                prompt_mask,
                image_keys,
                memory,
                self._image_bias(reference, grid_hw),
                attending,
            )
            normed = self.norm_out(z[:, 1:])
            step = self.box_head(normed).float()
            # DINO's "look forward twice": the same values, but a layer's output also trains the step before it.
            all_boxes.append(refine(boxes, step))
            boxes = refine(reference, step)
            reference = boxes.detach()
            states.append(normed)
            presence.append(self.presence_head(self.presence_norm(z[:, 0]))[:, 0].float())
        presence_logits = torch.stack(presence)
        if self.presence_clamp is not None:
            presence_logits = presence_logits.clamp(-self.presence_clamp, self.presence_clamp)
        return DecoderOutputs(
            queries=torch.stack(states), boxes_cxcywh_norm=torch.stack(all_boxes), presence_logits=presence_logits
        )

    def _query_position(self, boxes: Tensor) -> Tensor:
        """(P, Q, 4) -> (P, Q, C); code order cy, cx, w, h."""
        code = coordinate_code(boxes[..., [1, 0, 2, 3]], self.width // 2).flatten(-2)  # (P, Q, 2C)
        position: Tensor = self.position_head(code.to(self.query_embedding.weight.dtype))
        return position

    def _image_bias(self, boxes: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """(P, Q, 4) -> (P, heads, 1 + Q, h*w); zero in the presence token's row.

        The bias is a sum of a term of the column and one of the row, so both heads run on h + w offsets per query.
        """
        height, width = grid_hw
        x0, y0, x1, y1 = cxcywh_to_xyxy(boxes).unbind(-1)
        by_column = self._offset_bias(self.bias_x, x0, x1, width)  # (P, heads, 1 + Q, w)
        by_row = self._offset_bias(self.bias_y, y0, y1, height)  # (P, heads, 1 + Q, h)
        return (by_row[..., :, None] + by_column[..., None, :]).flatten(-2)

    def _offset_bias(self, head: MlpHead, low: Tensor, high: Tensor, cells: int) -> Tensor:
        """Bias of each cell along one axis by its signed log distance to both edges: (P, heads, 1 + Q, cells)."""
        places = torch.arange(cells, device=low.device, dtype=torch.float32) / cells
        offsets = torch.stack((places - low[..., None], places - high[..., None]), dim=-1) * 8  # (P, Q, cells, 2)
        scaled = offsets.sign() * torch.log2(offsets.abs() + 1) / math.log2(8)
        bias = head(scaled.to(self.query_embedding.weight.dtype)).permute(0, 3, 1, 2)
        # Sums keep the order of the axes in memory; with heads last a full-size decoder takes 1.6 times as long.
        bias = bias.contiguous()
        return F.pad(bias, (0, 0, 1, 0))
