"""Sine codes of coordinates (spec/image-model.md sections 3, 5 and 7; spec/tracker.md 6.4).

Channels 2i and 2i + 1 share a wavelength and hold its sine and cosine; `distance_code` is the exception.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

_TEMPERATURE = 10000.0


def _wavelengths(channels: int, device: torch.device) -> Tensor:
    """(channels,) divisors 10000 ** (2 * floor(k / 2) / channels)."""
    k = torch.arange(channels, dtype=torch.float32, device=device)
    return _TEMPERATURE ** (2 * torch.div(k, 2, rounding_mode="floor") / channels)


def sine_code(angles: Tensor, channels: int) -> Tensor:
    """Code of angles in radians: (...) -> (..., channels), float32; even channels sine, odd cosine."""
    phases = angles.float()[..., None] / _wavelengths(channels, angles.device)
    return torch.stack((phases[..., 0::2].sin(), phases[..., 1::2].cos()), dim=-1).flatten(-2)


def coordinate_code(coordinates: Tensor, channels: int) -> Tensor:
    """Code of coordinates in 0..1: (...) -> (..., channels). No offset, unlike `position_map`."""
    return sine_code(coordinates.float() * (2 * math.pi), channels)


def distance_code(distances: Tensor, channels: int) -> Tensor:
    """Code of distances in time: (...) -> (..., channels), float32; all sines, then all cosines.

    Neighbouring channels of each half share a wavelength.
    """
    phases = distances.float()[..., None] / _wavelengths(channels // 2, distances.device)
    return torch.cat((phases.sin(), phases.cos()), dim=-1)


@functools.lru_cache(maxsize=16)
def position_map(*, height: int, width: int, channels: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Code of every cell of a grid: (height * width, channels), row-major; first half of the channels y, second x.

    Positions count from 1 and are divided by (size + 1e-6), as in DETR. Computed in float32, then cast to `dtype`.
    """
    with torch.inference_mode(False):  # the memo must serve training too
        y = (torch.arange(height, device=device) + 1) / (height + 1e-6) * (2 * math.pi)
        x = (torch.arange(width, device=device) + 1) / (width + 1e-6) * (2 * math.pi)
        code_y = sine_code(y, channels // 2)[:, None, :].expand(height, width, -1)
        code_x = sine_code(x, channels // 2)[None, :, :].expand(height, width, -1)
        return torch.cat((code_y, code_x), dim=-1).flatten(0, 1).to(dtype)
