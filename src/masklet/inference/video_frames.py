"""The frames of a video as the model sees them: read in order ahead of need, encoded once, a few kept.

Several threads may ask for what the model sees, of different frames.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from masklet.errors import InputError
from masklet.inference.stages import stage
from masklet.media.images import to_pixels
from masklet.media.span import Span
from masklet.media.video_source import Frame, FrameReader, VideoSource
from masklet.model.detector import Detector
from masklet.model.tracker import Tracker
from masklet.types import ImageFeatures, TrackerFeatures

_KEPT = 2  # the frame at hand, and one that a click returns to; those that were read before their turn come on top


@dataclass(kw_only=True, eq=False)
class _Encoded:
    """What the model knows of a frame; each part is made when it is asked for, the trunk at once."""

    trunk: Tensor
    size_hw: tuple[int, int]
    image: ImageFeatures | None = None
    tracker: TrackerFeatures | None = None


class VideoFrames:
    """The chosen frames of a video by their place, 0 first, whatever their numbers in the source are.

    Args:
        model: encodes.
        source: not closed here.
        span: which frames of the source are meant.
        image_size: side of the model's input, pixels.
        tracker: reads the frames; None is the model's own.
    """

    def __init__(
        self, model: Detector, source: VideoSource, span: Span, *, image_size: int, tracker: Tracker | None = None
    ) -> None:
        self._model = model
        self._tracker = tracker
        self._source = source
        self._span = span
        self._image_size = image_size
        self._numbers: Sequence[int] | None = None
        if source.can_seek:
            self._numbers = span.indices(source.times_s())
            if not self._numbers:
                raise InputError(f"{source.facts.name}: expected frames {span}, there are none")
        self._pictures: OrderedDict[int, Frame] = OrderedDict()
        self._encoded: OrderedDict[int, _Encoded] = OrderedDict()
        self._coming: set[int] = set()  # places that were read before their turn
        self._lock = threading.Lock()  # of the two dictionaries, whose values no thread changes for another
        self._read = 0  # frames taken of a source that gives each once

    @property
    def count(self) -> int | None:
        """How many frames; None where nobody knows the end."""
        return None if self._numbers is None else len(self._numbers)

    def place_of(self, number: int) -> int:
        """The place of the frame with a number in the source.

        Raises:
            InputError: it is not among the chosen ones; of a pipe or camera, not one of the last two.
        """
        if self._numbers is None:
            for place, frame in self._pictures.items():
                if frame.index == number:
                    return place
            raise InputError(
                f"{self._source.facts.name}: frames come once and in order, and frame {number} is not at hand: "
                "save the film first to show something on any frame"
            )
        try:
            return self._numbers.index(number)
        except ValueError:
            first, last = self._numbers[0], self._numbers[-1]
            raise InputError(
                f"frame_idx must be one of the {len(self._numbers)} frames from {first} to {last} that are read, "
                f"got {number}"
            ) from None

    def picture(self, place: int) -> Frame:
        """The frame at a place.

        Raises:
            VideoError: it cannot be decoded.
            InputError: a pipe or camera has passed it, or has not come to it.
        """
        with self._lock:
            frame = self._pictures.get(place)
        if frame is None:
            if self._numbers is None:
                raise InputError(
                    f"{self._source.facts.name}: frames come once and in order, so frame {place} cannot be had any more"
                )
            frame = self._source.frame(self._numbers[place])
            self._keep(place, frame)
        return frame

    @torch.no_grad()
    def image(self, place: int) -> ImageFeatures:
        """What the detector reads of the frame at a place, without the tracker's; computed once, while it is kept."""
        encoded = self._patches(place)
        if encoded.image is None:
            with stage("encode", self._model.device):
                encoded.image = self._model.detector_features(encoded.trunk, [encoded.size_hw])
        return encoded.image

    @torch.no_grad()
    def tracker(self, place: int) -> TrackerFeatures:
        """What the tracker reads of the frame at a place; computed once, while it is kept."""
        encoded = self._patches(place)
        if encoded.tracker is None:
            with stage("encode", self._model.device):
                encoded.tracker = self._model.tracker_features(encoded.trunk, self._tracker)
        return encoded.tracker

    def _patches(self, place: int) -> _Encoded:
        with self._lock:
            encoded = self._encoded.get(place)
            if encoded is not None:
                self._encoded.move_to_end(place)
                return encoded
        picture = self.picture(place).pixels
        with stage("encode", self._model.device):
            pixels = to_pixels(picture, self._image_size, self._model.device)
            trunk = self._model.encode_patches(pixels)
        height, width = picture.shape[:2]
        encoded = _Encoded(trunk=trunk, size_hw=(height, width))
        with self._lock:
            self._encoded[place] = encoded
            self._limit(self._encoded)
        return encoded

    def passed(
        self, order: range, *, ahead: int = 0, at_hand: Callable[[int], None] | None = None
    ) -> Generator[int, None, None]:
        """The places of `order` one after the other, each frame at hand when its place is given.

        Frames that cannot be decoded are left out; the source warns of them.

        Args:
            order: places, none of which counts for a source that gives each frame once.
            ahead: frames that are taken before their turn, if they are decoded already; not of such a source.
            at_hand: is told the place of each frame as it is taken.
        """
        if self._numbers is None:
            yield from self._streamed()
            return
        if not len(order):
            return
        backward = order.step < 0
        numbers = {self._numbers[place]: place for place in order}
        ends = sorted((self._numbers[order[0]], self._numbers[order[-1]]))
        with self._source.frames(Span(start=ends[0], end=ends[1] + 1), backward=backward) as reader:
            try:
                yield from self._in_turn(reader, numbers, ahead, at_hand)
            finally:
                with self._lock:
                    self._coming.clear()

    def _in_turn(
        self, reader: FrameReader, numbers: dict[int, int], ahead: int, at_hand: Callable[[int], None] | None
    ) -> Iterator[int]:
        taken: deque[int] = deque()
        failure: Exception | None = None
        while True:
            while failure is None and len(taken) <= ahead and (not taken or reader.waiting):
                try:
                    frame = next(reader)
                except Exception as error:  # also the end; what was taken before comes first
                    failure = error
                    break
                place = numbers.get(frame.index)
                if place is not None:
                    with self._lock:
                        self._coming.add(place)
                    self._keep(place, frame)
                    taken.append(place)
                    if at_hand is not None:
                        at_hand(place)
            if taken:
                place = taken.popleft()
                self._begin_turn(place)
                yield place
            elif isinstance(failure, StopIteration):
                return
            elif failure is not None:
                raise failure

    def _begin_turn(self, place: int) -> None:
        """From now on a frame is one of those that were used last."""
        with self._lock:
            self._coming.discard(place)
            for kept in (self._pictures, self._encoded):
                if place in kept:
                    kept.move_to_end(place)

    def _streamed(self) -> Iterator[int]:
        with self._source.frames(self._span) as reader:
            for place, frame in zip(itertools.count(self._read), reader, strict=False):
                self._keep(place, frame)
                self._read = place + 1
                yield place

    def _keep(self, place: int, frame: Frame) -> None:
        with self._lock:
            self._pictures[place] = frame
            self._limit(self._pictures)

    def _limit(self, kept: OrderedDict[int, Any]) -> None:
        passed = [place for place in kept if place not in self._coming]
        for place in passed[: max(0, len(passed) - _KEPT)]:
            del kept[place]
