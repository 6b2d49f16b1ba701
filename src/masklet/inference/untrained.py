"""A model of full size without a checkpoint, for measuring: as much work as a trained one, in a second or two.

Its weights are one noise over and over, which fills the 848 million of the public model 30 times as fast as drawing
them. Such a model would find nothing, and what is not found has no mask to be made; so its first queries always count
as found.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from masklet.checkpoint.load import build_blank, with_state
from masklet.config import preset
from masklet.model.detector import Detector
from masklet.model.int8 import to_int8
from masklet.runtime import resolve_numbers
from masklet.types import PromptTokens

FOUND: Final = 3
"""Detections of every concept on every picture."""

THRESHOLD: Final = 0.25
"""Scores above it count as found: the presence of noise is about a half."""

_NOISE: Final = 0.02  # standard deviation: small enough for float16
_POOL: Final = 1 << 20  # numbers that are drawn
_SURE: Final = 10.0  # logit


def untrained_model(name: str, *, device: torch.device, dtype: str) -> Detector:
    """A preset with weights that mean nothing, in evaluation mode.

    Args:
        name: of the preset.
        device: where it shall run.
        dtype: as `load_model` takes it.

    Raises:
        ConfigError: there is no such preset.
        InputError: an unknown dtype, or one that the device does not have.
    """
    config = preset(name)
    number_format, int8 = resolve_numbers(dtype, device)
    pool = (torch.randn(_POOL, generator=torch.Generator().manual_seed(0)) * _NOISE).to(device, number_format)
    blank = build_blank(config)
    model = with_state(config, {key: _filled(one.shape, pool) for key, one in blank.state_dict().items()})
    if int8:
        to_int8(model)
    model.scoring = _FirstFound(model.scoring)  # type: ignore[assignment]  # called as the scoring of a trained one is
    return model


def _filled(shape: torch.Size, pool: Tensor) -> Tensor:
    """A tensor of this shape with memory of its own, filled with the pool from its beginning."""
    count = shape.numel()
    if count <= len(pool):
        return pool[:count].clone().view(shape)
    return pool.repeat(-(-count // len(pool)))[:count].view(shape)


class _FirstFound(nn.Module):
    """Scores as its model does, then says that the first queries show the concept, and no other does."""

    def __init__(self, scoring: nn.Module) -> None:
        super().__init__()
        self.scoring = scoring

    def forward(self, queries: Tensor, prompt: PromptTokens) -> Tensor:
        """States (..., P, Q, C) and a prompt of P -> class logits (..., P, Q)."""
        logits: Tensor = self.scoring(queries, prompt)
        found = torch.full_like(logits, -_SURE)
        found[..., :FOUND] = _SURE
        return found
