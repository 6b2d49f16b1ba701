"""Where a pass through a video is: what is still to come, and what waits to be given out. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Literal, Self

from masklet.inference.frame_masklets import FrameMasklets
from masklet.inference.hold_back import HeldBack, HeldFrame, frame_order, hide
from masklet.media.images import Pixels

Direction = Literal["forward", "backward", "both"]
"""The way of a pass; "both" is forward, then backward."""


@dataclass(frozen=True)
class Leg:
    """Frames to be passed in one direction.

    Attributes:
        order: their places; empty for a source that gives each frame once, which is passed to its end.
        backwards: towards the first frame; then `order` descends.
        alone: these objects alone are followed, and nothing is looked for; None: everything.
    """

    order: range
    backwards: bool
    alone: frozenset[int] | None = None

    def after(self, place: int) -> Self:
        """What is left when the frame at a place was passed."""
        return replace(self, order=range(place + self.order.step, self.order.stop, self.order.step))


def legs_of(
    direction: Direction, first: int, steps: int | None, *, frame_count: int, alone: frozenset[int] | None
) -> tuple[Leg, ...]:
    """The parts of a pass; see `frame_order` for the frames of each.

    Args:
        direction: of the pass.
        first: place of the frame where it begins, both ways.
        steps: how many frames to go on from there at most, each way; None: to the end.
        frame_count: frames of the video.
        alone: see `Leg`.
    """
    ways = {"forward": (False,), "backward": (True,), "both": (False, True)}[direction]
    return tuple(
        Leg(frame_order(first, steps, frame_count=frame_count, backwards=way), way, alone=alone) for way in ways
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class PassedPicture:
    """A frame that was passed, with what its result needs.

    Attributes:
        masklets: all of them.
        presence: 0..1, the greatest of the concepts.
        number: of the frame in the source.
        time_s: of the frame.
        pixels: of the frame; None if results shall not hold them.
        followed: masklets that went on from it, those born on it included.
        dropped: detections on it that found no room.
    """

    masklets: FrameMasklets
    presence: float
    number: int
    time_s: float
    pixels: Pixels | None
    followed: int
    dropped: int


Waiting = HeldFrame[PassedPicture]


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoPass:
    """A pass, between two results of it; without arguments one that is over.

    Attributes:
        legs: what is still to be passed.
        held: frames that wait for those after them.
        ready: frames that wait no longer and were not asked for yet.
    """

    legs: tuple[Leg, ...] = ()
    held: HeldBack[PassedPicture] = field(default_factory=HeldBack)
    ready: tuple[Waiting, ...] = ()

    def without_objects(self, object_ids: Collection[int]) -> Self:
        """With objects hidden on all frames that were not given out."""
        return replace(self, held=hide(self.held, object_ids), ready=hide(HeldBack(self.ready), object_ids).frames)

    def without_pixels(self) -> Self:
        """With the frames' numbers in place of their pixels."""
        return replace(self, held=HeldBack(_bare(self.held.frames)), ready=_bare(self.ready))


def _bare(frames: tuple[Waiting, ...]) -> tuple[Waiting, ...]:
    return tuple(replace(frame, value=replace(frame.value, pixels=None)) for frame in frames)
