"""The values that travel between the stages of masklet; all frozen, all with shapes.

Shape letters (see ARCHITECTURE.md): B images, P prompts (image x concept), Q queries, L layers, T prompt tokens,
C channels, h w feature grid, H W image, O masklets, K remembered maps, J remembered pointers, M candidate masks.
Batch first everywhere. Masks named `valid` are True where a value counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from masklet.errors import PromptError

VISUAL = "visual"
"""The phrase that stands for a concept which is only shown, by exemplars (spec/image-model.md 11)."""


@dataclass(frozen=True, kw_only=True)
class ImageFeatures:
    """What the vision encoder and neck know of a batch of images; computed once, used by any number of prompts.

    Attributes:
        levels: detector pyramid, finest first: (B, C, 4h, 4w), (B, C, 2h, 2w), (B, C, h, w).
        tracker_levels: the same shapes for clicks and video, or None when the model has no tracker neck or it was
            not asked for.
        image_sizes_hw: original (height, width) in pixels of each of the B images.
        names: what the images are called; B of them, or none where that is not known.
    """

    levels: tuple[Tensor, ...]
    tracker_levels: tuple[Tensor, ...] | None
    image_sizes_hw: tuple[tuple[int, int], ...]
    names: tuple[str, ...] = ()

    @property
    def device(self) -> torch.device:
        """Where the features lie."""
        return self.levels[-1].device

    def __len__(self) -> int:
        return len(self.image_sizes_hw)

    def __iter__(self) -> Iterator[Self]:
        """The features of each image, as `select` gives them."""
        return (self.select(image_idx) for image_idx in range(len(self)))

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
            names=self.names[part],
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

    def select(self, prompt_idx: Tensor) -> Self:
        """Those at `prompt_idx`, (K,) int64: a prompt may come several times."""
        return replace(self, tokens=self.tokens[prompt_idx], valid=self.valid[prompt_idx])


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
        """(P, Q) float32 in 0..1: class probability times presence probability (spec/image-model.md 10.2)."""
        return self.class_logits.float().sigmoid() * self.presence_logits.float().sigmoid()[:, None]


MaskMaker = Callable[[Tensor, Tensor], Tensor]
"""(N,) int64 prompt_idx, ascending, and (N,) int64 query_idx -> (N, h, w) logits of the masks of these queries."""

SemanticMaker = Callable[[Tensor], Tensor]
"""(N,) int64 prompt_idx, ascending, none twice -> (N, h, w) logits of the union of all instances of these prompts."""


@dataclass(frozen=True, kw_only=True)
class LayerOutputs:
    """What one decoder layer predicts for one set of queries; read by the losses.

    Attributes:
        class_logits: (P, Q).
        boxes_cxcywh_norm: (P, Q, 4) fractions of the image.
        presence_logits: (P,) or None for one-to-many queries, which have none.
        masks: makes those of the queries that it is asked for, since a step compares few of them; or None; only the
            last layer has masks.
    """

    class_logits: Tensor
    boxes_cxcywh_norm: Tensor
    presence_logits: Tensor | None = None
    masks: MaskMaker | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingOutputs:
    """What the detector predicts when it is trained (spec/training.md 4).

    Attributes:
        one_to_one: decoder layers 1..L, last one with masks when they were asked for.
        one_to_many: the same layers for the duplicated queries; empty when there are none.
        semantic: makes the semantic maps of the prompts that it is asked for, or None.
        mask_size_hw: (h, w) of all masks and semantic maps; None where there are neither.
        memory: (P, h*w, C) image tokens after the fusion encoder, for losses on them; None when not kept.
    """

    one_to_one: tuple[LayerOutputs, ...]
    one_to_many: tuple[LayerOutputs, ...]
    semantic: SemanticMaker | None = None
    mask_size_hw: tuple[int, int] | None = None
    memory: Tensor | None = None


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


@dataclass(frozen=True, kw_only=True)
class Detections:
    """What is kept of one prompt's queries, best score first; masks still at the resolution of the mask head.

    Attributes:
        query_idx: (N,) int64 which decoder queries these are.
        scores: (N,) float32 0..1, class times presence, descending.
        boxes_cxcywh_norm: (N, 4) fractions of the image, may reach beyond it.
        mask_logits: (N, h, w) of the whole image, stretched to this size; positive inside the object.
    """

    query_idx: Tensor
    scores: Tensor
    boxes_cxcywh_norm: Tensor
    mask_logits: Tensor

    def __len__(self) -> int:
        return self.query_idx.shape[0]

    def select(self, detection_idx: Tensor) -> Self:
        """Those at `detection_idx`: (K,) int64, or (N,) bool."""
        return replace(
            self,
            query_idx=self.query_idx[detection_idx],
            scores=self.scores[detection_idx],
            boxes_cxcywh_norm=self.boxes_cxcywh_norm[detection_idx],
            mask_logits=self.mask_logits[detection_idx],
        )


@dataclass(frozen=True, kw_only=True)
class TrackerFeatures:
    """What the tracker reads of one frame; computed once, used for any number of prompts and masklets.

    The leading axis is 1, or O where every masklet has a frame of its own.

    Attributes:
        fine: (1 or O, C / 8, 4h, 4w) added to the mask features last.
        middle: (1 or O, C / 4, 2h, 2w) added before that.
        coarse: (1 or O, C, h, w) the neck's own map: memory is neither read nor missed in it.
    """

    fine: Tensor
    middle: Tensor
    coarse: Tensor

    @property
    def grid_hw(self) -> tuple[int, int]:
        """(h, w)."""
        height, width = self.coarse.shape[-2:]
        return height, width

    @property
    def mask_size_hw(self) -> tuple[int, int]:
        """(4h, 4w), the size of the masks that are made of them."""
        height, width = self.fine.shape[-2:]
        return height, width


@dataclass(frozen=True, kw_only=True)
class PointPrompts:
    """Clicks and boxes on O masklets, the same number on each; a box is its two corners.

    Attributes:
        xy_px: (O, P, 2) float x, y in pixels of the square input.
        labels: (O, P) int64: 1 on the object, 0 not on it, 2 the top left corner of a box, 3 its bottom right corner,
            -1 no point, whose place does not count.
    """

    xy_px: Tensor
    labels: Tensor

    @classmethod
    def none(cls, objects: int, *, device: torch.device | str | None = None) -> Self:
        """One point each that is none: how a frame without a prompt is asked."""
        return cls(
            xy_px=torch.zeros(objects, 1, 2, device=device),
            labels=torch.full((objects, 1), -1, dtype=torch.int64, device=device),
        )

    @classmethod
    def from_boxes(cls, boxes_xyxy_px: Tensor) -> Self:
        """One box each: (O, 4) left, top, right, bottom in pixels of the square input."""
        return cls(
            xy_px=boxes_xyxy_px.unflatten(-1, (2, 2)),
            labels=torch.tensor([2, 3], device=boxes_xyxy_px.device).expand(len(boxes_xyxy_px), 2),
        )

    def followed_by(self, others: Self) -> Self:
        """These, then `others` on the same masklets."""
        return replace(
            self,
            xy_px=torch.cat((self.xy_px, others.xy_px), dim=1),
            labels=torch.cat((self.labels, others.labels), dim=1),
        )

    def __len__(self) -> int:
        return self.labels.shape[0]


@dataclass(frozen=True, kw_only=True)
class MaskCandidates:
    """What a prompt may mean: M masks for each of O masklets, none of them chosen.

    Attributes:
        mask_logits: (O, M, 4h, 4w) of the whole frame; positive inside the object.
        quality: (O, M) 0..1, predicted overlap with the true mask.
        sight_logits: (O,) is the object to be seen; positive means yes.
        tokens: (O, M, C) decoder states from which the masklets' pointers are made.
    """

    mask_logits: Tensor
    quality: Tensor
    sight_logits: Tensor
    tokens: Tensor


@dataclass(frozen=True, kw_only=True)
class MaskletMasks:
    """O masklets on one frame, one mask each.

    Attributes:
        mask_logits: (O, 4h, 4w) float32; -1024 everywhere for an object that is out of sight.
        quality: (O,) 0..1, predicted overlap with the true mask.
        sight_logits: (O,) is the object to be seen; positive means yes.
        pointers: (O, C) what the masklet looks like here, in one token.
    """

    mask_logits: Tensor
    quality: Tensor
    sight_logits: Tensor
    pointers: Tensor

    def __len__(self) -> int:
        return self.mask_logits.shape[0]

    def select(self, rows: Sequence[int]) -> Self:
        """Those at `rows`, in a memory of their own."""
        chosen = list(rows)
        return replace(
            self,
            mask_logits=self.mask_logits[chosen],
            quality=self.quality[chosen],
            sight_logits=self.sight_logits[chosen],
            pointers=self.pointers[chosen],
        )

    def split(self, counts: Sequence[int]) -> list[Self]:
        """The first of them, the next ... as many as `counts` say, each in a memory of its own."""
        sizes = list(counts)
        if len(sizes) == 1:
            return [self]
        parts = (self.mask_logits, self.quality, self.sight_logits, self.pointers)
        names = ("mask_logits", "quality", "sight_logits", "pointers")
        pieces = zip(*(part.split(sizes) for part in parts), strict=True)
        return [
            replace(self, **{name: one.clone() for name, one in zip(names, piece, strict=True)}) for piece in pieces
        ]

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The masklets of several, at least one, on the same frame; of one alone no copy is made."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            mask_logits=torch.cat([part.mask_logits for part in parts]),
            quality=torch.cat([part.quality for part in parts]),
            sight_logits=torch.cat([part.sight_logits for part in parts]),
            pointers=torch.cat([part.pointers for part in parts]),
        )


@dataclass(frozen=True, kw_only=True)
class MemoryEntry:
    """What is remembered of O masklets on one frame.

    Attributes:
        map_tokens: (O, h*w, Cm) memory map, row-major.
        pointers: (O, C).
    """

    map_tokens: Tensor
    pointers: Tensor


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What O masklets bring to a frame: K maps and J pointers, the same number for each masklet.

    Attributes:
        map_tokens: K tensors (O, h*w, Cm), at least one.
        rows: (K,) or (O, K) int64, how far in time each map is: 0 the frame before this one, 1 two frames before ...,
            the last row a prompted frame at any distance.
        pointers: (O, J, C).
        offsets: (J,) or (O, J) float32, distance of each pointer in frames.
        horizon: offsets are divided by this number less one; at least 2.
    """

    map_tokens: tuple[Tensor, ...]
    rows: Tensor
    pointers: Tensor
    offsets: Tensor
    horizon: int

    def of(self, some: slice) -> Self:
        """What some of the masklets bring."""
        return replace(
            self,
            map_tokens=tuple(tokens[some] for tokens in self.map_tokens),
            rows=self.rows[some] if self.rows.ndim == 2 else self.rows,
            pointers=self.pointers[some],
            offsets=self.offsets[some] if self.offsets.ndim == 2 else self.offsets,
        )


