"""Clicks as a user would set them: on an object, and where an answer is wrong."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from masklet.types import PointPrompts

_REACH = 17  # cells: how much of the square of so many around a cell is the object's says how deep the cell lies


def click_inside(masks: Tensor, cell_px: float) -> PointPrompts:
    """One click on each object, on any of its cells, rather in the middle; "no point" on an object without a cell.

    Args:
        masks: (O, h, w) bool.
        cell_px: side of a cell in pixels of the input.

    Returns:
        (O, 1) points. Draws from the global generator.
    """
    return _drawn(masks, torch.ones_like(masks), cell_px)


def click_on_error(found: Tensor, masks: Tensor, cell_px: float) -> PointPrompts:
    """One click on each object where the answer is wrong: on what is missing, or (label 0) on what is too much.

    Any wrong cell, rather in the middle of what is wrong; an answer without a mistake gets a click inside.

    Args:
        found: (O, h, w) bool, the answer.
        masks: (O, h, w) bool, the truth.
        cell_px: side of a cell in pixels of the input.
    """
    wrong = found ^ masks
    right = ~wrong.flatten(1).any(1)
    return _drawn(torch.where(right[:, None, None], masks, wrong), masks, cell_px)


def _drawn(where: Tensor, positive: Tensor, cell_px: float) -> PointPrompts:
    """A random cell of each (O, h, w) `where`, labelled by (O, h, w) `positive`.

    The chance of a cell is the square of the share of `where` around it: people do not click on edges.
    """
    width = where.shape[-1]
    some = where.flatten(1).any(1)
    depth = F.avg_pool2d(where[:, None].float(), _REACH, stride=1, padding=_REACH // 2)[:, 0]
    chances = torch.where(some[:, None], (where * depth**2).flatten(1), 1.0)
    cell = torch.multinomial(chances, 1)  # (O, 1)
    column, row = cell % width, torch.div(cell, width, rounding_mode="floor")
    # A place is that of a pixel; half a pixel is added where places become codes.
    xy_px = (torch.stack((column, row), dim=-1).float() + 0.5) * cell_px - 0.5
    labels = positive.flatten(1).gather(1, cell).long()
    return PointPrompts(xy_px=xy_px, labels=torch.where(some[:, None], labels, -1))
