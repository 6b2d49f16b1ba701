"""A video without a network: what detector and tracker say is scripted, all rules in between are the real ones.

The world of spec/video.md 15.2: masks of 16 x 16 at every size, so that resizing does nothing, and no cleaning, which
would eat the shapes. The frame loop is the real `ConceptLoop`; a `ScriptedTracker` stands for its session.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from masklet.inference.association import Association, Births
from masklet.inference.concept_loop import ConceptLoop
from masklet.inference.frame_masklets import FrameMasklets, presented
from masklet.inference.hold_back import HeldBack, HeldFrame, frame_order, hide, hold_back, release_all
from masklet.inference.lifecycle import Masklets, Verdict, forgotten, kept_by_user, placed
from masklet.inference.policy import VideoPolicy
from masklet.inference.tracked_frame import TrackedFrame
from masklet.ops.mask_cleanup import later_cut_earlier
from masklet.ops.masks import masks_to_boxes
from masklet.types import Detections, MaskletMasks

SIDE = 16
POLICY = VideoPolicy(clean_area=0)


def rectangle(x0: int, y0: int, x1: int, y1: int, inside: float = 5.0) -> Tensor:
    mask = torch.full((SIDE, SIDE), -5.0)
    mask[y0:y1, x0:x1] = inside
    return mask


A, B, C = rectangle(0, 0, 4, 4), rectangle(8, 8, 12, 12), rectangle(0, 8, 4, 12)
EMPTY = rectangle(0, 0, 0, 0)

Found = Sequence[tuple[Tensor, float]]


@dataclass
class ScriptedTracker:
    """A `TrackerSession`; frames on which something was said of an object give what was said.

    Attributes:
        masks: logits of an object, by id, on a frame.
        sight: logit of its being in sight.
        object_ids: followed now.
        buckets: ids that began together.
        said: masks that were given, by frame and id.
        beside: masks of the others of their bucket on frames on which a detector set one right, in the same way.
        known: ids that were followed to a frame.
        remembered: masks and logits of sight whose memory is encoded, by frame.
        log: what it was asked.
    """

    masks: Callable[[int, int], Tensor]
    sight: Callable[[int, int], float]
    object_ids: tuple[int, ...] = ()
    buckets: list[list[int]] = field(default_factory=list)
    said: dict[int, dict[int, Tensor]] = field(default_factory=dict)
    beside: dict[int, dict[int, Tensor]] = field(default_factory=dict)
    known: dict[int, set[int]] = field(default_factory=dict)
    remembered: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    log: list[tuple[Any, ...]] = field(default_factory=list)

    @property
    def prompted_frames(self) -> list[int]:
        return sorted(self.said)

    def begin(self, frame: int, masks: Mapping[int, Tensor], *, groups: Mapping[int, int] | None = None) -> None:
        group_of = np.array([0 if groups is None else groups[object_id] for object_id in masks])
        cut = later_cut_earlier(torch.stack([_at_side(mask) for mask in masks.values()]), group_of)
        for object_id, mask in zip(masks, cut, strict=True):
            self.say(frame, object_id, mask)
        together: dict[int, list[int]] = {}
        for object_id, group in zip(masks, group_of.tolist(), strict=True):
            together.setdefault(group, []).append(object_id)
        self.buckets.extend(together.values())

    def correct(self, frame: int, masks: Mapping[int, Tensor], *, remember: bool = True) -> None:
        shown = dict(zip(self.object_ids, self.shown(frame).masks.mask_logits, strict=True))
        for bucket in self.buckets:
            if not masks.keys().isdisjoint(bucket):
                others = {i: stored_mask(shown[i] > 0) for i in bucket if i in shown and i not in masks}
                self.beside.setdefault(frame, {}).update(others)
        for object_id, mask in masks.items():
            self.say(frame, object_id, mask)
        self.remembered.pop(frame, None)  # the real one encodes the given masks

    def click(self, frame: int, object_id: int, points: Any, labels: Any, **rest: Any) -> None:
        self.log.append(("click", frame, object_id, points, labels, rest))
        self.say(frame, object_id, self.masks(object_id, frame) > 0)

    def say(self, frame: int, object_id: int, mask: Tensor) -> None:
        """A mask, bool, at any size."""
        self.said.setdefault(frame, {})[object_id] = stored_mask(_at_side(mask))
        self.object_ids = tuple(dict.fromkeys((*self.object_ids, object_id)))

    def demote(self, object_id: int, near: int, *, window: int) -> None:
        self.log.append(("demote", object_id, near, window))
        clicked = {move[1] for move in self.log if move[0] == "click"}
        for frame in [one for one, said in self.said.items() if object_id in said and one not in clicked]:
            if abs(frame - near) <= window:
                self.known.setdefault(frame, set()).update(self.said.pop(frame))

    def remember(self, frame: int, logits: Tensor, sight: Tensor) -> None:
        assert len(logits) == len(sight) == len(self.object_ids)
        self.remembered[frame] = (logits, sight)

    def remove(self, object_id: int) -> None:
        self.object_ids = tuple(i for i in self.object_ids if i != object_id)
        for said in self.said.values():
            said.pop(object_id, None)

    def forget(self) -> None:
        """What was seen of objects on frames that were passed, as the real one does with frames out of reach."""
        for kept in (self.said, self.beside, self.known, self.remembered):
            kept.clear()

    def reset(self) -> None:
        self.object_ids = ()
        self.buckets.clear()
        self.forget()

    def follow(
        self,
        frame: int,
        *,
        backwards: bool = False,
        remember: bool = True,
        object_ids: Collection[int] | None = None,
    ) -> TrackedFrame:
        self.log.append(("follow", frame, remember, None if object_ids is None else sorted(object_ids)))
        self.known.setdefault(frame, set()).update(self.object_ids if object_ids is None else object_ids)
        return self.shown(frame)

    def shown(self, frame: int) -> TrackedFrame:
        said, known = {**self.beside.get(frame, {}), **self.said.get(frame, {})}, self.known.get(frame, set())
        masks = [said.get(i, self.masks(i, frame) if i in known else EMPTY) for i in self.object_ids]
        sight = [10.0 if i in said else self.sight(i, frame) for i in self.object_ids]
        count = len(self.object_ids)
        return TrackedFrame(
            frame_idx=frame,
            object_ids=self.object_ids,
            masks=MaskletMasks(
                mask_logits=torch.stack(masks) if masks else torch.zeros(0, SIDE, SIDE),
                quality=torch.ones(count),
                sight_logits=torch.tensor(sight),
                pointers=torch.zeros(count, 4),
            ),
        )


@dataclass
class Step:
    """What happened on one frame."""

    frame_idx: int
    before: list[int]  # ids at its start
    association: Association
    births: Births
    verdict: Verdict
    remembered: Tensor  # logits whose memory is encoded
    sight: Tensor  # the same of sight
    held: HeldFrame[FrameMasklets]

    @property
    def removed(self) -> list[int]:
        return self.verdict.removed_ids

    def areas(self, masks: Tensor) -> dict[int, int]:
        """Pixels of the 16 x 16, whatever the masks' size."""
        areas = [int((_at_side(mask) > 0).sum()) for mask in masks]
        return dict(zip(self.before, areas, strict=True))


