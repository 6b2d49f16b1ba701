"""The vision encoder's products in 8-bit integers: most of the work on a picture, in half of the time."""

from __future__ import annotations

import torch
from torch import nn

from masklet.layers.int8 import Int8Linear
from masklet.model.detector import Detector
from masklet.runtime import INT8


@torch.no_grad()
def to_int8(model: Detector) -> None:
    """Gives each linear layer of the vision encoder's blocks way to one of integers, in place.

    The model can be asked as before; it can neither be trained nor saved any more.
    """
    for block in model.vision_encoder.blocks:
        for part in list(block.modules()):
            for name, layer in part.named_children():
                if isinstance(layer, nn.Linear):
                    setattr(part, name, Int8Linear(layer))


def numbers_of(model: Detector) -> str:
    """What `load_model` would be told to get such a model: "float32", "bfloat16", "float16" or "int8"."""
    if any(isinstance(part, Int8Linear) for part in model.vision_encoder.modules()):
        return INT8
    return str(model.dtype).removeprefix("torch.")
