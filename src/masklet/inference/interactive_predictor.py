"""Clicks, boxes and masks on a picture to masks of objects: the way in for everyone who points at things."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike

from masklet.errors import InputError
from masklet.inference.batches import ImageInput, encode_pictures, input_side, picture_batches, read_square
from masklet.inference.everything import EverythingRules, click_everywhere
from masklet.inference.frame_result import FrameResult
from masklet.inference.latest import Latest
from masklet.inference.object_masks import Candidates, object_masks
from masklet.inference.object_prompt import ObjectPrompt
from masklet.inference.object_result import MaskCleanup, ObjectResult, everything_result, object_result
from masklet.inference.stages import stage
from masklet.media.images import MAX_PIXELS, ImageSource, image_name
from masklet.model.detector import Detector
from masklet.model.tracker import Tracker
from masklet.types import ImageFeatures, TrackerFeatures


@dataclass(frozen=True, kw_only=True)
class _Picture:
    """A picture as the tracker reads it.

    Attributes:
        features: of the picture.
        name: what results call it.
        size_hw: pixels.
        source: where its pixels can be had again; None where only features were given.
    """

    features: TrackerFeatures
    name: str
    size_hw: tuple[int, int]
    source: ImageSource | None


class InteractivePredictor:
    """Cuts out the objects that are clicked, boxed or masked on pictures.

    It holds no current picture: any number of threads may use one predictor, and any number of predictors one model. Of
    the features that were asked last it remembers, while they live, what the next click would otherwise compute again.

        predictor = InteractivePredictor(masklet.load_model("sam3.pt"))
        features = predictor.encode("photo.jpg")            # once, then clicked as often as wanted
        first = predictor.segment(features, points=[(240, 150)])
        clicks = {"points": [(240, 150), (260, 80)], "labels": [1, 0]}
        better = predictor.segment(features, **clicks, logits=first.low_res_logits[0])

    Attributes:
        model: in evaluation mode, with a tracker; its device and number format are those of the predictor.
        max_pixels: larger pictures are refused before they are decoded.
    """

    def __init__(self, model: Detector, *, max_pixels: int = MAX_PIXELS) -> None:
        if not isinstance(model, Detector):
            raise InputError(
                f"InteractivePredictor takes a model, got {type(model).__name__}; "
                "use InteractivePredictor(masklet.load_model(...))"
            )
        if model.tracker is None:
            raise InputError(
                f"clicks need a model with a tracker, which model {model.config.name!r} has not; use one that has it, "
                "such as sam3.pt; or find everything like an example with ImagePredictor (masklet segment -c visual)"
            )
        self.model = model
        self.max_pixels = max_pixels
        self._tracker: Tracker = model.tracker
        self._latest = Latest[_Picture]()

    def encode(self, image: ImageSource | Sequence[ImageSource], *, image_size: int | None = None) -> ImageFeatures:
        """What the model sees in a picture, to be given to the other methods in its place.

        The same value as `ImagePredictor.encode` gives: either predictor takes the features of the other.

        Args:
            image: a path, PIL image or (H, W, 3) uint8 array; or several: then the features are a batch, and
                `list(features)` are those of each.
            image_size: as for `segment`.

        Raises:
            ImageError: a picture cannot be read or is too large.
            InputError: `image_size` does not fit, or there is no picture.
        """
        return encode_pictures(self.model, image, image_size=image_size, max_pixels=self.max_pixels, tracker=True)

    def segment(
        self,
        image: ImageInput,
        *,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        logits: ArrayLike | None = None,
        name: str = "object",
        candidates: Candidates = "auto",
        hole_area: int = 256,
        sprinkle_area: int = 0,
        image_size: int | None = None,
    ) -> ObjectResult:
        """The object that is pointed at, best candidate first. Prompts may be given alone and together.

        Args:
            image: a path, PIL image, (H, W, 3) uint8 RGB array, or features from `encode`.
            points: P places (x, y) in pixels of the picture.
            labels: P numbers, 1 for a point on the object, 0 for one that is not; None: all are on it.
            box: left, top, right, bottom in pixels of the picture.
            mask: (H, W) of the picture's size, true or above 0 on the object.
            logits: (h, w) or (1, h, w): one of the `low_res_logits` of an earlier answer, to be refined.
            name: what the result calls the object.
            candidates: True gives the model's candidates (three), False one mask. "auto" gives candidates for a single
                click, which may mean a part or the whole, and one mask for all else, where that is better than the best
                candidate.
            hole_area: holes of the mask of at most this area are filled, in pixels of a mask of 288 x 288 which covers
                the whole picture; 0: none. `low_res_logits` stay as they are.
            sprinkle_area: parts of the mask of at most this area are removed; 0: none.
            image_size: side of the square to which pictures are stretched, pixels, a multiple of the patch size (14);
                None is the model's own, for which the weights were trained. Not for features, which have their size.

        Raises:
            ImageError: the picture cannot be read or is too large.
            PromptError: there is no prompt, or it does not fit the picture.
            InputError: any other argument has a wrong value.
        """
        prompt = ObjectPrompt(points=points, labels=labels, box=box, mask=mask, logits=logits, name=name)
        (result,) = self.segment_objects(
            image,
            [prompt],
            candidates=candidates,
            hole_area=hole_area,
            sprinkle_area=sprinkle_area,
            image_size=image_size,
        )
        return result

    def segment_objects(
        self,
        image: ImageInput,
        objects: Sequence[ObjectPrompt],
        *,
        candidates: Candidates = "auto",
        hole_area: int = 256,
        sprinkle_area: int = 0,
        image_size: int | None = None,
    ) -> list[ObjectResult]:
        """Several objects of a picture at once, each as if it were alone; in their order.

        Args:
            image: as for `segment`.
            objects: one prompt for each, of any kinds; may be none.
            candidates: as for `segment`.
            hole_area: as for `segment`.
            sprinkle_area: as for `segment`.
            image_size: as for `segment`.

        Raises:
            ImageError: the picture cannot be read or is too large.
            PromptError: a prompt does not fit the picture.
            InputError: any other argument has a wrong value.
        """
        if candidates not in (True, False, "auto"):
            raise InputError(f"candidates must be True, False or 'auto', got {candidates!r}")
        if not all(isinstance(prompt, ObjectPrompt) for prompt in objects):
            raise InputError(f"objects must be a list of ObjectPrompt, got {objects!r}")
        cleanup = MaskCleanup(hole_area=hole_area, sprinkle_area=sprinkle_area)
        picture = self._picture(image, image_size)
        with stage("detect", self.model.device):
            found = object_masks(self._tracker, picture.features, objects, picture.size_hw, candidates=candidates)
        with stage("masks", self.model.device):
            return [
                object_result(
                    masks,
                    image=picture.name,
                    image_size_hw=picture.size_hw,
                    name=prompt.name,
                    model=self.model.config.name,
                    cleanup=cleanup,
                    source=picture.source,
                )
                for prompt, masks in zip(objects, found, strict=True)
            ]

    def everything(
        self,
        image: ImageInput,
        *,
        points_per_side: int = 32,
        min_quality: float = 0.88,
        min_stability: float = 0.95,
        nms_iou: float = 0.7,
        hole_area: int = 256,
        sprinkle_area: int = 0,
        image_size: int | None = None,
    ) -> FrameResult:
        """All that a grid of clicks finds on a picture, parts and wholes, best first.

        Args:
            image: as for `segment`.
            points_per_side: clicks along each side; each gives the model's candidates. More find smaller objects, and
                take longer.
            min_quality: 0..1, masks must have more predicted overlap with the truth (`result.scores`).
            min_stability: 0..1, the least share of a mask that must stay when its threshold moves by one logit up
                rather than down.
            nms_iou: 0..1, of two masks that overlap more than this (intersection over union) the weaker one goes.
            hole_area: as for `segment`.
            sprinkle_area: as for `segment`; a mask of which nothing is left goes.
            image_size: as for `segment`.

        Returns:
            Masks with their tight boxes; `concept` is "everything" and `presence` the largest probability that a click
            has of showing an object.

        Raises:
            ImageError: the picture cannot be read or is too large.
            InputError: any other argument has a wrong value.
        """
        rules = EverythingRules(
            points_per_side=points_per_side, min_quality=min_quality, min_stability=min_stability, nms_iou=nms_iou
        )
        cleanup = MaskCleanup(hole_area=hole_area, sprinkle_area=sprinkle_area)
        picture = self._picture(image, image_size)
        with stage("detect", self.model.device):
            found, sight = click_everywhere(self._tracker, picture.features, rules)
        with stage("masks", self.model.device):
            return everything_result(
                found,
                image=picture.name,
                image_size_hw=picture.size_hw,
                mask_size_hw=picture.features.mask_size_hw,
                presence=sight,
                model=self.model.config.name,
                cleanup=cleanup,
                source=picture.source,
            )

    @torch.no_grad()
    def _picture(self, image: ImageInput, image_size: int | None) -> _Picture:
        """What the tracker reads of a picture; of the features that were asked last it is not made again."""
        if not isinstance(image, ImageFeatures):
            return self._read(image, image_size)
        known = self._latest.get(image) if image_size is None else None
        if known is not None and (known.features.fine.device, known.features.fine.dtype) == (
            self.model.device,
            self.model.dtype,
        ):
            return known
        (batch,) = picture_batches(self.model, [image], image_size=image_size, max_pixels=self.max_pixels, tracker=True)
        levels = batch.features.tracker_levels
        assert levels is not None
        with stage("encode", self.model.device):
            features = self._tracker.features(levels)
        picture = _Picture(
            features=features, name=batch.names[0], size_hw=batch.features.image_sizes_hw[0], source=None
        )
        self._latest.put(image, picture)
        return picture

    def _read(self, image: ImageSource, image_size: int | None) -> _Picture:
        """A picture that nobody else will ask about: neither the detector's pyramid nor a wide one is made."""
        side = input_side(self.model, image_size)
        pixels, size_hw = read_square(self.model, image, side=side, max_pixels=self.max_pixels)
        with stage("encode", self.model.device):
            features = self.model.tracker_features(self.model.encode_patches(pixels))
        return _Picture(features=features, name=image_name(image), size_hw=size_hw, source=image)
