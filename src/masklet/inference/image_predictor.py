"""Pictures and concepts to results: the way in for everyone who has a picture and wants what is in it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, overload

from masklet.errors import InputError, PromptError
from masklet.inference.batches import (
    ImageInput,
    PictureBatch,
    encode_pictures,
    in_chunks,
    is_several,
    picture_batches,
)
from masklet.inference.feature_file import load_features, save_features
from masklet.inference.frame_result import FrameResult
from masklet.inference.postprocess import frame_result
from masklet.inference.questions import Answer, Question, answers, exemplar_tokens
from masklet.inference.selection import without_duplicates
from masklet.inference.side_by_side import side_by_side, workers_for
from masklet.inference.stages import stage
from masklet.inference.text_cache import TextCache
from masklet.media.images import MAX_PIXELS, ImageSource
from masklet.model.detector import Detector
from masklet.types import VISUAL, Exemplar, ImageFeatures, PromptTokens


class ImagePredictor:
    """Finds every instance of a concept on pictures.

    It holds no current picture: any number of threads may use one predictor, and any number of predictors one model.
    Features of phrases are kept, so that a phrase is encoded once.

        predictor = ImagePredictor(masklet.load_model())
        result = predictor.segment("photo.jpg", "red apple")
        features = predictor.encode("photo.jpg")            # once, then asked as often as wanted
        dogs, cats = predictor.segment(features, ["dog", "cat"])

    Attributes:
        model: in evaluation mode; its device and number format are those of the predictor.
        max_pixels: larger pictures are refused before they are decoded.
    """

    def __init__(self, model: Detector, *, max_pixels: int = MAX_PIXELS) -> None:
        if not isinstance(model, Detector):
            raise InputError(
                f"ImagePredictor takes a model, got {type(model).__name__}; use ImagePredictor(masklet.load_model(...))"
            )
        self.model = model
        self.max_pixels = max_pixels
        self._texts = TextCache(model)

    def encode(
        self, image: ImageSource | Sequence[ImageSource], *, image_size: int | None = None, tracker: bool = True
    ) -> ImageFeatures:
        """What the model sees in a picture, to be given to `segment` in its place.

        Features may be kept, shared between threads and predictors of the same model (`InteractivePredictor` as well),
        moved with `features.to(device)` and stored with `save_features`.

        Args:
            image: a path, PIL image or (H, W, 3) uint8 array; or several: then the features are a batch, and
                `list(features)` are those of each.
            image_size: as for `segment`.
            tracker: hold what clicks need as well, if the model has a tracker. Without it features are half as large.

        Raises:
            ImageError: a picture cannot be read or is too large.
            InputError: `image_size` does not fit, or there is no picture.
        """
        tracker = tracker and self.model.tracker is not None
        return encode_pictures(self.model, image, image_size=image_size, max_pixels=self.max_pixels, tracker=tracker)

    def save_features(self, features: ImageFeatures, path: str | Path) -> None:
        """Writes features to a file that only this model, or its equal, will read; see `load_features`.

        Raises:
            OutputError: the file cannot be written.
        """
        save_features(features, path, self.model)

    def load_features(self, path: str | Path) -> ImageFeatures:
        """Features that `save_features` wrote, on the device of the model.

        Raises:
            DataError: there is no such file, it is no file of features, or another model made it.
        """
        return load_features(path, self.model)

    def prepare(self, concepts: Iterable[str]) -> None:
        """Encodes phrases ahead of the pictures, so that one that cannot be used is found out before.

        Raises:
            PromptError: a concept is empty or no text.
        """
        phrases = list(concepts)
        if phrases:
            with stage("text", self.model.device):
                self._texts.tokens(phrases)

    @overload
    def segment(  # type: ignore[overload-overlap]  # a path is a sequence of paths of one letter
        self,
        image: ImageInput,
        concept: str | None = None,
        *,
        exemplars: Sequence[Exemplar] = (),
        exemplar_image: ImageInput | None = None,
        threshold: float | None = None,
        nms_iou: float | Literal["auto"] | None = "auto",
        image_size: int | None = None,
    ) -> FrameResult: ...

    @overload
    def segment(  # type: ignore[overload-overlap]
        self,
        image: ImageInput,
        concept: Sequence[str],
        *,
        exemplars: Sequence[Exemplar] = (),
        exemplar_image: ImageInput | None = None,
        threshold: float | Sequence[float] | None = None,
        nms_iou: float | Literal["auto"] | None = "auto",
        nms_across: bool = False,
        image_size: int | None = None,
    ) -> list[FrameResult]: ...

    @overload
    def segment(  # type: ignore[overload-overlap]
        self,
        image: Sequence[ImageInput],
        concept: str | None = None,
        *,
        exemplars: Sequence[Exemplar] | Sequence[Sequence[Exemplar]] = (),
        exemplar_image: ImageInput | None = None,
        threshold: float | None = None,
        nms_iou: float | Literal["auto"] | None = "auto",
        image_size: int | None = None,
    ) -> list[FrameResult]: ...

    @overload
    def segment(
        self,
        image: Sequence[ImageInput],
        concept: Sequence[str],
        *,
        exemplars: Sequence[Exemplar] | Sequence[Sequence[Exemplar]] = (),
        exemplar_image: ImageInput | None = None,
        threshold: float | Sequence[float] | None = None,
        nms_iou: float | Literal["auto"] | None = "auto",
        nms_across: bool = False,
        image_size: int | None = None,
    ) -> list[list[FrameResult]]: ...

    def segment(
        self,
        image: ImageInput | Sequence[ImageInput],
        concept: str | Sequence[str] | None = None,
        *,
        exemplars: Sequence[Exemplar] | Sequence[Sequence[Exemplar]] = (),
        exemplar_image: ImageInput | None = None,
        threshold: float | Sequence[float] | None = None,
        nms_iou: float | Literal["auto"] | None = "auto",
        nms_across: bool = False,
        image_size: int | None = None,
    ) -> FrameResult | list[FrameResult] | list[list[FrameResult]]:
        """Every instance of a concept on a picture, best first. A concept that is not there gives an empty result.

        Args:
            image: a path, PIL image, (H, W, 3) uint8 RGB array, or features from `encode`; or a list of these.
            concept: a noun phrase; or a list of them, which share one encoding of the picture; or None when exemplars
                alone say what is meant (the model is then asked for "visual", as the original does it).
            exemplars: examples (positive) and counter-examples (negative) on the picture; they go with every concept.
                For a list of pictures, one list for each. A mask acts through its tight box.
            exemplar_image: the picture that the exemplars lie on, if it is another one. Experimental: the model was
                not trained for this, and an exemplar also tells where on its picture it lies.
            threshold: 0..1, detections must score more; one for all concepts or one for each. None is the model's own.
            nms_iou: of two detections of a concept whose masks overlap more than this (intersection over union, 0..1),
                the weaker one goes. "auto" is the model's own choice; None keeps both.
            nms_across: whether detections of different concepts remove each other as well, so that every object keeps
                its best concept only.
            image_size: side of the square to which pictures are stretched, pixels, a multiple of the patch size (14);
                None is the model's own. Another size changes the results: the position table is tiled anew and the
                rotary positions of global attention are rescaled, which the weights were not trained for. Smaller is
                faster and coarser, and small objects are lost first. Not for features, which have their size.

        Returns:
            One result for one picture and one concept; a list of them for several concepts, or for several pictures;
            for several of both, a list for each picture.

        Raises:
            ImageError: a picture cannot be read or is too large.
            PromptError: a concept is empty, an exemplar does not fit its picture, or there is neither.
            InputError: any other argument has a wrong value.
        """
        images: list[Any] = list(image) if is_several(image) else [image]
        elsewhere = exemplar_image is not None
        given = _exemplars_of_each(
            exemplars, 1 if elsewhere else len(images), several=is_several(image) and not elsewhere
        )
        if concept is None and not all(given):
            raise PromptError("expected a concept, exemplars or both, got neither; say or show what to find")
        question = self._question(concept, threshold, nms_iou, nms_across)
        self.prepare(question.concepts)
        shown = None if exemplar_image is None else self._shown_elsewhere(given[0], exemplar_image, image_size)

        def rows_of(some: Sequence[int]) -> list[list[FrameResult]]:
            chosen = [images[idx] for idx in some]
            own = given if shown is None else [()] * len(images)
            return self._segment_pictures(chosen, [own[idx] for idx in some], shown, question, image_size)

        every, workers = range(len(images)), min(len(images), workers_for(self.model))
        parts = in_chunks(every, 1) if workers > 1 else [every]
        rows = list(itertools.chain.from_iterable(side_by_side(rows_of, parts, workers)))
        results = rows if is_several(concept) else [row[0] for row in rows]
        return results if is_several(image) else results[0]

    def _segment_pictures(
        self,
        images: Sequence[ImageInput],
        exemplars: Sequence[Sequence[Exemplar]],
        shown: PromptTokens | None,
        question: Question,
        image_size: int | None,
    ) -> list[list[FrameResult]]:
        """A row of results for each picture; `shown` are exemplars on another one, in place of each picture's own."""
        rows: list[list[FrameResult]] = []
        for batch in picture_batches(self.model, images, image_size=image_size, max_pixels=self.max_pixels):
            mine = exemplars[len(rows) : len(rows) + len(batch.names)]
            tokens = exemplar_tokens(self.model, batch.features, mine) if shown is None else shown
            rows += self._segment_batch(batch, question, tokens)
        return rows

    def _question(
        self,
        concept: str | Sequence[str] | None,
        threshold: float | Sequence[float] | None,
        nms_iou: float | Literal["auto"] | None,
        nms_across: bool,
    ) -> Question:
        """The arguments of `segment` with the model's own choices filled in."""
        concepts: list[Any] = list(concept) if is_several(concept) else [VISUAL if concept is None else concept]
        chosen = self.model.config.selection
        each = chosen.score_threshold if threshold is None else threshold
        return Question(
            concepts=tuple(concepts),
            thresholds=tuple(each) if isinstance(each, Sequence) else (each,) * len(concepts),
            nms_iou=chosen.nms_iou if nms_iou == "auto" else nms_iou,
            nms_across=nms_across,
        )

    def _shown_elsewhere(
        self, exemplars: Sequence[Exemplar], image: ImageInput, image_size: int | None
    ) -> PromptTokens:
        """Exemplars on another picture as the prompt tokens of one picture."""
        size = None if isinstance(image, ImageFeatures) else image_size
        (batch,) = picture_batches(self.model, [image], image_size=size, max_pixels=self.max_pixels)
        return exemplar_tokens(self.model, batch.features, [exemplars])

    def _segment_batch(
        self, batch: PictureBatch, question: Question, exemplars: PromptTokens
    ) -> Iterator[list[FrameResult]]:
        """The results of each picture, in the order of the concepts."""
        found = answers(self.model, self._texts, batch.features, question, exemplars)
        for _ in batch.names:
            mine = itertools.islice(found, len(question.concepts))
            # All at once only where detections of different concepts compete; else masks become codes as they come.
            parts = [list(mine)] if question.nms_across else ([answer] for answer in mine)
            yield [result for part in parts for result in self._results(batch, question, part)]

    def _results(self, batch: PictureBatch, question: Question, found: Sequence[Answer]) -> list[FrameResult]:
        """Results of one picture, duplicates among all that is `found` removed if that is wanted."""
        with stage("masks", self.model.device):
            detections = [answer.detections for answer in found]
            if question.nms_iou is not None:
                detections = without_duplicates(detections, question.nms_iou, across=question.nms_across)
            return [
                frame_result(
                    kept,
                    image=batch.names[answer.image_idx],
                    image_size_hw=batch.features.image_sizes_hw[answer.image_idx],
                    concept=question.concepts[answer.concept_idx],
                    presence=answer.presence,
                    model=self.model.config.name,
                    source=batch.sources[answer.image_idx],
                )
                for answer, kept in zip(found, detections, strict=True)
            ]


def _exemplars_of_each(
    exemplars: Sequence[Exemplar] | Sequence[Sequence[Exemplar]], images: int, *, several: bool
) -> list[Sequence[Exemplar]]:
    """One list for each picture, from what the caller gave for one picture or for several."""
    each: list[Any] = list(exemplars) if several and exemplars else [exemplars] * images
    if len(each) != images:
        raise PromptError(f"for {images} pictures exemplars must be {images} lists, got {len(each)}")
    for one in each:
        if not isinstance(one, Sequence) or not all(isinstance(exemplar, Exemplar) for exemplar in one):
            wanted = "one list of Exemplar for each picture" if several else "a list of Exemplar"
            raise PromptError(f"exemplars must be {wanted}, got {exemplars!r}")
    return each
