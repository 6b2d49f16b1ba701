"""The rotary tables that Meta's file stores: complex buffers which follow from the configuration.

They equal the formula to the last bit when the factors are made by `torch.polar` from float32 frequencies
(spec/image-model.md section 2); our modules compute their own.
"""

from __future__ import annotations

import functools
import re
from typing import Final

import torch
from torch import Tensor

from masklet.checkpoint.keymaps import META_TABLE
from masklet.checkpoint.rows import CARRIED
from masklet.config import VisionConfig

_NAME: Final = re.compile(re.escape(CARRIED + META_TABLE).replace(r"\{i\}", r"(\d+)"))


def table_name(block: int) -> str:
    """Our name of the table of a block."""
    return CARRIED + META_TABLE.format(i=block)


def table_block(name: str) -> int | None:
    """The block whose table `name` is; None when it is none."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def rotary_table(vision: VisionConfig, block: int) -> Tensor:
    """The table of a block: (n * n, head width / 2) complex64, n the window's or the image's side in patches."""
    side = vision.grid if block in vision.global_blocks else vision.window
    return _table(side, vision.window / side, vision.width // vision.heads, vision.rope_theta)


@functools.lru_cache(maxsize=4)
def _table(side: int, scale: float, head_width: int, theta: float) -> Tensor:
    frequencies = 1.0 / theta ** (torch.arange(0, head_width, 4).float() / head_width)  # (head_width / 4,)
    token = torch.arange(side * side)
    columns = (token % side).float() * scale
    rows = torch.div(token, side, rounding_mode="floor").float() * scale
    angles = torch.cat((torch.outer(columns, frequencies), torch.outer(rows, frequencies)), dim=-1)
    return torch.polar(torch.ones_like(angles), angles)


def grid_of_tables(tables: dict[int, Tensor]) -> int | None:
    """Side of the image in patches that the largest of some tables was made for; None without tables.

    Args:
        tables: (n * n, any) by block; only shapes are read.
    """
    tokens = max((table.shape[0] for table in tables.values()), default=0)
    side = round(tokens**0.5)
    return side if side and side * side == tokens else None
