"""Prompts on a picture to masks of objects: the tracker's answer to clicks, boxes and masks.

Objects go through the network in parts of bounded memory. Nothing is remembered and nothing is chosen by sight, as the
original has it for pictures (spec/tracker.md 10).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from masklet.inference.batches import in_chunks
from masklet.inference.object_prompt import ObjectPrompt, PromptBatch, batch_prompts
from masklet.model.tracker import Tracker
from masklet.types import MaskCandidates, TrackerFeatures

Candidates = bool | Literal["auto"]
"""Give several masks for an object (True), one (False), or several where its prompt is ambiguous ("auto")."""


@dataclass(frozen=True, kw_only=True)
class ObjectMasks:
    """What the tracker says of one object, best first.

    Attributes:
        mask_logits: (M, 4h, 4w) float32 of the whole picture; positive inside the object.
        quality: (M,) float32 0..1, predicted overlap with the true mask, descending.
        sight: 0..1, is there an object to be seen.
    """

    mask_logits: Tensor
    quality: Tensor
    sight: float


def objects_at_once(device: torch.device, grid_hw: tuple[int, int]) -> int:
    """How many objects go through the mask decoder together: bounds its memory, some 50 MB for one of the public model.

    On a processor 8 of that model at its own size or 72 on a grid of 24 cells, on an accelerator 64.
    """
    height, width = grid_hw
    return max(1, 72 * 72 * (8 if device.type == "cpu" else 64) // (height * width))


def object_masks(
    tracker: Tracker,
    features: TrackerFeatures,
    prompts: Sequence[ObjectPrompt],
    image_size_hw: tuple[int, int],
    *,
    candidates: Candidates,
) -> list[ObjectMasks]:
    """Masks of each object, in the order of the prompts; each as if it were alone.

    Args:
        tracker: answers.
        features: of the picture.
        prompts: in pixels of the picture.
        image_size_hw: of the picture.
        candidates: how many masks.

    Raises:
        PromptError: a prompt does not fit the picture.
    """
    batches = batch_prompts(
        prompts,
        image_size_hw,
        input_size_hw=tracker.input_size_hw(features),
        mask_size_hw=features.mask_size_hw,
        device=features.coarse.device,
    )
    found: dict[int, ObjectMasks] = {}
    for batch in batches:
        # All of a batch are of one kind.
        several = prompts[batch.object_idx[0]].ambiguous if candidates == "auto" else candidates
        for part, answer in decoded(tracker, features, batch, several=several):
            found |= zip(part.object_idx, _best_first(answer), strict=True)
    return [found[object_idx] for object_idx in range(len(prompts))]


@torch.no_grad()
def decoded(
    tracker: Tracker, features: TrackerFeatures, batch: PromptBatch, *, several: bool
) -> Iterator[tuple[PromptBatch, MaskCandidates]]:
    """A batch in parts, with the masks of each in the order of the network."""
    for rows in in_chunks(range(len(batch.object_idx)), objects_at_once(features.coarse.device, features.grid_hw)):
        part = batch.part(slice(rows[0], rows[-1] + 1))
        yield part, tracker.candidates(features, part.points, mask_logits=part.mask_logits, ambiguous=several)


def _best_first(candidates: MaskCandidates) -> Iterator[ObjectMasks]:
    order = candidates.quality.argsort(dim=1, descending=True, stable=True)
    sight = candidates.sight_logits.sigmoid().tolist()
    for object_idx, best in enumerate(order):
        yield ObjectMasks(
            mask_logits=candidates.mask_logits[object_idx, best].float(),
            quality=candidates.quality[object_idx, best],
            sight=sight[object_idx],
        )
