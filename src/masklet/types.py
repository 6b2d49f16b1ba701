"""The values that travel between the stages of masklet; all frozen, all with shapes.

Shape letters (see ARCHITECTURE.md): B images, P prompts (image x concept), Q queries, L layers, T prompt tokens,
C channels, h w feature grid, H W image. Batch first everywhere. Masks named `valid` are True where a value counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ImageFeatures:
    """What the vision encoder and neck know of a batch of images; computed once, used by any number of prompts.

    Attributes:
        levels: detector pyramid, finest first: (B, C, 4h, 4w), (B, C, 2h, 2w), (B, C, h, w).
        tracker_levels: the same shapes for clicks and video, or None when the model has no tracker neck or it was
            not asked for.
        image_sizes_hw: original (height, width) in pixels of each of the B images.
    """

    levels: tuple[Tensor, ...]
    tracker_levels: tuple[Tensor, ...] | None
    image_sizes_hw: tuple[tuple[int, int], ...]

    @property
    def device(self) -> torch.device:
        """Where the features lie."""
        return self.levels[-1].device

    def __len__(self) -> int:
        return len(self.image_sizes_hw)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """The same features on another device or in another dtype."""
        tracker = self.tracker_levels
        return replace(
            self,
            levels=tuple(level.to(device=device, dtype=dtype) for level in self.levels),
            tracker_levels=None if tracker is None else tuple(t.to(device=device, dtype=dtype) for t in tracker),
        )

    def select(self, image_idx: int) -> Self:
        """The features of one image of the batch, still with a leading axis of one (views, no copy)."""
        tracker = self.tracker_levels
        part = slice(image_idx, image_idx + 1)
        return replace(
            self,
            levels=tuple(level[part] for level in self.levels),
            tracker_levels=None if tracker is None else tuple(t[part] for t in tracker),
            image_sizes_hw=self.image_sizes_hw[part],
        )


@dataclass(frozen=True, kw_only=True)
class PromptTokens:
    """A prompt as the transformer reads it.

    Attributes:
        tokens: (P, T, C).
        valid: (P, T) bool, True where the token counts, False where it is padding.
    """

    tokens: Tensor
    valid: Tensor

    def __len__(self) -> int:
        return self.tokens.shape[0]


@dataclass(frozen=True, kw_only=True)
class ExemplarBatch:
    """Exemplar boxes and points of P prompts, padded to the longest.

    Attributes:
        boxes_cxcywh_norm: (P, N, 4) centre x, centre y, width, height as fractions of the image; padding 0.
        box_labels: (P, N) int64, 1 positive, 0 negative; padding 0.
        box_valid: (P, N) bool.
        points_xy_norm: (P, K, 2) fractions of the image; K may be 0.
        point_labels: (P, K) int64, 1 positive, 0 negative.
        point_valid: (P, K) bool.
    """

    boxes_cxcywh_norm: Tensor
    box_labels: Tensor
    box_valid: Tensor
    points_xy_norm: Tensor
    point_labels: Tensor
    point_valid: Tensor

    @classmethod
    def empty(
        cls, prompts: int, *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
    ) -> Self:
        """A batch of prompts that have neither boxes nor points."""
        labels = torch.zeros(prompts, 0, dtype=torch.int64, device=device)
        return cls(
            boxes_cxcywh_norm=torch.zeros(prompts, 0, 4, dtype=dtype, device=device),
            box_labels=labels,
            box_valid=labels.bool(),
            points_xy_norm=torch.zeros(prompts, 0, 2, dtype=dtype, device=device),
            point_labels=labels,
            point_valid=labels.bool(),
        )


@dataclass(frozen=True, kw_only=True)
class RawDetections:
    """What the detector says of P prompts, before any threshold.

    Masks are not in here: they are decoded for chosen queries only (`Detector.decode_masks`).

    Attributes:
        class_logits: (P, Q) does this query show the concept, presence not included.
        boxes_cxcywh_norm: (P, Q, 4) fractions of the image, may reach beyond it.
        presence_logits: (P,) is the concept anywhere in the image.
        queries: (P, Q, C) normed decoder states, from which masks are made.
        memory: (P, h*w, C) image tokens after the fusion encoder.
    """

    class_logits: Tensor
    boxes_cxcywh_norm: Tensor
    presence_logits: Tensor
    queries: Tensor
    memory: Tensor

    def scores(self) -> Tensor:
        """(P, Q) in 0..1: class probability times presence probability (spec/image-model.md 10.2)."""
        return self.class_logits.sigmoid() * self.presence_logits.sigmoid()[:, None]


@dataclass(frozen=True, kw_only=True)
class LayerOutputs:
    """What one decoder layer predicts for one set of queries; read by the losses.

    Attributes:
        class_logits: (P, Q).
        boxes_cxcywh_norm: (P, Q, 4) fractions of the image.
        presence_logits: (P,) or None for one-to-many queries, which have none.
        mask_logits: (P, Q, h, w) or None; only the last layer has masks.
    """

    class_logits: Tensor
    boxes_cxcywh_norm: Tensor
    presence_logits: Tensor | None = None
    mask_logits: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingOutputs:
    """What the detector predicts when it is trained (spec/training.md 4).

    Attributes:
        one_to_one: decoder layers 1..L, last one with masks when they were asked for.
        one_to_many: the same layers for the duplicated queries; empty when there are none.
        semantic_logits: (P, 1, h, w) union of all instances, or None.
    """

    one_to_one: tuple[LayerOutputs, ...]
    one_to_many: tuple[LayerOutputs, ...]
    semantic_logits: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What should have been predicted for P prompts: instances packed over the prompts, in prompt order.

    Attributes:
        counts: (P,) int64 instances of each prompt; 0 means the concept is absent. Sums to M.
        boxes_cxcywh_norm: (M, 4) fractions of the image.
        masks: (M, H, W) bool or float 0..1 at any resolution, or None.
        masks_valid: (M,) bool, False where an instance has no mask; None means all valid.
        exhaustive: (P,) bool, False where not every instance is labelled; None means all exhaustive.
    """

    counts: Tensor
    boxes_cxcywh_norm: Tensor
    masks: Tensor | None = None
    masks_valid: Tensor | None = None
    exhaustive: Tensor | None = None