@dataclass(frozen=True)
class Exemplar:
    """An example of what to find (positive) or not to find (negative), in pixels of the original image.

    `Exemplar((x0, y0, x1, y1))` is a box, `Exemplar.point((x, y))` a point, `Exemplar.mask(array)` a mask. Pixel 0
    covers 0..1, so the whole image is (0, 0, width, height). Whether it lies inside an image shows when it is used:
    boxes are clipped there, with a warning.

    Attributes:
        box_xyxy: left, top, right, bottom; None for a point.
        positive: True (or 1) for an example, False (or 0) for a counter-example.
        point_xy: None for a box.
        mask_size_hw: size of the mask whose tight box this is, which must be that of the image; None otherwise.

    Raises:
        PromptError: a coordinate that is no finite number, a box that is reversed or has no area, another label.
    """

    box_xyxy: tuple[float, float, float, float] | None
    positive: bool = True
    point_xy: tuple[float, float] | None = field(default=None, kw_only=True)
    mask_size_hw: tuple[int, int] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.positive not in (True, False):
            raise PromptError(f"an exemplar's label must be 1 (positive) or 0 (negative), got {self.positive!r}")
        object.__setattr__(self, "positive", bool(self.positive))
        if (self.box_xyxy is None) == (self.point_xy is None):
            raise PromptError(
                "an exemplar is either a box or a point: use Exemplar((x0, y0, x1, y1)) or .point((x, y))"
            )
        if self.point_xy is not None:
            object.__setattr__(self, "point_xy", finite_numbers(self.point_xy, ("x", "y"), "an exemplar point"))
            return
        box = checked_box(self.box_xyxy, "an exemplar box", instead="Exemplar.point")
        object.__setattr__(self, "box_xyxy", box)

    @classmethod
    def point(cls, point_xy: tuple[float, float], positive: bool = True) -> Self:
        """A place on an example."""
        return cls(None, positive, point_xy=point_xy)

    @classmethod
    def mask(cls, mask: ArrayLike, positive: bool = True) -> Self:
        """The mask of an example, which acts through its tight box: the published weights have no mask encoder.

        Args:
            mask: (H, W) of the image's size, true or above 0 on the object.
            positive: False for a counter-example.

        Raises:
            PromptError: not two axes, or no pixel set.
        """
        pixels = np.asarray(mask)
        if pixels.ndim != 2:
            raise PromptError(f"an exemplar mask must be (H, W) of the image's size, got shape {pixels.shape}")
        inside = pixels > 0
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        if not len(rows):
            raise PromptError(f"an exemplar mask must have a pixel set, got an empty one of shape {pixels.shape}")
        box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
        return cls(box, positive, mask_size_hw=(pixels.shape[0], pixels.shape[1]))


