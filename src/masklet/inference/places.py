"""Boxes and points of a caller against the picture on which they lie.

Boxes are clipped to the picture with a warning, since an object is often cut by its edge; a point or a whole box
outside shows nothing and is an error.
"""

from __future__ import annotations

import logging

from masklet.errors import PromptError
from masklet.ops.coordinates import ImageCoordinates

_log = logging.getLogger(__name__)


def clipped_box(
    box_xyxy: tuple[float, float, float, float], coordinates: ImageCoordinates, what: str
) -> tuple[float, float, float, float]:
    """The part of a box, in pixels, that lies in the picture.

    Args:
        box_xyxy: with an area.
        coordinates: of the picture.
        what: how messages call the box.

    Raises:
        PromptError: no part of it does.
    """
    height, width = coordinates.height, coordinates.width
    x0, y0, x1, y1 = box_xyxy
    clipped = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        raise PromptError(
            f"{what} must overlap the picture of {width} x {height} pixels, got {box_xyxy}; "
            "boxes are x0, y0, x1, y1 in pixels"
        )
    if clipped != box_xyxy:
        _log.warning(
            "%s %s reaches beyond the picture of %d x %d pixels; using %s", what, box_xyxy, width, height, clipped
        )
    return clipped


def check_inside(point_xy: tuple[float, float], coordinates: ImageCoordinates, what: str) -> tuple[float, float]:
    """The point, which lies in the picture or on its edge.

    Raises:
        PromptError: it does not; `what` is how the message calls it.
    """
    x, y = point_xy
    if not (0 <= x <= coordinates.width and 0 <= y <= coordinates.height):
        raise PromptError(
            f"{what} must lie in the picture of {coordinates.width} x {coordinates.height} pixels, got {point_xy}; "
            "points are x, y in pixels"
        )
    return point_xy
