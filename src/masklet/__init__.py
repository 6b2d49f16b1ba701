"""Finds, cuts out and follows everything that you can name, show or click in pictures and video.

The public names are listed in `__all__`. They are found when they are first used, so that `import masklet` is quick
and loads no other package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from masklet import compat, errors
    from masklet.checkpoint import load_model
    from masklet.inference.frame_result import FrameResult
    from masklet.inference.image_predictor import ImagePredictor
    from masklet.inference.interactive_predictor import InteractivePredictor
    from masklet.inference.object_prompt import ObjectPrompt
    from masklet.inference.object_result import ObjectResult
    from masklet.inference.video_predictor import VideoPredictor
    from masklet.inference.video_result import VideoResult
    from masklet.model.build import build_model
    from masklet.types import Exemplar, ImageFeatures

__all__ = [
    "Exemplar",
    "FrameResult",
    "ImageFeatures",
    "ImagePredictor",
    "InteractivePredictor",
    "ObjectPrompt",
    "ObjectResult",
    "VideoPredictor",
    "VideoResult",
    "__version__",
    "build_model",
    "compat",
    "errors",
    "load_model",
]

_HOMES = {
    "Exemplar": "masklet.types",
    "FrameResult": "masklet.inference.frame_result",
    "ImageFeatures": "masklet.types",
    "ImagePredictor": "masklet.inference.image_predictor",
    "InteractivePredictor": "masklet.inference.interactive_predictor",
    "ObjectPrompt": "masklet.inference.object_prompt",
    "ObjectResult": "masklet.inference.object_result",
    "VideoPredictor": "masklet.inference.video_predictor",
    "VideoResult": "masklet.inference.video_result",
    "build_model": "masklet.model.build",
    "load_model": "masklet.checkpoint",
}
_MODULES = ("compat", "errors")


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"masklet.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'masklet' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value  # found once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
