"""Buckets: objects that travel together, and all that is remembered of them (spec/tracker.md 9). Pure, no network.

The objects of a bucket have the same prompted frames, so that they go through the network as one batch. What a user or
a detector says of one of them becomes an `Answer` that waits, until the next pass settles the frame for all of them:

    prompt ─▶ pending ─ settled ─▶ prompted ─ downgraded ─▶ tracked ◀─ passed ─ a frame without a prompt

An object joins a bucket only while nothing is settled. Unusual:

- A bucket whose objects are prompted apart from each other on a frame of which nothing is remembered is `split`: the
  others would learn that they are not there.
- A frame out of reach is forgotten (`trimmed`), so that memory does not grow with the video. Of prompted frames that a
  user spoke of only the memory map goes, which can be made again of the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self, TypeVar

from torch import Tensor

from masklet.inference.object_prompts import Prompt
from masklet.model.memory_bank import BankRules, Recall, Remembered, read, within_reach
from masklet.types import MaskletMasks, Memory, MemoryEntry

T = TypeVar("T")

GIVEN_OUTSIDE = -1024.0
"""Logit of a given mask outside; inside it is the opposite."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What the network said to a prompt on one object.

    Attributes:
        masks: of the one object.
        given: (H, W) logits of the mask that was given, without what masks given later cover; None: points were.
    """

    masks: MaskletMasks
    given: Tensor | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameRecord:
    """What is remembered of the O objects of a bucket on one frame.

    Attributes:
        masks: O.
        map_tokens: (O, h*w, Cm) memory map; None: not made yet, or laid aside.
        score: how well the objects were seen (`frame_score`).
        backwards: the direction in which the frame was passed last; None: it never was.
    """

    masks: MaskletMasks
    map_tokens: Tensor | None
    score: float
    backwards: bool | None = None

    def select(self, rows: Sequence[int]) -> Self:
        """Those at `rows`, in a memory of their own, so that the rest can be freed."""
        tokens = None if self.map_tokens is None else self.map_tokens[list(rows)]
        return replace(self, masks=self.masks.select(rows), map_tokens=tokens)


@dataclass(frozen=True)
class Way:
    """The frames passed one after the other, without a gap, until now: the first, the last, and the direction."""

    first: int
    last: int
    backwards: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Bucket:
    """O objects.

    Attributes:
        object_ids: O, in the order in which they came.
        prompts: what was said, by frame and object id.
        pending: answers that no pass has settled yet, by frame and object id.
        prompted: prompted frames, in the order in which they came to be.
        tracked: tracked frames.
        way: where the last pass is; None: there was none.
    """

    object_ids: tuple[int, ...] = ()
    prompts: Mapping[int, Mapping[int, Prompt]] = field(default_factory=dict)
    pending: Mapping[int, Mapping[int, Answer]] = field(default_factory=dict)
    prompted: Mapping[int, FrameRecord] = field(default_factory=dict)
    tracked: Mapping[int, FrameRecord] = field(default_factory=dict)
    way: Way | None = None

    def __len__(self) -> int:
        return len(self.object_ids)

    @property
    def is_open(self) -> bool:
        """Nothing is settled: objects may join."""
        return not self.prompted and not self.tracked

    def record(self, frame_idx: int) -> FrameRecord | None:
        """What is remembered of a frame."""
        return self.prompted.get(frame_idx) or self.tracked.get(frame_idx)

    def remembered(self, frames: int | None) -> Remembered:
        """For the bank's rules, in a video of so many frames."""
        scores = {t: record.score for t, record in self.tracked.items()}
        return Remembered(prompted=tuple(self.prompted), tracked=scores, frames=frames)

    def memory(self, recalled: Recall, row: int | None = None) -> Memory:
        """What the frames that are recalled hold, of all objects or of the one at `row` (views).

        None of them may be `without_map`.
        """
        rows = slice(None) if row is None else slice(row, row + 1)
        entries: dict[int, MemoryEntry] = {}
        for frame_idx in recalled.frames:
            record = self.record(frame_idx)
            assert record is not None and record.map_tokens is not None
            entries[frame_idx] = MemoryEntry(map_tokens=record.map_tokens[rows], pointers=record.masks.pointers[rows])
        return read(recalled, entries)

    def without_map(self, recalled: Recall) -> list[int]:
        """The frames that are recalled whose maps were laid aside, or never made."""
        records = ((frame_idx, self.record(frame_idx)) for frame_idx in sorted(recalled.frames))
        return [frame_idx for frame_idx, record in records if record is None or record.map_tokens is None]


