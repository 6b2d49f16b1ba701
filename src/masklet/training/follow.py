"""One training step of the tracker: clips and what a user would do in, loss out (spec/training.md 9).

The first frame is prompted by clicks, boxes or masks; some answers are corrected by further clicks, sometimes on a
later frame too; on all other frames the objects are followed by what the tracker remembers of its own answers. The
vision encoder learns nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from masklet.config import TrackerConfig
from masklet.errors import ConfigError
from masklet.losses.tracker import TERMS, TrackerLoss, TrackerWeights, tracker_loss
from masklet.model.detector import Detector
from masklet.model.memory_bank import BankRules, Remembered, frame_score, read, recall
from masklet.model.tracker import Tracker
from masklet.ops.mask_cleanup import OUTSIDE
from masklet.ops.resize import resized
from masklet.training.clicks import click_inside, click_on_error
from masklet.training.clip_batches import MASK_SCALE, ClipBatch
from masklet.types import MaskCandidates, MaskletMasks, MemoryEntry, PointPrompts, TrackerFeatures

_FEEDBACK_MOST = 32.0  # mask logits that are fed back are clamped to this, as at use
_STRAYED_MOST = 3  # frames in a row; as many as the default tracker reads beside the prompted ones
_INPUT_SCALE = 2  # a given mask has so many times the resolution of true masks


@dataclass(frozen=True, kw_only=True)
class FollowSteps:
    """What happens in the clips of a batch. A chance is drawn once for all of its objects, unless it says otherwise.

    Attributes:
        clips: of a batch.
        frames: of each.
        objects: followed in each; where there are fewer, some several times.
        repeats: each is followed so many times, prompted in other places; a vision encoder costs more than a prompt.
        masks: chance that the first frame is prompted by masks.
        boxes: chance that it is by boxes; else by clicks.
        corrections: at most so many clicks correct the first answer.
        later: chance that a later frame is prompted as well, by a click on what is wrong there.
        competing: chance that on frames without a prompt a pixel goes to the strongest mask of its clip, in what is
            judged and in what is remembered.
        strayed: chance, drawn for each object, that one to three frames in a row are remembered as of another object
            of its clip: it learns to return to what was shown at first, though what came last says otherwise.
        meeting: clips in which no two objects touch each other give way to others.
        weights: of the losses.
    """

    clips: int = 2
    frames: int = 8
    objects: int = 3
    repeats: int = 1
    masks: float = 0.35
    boxes: float = 0.25
    corrections: int = 2
    later: float = 0.3
    competing: float = 0.0
    strayed: float = 0.0
    meeting: bool = False
    weights: TrackerWeights = field(default_factory=TrackerWeights)


def follow_loss(model: Detector, batch: ClipBatch, steps: FollowSteps) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean loss of all answers to a batch, and its parts without their weights.

    Draws from the global generator.

    Raises:
        ConfigError: the model has no tracker.
    """
    if model.tracker is None or model.config.tracker is None:
        raise ConfigError(f"model {model.config.name!r} has no tracker that could learn")
    answers = _Answers(steps.weights)
    features = list(_features(model, batch))
    _follow(model.tracker, model.config.tracker, features, batch, steps, answers)
    return answers.mean()


def _features(model: Detector, batch: ClipBatch) -> Iterator[TrackerFeatures]:
    """Of every frame, a row for each object."""
    frames, clips = batch.pixels.shape[:2]
    with torch.no_grad():
        trunk = model.encode_patches(batch.pixels.flatten(0, 1))
    seen = model.tracker_features(trunk)
    levels = (level.unflatten(0, (frames, clips)) for level in (seen.fine, seen.middle, seen.coarse))
    for frame in zip(*levels, strict=True):
        fine, middle, coarse = (level[batch.clip_idx] for level in frame)
        yield TrackerFeatures(fine=fine, middle=middle, coarse=coarse)


def _follow(
    tracker: Tracker,
    config: TrackerConfig,
    features: list[TrackerFeatures],
    batch: ClipBatch,
    steps: FollowSteps,
    answers: _Answers,
) -> None:
    count = len(features)
    rules = BankRules.of(config, select=True)  # as at use
    prompted = {0}
    if count > 1 and torch.rand(()) < steps.later:
        prompted.add(int(torch.randint(1, count, ())))
    competing = bool(steps.competing > 0 and torch.rand(()) < steps.competing)
    rivals = _rivals(batch)
    strays = _strayed(count, rivals, steps.strayed)
    remembered: dict[int, MemoryEntry] = {}
    scores: dict[int, float] = {}
    for frame, seen in enumerate(features):
        truth = batch.masks[frame], batch.visible[frame]
        if frame == 0:
            masklets = _begin(tracker, seen, batch, steps, answers)
        else:
            past = Remembered(prompted=[t for t in sorted(prompted) if t < frame], tracked=scores, frames=count)
            memory = read(recall(frame, past, rules), remembered)
            points = PointPrompts.none(len(batch.clip_idx), device=seen.coarse.device)
            candidates = tracker.proposals(seen, points, memory=memory)
            masklets = tracker.chosen(candidates)
            if competing:
                candidates, masklets = _contested(candidates, masklets, rivals)
            answers.add(candidates, *truth, prompted=False)
            if frame in prompted:
                masklets = _corrected(tracker, seen, masklets, None, truth, answers)[0]
            else:
                scores[frame] = frame_score(masklets.sight_logits.detach(), masklets.quality.detach())
                masklets = masklets.select(strays[frame].tolist())
        remembered[frame] = MemoryEntry(
            map_tokens=tracker.encode_memory(
                seen,
                tracker.at_input_size(seen, masklets.mask_logits),
                masklets.sight_logits,
                binary=frame in prompted,
            ),
            pointers=masklets.pointers,
        )


