"""The vision encoder, which is most of the work on a picture, through PyTorch's compiler; an option, never needed."""

from __future__ import annotations

import torch

from masklet.layers import rope
from masklet.model.detector import Detector

# Graphs of CUDA write each picture's features over those of the one before, which may still be in somebody's hands.
_WITHOUT_GRAPHS = {"reduce-overhead": "default", "max-autotune": "max-autotune-no-cudagraphs"}


def compile_model(model: Detector, *, mode: str | None = None, backend: str = "inductor") -> None:
    """Has the vision encoder compiled as one graph when it first sees a picture, and again for each other size.

    The model stays what it is: it is saved and converted as before. What is compiled is kept for the next start by
    PyTorch, in the folder TORCHINDUCTOR_CACHE_DIR.

    Args:
        model: not of int8, whose products are compiled already.
        mode: of `torch.compile`; those that record graphs of CUDA stand for the same without them.
        backend: of `torch.compile`; "inductor" needs a C++ compiler, or Triton on CUDA.
    """
    torch.compiler.assume_constant_result(rope.rotary_table)
    model.vision_encoder.compile(
        fullgraph=True, dynamic=False, mode=_WITHOUT_GRAPHS.get(mode or "", mode), backend=backend
    )
