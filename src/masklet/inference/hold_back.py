"""Which frames are passed and when they are given out; who is hidden on them (spec/video.md 6.6, 7.1, 9.1, 9.2). Pure.

    held = HeldBack()
    for frame_idx in frame_order(...):
        ...
        held, ready = hold_back(held, HeldFrame(frame_idx, value, hidden, unconfirmed), removed=ids, policy=policy)
        yield from ready
    yield from release_all(held)

A frame waits until `hotstart_delay` frames are held, itself included. A masklet that is removed meanwhile is hidden on
every frame that still waits, so that what lived for a moment is never seen; frames that were given out keep what they
showed. Whoever stops early loses the frames that wait: they are in nobody's hands, and the next call begins with none.
At the end of a stream whose length was not known `release_all` gives them out.

Unusual: nothing here knows what a frame's value is. At most `hotstart_delay` (or `confirm_frames`) of them are held,
with the ids that were removed while they waited.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from masklet.inference.policy import VideoPolicy

T = TypeVar("T")


@dataclass(frozen=True)
class HeldFrame(Generic[T]):
    """A frame with what is to be given out for it.

    Attributes:
        frame_idx: index in the video.
        value: what is given out, of all masklets that were there, hidden ones as well.
        hidden: ids that must not be shown.
        unconfirmed: ids that were not confirmed on this frame; they are hidden on a frame passed before it.
    """

    frame_idx: int
    value: T
    hidden: frozenset[int] = frozenset()
    unconfirmed: frozenset[int] = frozenset()


@dataclass(frozen=True)
class HeldBack(Generic[T]):
    """The frames that wait, in the order in which they were passed."""

    frames: tuple[HeldFrame[T], ...] = ()

    def __len__(self) -> int:
        return len(self.frames)


def frame_order(start: int, steps: int | None, *, frame_count: int, backwards: bool = False) -> range:
    """The frames of one call (spec/video.md 9.1).

    Forwards these are `start` and the `steps` frames after it; backwards the `steps` frames before `start`, which is
    not passed again.

    Args:
        start: index in the video.
        steps: how many frames to move on at most; 0 is one frame forwards and none backwards; None: to the end.
        frame_count: frames of the video.
        backwards: towards the first frame.
    """
    steps = frame_count if steps is None else steps
    if backwards:
        return range(start - 1, max(start - steps, 0) - 1, -1)
    return range(start, min(start + steps, frame_count - 1) + 1)


def hold_back(
    held: HeldBack[T], frame: HeldFrame[T], *, removed: Collection[int], policy: VideoPolicy
) -> tuple[HeldBack[T], tuple[HeldFrame[T], ...]]:
    """Takes a frame that was passed and gives out those that have waited long enough.

    Args:
        held: the frames that wait.
        frame: passed after them.
        removed: ids removed on this frame; from now on they are hidden on all frames that wait and on this one.
        policy: `hotstart_delay`, `confirm`, `confirm_frames`.

    Returns:
        What waits now, and the frames to be given out, in order, with all that is hidden on them in `hidden`.
    """
    held = hide(HeldBack((*held.frames, frame)), removed)
    ready = max(0, len(held) - _most_waiting(policy))
    return HeldBack(held.frames[ready:]), _given_out(held, ready, policy)


def hide(held: HeldBack[T], object_ids: Collection[int]) -> HeldBack[T]:
    """With masklets hidden on all frames that wait: removed by a rule, or by a user."""
    if not object_ids:
        return held
    more = frozenset(object_ids)
    return HeldBack(tuple(replace(frame, hidden=frame.hidden | more) for frame in held.frames))


def release_all(held: HeldBack[T], policy: VideoPolicy) -> tuple[HeldFrame[T], ...]:
    """All frames that wait, as `hold_back` gives them out: there is none to come."""
    return _given_out(held, len(held), policy)


def _most_waiting(policy: VideoPolicy) -> int:
    """How many frames may wait when the next one comes."""
    return max(policy.hotstart_delay, policy.confirm_frames if policy.confirm else 0, 1) - 1


def _given_out(held: HeldBack[T], count: int, policy: VideoPolicy) -> tuple[HeldFrame[T], ...]:
    """The first `count` frames. A masklet shows from its birth on if it is confirmed as soon as it can be.

    For that the frame `confirm_frames` - 1 later is asked, or the last there is.
    """
    ahead = policy.confirm_frames - 1 if policy.confirm else 0
    last = len(held) - 1
    return tuple(
        replace(frame, hidden=frame.hidden | held.frames[min(place + ahead, last)].unconfirmed)
        for place, frame in enumerate(held.frames[:count])
    )
