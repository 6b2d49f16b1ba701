"""What the network does for buckets: answers prompts, settles frames, follows, remembers (spec/tracker.md 4.5-7, 9).

Functions of a tracker, the features of one frame, and values; nothing is kept. A step takes any number of buckets and
runs them together wherever the network can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from masklet.inference.bucket import GIVEN_OUTSIDE, Answer, Bucket, FrameRecord, settled
from masklet.inference.tracker_policy import TrackerPolicy
from masklet.model.memory_bank import Recall, frame_score
from masklet.model.tracker import OUT_OF_SIGHT, Tracker
from masklet.ops.mask_cleanup import strongest_only
from masklet.ops.resize import resized
from masklet.types import MaskletMasks, Memory, PointPrompts, TrackerFeatures

_FED_BACK = 32.0  # logits of a mask that is refined are cut here
_GIVEN_SCALE = 16  # a given mask enters the network at this many times the grid's resolution
_LOW_SCALE = 4  # masks come out of it at so many times
_TOKENS_AT_ONCE = 8192  # of objects: 64 of 1024 tokens take 0.6 of the time, 8 at once, that they take together
_UNKNOWN_SIGHT = 10.0  # of an object of which nothing is known on a prompted frame of its bucket


# --- prompts ----------------------------------------------------------------------------------------------------------


def answer_points(
    tracker: Tracker,
    features: TrackerFeatures,
    points: PointPrompts,
    *,
    refined: Tensor | None = None,
    memory: Memory | None = None,
) -> Answer:
    """The answer to clicks and a box on one object.

    Args:
        tracker: asked.
        features: of the frame.
        points: (1, P).
        refined: (H, W) logits of the mask that the object has on the frame; None: it has none.
        memory: of this object; None: it begins here, or is taken to.
    """
    logits = None if refined is None else refined[None].float().clamp(-_FED_BACK, _FED_BACK)
    return Answer(masks=tracker.prompt(features, points, mask_logits=logits, memory=memory))


def answer_masks(
    tracker: Tracker,
    features: TrackerFeatures,
    masks: Sequence[Tensor],
    *,
    size_hw: tuple[int, int],
    policy: TrackerPolicy,
) -> list[Answer]:
    """The answers to given masks, one object each.

    Args:
        tracker: asked, once for all.
        features: of the frame.
        masks: (H, W) 0..1 each, at any sizes.
        size_hw: of the video.
        policy: `masks_at_input_size`.
    """
    if policy.masks_at_input_size:
        inputs = [resized(mask[None], tracker.input_size_hw(features)) for mask in masks]
        given = [tracker.given_logits(one) for one in inputs]
    else:
        given = [torch.where(resized(mask[None], size_hw) > 0.5, -GIVEN_OUTSIDE, GIVEN_OUTSIDE) for mask in masks]
        inputs = [resized(mask[None], _times(features, _GIVEN_SCALE)) for mask in masks]
    squares, ambiguous = torch.cat(inputs), policy.masks_at_input_size
    found = [
        tracker.prompt_mask(features, squares[some], ambiguous=ambiguous) for some in _in_cache(features, len(masks))
    ]
    parts = [part for each in found for part in each.split([1] * len(each))]
    return [Answer(masks=part, given=one[0]) for part, one in zip(parts, given, strict=True)]


def mask_logits_at(answer: Answer, size_hw: tuple[int, int]) -> Tensor:
    """(1, H, W) the mask of an answer at some size; a given one as it was given."""
    if answer.given is None:
        return resized(answer.masks.mask_logits, size_hw)
    return resized(answer.given[None], size_hw)


def masks_of(answer: Answer, features_hw: tuple[int, int], policy: TrackerPolicy) -> MaskletMasks:
    """The one object of an answer as it is remembered, at 4 times the grid's size (h, w)."""
    if answer.given is None or policy.masks_at_input_size:
        return answer.masks
    height, width = features_hw
    return replace(answer.masks, mask_logits=mask_logits_at(answer, (_LOW_SCALE * height, _LOW_SCALE * width)))


def unknown(tracker: Tracker, features_hw: tuple[int, int], sight_logit: float = OUT_OF_SIGHT) -> MaskletMasks:
    """One object on a frame of which nothing is known."""
    height, width = features_hw
    pointer = tracker.no_pointer.weight
    return MaskletMasks(
        mask_logits=pointer.new_full((1, _LOW_SCALE * height, _LOW_SCALE * width), OUT_OF_SIGHT, dtype=torch.float32),
        quality=pointer.new_zeros(1, dtype=torch.float32),
        sight_logits=pointer.new_full((1,), sight_logit, dtype=torch.float32),
        pointers=pointer.detach(),
    )