# --- prompts ----------------------------------------------------------------------------------------------------------


def answered(bucket: Bucket, frame_idx: int, prompts: Mapping[int, Prompt], answers: Mapping[int, Answer]) -> Bucket:
    """With what was said of objects on a frame, by id, and the answers. Unknown ids join.

    Masks that were given on the frame do not overlap: each loses what a later one covers.
    """
    waiting = dict(bucket.pending.get(frame_idx, {}))
    for object_id, answer in answers.items():
        if answer.given is not None:
            waiting = {i: _without(other, answer.given > 0) for i, other in waiting.items()}
        waiting[object_id] = answer
    return replace(
        bucket,
        object_ids=tuple(dict.fromkeys((*bucket.object_ids, *prompts))),
        prompts={**bucket.prompts, frame_idx: {**bucket.prompts.get(frame_idx, {}), **prompts}},
        pending={**bucket.pending, frame_idx: waiting},
    )


def _without(answer: Answer, covered: Tensor) -> Answer:
    if answer.given is None:
        return answer
    return replace(answer, given=answer.given.masked_fill(covered, GIVEN_OUTSIDE))


def settled(bucket: Bucket, frame_idx: int, record: FrameRecord, *, as_prompted: bool) -> Bucket:
    """With a frame settled: nothing waits on it any more, and it is a prompted one, or a tracked one."""
    pending = {t: answers for t, answers in bucket.pending.items() if t != frame_idx}
    if not as_prompted:
        return replace(bucket, pending=pending, tracked={**bucket.tracked, frame_idx: record})
    tracked = {t: other for t, other in bucket.tracked.items() if t != frame_idx}
    return replace(bucket, pending=pending, prompted={**bucket.prompted, frame_idx: record}, tracked=tracked)


def cleared(bucket: Bucket, frame_idx: int, object_ids: Collection[int]) -> Bucket:
    """Without what was said of some objects on a frame; if nothing is left to say, it is downgraded."""
    prompts = _without_ids(bucket.prompts, frame_idx, object_ids)
    bucket = replace(bucket, prompts=prompts, pending=_without_ids(bucket.pending, frame_idx, object_ids))
    return bucket if frame_idx in prompts else downgraded(bucket, frame_idx)


def demoted(bucket: Bucket, object_id: int, near: int, *, window: int) -> Bucket:
    """With frames made ordinary, for all objects, on which a detector had said where an object is.

    Args:
        bucket: of the object.
        object_id: of which a user has spoken.
        near: on this frame.
        window: frames at most so far away are meant; not those on which a user spoke of any object of the bucket.
    """
    for frame_idx, said in bucket.prompts.items():
        by_user = any(prompt.by_user for prompt in said.values())
        if object_id in said and not by_user and abs(frame_idx - near) <= window:
            bucket = cleared(bucket, frame_idx, bucket.object_ids)
    return bucket


def to_be_refined(bucket: Bucket, frame_idx: int, object_id: int, handed_in: Tensor | None) -> Tensor | None:
    """(H, W) logits of the mask that a click refines; None: there is none.

    The first of waiting answer and record decides, even where it says nothing: a given mask that waits.

    Args:
        bucket: in which the object is prompted; it may be new there.
        frame_idx: of the click.
        object_id: that is clicked.
        handed_in: (H, W) logits, for a frame of which nothing is remembered.
    """
    answer = bucket.pending.get(frame_idx, {}).get(object_id)
    if answer is not None:
        return None if answer.given is not None else answer.masks.mask_logits[0]
    record = bucket.record(frame_idx)
    if record is None or object_id not in bucket.object_ids:
        return handed_in
    return record.masks.mask_logits[bucket.object_ids.index(object_id)]


def _without_ids(
    by_frame: Mapping[int, Mapping[int, T]], frame_idx: int, object_ids: Collection[int]
) -> dict[int, Mapping[int, T]]:
    left = {i: value for i, value in by_frame.get(frame_idx, {}).items() if i not in object_ids}
    others = {t: values for t, values in by_frame.items() if t != frame_idx}
    return {**others, frame_idx: left} if left else others


def downgraded(bucket: Bucket, frame_idx: int) -> Bucket:
    """With a prompted frame as a tracked one that was never passed; if no prompted frame is left, without memory."""
    prompted = {t: record for t, record in bucket.prompted.items() if t != frame_idx}
    if not prompted and not bucket.pending:
        return replace(bucket, prompts={}, prompted={}, tracked={}, way=None)
    record = bucket.prompted.get(frame_idx)
    if record is None or record.map_tokens is None:  # laid aside: out of reach as a tracked frame
        return replace(bucket, prompted=prompted)
    return replace(bucket, prompted=prompted, tracked={**bucket.tracked, frame_idx: replace(record, backwards=None)})


