"""Stands for the original's `sam3.model.sam3_image_processor`: a picture, a text and boxes in a plain dictionary.

The state that all calls pass on (spec/compat.md, spec/image-model.md 10.2 and 15.2):

    original_height, original_width     pixels; after `set_image_batch` the lists original_heights, original_widths
    backbone_out                        what the model knows of picture and text:
        vision_features                 (B, C, h, w)
        backbone_fpn                    [(B, C, 4h, 4w), (B, C, 2h, 2w), (B, C, h, w)]
        sam2_backbone_out               None, or with clicks what they need:
            vision_features             (B, C, h, w)
            backbone_fpn                [(B, C / 8, 4h, 4w), (B, C / 4, 2h, 2w), (B, C, h, w)]
        language_features               (T, 1, C), with a text
        language_mask                   (1, T) bool, True where a token is padding, with a text
    geometric_prompt                    the boxes so far
    masks                               (N, 1, H, W) bool
    masks_logits                        (N, 1, H, W) float32, probabilities despite the name
    boxes                               (N, 4) float32 xyxy, pixels of the picture, not clipped to it
    scores                              (N,) float32 0..1, in the order of the queries: not sorted
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from masklet.compat.maps import stretched
from masklet.compat.sam3.model.sam3_image import Sam3Image
from masklet.errors import ImageError, InputError, PromptError
from masklet.inference.image_predictor import ImagePredictor
from masklet.inference.selection import queries_above
from masklet.inference.text_cache import TextCache
from masklet.media.images import ImageSource
from masklet.model.detector import concat_prompts
from masklet.ops.coordinates import ImageCoordinates
from masklet.types import VISUAL, ExemplarBatch, ImageFeatures, PromptTokens

State = dict[str, Any]

_PUBLIC_SIDE = 1008  # pixels; the original's default
_LARGEST = 2.0  # a box may reach beyond the picture, but numbers above this are pixels
_SIZES = ("original_height", "original_width", "original_heights", "original_widths")
_RESULTS = ("masks", "masks_logits", "boxes", "scores")
_TEXT = ("language_features", "language_mask")


class Sam3Processor:
    """Asks a model about one picture at a time, step by step.

    Attributes:
        model: as `build_sam3_image_model` gives it.
        resolution: side of the square to which pictures are stretched, pixels.
        confidence_threshold: 0..1, detections score strictly more.
    """

    def __init__(
        self,
        model: Sam3Image,
        resolution: int = _PUBLIC_SIDE,
        device: str | torch.device = "cuda",
        confidence_threshold: float = 0.5,
    ) -> None:
        """Wraps a model.

        Args:
            model: as `build_sam3_image_model` gives it.
            resolution: a multiple of 14, pixels; 1008, the side of the public model, stands for that of any model.
            device: that of the model; "cuda" means where the model is.
            confidence_threshold: 0..1, detections must score strictly more.

        Raises:
            InputError: another device than the model's.
        """
        if str(device) != "cuda" and torch.device(device).type != model.device.type:
            raise InputError(
                f"device must be that of the model, {str(model.device)!r}, got {str(device)!r}; "
                "move the model with model.to(...) first"
            )
        self.model = model
        self.resolution = model.detector.config.vision.image_size if resolution == _PUBLIC_SIDE else resolution
        self.confidence_threshold = confidence_threshold
        self._predictor = ImagePredictor(model.detector)
        self._texts = TextCache(model.detector)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    # --- pictures -----------------------------------------------------------------------------------------------------

    def set_image(self, image: ImageSource | Tensor, state: State | None = None) -> State:
        """A state with this picture, and without prompts and results of an earlier one.

        Args:
            image: PIL image, or (3, H, W) tensor, uint8 or float in 0..1; (H, W, 3) arrays work too.
            state: is changed and given back; None makes a new one.

        Raises:
            ImageError: no picture.
        """
        state, features = self._encoded([image], state)
        (size_hw,) = features.image_sizes_hw
        state["original_height"], state["original_width"] = size_hw
        return state

    def set_image_batch(self, images: Sequence[ImageSource | Tensor], state: State | None = None) -> State:
        """A state with several pictures; texts and boxes need a state with one.

        Raises:
            ValueError: no list, or an empty one.
            ImageError: one of them is no picture.
        """
        if not isinstance(images, list | tuple) or not images:
            raise InputError(
                f"set_image_batch takes a list of at least one picture, got {type(images).__name__}; "
                "use set_image for a single one"
            )
        state, features = self._encoded(images, state)
        state["original_heights"] = [height for height, _ in features.image_sizes_hw]
        state["original_widths"] = [width for _, width in features.image_sizes_hw]
        return state

    def _encoded(self, images: Sequence[ImageSource | Tensor], state: State | None) -> tuple[State, ImageFeatures]:
        clicks = self.model.inst_interactive_predictor is not None
        features = self._predictor.encode(
            [_readable(image) for image in images], image_size=self.resolution, tracker=clicks
        )
        state = {} if state is None else state
        # The original keeps boxes and results of the last picture and would use them for this one.
        _remove(state, (*_SIZES, "geometric_prompt", *_RESULTS))
        state["backbone_out"] = {
            "vision_features": features.levels[-1],
            "backbone_fpn": list(features.levels),
            "sam2_backbone_out": self._for_clicks(features),
        }
        return state, features

    @torch.no_grad()
    def _for_clicks(self, features: ImageFeatures) -> State | None:
        tracker = self.model.detector.tracker
        if tracker is None or features.tracker_levels is None:
            return None
        known = tracker.features(features.tracker_levels)
        return {"vision_features": known.coarse, "backbone_fpn": [known.fine, known.middle, known.coarse]}

    # --- prompts ------------------------------------------------------------------------------------------------------

    def set_text_prompt(self, prompt: str, state: State) -> State:
        """Looks for a concept; replaces an earlier one and keeps the boxes.

        Raises:
            ValueError: there is no picture yet, or nothing that can be read in `prompt`.
        """
        _check_single(state)
        self._set_text(prompt, state)
        return self._run(state)

    def add_geometric_prompt(self, box: Sequence[float] | Tensor, label: bool, state: State) -> State:
        """Looks again, with one more box that shows what is meant, or what is not.

        Args:
            box: centre x, centre y, width, height as fractions of the picture.
            label: True for an example, False for a counter-example.
            state: without a text the concept is "visual".

        Raises:
            ValueError: there is no picture yet, or the box or label cannot be used.
        """
        _check_single(state)
        boxes = _with_box(state.get("geometric_prompt"), _checked(box), label, self.device)
        if "language_features" not in state["backbone_out"]:
            self._set_text(VISUAL, state)
        state["geometric_prompt"] = boxes
        return self._run(state)

    def reset_all_prompts(self, state: State) -> None:
        """Removes text, boxes and results from the state; the picture stays.

        Raises:
            ValueError: there is no picture yet.
        """
        _check_encoded(state)
        _remove(state["backbone_out"], _TEXT)
        _remove(state, ("geometric_prompt", *_RESULTS))

    def set_confidence_threshold(self, threshold: float, state: State | None = None) -> State | None:
        """Detections must score strictly more from now on; results in the state are made anew."""
        self.confidence_threshold = threshold
        return self._run(state) if state is not None and "boxes" in state else state

    def _set_text(self, text: str, state: State) -> None:
        prompt = self._texts.tokens([text])
        state["backbone_out"]["language_features"] = prompt.tokens.transpose(0, 1)  # (T, 1, C)
        state["backbone_out"]["language_mask"] = ~prompt.valid

    # --- results ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _run(self, state: State) -> State:
        """The state with results for its picture, text and boxes."""
        detector, known = self.model.detector, state["backbone_out"]
        size_hw = (state["original_height"], state["original_width"])
        features = ImageFeatures(levels=tuple(known["backbone_fpn"]), tracker_levels=None, image_sizes_hw=(size_hw,))
        first = torch.zeros(1, dtype=torch.int64, device=features.device)
        boxes = state.get("geometric_prompt") or ExemplarBatch.empty(1, device=features.device)
        text = PromptTokens(tokens=known["language_features"].transpose(0, 1), valid=~known["language_mask"])
        prompt = concat_prompts(text, detector.encode_exemplars(features, first, boxes))
        raw = detector.detect(features, first, prompt)
        keep = queries_above(raw, self.confidence_threshold)

        coordinates = ImageCoordinates(height=size_hw[0], width=size_hw[1])
        state["boxes"] = coordinates.boxes_to_px(raw.boxes_cxcywh_norm[keep].float())
        state["scores"] = raw.scores()[keep]
        if self.model.segmentation:
            (mask_logits,) = detector.decode_masks(features, first, prompt, raw, keep)
            # In place: many masks of a large picture are gigabytes.
            state["masks_logits"] = stretched(mask_logits.float()[:, None], size_hw).sigmoid_()
            state["masks"] = state["masks_logits"] > 0.5
        return state


def _remove(values: State, keys: Sequence[str]) -> None:
    for key in keys:
        values.pop(key, None)


def _check_encoded(state: State) -> None:
    if "backbone_out" not in state:
        raise InputError("there is no picture in this state yet: call set_image first")


def _check_single(state: State) -> None:
    _check_encoded(state)
    if "original_height" not in state:
        raise InputError(
            "texts and boxes need a state with one picture, got one of set_image_batch: call set_image for each picture"
        )


def _readable(image: ImageSource | Tensor) -> ImageSource:
    """What `masklet.media.images` reads: tensors become (H, W, 3) arrays, fractions become 0..255."""
    if isinstance(image, Tensor):
        if image.dim() != 3 or len(image) not in (1, 3):
            raise ImageError(f"a picture as a tensor must be (3, H, W), got shape {tuple(image.shape)}")
        levels = image.detach().float() if image.is_floating_point() else image
        image = levels.permute(1, 2, 0).cpu().numpy()
    if isinstance(image, np.ndarray) and np.issubdtype(image.dtype, np.floating):
        if not ((image >= 0) & (image <= 1)).all():
            raise ImageError("a picture of floating-point numbers must be in 0..1; scale it, or use uint8 in 0..255")
        return (image * 255.999).astype(np.uint8)  # the original's rounding (spec/image-model.md 1)
    return image


def _checked(box: Sequence[float] | Tensor) -> tuple[float, ...]:
    """The four numbers of a box that shows some of the picture."""
    numbers = torch.as_tensor(box, dtype=torch.float64).flatten().tolist()
    if len(numbers) == 4 and all(abs(number) <= _LARGEST for number in numbers):  # false for NaN as well
        sides = zip(numbers[:2], numbers[2:], strict=True)
        if all(size > 0 and -size / 2 < centre < 1 + size / 2 for centre, size in sides):
            return tuple(numbers)
    raise PromptError(
        "box must be [centre x, centre y, width, height] as fractions of the picture, with an area and overlapping "
        f"0..1, got {box}; divide pixels by the picture's width and height"
    )


def _with_box(
    earlier: ExemplarBatch | None, box_cxcywh_norm: tuple[float, ...], label: bool, device: torch.device
) -> ExemplarBatch:
    """The boxes of one prompt with one more behind them."""
    if label not in (True, False):
        raise PromptError(f"label must be True (an example) or False (a counter-example), got {label!r}")
    before = ExemplarBatch.empty(1, device=device) if earlier is None else earlier
    box = torch.tensor([[box_cxcywh_norm]], dtype=torch.float32, device=device)
    labels = torch.tensor([[int(label)]], device=device)
    return dataclasses.replace(
        before,
        boxes_cxcywh_norm=torch.cat((before.boxes_cxcywh_norm, box), dim=1),
        box_labels=torch.cat((before.box_labels, labels), dim=1),
        box_valid=torch.cat((before.box_valid, torch.ones_like(labels, dtype=torch.bool)), dim=1),
    )
