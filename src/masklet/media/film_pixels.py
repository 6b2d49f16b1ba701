"""A decoded frame becomes RGB pixels as a viewer shows them; RGB pixels become a frame for the encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from masklet.media.film_container import load_av
from masklet.media.images import Pixels

if TYPE_CHECKING:
    from av import VideoFrame

BT709 = 1
"""Number of the colour space, of the transfer and of the primaries that films written here have."""

STUDIO_RANGE = 1
"""Number of the range 16..235, which players expect."""


def to_rgb(picture: VideoFrame) -> Pixels:
    """The pixels of a decoded frame as a viewer shows them.

    Colours follow the colour space and range that the film states, BT.601 where it states none, as the library does.
    High dynamic range is not mapped to the range of a screen; more than 8 bits are rounded; fields stay woven.

    Returns:
        (H, W, 3) uint8, RGB, turned and mirrored as the film says, to whole quarters of a turn.
    """
    levels = cast(Pixels, picture.to_ndarray(format="rgb24", threads=1))
    return np.ascontiguousarray(_turned(levels, picture))


def to_picture(pixels: Pixels) -> VideoFrame:
    """A frame for the encoder: 4:2:0 in BT.709, an odd side padded to an even one.

    The row or column that is added repeats the last one: no pixel moves.

    Args:
        pixels: (H, W, 3) uint8, RGB.
    """
    height, width = pixels.shape[:2]
    if height % 2 or width % 2:
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    picture: VideoFrame = load_av().VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    return picture.reformat(format="yuv420p", dst_colorspace=BT709, dst_color_range=STUDIO_RANGE, threads=1)


def _turned(levels: Pixels, picture: VideoFrame) -> Pixels:
    """The picture as its display matrix has it: (x, y) goes to (a x + c y, b x + d y), y down, whole quarter turns."""
    data = next((item for item in cast(Any, picture.side_data) if item.type.name == "DISPLAYMATRIX"), None)
    if data is None:
        return levels
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(data), dtype=np.int32)[:5])
    if abs(b) + abs(c) > abs(a) + abs(d):
        levels, a, d = levels.transpose(1, 0, 2), c, b
    return levels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