# --- objects ----------------------------------------------------------------------------------------------------------


def without_object(bucket: Bucket, object_id: int) -> Bucket:
    """Without an object; frames that only it was prompted on are downgraded. None may be left."""
    for frame_idx in [t for t, prompts in bucket.prompts.items() if object_id in prompts]:
        bucket = cleared(bucket, frame_idx, [object_id])
    return _of_objects(bucket, [i for i in bucket.object_ids if i != object_id])


def split(bucket: Bucket, object_id: int) -> tuple[Bucket, Bucket]:
    """The other objects, and the one, each with what is remembered of them."""
    others = [i for i in bucket.object_ids if i != object_id]
    return _of_objects(bucket, others), _of_objects(bucket, [object_id])


def _of_objects(bucket: Bucket, object_ids: Sequence[int]) -> Bucket:
    rows = [bucket.object_ids.index(i) for i in object_ids]
    gone = [i for i in bucket.object_ids if i not in object_ids]
    prompts, pending = bucket.prompts, bucket.pending
    for frame_idx in bucket.prompts:
        prompts, pending = _without_ids(prompts, frame_idx, gone), _without_ids(pending, frame_idx, gone)
    return replace(
        bucket,
        object_ids=tuple(object_ids),
        prompts=prompts,
        pending=pending,
        prompted={t: record.select(rows) for t, record in bucket.prompted.items()},
        tracked={t: record.select(rows) for t, record in bucket.tracked.items()},
    )


# --- passes -----------------------------------------------------------------------------------------------------------


def passed(
    bucket: Bucket, frame_idx: int, *, backwards: bool, masks: MaskletMasks | None = None, score: float = 0.0
) -> Bucket:
    """With a frame passed.

    Args:
        bucket: which passed it.
        frame_idx: the frame.
        backwards: the video is followed from its end.
        masks: tracked on it, the memory map to come; None: the frame is left as it is remembered.
        score: of those masks.
    """
    way = bucket.way
    goes_on = way is not None and way.backwards == backwards and frame_idx - way.last == (-1 if backwards else 1)
    way = Way(way.first if way is not None and goes_on else frame_idx, frame_idx, backwards)
    if masks is not None:
        tracked = FrameRecord(masks=masks, map_tokens=None, score=score, backwards=backwards)
        return replace(bucket, way=way, tracked={**bucket.tracked, frame_idx: tracked})
    record = bucket.record(frame_idx)
    assert record is not None
    return replace(_with_record(bucket, frame_idx, replace(record, backwards=backwards)), way=way)


def with_map(bucket: Bucket, frame_idx: int, map_tokens: Tensor) -> Bucket:
    """With the memory map of a frame that is remembered."""
    record = bucket.record(frame_idx)
    assert record is not None
    return _with_record(bucket, frame_idx, replace(record, map_tokens=map_tokens))


def _with_record(bucket: Bucket, frame_idx: int, record: FrameRecord) -> Bucket:
    if frame_idx in bucket.prompted:
        return replace(bucket, prompted={**bucket.prompted, frame_idx: record})
    return replace(bucket, tracked={**bucket.tracked, frame_idx: record})


def trimmed(bucket: Bucket, rules: BankRules, frames: int | None, *, both_ways: bool) -> Bucket:
    """Without what is out of reach of the pass under way.

    Args:
        bucket: a frame of which has just been passed.
        rules: of the bank.
        frames: length of the video; None where it is not known.
        both_ways: nor of one the other way from where that pass began.
    """
    way = bucket.way
    assert way is not None
    step = -1 if way.backwards else 1
    remembered = bucket.remembered(frames)
    kept = within_reach(way.last + step, remembered, rules, backwards=way.backwards)
    if both_ways:
        kept |= within_reach(way.first - step, remembered, rules, backwards=not way.backwards)
    by_user = {t for t, said in bucket.prompts.items() if any(prompt.by_user for prompt in said.values())}
    prompted = {
        t: record if t in kept else replace(record, map_tokens=None)
        for t, record in bucket.prompted.items()
        if t in kept or t in by_user
    }
    return replace(
        bucket,
        prompts={t: said for t, said in bucket.prompts.items() if t in by_user or t in prompted or t in bucket.pending},
        prompted=prompted,
        tracked={t: record for t, record in bucket.tracked.items() if t in kept},
    )
