"""Exemplars as a hand would draw them, and as a batch takes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from masklet.types import ExemplarBatch


@dataclass(kw_only=True)
class PromptExemplars:
    """What is shown for one prompt; gathered while a batch is made.

    Attributes:
        boxes: (4,) each, cxcywh, fractions of the input, with 1 for an example and 0 for a counter-example.
        points: (2,) each, xy, fractions of the input, likewise.
    """

    boxes: list[tuple[Tensor, int]] = field(default_factory=list)
    points: list[tuple[Tensor, int]] = field(default_factory=list)


def drawn_box(
    box_cxcywh_norm: Tensor,
    rng: np.random.Generator,
    *,
    std: float,
    most: float = math.inf,
    most_norm: float = math.inf,
) -> Tensor:
    """(4,) the box with each edge a little off, inside the input; as it was if nothing would be left of it.

    Args:
        box_cxcywh_norm: (4,) fractions of the input.
        rng: decides.
        std: standard deviation of an edge, as a share of the box's side.
        most: greatest move of an edge, as a share of the box's side.
        most_norm: greatest move of an edge, as a share of the input.
    """
    cx, cy, width, height = box_cxcywh_norm.tolist()
    edges = np.array([cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2])
    off = rng.normal(0, std, 4).clip(-most, most) * np.array([width, height, width, height])
    x0, y0, x1, y1 = (edges + off.clip(-most_norm, most_norm)).clip(0, 1)
    if x1 <= x0 or y1 <= y0:
        return box_cxcywh_norm
    return torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], dtype=torch.float32)


def exemplar_batch(each: Sequence[PromptExemplars]) -> ExemplarBatch:
    """Exemplars of P prompts, padded to the most of any."""
    boxes, box_labels, box_valid = _padded([one.boxes for one in each], 4)
    points, point_labels, point_valid = _padded([one.points for one in each], 2)
    return ExemplarBatch(
        boxes_cxcywh_norm=boxes,
        box_labels=box_labels,
        box_valid=box_valid,
        points_xy_norm=points,
        point_labels=point_labels,
        point_valid=point_valid,
    )


def _padded(rows: Sequence[Sequence[tuple[Tensor, int]]], columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """Places (P, T, columns), labels (P, T) int64 and which are none of the padding (P, T) bool."""
    most = max(map(len, rows), default=0)
    places, labels = torch.zeros(len(rows), most, columns), torch.zeros(len(rows), most, dtype=torch.int64)
    valid = torch.zeros(len(rows), most, dtype=torch.bool)
    for row, shown in enumerate(rows):
        for column, (place, label) in enumerate(shown):
            places[row, column], labels[row, column], valid[row, column] = place, label, True
    return places, labels, valid
