"""Pictures to batches of features: what the predictor takes as a picture, and how many go through the model at once."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeGuard, TypeVar

import torch

from masklet.errors import InputError
from masklet.inference.side_by_side import side_by_side
from masklet.inference.stages import stage
from masklet.media.images import ImageSource, image_name, read_image, to_pixels
from masklet.model.detector import Detector
from masklet.types import ImageFeatures

T = TypeVar("T")

ImageInput: TypeAlias = ImageSource | ImageFeatures
"""A picture, or the features of one."""


@dataclass(frozen=True, kw_only=True)
class PictureBatch:
    """Some pictures that go through the model together.

    Attributes:
        features: of B pictures.
        sources: where their pixels can be had again; None where only features were given.
    """

    features: ImageFeatures
    sources: tuple[ImageSource | None, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What the results call the pictures."""
        return self.features.names or ("image",) * len(self.features)


def is_several(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether this is a list of pictures, concepts or the like rather than one of them."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def in_chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Consecutive parts of at most `size` items."""
    return (items[start : start + size] for start in range(0, len(items), size))


def pictures_at_once(device: torch.device) -> int:
    """How many pictures go through the model together: a processor is busy with one."""
    return 1 if device.type == "cpu" else 8


def readers(device: torch.device) -> int:
    """How many threads read pictures while the model works: none but its own on a processor, which is busy with it."""
    return 1 if device.type == "cpu" else min(pictures_at_once(device), os.cpu_count() or 1)


def encode_pictures(
    model: Detector,
    image: ImageSource | Sequence[ImageSource],
    *,
    image_size: int | None,
    max_pixels: int,
    tracker: bool,
) -> ImageFeatures:
    """The features of a picture, or of several as one batch; arguments and errors as of `picture_batches`.

    Raises:
        InputError: also where there is no picture.
    """
    images: list[Any] = list(image) if is_several(image) else [image]
    if not images:
        raise InputError("expected at least one picture to encode, got an empty list")
    batches = picture_batches(model, images, image_size=image_size, max_pixels=max_pixels, tracker=tracker)
    return concat_features([batch.features for batch in batches])


def picture_batches(
    model: Detector, images: Sequence[ImageInput], *, image_size: int | None, max_pixels: int, tracker: bool = False
) -> Iterator[PictureBatch]:
    """All `images` in their order, encoded where they are no features yet.

    Args:
        model: encodes.
        images: any mixture of pictures and features of one picture each.
        image_size: side of the model's input, pixels; None is the model's own.
        max_pixels: larger pictures are refused.
        tracker: whether the tracker's pyramid is needed, which the model must have.

    Raises:
        ImageError: a picture cannot be read or is too large.
        InputError: `image_size` does not fit the model or was given for features, or features do not fit it or lack
            the tracker's pyramid.
    """
    side = input_side(model, image_size)
    for shape, group in itertools.groupby(images, key=_batch_shape):
        if shape is None:
            sources = [one for one in group if not isinstance(one, ImageFeatures)]
            yield from _encoded(model, sources, side, max_pixels, tracker)
            continue
        if image_size is not None:
            raise InputError("image_size is for pictures: features have the size at which they were encoded")
        for chunk in in_chunks(list(group), pictures_at_once(model.device)):
            features = concat_features([one for one in chunk if isinstance(one, ImageFeatures)])
            yield PictureBatch(features=_fitting(model, features, tracker), sources=(None,) * len(features))


def input_side(model: Detector, image_size: int | None) -> int:
    """Side of the square input, pixels.

    Raises:
        InputError: not a multiple of the patch size, or below it.
    """
    vision = model.config.vision
    if image_size is None:
        return vision.image_size
    if image_size < vision.patch_size or image_size % vision.patch_size:
        raise InputError(
            f"image_size must be a positive multiple of the patch size {vision.patch_size}, got {image_size!r}; "
            f"the model's own is {vision.image_size}"
        )
    return image_size


def concat_features(features: Sequence[ImageFeatures]) -> ImageFeatures:
    """The features of all pictures as one batch; tracker features only if all have them."""
    if len(features) == 1:
        return features[0]
    named = all(one.names for one in features)
    trackers = [one.tracker_levels for one in features if one.tracker_levels is not None]
    return ImageFeatures(
        levels=_joined([one.levels for one in features]),
        tracker_levels=_joined(trackers) if len(trackers) == len(features) else None,
        image_sizes_hw=tuple(size for one in features for size in one.image_sizes_hw),
        names=tuple(name for one in features for name in one.names) if named else (),
    )


def _joined(pyramids: Sequence[tuple[torch.Tensor, ...]]) -> tuple[torch.Tensor, ...]:
    return tuple(torch.cat(level) for level in zip(*pyramids, strict=True))


def _batch_shape(image: ImageInput) -> object:
    """What must be equal in a batch: nothing for pictures, which are all made square; device and size of features."""
    if not isinstance(image, ImageFeatures):
        return None
    if len(image) != 1:
        raise InputError(
            f"features that stand for a picture must be of one, got {len(image)}; pass list(features) for all of them"
        )
    return image.device, [(level.dtype, level.shape) for level in image.levels]


def _fitting(model: Detector, features: ImageFeatures, tracker: bool) -> ImageFeatures:
    channels = {level.shape[1] for level in features.levels}
    if channels != {model.config.width}:
        raise InputError(
            f"features for model {model.config.name!r} must have {model.config.width} channels, "
            f"got {sorted(channels)}; they were made by another model"
        )
    if tracker and features.tracker_levels is None:
        raise InputError(
            "features for clicks must hold the tracker's pyramid, these were encoded without it (tracker=False, or a "
            "model that had none); encode the picture again"
        )
    return features.to(device=model.device, dtype=model.dtype)


def read_square(
    model: Detector, source: ImageSource, *, side: int, max_pixels: int
) -> tuple[torch.Tensor, tuple[int, int]]:
    """A picture as the model takes it: (1, 3, side, side) pixels on its device, and the height and width it had.

    Raises:
        ImageError: it cannot be read or has more than `max_pixels`.
    """
    with stage("decode"):
        pixels = read_image(source, max_pixels=max_pixels)
    with stage("encode", model.device):
        return to_pixels(pixels, side, model.device), (pixels.shape[0], pixels.shape[1])


def _encoded(
    model: Detector, sources: Sequence[ImageSource], side: int, max_pixels: int, tracker: bool
) -> Iterator[PictureBatch]:
    """Pictures in batches; on accelerators the next ones are read while the model works."""

    def read(source: ImageSource) -> tuple[torch.Tensor, tuple[int, int]]:
        return read_square(model, source, side=side, max_pixels=max_pixels)

    squares = side_by_side(read, sources, min(len(sources), readers(model.device)))
    for chunk in in_chunks(sources, pictures_at_once(model.device)):
        features = _features(model, itertools.islice(squares, len(chunk)), tracker)
        names = tuple(image_name(source) for source in chunk)
        yield PictureBatch(features=replace(features, names=names), sources=tuple(chunk))


@torch.no_grad()
def _features(model: Detector, squares: Iterable[tuple[torch.Tensor, tuple[int, int]]], tracker: bool) -> ImageFeatures:
    pixels, sizes = zip(*squares, strict=True)
    with stage("encode", model.device):
        return model.encode_image(torch.cat(pixels), sizes, tracker=tracker)
