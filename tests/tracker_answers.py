"""What masklet's tracker computes for the questions of `tracker_oracle.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from masklet.checkpoint.keymaps import from_hf
from masklet.config import ModelConfig
from masklet.model.build import build_detector
from masklet.model.detector import Detector
from masklet.model.memory_bank import BankRules, Remembered, read, recall
from masklet.model.tracker import Tracker
from masklet.types import MaskletMasks, Memory, MemoryEntry, PointPrompts, TrackerFeatures
from oracle_models import skip_default_init
from tracker_oracle import ImageAnswer, ImageQuestion, Record, Step, step_differences

_MEMORY = tuple(
    f"tracker.{part}."
    for part in ("memory_encoder", "memory_attention", "no_pointer", "pointer_head", "mask_downsample")
)
RULES = BankRules(select=False, huggingface=True)


def our_tracker(config: ModelConfig, hf_model: Any) -> Detector:
    """Our model of `config` with the weights of a tracker of `transformers`; the detector's parts have none."""
    with torch.device("meta"), skip_default_init():
        model = build_detector(config)
    state = from_hf(hf_model.state_dict(), config)
    missing, unexpected = model.load_state_dict(state, strict=False, assign=True)
    assert not unexpected
    rest = [name for name in missing if name.startswith(("vision_encoder.", "tracker_neck.", "tracker."))]
    # The model for pictures has no memory: these stay without numbers.
    assert all(name.startswith(_MEMORY) for name in rest), rest
    return model.eval()


def tracker_of(model: Detector) -> Tracker:
    """Its tracker, which it has."""
    assert model.tracker is not None
    return model.tracker


@torch.no_grad()
def like_hugging_face(tracker: Tracker) -> Tracker:
    """A tracker whose pictures lack the vector of missing memory: transformers' image model leaves it out (10.4)."""
    tracker.no_memory.weight = torch.nn.Parameter(torch.zeros_like(tracker.no_memory.weight))
    return tracker


@torch.no_grad()
def our_levels(model: Detector, pixels: Tensor) -> tuple[Tensor, ...]:
    """The tracker's pyramid of some frames (F, 3, R, R)."""
    assert model.tracker_neck is not None
    return model.tracker_neck(model.vision_encoder(pixels))


@torch.no_grad()
def image_answer(tracker: Tracker, features: TrackerFeatures, question: ImageQuestion) -> ImageAnswer:
    """Our candidates. Without points the oracle makes one that is none, where the original has no token at all."""
    parts = []
    if question.boxes_px is not None:
        parts.append(PointPrompts.from_boxes(question.boxes_px))
    if question.points_px is not None and question.labels is not None:
        parts.append(PointPrompts(xy_px=question.points_px, labels=question.labels))
    points = parts[0].followed_by(parts[1]) if len(parts) == 2 else (parts or [PointPrompts.none(1)])[0]
    masks = None if question.mask_logits is None else question.mask_logits[None]
    found = tracker.candidates(features, points, mask_logits=masks, ambiguous=question.ambiguous)
    return ImageAnswer(found.mask_logits, found.quality, found.sight_logits)


def memory_of(step: Step, frames: int) -> Memory:
    """What the bank gives to a frame, of the oracle's records."""
    remembered = Remembered(prompted=list(step.prompted), tracked=dict.fromkeys(step.tracked, 1.0), frames=frames)
    records: Mapping[int, Record] = {**step.tracked, **step.prompted}
    entries = {
        t: MemoryEntry(map_tokens=record.map_tokens[None], pointers=record.pointer[None])
        for t, record in records.items()
    }
    return read(recall(step.frame_idx, remembered, RULES, backwards=step.backwards), entries)


def _masks(tracker: Tracker, features: TrackerFeatures, step: Step, frames: int) -> MaskletMasks:
    prompt = step.prompt
    if prompt is None:
        return tracker.track(features, memory_of(step, frames))
    if prompt.mask is not None:
        return tracker.prompt_mask(features, prompt.mask[None], ambiguous=True)
    points = PointPrompts(xy_px=torch.tensor([prompt.points_px]), labels=torch.tensor([prompt.labels]))
    return tracker.prompt(features, points, memory=None if step.initial else memory_of(step, frames))


@torch.no_grad()
def compared_step(tracker: Tracker, features: TrackerFeatures, step: Step, frames: int) -> dict[str, float]:
    """Differences of one object on one frame, ours with the memory that the oracle had.

    By the names of `step_differences`, and "flipped", the share of pixels of a mask that is remembered as 0 and 1 which
    lie on the other side of 0 than the oracle's. Where there are any, the map is compared for the oracle's mask.
    """
    expected, flipped = step.expected, 0.0
    masks = _masks(tracker, features, step, frames)
    logits, sight = _remembered_logits(tracker, features, step, masks.mask_logits), masks.sight_logits
    if step.binary:
        theirs = _remembered_logits(tracker, features, step, expected.mask[None])
        flipped = float(((logits > 0) != (theirs > 0)).float().mean())
        if flipped:
            logits, sight = theirs, expected.sight[None]
    tokens = tracker.encode_memory(features, logits, sight, binary=step.binary)
    found = Record(masks.mask_logits[0], masks.pointers[0], masks.sight_logits[0], tokens[0])
    return {**step_differences(found, expected), "flipped": flipped}


def _remembered_logits(tracker: Tracker, features: TrackerFeatures, step: Step, mask_logits: Tensor) -> Tensor:
    """(1, 16h, 16w), what the memory encoder reads, in Hugging Face's order: a prompted mask before the one found."""
    if step.prompt is not None and step.prompt.mask is not None:
        logits = step.prompt.mask[None] * 20 - 10
    else:
        logits = tracker.at_input_size(features, mask_logits)
    height, width = features.grid_hw
    return F.interpolate(logits[:, None], (16 * height, 16 * width), mode="bilinear", antialias=True)[:, 0]


def compared_film(tracker: Tracker, levels: tuple[Tensor, ...], steps: list[Step]) -> list[dict[str, float]]:
    """`compared_step` of all steps of a film.

    Args:
        tracker: ours.
        levels: our pyramid of all frames.
        steps: the oracle's.
    """
    with torch.no_grad():
        of_frame = [tracker.features(tuple(level[t : t + 1] for level in levels)) for t in range(len(levels[0]))]
    return [compared_step(tracker, of_frame[step.frame_idx], step, len(of_frame)) for step in steps]
