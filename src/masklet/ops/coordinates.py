"""Pixels of the original picture <-> fractions of it, which is what the model speaks.

The picture is stretched to the model's square without keeping its aspect ratio, so that a fraction of the picture and a
fraction of the model's input are the same number (spec/image-model.md 1, 10.2).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from masklet.errors import InputError
from masklet.ops.boxes import clip_xyxy, cxcywh_to_xyxy, xyxy_to_cxcywh


@dataclass(frozen=True, kw_only=True)
class ImageCoordinates:
    """The coordinates of one picture; pixel 0 covers 0..1, so that the far edges are `height` and `width`.

    Attributes:
        height: of the original picture, pixels.
        width: of the original picture, pixels.
    """

    height: int
    width: int

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise InputError(f"a picture has at least 1 x 1 pixel, got height {self.height}, width {self.width}")

    def boxes_to_norm(self, boxes_xyxy: Tensor) -> Tensor:
        """(..., 4) cxcywh, fractions, of (..., 4) xyxy in pixels."""
        return xyxy_to_cxcywh(boxes_xyxy / boxes_xyxy.new_tensor(self._scale * 2))

    def boxes_to_px(self, boxes_cxcywh_norm: Tensor) -> Tensor:
        """(..., 4) xyxy in pixels, not clipped, of (..., 4) cxcywh, fractions."""
        return cxcywh_to_xyxy(boxes_cxcywh_norm) * boxes_cxcywh_norm.new_tensor(self._scale * 2)

    def clip(self, boxes_xyxy: Tensor) -> Tensor:
        """(..., 4) the part of each box, in pixels, that lies in the picture; one that is outside becomes empty."""
        return clip_xyxy(boxes_xyxy, height=self.height, width=self.width)

    def points_to_norm(self, points_xy: Tensor) -> Tensor:
        """(..., 2) fractions of (..., 2) pixels."""
        return points_xy / points_xy.new_tensor(self._scale)

    def points_to_px(self, points_xy_norm: Tensor) -> Tensor:
        """(..., 2) pixels of (..., 2) fractions."""
        return points_xy_norm * points_xy_norm.new_tensor(self._scale)

    @property
    def _scale(self) -> tuple[int, int]:
        return (self.width, self.height)
