"""Stands for the original's package `sam3`; see `masklet.compat`."""

from masklet import __version__
from masklet.compat.sam3.model_builder import build_sam3_image_model

__all__ = ["__version__", "build_sam3_image_model"]
