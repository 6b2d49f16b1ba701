"""The model as the original's programs hold it: `build_sam3_image_model` makes it, `Sam3Processor` uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import nn

from masklet.compat.clicks import Answer, Answers, ClickedPicture
from masklet.compat.sam3.model.sam1_task_predictor import SAM3InteractiveImagePredictor
from masklet.errors import InputError
from masklet.model.detector import Detector
from masklet.types import TrackerFeatures


class Sam3Image(nn.Module):
    """Holds masklet's model; moves, counts its parameters and changes its mode like any module.

    Attributes:
        detector: masklet's model, ready for `masklet.ImagePredictor` and `masklet.InteractivePredictor` as well.
        segmentation: whether masks are made, not only boxes.
        inst_interactive_predictor: answers clicks, with a picture of its own; None where they were not asked for.
    """

    def __init__(self, detector: Detector, *, segmentation: bool = True, interactive: bool = False) -> None:
        super().__init__()
        self.detector = detector
        self.segmentation = segmentation
        self.inst_interactive_predictor = SAM3InteractiveImagePredictor(detector) if interactive else None

    @property
    def backbone(self) -> Detector:
        """What encodes pictures and texts: masklet's model, part of which that is."""
        return self.detector

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return self.detector.device

    def predict_inst(
        self,
        inference_state: dict[str, Any],
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> Answer:
        """What `SAM3InteractiveImagePredictor.predict` gives, on the picture of `Sam3Processor.set_image`.

        Raises:
            InputError: the model was built without clicks, or the state has no picture or several.
            PromptError: as there.
        """
        predictor = self._predictor_of(inference_state, "original_height", "set_image")
        return predictor.predict(
            point_coords, point_labels, box, mask_input, multimask_output, return_logits, normalize_coords
        )

    def predict_inst_batch(
        self,
        inference_state: dict[str, Any],
        point_coords_batch: Sequence[ArrayLike | None] | None = None,
        point_labels_batch: Sequence[ArrayLike | None] | None = None,
        box_batch: Sequence[ArrayLike | None] | None = None,
        mask_input_batch: Sequence[ArrayLike | None] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> Answers:
        """The same on each picture of `Sam3Processor.set_image_batch`; prompts are lists with one entry for each.

        Raises:
            InputError: the model was built without clicks, or the state is not of `set_image_batch`.
            PromptError: lists of another length, and as `predict_inst`.
        """
        predictor = self._predictor_of(inference_state, "original_heights", "set_image_batch")
        prompts = (point_coords_batch, point_labels_batch, box_batch, mask_input_batch)
        return predictor.predict_batch(*prompts, multimask_output, return_logits, normalize_coords)

    def _predictor_of(self, state: dict[str, Any], height_key: str, setter: str) -> SAM3InteractiveImagePredictor:
        """Who answers clicks on the pictures of a state, one or those of a batch."""
        if self.inst_interactive_predictor is None:
            raise InputError(
                "predict_inst needs a model for clicks: use build_sam3_image_model(enable_inst_interactivity=True)"
            )
        if height_key not in state:
            raise InputError(f"there is no picture of {setter} in this state: call {setter} first")
        known = state["backbone_out"]["sam2_backbone_out"]
        if known is None:
            raise InputError(
                f"this state was made by a model without clicks: call {setter} of a processor of this model again"
            )
        heights, widths = (
            sizes if isinstance(sizes, list) else [sizes]
            for sizes in (state[height_key], state[height_key.replace("height", "width")])
        )
        levels = (level.split(1) for level in known["backbone_fpn"])
        return self.inst_interactive_predictor.holding(
            [
                ClickedPicture(features=TrackerFeatures(fine=fine, middle=middle, coarse=coarse), size_hw=(high, wide))
                for fine, middle, coarse, high, wide in zip(*levels, heights, widths, strict=True)
            ]
        )
