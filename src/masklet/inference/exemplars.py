"""Exemplars in pixels to the padded batch that the model reads.

Here the picture is known, so here exemplars are checked against it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from masklet.errors import PromptError
from masklet.inference.places import check_inside, clipped_box
from masklet.ops.coordinates import ImageCoordinates
from masklet.types import Exemplar, ExemplarBatch


def batch_exemplars(
    exemplars: Sequence[Sequence[Exemplar]],
    image_sizes_hw: Sequence[tuple[int, int]],
    *,
    device: torch.device | str | None = None,
) -> ExemplarBatch:
    """The exemplars of P prompts as fractions of their pictures, padded to the longest.

    Args:
        exemplars: of each prompt, any number; boxes and points keep their order among themselves.
        image_sizes_hw: (height, width) in pixels of the picture that each of the P prompts asks about.
        device: of the result.

    Returns:
        float32 on `device`.

    Raises:
        PromptError: a box wholly or a point outside the picture, or a mask of another size than the picture.
    """
    if not exemplars:
        return ExemplarBatch.empty(0, device=device)
    boxes, box_labels, points, point_labels = [], [], [], []
    for given, (height, width) in zip(exemplars, image_sizes_hw, strict=True):
        coordinates = ImageCoordinates(height=height, width=width)
        box_like = [exemplar for exemplar in given if exemplar.box_xyxy is not None]
        point_like = [exemplar for exemplar in given if exemplar.point_xy is not None]
        # In float64 until they are fractions: float32 would already round pixels of large pictures.
        boxes_xyxy = torch.tensor([_clipped(one, coordinates) for one in box_like], dtype=torch.float64)
        points_xy = torch.tensor([_inside(one, coordinates) for one in point_like], dtype=torch.float64)
        boxes.append(coordinates.boxes_to_norm(boxes_xyxy.reshape(-1, 4)).float())
        points.append(coordinates.points_to_norm(points_xy.reshape(-1, 2)).float())
        box_labels.append(torch.tensor([one.positive for one in box_like], dtype=torch.int64))
        point_labels.append(torch.tensor([one.positive for one in point_like], dtype=torch.int64))
    return ExemplarBatch(
        boxes_cxcywh_norm=pad_sequence(boxes, batch_first=True).to(device),
        box_labels=pad_sequence(box_labels, batch_first=True).to(device),
        box_valid=_valid(boxes).to(device),
        points_xy_norm=pad_sequence(points, batch_first=True).to(device),
        point_labels=pad_sequence(point_labels, batch_first=True).to(device),
        point_valid=_valid(points).to(device),
    )


def _clipped(exemplar: Exemplar, coordinates: ImageCoordinates) -> tuple[float, ...]:
    assert exemplar.box_xyxy is not None
    height, width = coordinates.height, coordinates.width
    if exemplar.mask_size_hw not in (None, (height, width)):
        raise PromptError(
            f"an exemplar mask must have the picture's size (H, W) = {(height, width)}, got {exemplar.mask_size_hw}; "
            "resize it first"
        )
    return clipped_box(exemplar.box_xyxy, coordinates, "an exemplar box")


def _inside(exemplar: Exemplar, coordinates: ImageCoordinates) -> tuple[float, float]:
    assert exemplar.point_xy is not None
    return check_inside(exemplar.point_xy, coordinates, "an exemplar point")


def _valid(rows: Sequence[Tensor]) -> Tensor:
    """(P, longest) bool, True where a row exists."""
    counts = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    return torch.arange(int(counts.max())) < counts[:, None]
