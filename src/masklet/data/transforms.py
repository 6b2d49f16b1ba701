"""A labelled picture as the network sees it in training: stretched, placed on a larger ground, perhaps mirrored.

Pixels, boxes and masks go through together. As released (spec/training.md 2.1) a training picture never fills the
input: it is stretched to a random smaller square and placed at random, since a model that always sees objects in the
same places learns the places. In evaluation it fills the input.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from masklet.data.decode import DecodedPicture
from masklet.errors import ConfigError
from masklet.media.images import to_pixels

_GROUND = -1.0  # what surrounds the picture: black, as the network sees it
_LEAST_AREA = 1e-6  # of the picture: smaller boxes are left out
# Words whose meaning changes when a picture is mirrored.
_SIDED = re.compile(r"\b(left|right|leftmost|rightmost|clockwise|counterclockwise)\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How pictures vary; the defaults are those released. Sides are shares of the input's, so they fit any model.

    Attributes:
        smallest: least side of the stretched picture, 0..1.
        largest: greatest side, 0..1.
        steps: how many sides there are, evenly from smallest to largest.
        mirror: chance that a picture is mirrored, 0..1; never one with a phrase that tells left from right.
        brightness: greatest change, as a share of the pixel's value, 0..1.
        contrast: greatest change, as a share of the distance from the picture's mean, 0..1.
    """

    smallest: float = 480 / 1008
    largest: float = 992 / 1008
    steps: int = 17
    mirror: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= self.largest <= 1:
            raise ConfigError(
                f"augment: expected 0 < smallest <= largest <= 1, got {self.smallest:g} and {self.largest:g}"
            )
        if self.steps < 1:
            raise ConfigError(f"augment.steps must be at least 1, got {self.steps}")
        for name in ("mirror", "brightness", "contrast"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"augment.{name} must be in 0..1, got {getattr(self, name)}")


PLAIN = Augmentation(smallest=1.0, largest=1.0, steps=1)
"""Nothing varies: the picture fills the input, as in evaluation."""


@dataclass(frozen=True, kw_only=True)
class NetworkPicture:
    """A picture of N instances as the network takes it.

    Attributes:
        pixels: (3, R, R) float32 in -1..1.
        boxes_cxcywh_norm: (N, 4) fractions of the input.
        masks: (N, R, R) bool.
        masks_valid: (N,) bool, False where there is only a box.
        kept: (N,) bool, False where what is left of the box is too small to be found.
    """

    pixels: Tensor
    boxes_cxcywh_norm: Tensor
    masks: Tensor
    masks_valid: Tensor
    kept: Tensor


def to_network(
    picture: DecodedPicture,
    boxes_xyxy: Tensor,
    phrases: Iterable[str],
    size: int,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> NetworkPicture:
    """A picture for an input of `size` pixels, varied.

    Args:
        picture: pixels and masks of N instances.
        boxes_xyxy: (N, 4) pixels of the picture; what lies outside is cut off.
        phrases: what is asked of it.
        size: side R of the input.
        augmentation: how it varies.
        rng: decides.
    """
    height, width = picture.image.shape[:2]
    side = _side(size, augmentation, rng)
    left, top = (int(rng.integers(0, size - side + 1)) for _ in range(2))
    mirrored = rng.random() < augmentation.mirror and not any(map(_SIDED.search, phrases))

    pixels = _shaded(to_pixels(picture.image, side)[0], augmentation, rng)
    masks = _stretched(torch.from_numpy(picture.masks), side)
    scale = boxes_xyxy.new_tensor([width, height, width, height])
    boxes = (boxes_xyxy / scale).clamp(0, 1)  # fractions of the picture
    if mirrored:
        pixels, masks = pixels.flip(-1), masks.flip(-1)
        boxes = torch.stack((1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]), dim=1)
    x0, y0, x1, y1 = boxes.unbind(1)

    def placed(values: Tensor, offset: int) -> Tensor:
        return (values * side + offset) / size

    return NetworkPicture(
        pixels=_on_ground(pixels, size, left, top, _GROUND),
        boxes_cxcywh_norm=torch.stack(
            (placed((x0 + x1) / 2, left), placed((y0 + y1) / 2, top), (x1 - x0) * side / size, (y1 - y0) * side / size),
            dim=1,
        ),
        masks=_on_ground(masks, size, left, top, False),
        masks_valid=torch.from_numpy(picture.masks_valid),
        kept=(x1 - x0) * (y1 - y0) >= _LEAST_AREA,
    )


def _side(size: int, augmentation: Augmentation, rng: np.random.Generator) -> int:
    """Of the stretched picture, pixels."""
    shares = np.linspace(augmentation.smallest, augmentation.largest, augmentation.steps)
    return max(1, round(float(shares[rng.integers(len(shares))]) * size))


def _shaded(pixels: Tensor, augmentation: Augmentation, rng: np.random.Generator) -> Tensor:
    """(3, s, s) brighter or darker, with more or less contrast."""
    if not augmentation.brightness and not augmentation.contrast:
        return pixels
    brightness = 1 + rng.uniform(-1, 1) * augmentation.brightness
    contrast = 1 + rng.uniform(-1, 1) * augmentation.contrast
    levels = (pixels + 1) / 2 * brightness
    levels = (levels - levels.mean()) * contrast + levels.mean()
    return levels.clamp(0, 1) * 2 - 1


def _stretched(masks: Tensor, side: int) -> Tensor:
    """(N, s, s) bool of (N, H, W) bool: bilinear with antialias, half and more is inside."""
    if not len(masks):
        return masks.new_zeros(0, side, side)
    levels = F.interpolate(masks[:, None].to(torch.uint8) * 255, (side, side), mode="bilinear", antialias=True)
    return levels[:, 0] >= 128


def _on_ground(values: Tensor, size: int, left: int, top: int, ground: float | bool) -> Tensor:
    """(..., R, R) with (..., s, s) values at a place, and `ground` around."""
    side = values.shape[-1]
    if side == size:
        return values
    out = values.new_full((*values.shape[:-2], size, size), ground)
    out[..., top : top + side, left : left + side] = values
    return out
