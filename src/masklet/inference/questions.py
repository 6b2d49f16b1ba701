"""What is asked of pictures, and the detector's answer: concepts and exemplars to detections.

All prompts (picture x concept) of a batch run through the detector in parts of bounded memory. Exemplars are encoded
once per picture, whatever the number of concepts.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import SupportsFloat

import torch

from masklet.errors import InputError, PromptError
from masklet.inference.batches import in_chunks
from masklet.inference.exemplars import batch_exemplars
from masklet.inference.selection import best_first, queries_above
from masklet.inference.stages import stage
from masklet.inference.text_cache import TextCache
from masklet.model.detector import Detector, concat_prompts
from masklet.model.mask_head import Laterals
from masklet.types import Detections, Exemplar, ImageFeatures, PromptTokens


def tokens_at_once(device: torch.device) -> int:
    """Image tokens, over all prompts, that one pass of the detector takes: bounds its memory.

    On a processor 4 prompts of the public model at its own size, or 36 of the default one (more prompts in a pass are
    no faster there), on an accelerator 16.
    """
    return 72 * 72 * (4 if device.type == "cpu" else 16)


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of every picture.

    Attributes:
        concepts: phrases.
        thresholds: one for each concept, 0..1.
        nms_iou: mask overlap above which the weaker of two detections goes, 0..1; None keeps both.
        nms_across: whether detections of different concepts remove each other.
    """

    concepts: tuple[str, ...]
    thresholds: tuple[float, ...]
    nms_iou: float | None
    nms_across: bool

    def __post_init__(self) -> None:
        if len(self.thresholds) != len(self.concepts):
            raise InputError(
                f"threshold must be one number, or one for each of {len(self.concepts)} concepts, "
                f"got {len(self.thresholds)}"
            )
        for threshold in self.thresholds:
            if not _is_fraction(threshold):
                raise InputError(f"threshold must be in 0..1, got {threshold!r}")
        if self.nms_iou is not None and not _is_fraction(self.nms_iou):
            raise InputError(f"nms_iou must be in 0..1, None or 'auto', got {self.nms_iou!r}")
        if self.nms_across and self.nms_iou is None:
            raise InputError(
                "nms_across needs nms_iou, the mask overlap above which two detections are the same object"
            )


def _is_fraction(value: object) -> bool:
    return isinstance(value, SupportsFloat) and 0 <= float(value) <= 1  # false for NaN as well


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The detections of one concept on one picture.

    Attributes:
        image_idx: picture in the batch.
        concept_idx: concept of the question.
        presence: 0..1.
        detections: best first, duplicates not yet removed.
    """

    image_idx: int
    concept_idx: int
    presence: float
    detections: Detections


@torch.no_grad()
def exemplar_tokens(model: Detector, features: ImageFeatures, exemplars: Sequence[Sequence[Exemplar]]) -> PromptTokens:
    """The exemplars of each of B pictures as prompt tokens, (B, T, C).

    Needed without exemplars too: the summary token is part of every prompt.

    Args:
        model: encodes.
        features: of B pictures.
        exemplars: B lists, in pixels of their pictures.

    Raises:
        PromptError: an exemplar does not fit its picture, or is a point and the model has no weights for points.
    """
    if not model.config.geometry.points and any(one.point_xy is not None for each in exemplars for one in each):
        raise PromptError(
            f"model {model.config.name!r} has no weights for exemplar points (checkpoints of Hugging Face's format do "
            "not); use a box, or a checkpoint of Meta's format"
        )
    batch = batch_exemplars(exemplars, features.image_sizes_hw, device=model.device)
    tokens = model.encode_exemplars(features, torch.arange(len(features), device=model.device), batch)
    if model.config.geometry.cls_without_exemplars or not tokens.valid.shape[1]:
        return tokens
    # A picture without exemplars must not get the summary token because another one in its batch has some.
    some = torch.tensor([bool(each) for each in exemplars], device=model.device)
    return PromptTokens(tokens=tokens.tokens, valid=tokens.valid & some[:, None])


def answers(
    model: Detector, texts: TextCache, features: ImageFeatures, question: Question, exemplars: PromptTokens
) -> Iterator[Answer]:
    """Asks every picture for every concept; picture by picture, concepts in their order.

    Args:
        model: detects.
        texts: features of phrases.
        features: of B pictures.
        question: the same for all of them.
        exemplars: (B, T, C) tokens of each picture, or (1, T, C) of all.
    """
    pairs = [(image, concept) for image in range(len(features)) for concept in range(len(question.concepts))]
    height, width = features.levels[-1].shape[-2:]

    @functools.lru_cache(maxsize=1)  # questions come picture by picture
    def laterals(image: int) -> Laterals:
        return model.laterals(features.select(image))

    shared = laterals if len(question.concepts) > 1 else None
    for chunk in in_chunks(pairs, max(1, tokens_at_once(model.device) // (height * width))):
        yield from _ask(model, texts, features, question, exemplars, chunk, shared)


@torch.no_grad()
def _ask(
    model: Detector,
    texts: TextCache,
    features: ImageFeatures,
    question: Question,
    exemplars: PromptTokens,
    pairs: Sequence[tuple[int, int]],
    laterals: Callable[[int], Laterals] | None,
) -> list[Answer]:
    """One pass for P prompts, given as (picture, concept); `laterals` as in `Detector.decode_masks`."""
    image_idx = torch.tensor([image for image, _ in pairs], device=model.device)
    with stage("detect", model.device):
        text = texts.tokens([question.concepts[concept] for _, concept in pairs])
        # One row of exemplars stands for all pictures.
        prompt = concat_prompts(
            text, exemplars.select(image_idx if len(exemplars) > 1 else torch.zeros_like(image_idx))
        )
        raw = model.detect(features, image_idx, prompt)
        keep = queries_above(raw, [question.thresholds[concept] for _, concept in pairs])
    with stage("masks", model.device):
        masks = model.decode_masks(features, image_idx, prompt, raw, keep, laterals=laterals)
        detections = best_first(raw, keep, masks)
    presence = raw.presence_logits.float().sigmoid().tolist()
    return [
        Answer(image_idx=image, concept_idx=concept, presence=present, detections=found)
        for (image, concept), present, found in zip(pairs, presence, detections, strict=True)
    ]