def _contested(
    candidates: MaskCandidates, masklets: MaskletMasks, rivals: Tensor
) -> tuple[MaskCandidates, MaskletMasks]:
    """Both as others leave them, by (O, O) who is a rival of whom.

    Candidates become the log odds of a mask among all masks of its clip and the rest of the picture (soft aggregation;
    Oh et al., Video object segmentation using space-time memory networks, 2019). Masks that are remembered lose pixels
    on which another is stronger, as at use.
    """
    chosen = masklets.mask_logits  # (O, h, w)
    against = torch.where(rivals[:, :, None, None], chosen, -torch.inf)  # (O, O, h, w)
    nothing = torch.zeros_like(chosen)[:, None]
    left = candidates.mask_logits - torch.cat([against, nothing], dim=1).logsumexp(1)[:, None]
    lost = against.amax(1) > chosen
    return (
        replace(candidates, mask_logits=left),
        replace(masklets, mask_logits=torch.where(lost, chosen.clamp(max=OUTSIDE), chosen)),
    )


def _rivals(batch: ClipBatch) -> Tensor:
    """(O, O) bool: which are different objects of the same clip."""
    clip_idx, instance_idx = batch.clip_idx, batch.instance_idx
    return (clip_idx[:, None] == clip_idx) & (instance_idx[:, None] != instance_idx)


def _strayed(frames: int, rivals: Tensor, chance: float) -> Tensor:
    """(F, O) int64: as which object each is remembered on a frame; always as itself on the first one."""
    objects, device = len(rivals), rivals.device
    own = torch.arange(objects, device=device).expand(frames, objects)
    if not chance:
        return own
    drawn = (torch.rand(objects, objects, device=device) * rivals).argmax(1)
    first = torch.randint(1, max(frames, 2), (objects,), device=device)
    length = torch.randint(1, _STRAYED_MOST + 1, (objects,), device=device)
    chosen = rivals.any(1) & (torch.rand(objects, device=device) < chance)
    frame = torch.arange(frames, device=device)[:, None]
    return torch.where((frame >= first) & (frame < first + length) & chosen, drawn, own)


def _begin(
    tracker: Tracker, seen: TrackerFeatures, batch: ClipBatch, steps: FollowSteps, answers: _Answers
) -> MaskletMasks:
    """The first frame: masks, boxes or clicks, and corrections."""
    masks = batch.masks[0]
    chance = float(torch.rand(()))
    if chance < steps.masks:
        height, width = masks.shape[-2:]
        return tracker.prompt_mask(seen, resized(masks, (_INPUT_SCALE * height, _INPUT_SCALE * width)))
    if chance < steps.masks + steps.boxes:
        points = PointPrompts.from_boxes(batch.boxes_xyxy_px)
    else:
        points = click_inside(masks, _cell_px(tracker))
    truth = masks, batch.visible[0]
    candidates = tracker.proposals(seen, points)
    answers.add(candidates, *truth)
    masklets = tracker.chosen(candidates)
    for _ in range(int(torch.randint(steps.corrections + 1, ()))):
        masklets, points = _corrected(tracker, seen, masklets, points, truth, answers)
    return masklets


def _corrected(
    tracker: Tracker,
    seen: TrackerFeatures,
    masklets: MaskletMasks,
    points: PointPrompts | None,
    truth: tuple[Tensor, Tensor],
    answers: _Answers,
) -> tuple[MaskletMasks, PointPrompts]:
    """The answer after a click on what is wrong, and all points so far. The answer before goes with the click."""
    height, width = truth[0].shape[-2:]
    found = resized(masklets.mask_logits.detach(), (height, width)) > 0
    click = click_on_error(found, truth[0], _cell_px(tracker))
    points = click if points is None else points.followed_by(click)
    before = masklets.mask_logits.detach().clamp(-_FEEDBACK_MOST, _FEEDBACK_MOST)
    candidates = tracker.proposals(seen, points, mask_logits=before)
    answers.add(candidates, *truth)
    return tracker.chosen(candidates), points


def _cell_px(tracker: Tracker) -> float:
    return tracker.patch_size / MASK_SCALE


class _Answers:
    """Losses of the answers to a batch, and their means.

    Answers to prompts count as much as those to what is remembered, however many frames follow: no mask is followed
    better than it was begun.
    """

    def __init__(self, weights: TrackerWeights) -> None:
        self._weights = weights
        self._losses: dict[bool, list[TrackerLoss]] = {}  # by whether there was a prompt

    def add(self, candidates: MaskCandidates, masks: Tensor, visible: Tensor, *, prompted: bool = True) -> None:
        loss = tracker_loss(
            candidates.mask_logits, candidates.quality, candidates.sight_logits, masks, visible, self._weights
        )
        self._losses.setdefault(prompted, []).append(loss)

    def mean(self) -> tuple[Tensor, dict[str, Tensor]]:
        # Masks alone on one frame leave nothing to be judged; their pointers are read on later frames only.
        assert self._losses, "a clip of one frame with given masks has no loss"
        groups = list(self._losses.values())
        terms = {name: _mean_of_means([[loss.terms[name] for loss in group] for group in groups]) for name in TERMS}
        return _mean_of_means([[loss.total for loss in group] for group in groups]), terms


def _mean_of_means(groups: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(group).mean() for group in groups]).mean()
