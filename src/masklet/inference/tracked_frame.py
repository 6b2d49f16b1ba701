"""What a session gives out: all objects on one frame, and the frames of a pass in their order. Pure.

frame = tracked_frame(tracker, buckets, object_ids, frame_idx, grid_hw, policy)
logits = logits_px(frame, buckets, size_hw)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from masklet.errors import InputError
from masklet.inference.bucket import Bucket
from masklet.inference.tracker_policy import TrackerPolicy
from masklet.inference.tracker_steps import mask_logits_at, masks_of, unknown
from masklet.model.tracker import Tracker
from masklet.ops.resize import resized
from masklet.types import MaskletMasks


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackedFrame:
    """The O objects of a session on one frame.

    Attributes:
        frame_idx: index in the video.
        object_ids: O, in the order in which they came.
        masks: O; -1024 everywhere, also as the logit of sight, for an object of which nothing is known here.
    """

    frame_idx: int
    object_ids: tuple[int, ...]
    masks: MaskletMasks


def tracked_frame(
    tracker: Tracker,
    buckets: Sequence[Bucket],
    object_ids: tuple[int, ...],
    frame_idx: int,
    grid_hw: tuple[int, int],
    policy: TrackerPolicy,
) -> TrackedFrame:
    """All objects on a frame, as far as it is remembered; answers that wait come first.

    Args:
        tracker: whose masks these are.
        buckets: of all objects.
        object_ids: of all objects, in the order that is wanted.
        frame_idx: index in the video.
        grid_hw: of the features.
        policy: of the answers.
    """
    nothing = unknown(tracker, grid_hw)
    parts: list[MaskletMasks] = []
    for bucket in buckets:
        waiting, record = bucket.pending.get(frame_idx, {}), bucket.record(frame_idx)
        if record is not None and not waiting:
            parts.append(record.masks)  # no copy
            continue
        known = [nothing] * len(bucket) if record is None else record.masks.split([1] * len(bucket))
        for object_id, one in zip(bucket.object_ids, known, strict=True):
            answer = waiting.get(object_id)
            parts.append(one if answer is None else masks_of(answer, grid_hw, policy))
    masks = MaskletMasks.joined(parts) if parts else nothing.select([])
    found = [object_id for bucket in buckets for object_id in bucket.object_ids]
    if found != list(object_ids):
        masks = masks.select([found.index(object_id) for object_id in object_ids])
    return TrackedFrame(frame_idx=frame_idx, object_ids=object_ids, masks=masks)


def logits_px(frame: TrackedFrame, buckets: Sequence[Bucket], size_hw: tuple[int, int]) -> Tensor:
    """(O, H, W) float32 logits of a frame's masks at the video's size.

    A mask that was given, and waits, is that mask, -1024 and 1024.
    """
    waiting = {i: answer for bucket in buckets for i, answer in bucket.pending.get(frame.frame_idx, {}).items()}
    logits = [
        mask_logits_at(waiting[object_id], size_hw) if object_id in waiting else resized(one, size_hw)
        for object_id, one in zip(frame.object_ids, frame.masks.mask_logits.unsqueeze(1), strict=True)
    ]
    return torch.cat([frame.masks.mask_logits.new_zeros(0, *size_hw), *logits])


def pass_order(start: int, steps: int | None, *, frames: int | None, backwards: bool) -> range:
    """The frames of a pass (spec/tracker.md 9.5). Unlike the passes of concepts, one backwards includes its start.

    Args:
        start: index in the video.
        steps: how many frames to move on from there at most; None: to the end.
        frames: length of the video; None where it is not known.
        backwards: towards the first frame.

    Raises:
        InputError: `steps` is below 0, or not given where nobody knows the end.
    """
    if steps is not None and steps < 0:
        raise InputError(f"steps must be 0 or more, got {steps}; use backwards=True for the other direction")
    if backwards:
        return range(start, -1 if steps is None else max(start - steps, 0) - 1, -1)
    if steps is None and frames is None:
        raise InputError("steps must be given: the length of the video is not known")
    ends = [end for end in (frames, None if steps is None else start + steps + 1) if end is not None]
    return range(start, min(ends))
