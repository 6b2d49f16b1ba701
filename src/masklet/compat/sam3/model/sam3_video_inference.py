"""The video model as the original's programs hold it: `build_sam3_video_model` makes it."""

from __future__ import annotations

import torch
from torch import nn

from masklet.compat.sam3.model.sam3_image import Sam3Image
from masklet.compat.sam3.model.sam3_tracking_predictor import Sam3TrackerPredictor
from masklet.inference.policy import VideoPolicy
from masklet.model.detector import Detector


class Sam3VideoInferenceWithInstanceInteractivity(nn.Module):
    """Holds masklet's model; moves, counts its parameters and changes its mode like any module.

    Attributes:
        detector: finds; its `backbone` encodes frames.
        tracker: follows what is clicked, in the manner of SAM 2.
        policy: the rules of following concepts.
    """

    def __init__(self, model: Detector, policy: VideoPolicy) -> None:
        """Wraps a model.

        Args:
            model: masklet's.
            policy: the rules of following concepts; the tracker reads its memory by them as well.

        Raises:
            InputError: the model has no tracker.
        """
        super().__init__()
        self.detector = Sam3Image(model)
        self.tracker = Sam3TrackerPredictor.of(model, select=policy.memory_selection)
        self.policy = policy

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return self.detector.device
