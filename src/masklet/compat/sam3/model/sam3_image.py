"""The model as the original's programs hold it: `build_sam3_image_model` makes it, `Sam3Processor` uses it."""

from __future__ import annotations

import torch
from torch import nn

from masklet.model.detector import Detector


class Sam3Image(nn.Module):
    """Holds masklet's model; moves, counts its parameters and changes its mode like any module.

    Attributes:
        detector: masklet's model, ready for `masklet.ImagePredictor` as well.
        segmentation: whether masks are made, not only boxes.
    """

    def __init__(self, detector: Detector, *, segmentation: bool = True) -> None:
        super().__init__()
        self.detector = detector
        self.segmentation = segmentation

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return self.detector.device