def settle(
    tracker: Tracker,
    features: TrackerFeatures,
    bucket: Bucket,
    frame_idx: int,
    policy: TrackerPolicy,
    *,
    remember: bool = True,
) -> Bucket:
    """With the answers that wait on a frame as what all objects of the bucket remember of it (9.3).

    An object without an answer keeps what is remembered of it here. Where nothing is, it is remembered as an empty
    mask that is in sight, without a pointer. The memory map is made unless it is not to `remember` yet.
    """
    answers, before = bucket.pending[frame_idx], bucket.record(frame_idx)
    parts: list[MaskletMasks] = []
    given: dict[int, Tensor] = {}
    for row, object_id in enumerate(bucket.object_ids):
        answer = answers.get(object_id)
        if answer is not None:
            parts.append(masks_of(answer, features.grid_hw, policy))
            if policy.masks_at_input_size and answer.given is not None:
                given[row] = mask_logits_at(answer, tracker.input_size_hw(features))
        elif before is not None:
            parts.append(before.masks.select([row]))
        else:
            parts.append(unknown(tracker, features.grid_hw, _UNKNOWN_SIGHT))
    masks = MaskletMasks.joined(parts)
    tokens = None
    if remember:
        logits = tracker.at_input_size(features, masks.mask_logits)
        if given:
            logits = torch.cat([given.get(row, one) for row, one in enumerate(logits.split(1))])
        tokens = _prompted_map(tracker, features, logits, masks.sight_logits, policy)
    record = FrameRecord(
        masks=masks,
        map_tokens=tokens,
        score=score_of(masks, policy),
        backwards=None if before is None else before.backwards,
    )
    as_prompted = policy.refined_is_prompted or frame_idx not in bucket.tracked
    return settled(bucket, frame_idx, record, as_prompted=as_prompted)


def map_again(tracker: Tracker, features: TrackerFeatures, record: FrameRecord, policy: TrackerPolicy) -> Tensor:
    """The memory map of a prompted frame whose map was laid aside, as `settle` made it."""
    logits = tracker.at_input_size(features, record.masks.mask_logits)
    return _prompted_map(tracker, features, logits, record.masks.sight_logits, policy)


def _prompted_map(
    tracker: Tracker, features: TrackerFeatures, logits: Tensor, sight_logits: Tensor, policy: TrackerPolicy
) -> Tensor:
    """Of masks at the size of the input."""
    apart = strongest_only(logits) if policy.masks_apart else logits
    return map_tokens(tracker, features, apart, sight_logits, binary=True, policy=policy)


# --- passes -----------------------------------------------------------------------------------------------------------


def track(
    tracker: Tracker, features: TrackerFeatures, buckets: Sequence[Bucket], recalls: Sequence[Recall]
) -> list[MaskletMasks]:
    """The objects of each bucket on a frame without a prompt.

    Buckets that recall as many maps and pointers as each other go through the network together, however far apart in
    time what they recall is.
    """
    alike: dict[tuple[int, int], list[int]] = {}
    for place, recalled in enumerate(recalls):
        alike.setdefault((len(recalled.maps), len(recalled.pointers)), []).append(place)
    found: dict[int, MaskletMasks] = {}
    for places in alike.values():
        memory = together([buckets[place].memory(recalls[place]) for place in places])
        masks = MaskletMasks.joined(
            [tracker.track(features, memory.of(some)) for some in _in_cache(features, len(memory.pointers))]
        )
        parts = masks.split([len(buckets[place]) for place in places])
        found.update(zip(places, parts, strict=True))
    return [found[place] for place in range(len(buckets))]


def together(memories: Sequence[Memory]) -> Memory:
    """The memory of all objects of several, which hold as many maps and pointers as each other."""
    if len(memories) == 1:
        return memories[0]
    counts = [len(memory.pointers) for memory in memories]
    return Memory(
        map_tokens=tuple(torch.cat(maps) for maps in zip(*(memory.map_tokens for memory in memories), strict=True)),
        rows=torch.cat([memory.rows.expand(count, -1) for memory, count in zip(memories, counts, strict=True)]),
        pointers=torch.cat([memory.pointers for memory in memories]),
        offsets=torch.cat([memory.offsets.expand(count, -1) for memory, count in zip(memories, counts, strict=True)]),
        horizon=memories[0].horizon,
    )


def map_tokens(
    tracker: Tracker,
    features: TrackerFeatures,
    mask_logits: Tensor,
    sight_logits: Tensor,
    *,
    binary: bool,
    policy: TrackerPolicy,
) -> Tensor:
    """(O, h*w, Cm) memory maps of O objects, of any buckets, as they are kept.

    Args:
        tracker: encodes.
        features: of the frame.
        mask_logits: (O, H, W); masks of a step at the size of the input.
        sight_logits: (O,).
        binary: the masks count as 0 or 1.
        policy: `resized_before_binary`, `map_dtype`.
    """
    if policy.resized_before_binary:
        mask_logits = resized(mask_logits, _times(features, _GIVEN_SCALE))
    parts = [
        tracker.encode_memory(features, mask_logits[some], sight_logits[some], binary=binary).to(policy.map_dtype)
        for some in _in_cache(features, len(mask_logits))
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def score_of(masks: MaskletMasks, policy: TrackerPolicy) -> float:
    """How well a bucket's objects were seen; not computed, 0, where frames are not selected by it."""
    return frame_score(masks.sight_logits, masks.quality) if policy.bank.select else 0.0


def _in_cache(features: TrackerFeatures, objects: int) -> list[slice]:
    """Which objects go through the network together: all of them, but on a processor as many as stay in its cache."""
    height, width = features.grid_hw
    at_once = max(1, _TOKENS_AT_ONCE // (height * width)) if features.coarse.device.type == "cpu" else max(1, objects)
    return [slice(start, start + at_once) for start in range(0, max(1, objects), at_once)]


def _times(features: TrackerFeatures, factor: int) -> tuple[int, int]:
    height, width = features.grid_hw
    return factor * height, factor * width
