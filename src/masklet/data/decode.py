"""A labelled picture as pixels and masks.

Labels refer to a picture either as a viewer shows it or as its rows are stored, which differ where EXIF data says to
turn it. The size in the labels decides: the stored picture is taken if only its size fits, else the one that is shown.
Where both fit (half turns, mirrored or square pictures) nothing can decide; `check_dataset` counts both cases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from masklet.data.dataset import LabelledPicture
from masklet.errors import DataError
from masklet.media.images import ImageSize, Pixels, read_image, read_image_size
from masklet.ops.masks import BoolArray, decode_rles


@dataclass(frozen=True, kw_only=True)
class DecodedPicture:
    """Pixels and masks of a labelled picture of N instances.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        masks: (N, H, W) bool, all False where there is only a box.
        masks_valid: (N,) bool, False where there is only a box.
    """

    image: Pixels
    masks: BoolArray
    masks_valid: npt.NDArray[np.bool_]


def decode(picture: LabelledPicture) -> DecodedPicture:
    """The pixels and masks of a picture, read from disk.

    Raises:
        ImageError: the picture cannot be read.
        DataError: it has another size than its labels, or a segmentation is damaged or of another size.
    """
    size = read_image_size(picture.path)
    if picture.size_hw not in (size.shown_hw, size.stored_hw):
        raise DataError(
            f"{picture.path}: expected height and width {picture.size_hw} as in the labels, got {size.shown_hw}; "
            "use the picture that was labelled"
        )
    codes = picture.rles()
    valid = np.array([code is not None for code in codes], dtype=np.bool_)
    masks = np.zeros((len(codes), *picture.size_hw), dtype=np.bool_)
    masks[valid] = decode_rles([code for code in codes if code is not None], picture.size_hw)
    image = read_image(picture.path, turn=not labelled_as_stored(picture, size))
    return DecodedPicture(image=image, masks=masks, masks_valid=valid)


def labelled_as_stored(picture: LabelledPicture, size: ImageSize) -> bool:
    """Whether the labels refer to the rows of the file and not to what a viewer shows."""
    return picture.size_hw == size.stored_hw != size.shown_hw
