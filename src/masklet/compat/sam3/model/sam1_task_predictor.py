"""Stands for the original's `sam3.model.sam1_task_predictor`: clicks on a picture as in SAM 1 (spec/tracker.md 10).

Unusual: the pixels of `set_image` are resized as floats, those of `Sam3Processor.set_image` as bytes, so that the two
do not give equal masks (10.1).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from masklet.compat.clicks import Answer, Answers, ClickedPicture, Form, Prompt, answer_clicks, answer_each
from masklet.errors import InputError
from masklet.inference.object_result import MaskCleanup
from masklet.media.images import ImageSource, Pixels, read_image
from masklet.model.detector import Detector
from masklet.model.tracker import Tracker


class NoPictureError(InputError, RuntimeError):
    """Clicks before a picture; the original raises a RuntimeError."""


class SAM3InteractiveImagePredictor:
    """Holds a picture, or several, and answers clicks on it.

    Attributes:
        model: masklet's.
        tracker: that of the model, which answers.
        cleanup: what is done to masks; the logits that are given back stay as they are.
    """

    def __init__(self, model: Detector, max_hole_area: int = 256, max_sprinkle_area: int = 0) -> None:
        """Wraps a model.

        Args:
            model: masklet's.
            max_hole_area: holes of at most so many pixels of a 288 x 288 mask are filled.
            max_sprinkle_area: parts of at most so many pixels are removed.

        Raises:
            InputError: the model has no tracker.
        """
        if model.tracker is None:
            raise InputError(
                f"clicks (predict_inst) need a model with a tracker, which model {model.config.name!r} has not; "
                "use sam3.pt, or leave out enable_inst_interactivity"
            )
        self.model = model
        self.cleanup = MaskCleanup(hole_area=max_hole_area, sprinkle_area=max_sprinkle_area)
        self.tracker: Tracker = model.tracker
        self._pictures: tuple[ClickedPicture, ...] = ()

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    # --- pictures -----------------------------------------------------------------------------------------------------

    def set_image(self, image: ImageSource) -> None:
        """The picture that `predict` is about: a PIL image or an (H, W, 3) uint8 array.

        Raises:
            ImageError: no picture.
        """
        self.set_image_batch([image])

    @torch.no_grad()
    def set_image_batch(self, image_list: Sequence[ImageSource]) -> None:
        """The pictures that `predict_batch` is about.

        Raises:
            InputError: no list, or an empty one.
            ImageError: one of them is no picture.
        """
        if not isinstance(image_list, list | tuple) or not image_list:
            raise InputError(f"set_image_batch takes a list of at least one picture, got {type(image_list).__name__}")
        pictures = []
        for image in image_list:
            pixels = read_image(image)
            square = _square(pixels, self.model.config.vision.image_size)
            levels = self.model.encode_image(square, tracker=True).tracker_levels
            assert levels is not None
            features = self.tracker.features(levels)
            pictures.append(ClickedPicture(features=features, size_hw=(pixels.shape[0], pixels.shape[1])))
        self._pictures = tuple(pictures)

    def holding(self, pictures: Sequence[ClickedPicture]) -> Self:
        """One like this that holds other pictures; this one keeps its own."""
        other = copy.copy(self)
        other._pictures = tuple(pictures)
        return other

    # --- clicks -------------------------------------------------------------------------------------------------------

    def predict(
        self,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> Answer:
        """Masks of what is clicked on the picture of `set_image`.

        Args:
            point_coords: (P, 2) or (N, P, 2) x, y.
            point_labels: (P,) or (N, P), 1 on the object, 0 not on it.
            box: (4,) or (N, 4) left, top, right, bottom.
            mask_input: (1, h, w) or (N, 1, h, w) logits of an earlier answer; one serves N boxes.
            multimask_output: give three candidates, not one mask.
            return_logits: give masks as logits of the picture's size, not as 0 and 1.
            normalize_coords: coordinates are pixels of the picture; else fractions of it.

        Returns:
            float32 masks of 0 and 1 (C, H, W), qualities (C,), and logits (C, h, w) in -32..32, in the order of the
            network; with N > 1 objects a leading axis of N.

        Raises:
            NoPictureError: there is no picture.
            PromptError: shapes that do not fit, numbers that are not finite, an unknown label.
        """
        if len(self._pictures) != 1:
            raise NoPictureError("An image must be set with .set_image(...) before mask prediction.")
        prompt = Prompt(point_coords, point_labels, box, mask_input)
        form = Form(multimask_output, return_logits, normalize_coords)
        return answer_clicks(self.tracker, self._pictures[0], prompt, form, self.cleanup)

    def predict_batch(
        self,
        point_coords_batch: Sequence[ArrayLike | None] | None = None,
        point_labels_batch: Sequence[ArrayLike | None] | None = None,
        box_batch: Sequence[ArrayLike | None] | None = None,
        mask_input_batch: Sequence[ArrayLike | None] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> Answers:
        """What `predict` gives for each picture of `set_image_batch`; prompts are lists with one entry for each.

        Raises:
            NoPictureError: there are no pictures.
            PromptError: lists of another length, and as `predict`.
        """
        if not self._pictures:
            raise NoPictureError("Images must be set with .set_image_batch(...) before mask prediction.")
        prompts = (point_coords_batch, point_labels_batch, box_batch, mask_input_batch)
        form = Form(multimask_output, return_logits, normalize_coords)
        return answer_each(self.tracker, self._pictures, prompts, form, self.cleanup)


def _square(image: Pixels, side: int) -> Tensor:
    """(1, 3, side, side) in -1..1, resized as floats."""
    levels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    return (F.interpolate(levels, (side, side), mode="bilinear", antialias=True, align_corners=False) - 0.5) / 0.5
