"""What a user gets for an object that was clicked: candidate masks with predicted quality, in pixels of the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
from torch import Tensor

from masklet.errors import InputError
from masklet.inference.everything import FoundMask
from masklet.inference.frame_result import FrameResult
from masklet.inference.object_masks import ObjectMasks
from masklet.inference.postprocess import masks_to_rles
from masklet.media.images import ImageSource
from masklet.ops.mask_cleanup import without_holes, without_sprinkles
from masklet.ops.masks import Rle, rle_areas, rle_boxes

EVERYTHING = "everything"
"""The concept of a result for which no object was shown."""

_LARGEST_LOGIT = 32.0  # what is handed out is clamped to this (spec/tracker.md 10.2)
_AREA_SIDE = 288  # side of the masks in whose pixels areas are given


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ObjectResult(FrameResult):
    """What one object on a picture may be: M candidate masks, best first; a `FrameResult` in all else.

    Attributes:
        concept: the name of the object.
        presence: 0..1, is there an object to be seen where the prompt points.
        scores: (M,) float32 in 0..1, predicted overlap (intersection over union) with the true mask, descending.
        boxes_xyxy: (M, 4) float32 tight boxes of the masks in pixels, far edge exclusive; zeros for an empty mask.
        low_res_logits: (M, h, w) float32 of the whole picture, -32..32, positive inside, before holes were filled. One
            of them given as `logits` with more points refines it.
    """

    low_res_logits: npt.NDArray[np.float32]

    @property
    def best(self) -> Self:
        """The result with the first candidate only."""
        return replace(
            self,
            scores=self.scores[:1],
            boxes_xyxy=self.boxes_xyxy[:1],
            mask_counts=self.mask_counts[:1],
            low_res_logits=self.low_res_logits[:1],
        )

    def __repr__(self) -> str:
        height, width = self.image_size_hw
        count = f"{len(self)} candidate{'s' * (len(self) != 1)}"
        return f"<ObjectResult {self.image!r} {width} x {height}, {self.concept!r}: {count}, best {self.scores[0]:.2f}>"


@dataclass(frozen=True, kw_only=True)
class MaskCleanup:
    """What is done to masks before they are brought to the picture's size.

    Areas are in pixels of a mask of 288 x 288, the public model's, which covers the whole picture; a mask of another
    size is cleaned of the same share of the picture.

    Attributes:
        hole_area: holes of at most this area are filled; 0 fills none.
        sprinkle_area: parts of at most this area are removed; 0 removes none.

    Raises:
        InputError: an area below 0.
    """

    hole_area: int = 256
    sprinkle_area: int = 0

    def __post_init__(self) -> None:
        for name, area in (("hole_area", self.hole_area), ("sprinkle_area", self.sprinkle_area)):
            if not 0 <= area < math.inf:  # true for NaN as well
                raise InputError(f"{name} must be a number of pixels, at least 0, got {area!r}")

    def applied(self, mask_logits: Tensor) -> Tensor:
        """(M, h, w) of masks (M, h, w)."""
        height, width = mask_logits.shape[-2:]
        share = height * width / _AREA_SIDE**2
        filled = without_holes(mask_logits, round(self.hole_area * share))
        return without_sprinkles(filled, round(self.sprinkle_area * share))


def picture_masks(
    mask_logits: Tensor, image_size_hw: tuple[int, int], cleanup: MaskCleanup
) -> tuple[list[Rle], npt.NDArray[np.float32]]:
    """Masks (M, h, w) as M codes of the picture's size, and their tight boxes (M, 4)."""
    rles = masks_to_rles(cleanup.applied(mask_logits), image_size_hw)
    return rles, rle_boxes(rles)


def object_result(
    masks: ObjectMasks,
    *,
    image: str,
    image_size_hw: tuple[int, int],
    name: str,
    model: str,
    cleanup: MaskCleanup,
    source: ImageSource | None = None,
) -> ObjectResult:
    """The masks of one object in pixels of the picture; arguments as the attributes of `ObjectResult`.

    Raises:
        InputError: the model gave numbers that are not finite.
    """
    rles, boxes_xyxy = picture_masks(masks.mask_logits, image_size_hw, cleanup)
    return ObjectResult(
        image=image,
        image_size_hw=image_size_hw,
        concept=name,
        presence=masks.sight,
        model=model,
        scores=masks.quality.cpu().numpy(),
        boxes_xyxy=boxes_xyxy,
        mask_counts=tuple(rle["counts"] for rle in rles),
        source=source,
        low_res_logits=masks.mask_logits.clamp(-_LARGEST_LOGIT, _LARGEST_LOGIT).cpu().numpy(),
    )


def everything_result(
    found: Sequence[FoundMask],
    *,
    image: str,
    image_size_hw: tuple[int, int],
    mask_size_hw: tuple[int, int],
    presence: float,
    model: str,
    cleanup: MaskCleanup,
    source: ImageSource | None = None,
) -> FrameResult:
    """What a grid of clicks found, in pixels of the picture; a mask of which cleaning leaves nothing goes.

    Args:
        found: best first.
        mask_size_hw: of the network's masks.
        image: as the other arguments an attribute of `FrameResult`.
        image_size_hw: of the picture.
        presence: 0..1.
        model: name.
        cleanup: of each mask.
        source: of the picture.
    """
    # One whole mask at a time.
    made = [picture_masks(one.whole(mask_size_hw)[None], image_size_hw, cleanup) for one in found]
    kept = [index for index, (rles, _) in enumerate(made) if rle_areas(rles)[0]]
    return FrameResult(
        image=image,
        image_size_hw=image_size_hw,
        concept=EVERYTHING,
        presence=presence,
        model=model,
        scores=np.array([found[index].quality for index in kept], dtype=np.float32),
        boxes_xyxy=np.concatenate([np.zeros((0, 4), np.float32), *(made[index][1] for index in kept)]),
        mask_counts=tuple(made[index][0][0]["counts"] for index in kept),
        source=source,
    )