class NotedLoop(ConceptLoop):
    """Tells what it decided on the last frame."""

    decided: tuple[Association, Births, Verdict]

    def _decide(self, *args: Any, **kwargs: Any) -> tuple[Association, Births, Verdict]:
        self.decided = super()._decide(*args, **kwargs)
        return self.decided


@dataclass
class ScriptedVideo:
    """`detections(frame)`: (mask, score) of concept 0, or by concept; `masks(object_id, frame)`: a tracker's logits."""

    detections: Callable[[int], Found | Mapping[int, Found]]
    masks: Callable[[int, int], Tensor]
    policy: VideoPolicy = POLICY
    sight: Callable[[int, int], float] = lambda object_id, frame: 5.0
    frame_count: int = 40
    log: list[Step] = field(default_factory=list)
    held: HeldBack[FrameMasklets] = field(default_factory=HeldBack)

    def __post_init__(self) -> None:
        self.tracker = ScriptedTracker(self.masks, self.sight)
        self.loop = NotedLoop(self.tracker, self._detect, size_hw=(SIDE, SIDE), policy=self.policy)  # type: ignore

    def step(self, frame: int, backwards: bool = False) -> Step:
        before = self.masklets.ids()
        held = self.loop.step(frame, backwards=backwards).held
        nothing = torch.zeros(0, SIDE, SIDE), torch.zeros(0)
        remembered, sight = self.tracker.remembered[frame] if before else nothing
        step = Step(frame, before, *self.loop.decided, remembered, sight, held)
        self.log.append(step)
        return step

    def steps(self, *frames: int, backwards: bool = False) -> ScriptedVideo:
        for frame in frames:
            self.step(frame, backwards)
        return self

    def propagate(
        self, start: int, steps: int | None = None, backwards: bool = False
    ) -> Iterator[tuple[int, FrameMasklets]]:
        self.held = HeldBack()
        for frame in frame_order(start, steps, frame_count=self.frame_count, backwards=backwards):
            step = self.step(frame, backwards)
            self.held, ready = hold_back(self.held, step.held, removed=step.removed, policy=self.policy)
            for one in ready:
                yield one.frame_idx, presented(one.value, one.hidden)
        for one in release_all(self.held, self.policy):
            yield one.frame_idx, presented(one.value, one.hidden)

    # --- what a user does ---------------------------------------------------------------------------------------------

    def click(self, object_id: int, frame: int, mask: Tensor, concept_idx: int = 0) -> None:
        if object_id in self.masklets.ids():
            self.loop.masklets = kept_by_user(self.masklets, [object_id])
        else:
            self.loop.masklets = placed(
                self.masklets, object_id, concept_idx=concept_idx, frame_idx=frame, policy=self.policy
            )
            self.tracker.buckets.append([object_id])
        self.tracker.say(frame, object_id, mask > 0)

    def remove(self, object_id: int) -> None:
        self.loop.masklets = forgotten(self.masklets, [object_id])
        self.tracker.remove(object_id)
        self.held = hide(self.held, [object_id])

    # --- the scripted part --------------------------------------------------------------------------------------------

    def _detect(self, frame: int) -> dict[int, Detections]:
        found = self.detections(frame)
        by_concept = found if isinstance(found, Mapping) else {0: found}
        return {concept: detections_of(pairs) for concept, pairs in by_concept.items()}

    # --- what tests ask -----------------------------------------------------------------------------------------------

    @property
    def masklets(self) -> Masklets:
        return self.loop.masklets

    @property
    def prompted(self) -> dict[int, dict[int, Tensor]]:
        """Stored masks of prompted frames, by frame and id."""
        said, beside = self.tracker.said, self.tracker.beside
        return {frame: {**beside.get(frame, {}), **said.get(frame, {})} for frame in sorted({*said, *beside})}

    @property
    def born(self) -> dict[int, int]:
        return {int(one): step.frame_idx for step in self.log for one in step.births.object_ids}

    @property
    def removals(self) -> dict[int, int]:
        return {one: step.frame_idx for step in self.log for one in step.removed}

    @property
    def unmatched(self) -> dict[int, list[int]]:
        frames: dict[int, list[int]] = {}
        for step in self.log:
            for place in np.flatnonzero(step.association.unmatched):
                frames.setdefault(step.before[place], []).append(step.frame_idx)
        return frames

    @property
    def pairs(self) -> dict[tuple[int, int], list[int]]:
        """Frames on which the counts of shared detections grew, as long as they are kept."""
        frames: dict[tuple[int, int], list[int]] = {}
        counts: Mapping[tuple[int, int], int] = {}
        for step in self.log:
            for pair, count in step.verdict.masklets.shared.items():
                frames.setdefault(pair, []).extend([step.frame_idx] * (count - counts.get(pair, 0)))
            counts = step.verdict.masklets.shared
        return frames

    def of(self, name: str) -> dict[int, float]:
        """One of the arrays of `Masklets`, by id."""
        return dict(zip(self.masklets.ids(), getattr(self.masklets, name).tolist(), strict=True))


def detections_of(found: Found) -> Detections:
    """As `selection.best_first` gives them: queries in the order of the script, best first."""
    scores = torch.tensor([score for _, score in found], dtype=torch.float32)
    masks = torch.stack([mask for mask, _ in found]) if found else torch.zeros(0, SIDE, SIDE)
    boxes = masks_to_boxes(masks > 0) / SIDE
    every = Detections(
        query_idx=torch.arange(len(found)),
        scores=scores,
        boxes_cxcywh_norm=torch.cat(((boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]), dim=1),
        mask_logits=masks,
    )
    return every.select(scores.argsort(descending=True, stable=True))


def _at_side(mask: Tensor) -> Tensor:
    """A mask of whole pixels of the 16 x 16, at that size."""
    scale = mask.shape[0] // SIDE
    return mask[scale // 2 :: scale, scale // 2 :: scale]


def stored_mask(mask: Tensor) -> Tensor:
    return mask.float() * 2048 - 1024


def changed(**rules: object) -> VideoPolicy:
    return replace(POLICY, **rules)  # type: ignore[arg-type]