def checked_box(values: Any, what: str, *, instead: str) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of a box with an area, in pixels.

    Args:
        values: as a caller gave them.
        what: how messages call the box.
        instead: what a caller may use for a single place.

    Raises:
        PromptError: not four finite numbers, reversed, or without an area.
    """
    box = x0, y0, x1, y1 = finite_numbers(values, ("x0", "y0", "x1", "y1"), what)
    if x1 < x0 or y1 < y0:
        raise PromptError(f"{what} must be x0, y0, x1, y1 with x0 < x1 and y0 < y1, got reversed {box}")
    if x1 == x0 or y1 == y0:
        raise PromptError(f"{what} must have an area, got {box}; use {instead} for a single place")
    return x0, y0, x1, y1


def finite_numbers(values: Any, names: tuple[str, ...], what: str) -> tuple[float, ...]:
    """Numbers in pixels, as many as they have names.

    Raises:
        PromptError: not so many, or one that is not finite; `what` is how the message calls them.
    """
    order = ", ".join(names)
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise PromptError(f"{what} must be {len(names)} numbers {order} in pixels, got {values!r}") from error
    if len(numbers) != len(names) or not all(math.isfinite(number) for number in numbers):
        raise PromptError(f"{what} must be {len(names)} finite numbers {order} in pixels, got {values!r}")
    return numbers
