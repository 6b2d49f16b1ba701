"""The frames of a pass in turn, each with what is found on it; on small pictures that is done ahead of its turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass

from masklet.inference.concept_finder import Found, VideoConcept, find_concepts
from masklet.inference.stages import being_timed
from masklet.inference.text_cache import TextCache
from masklet.inference.video_frames import VideoFrames
from masklet.inference.work_ahead import FEW_OBJECTS, FRAMES_AHEAD, WorkAhead, threads_ahead
from masklet.model.detector import Detector

Concepts = tuple[VideoConcept, ...]


@dataclass(frozen=True, eq=False)
class _Look:
    """What is, or will be, found on a frame of what was looked for when the frame was read."""

    place: int
    concepts: Concepts
    found: Future[dict[int, Found]]


class FrameSearch:
    """Finds the concepts of a video on its frames.

    Args:
        model: the detector.
        texts: of the model.
        frames: that are searched.
        tokens: that the model makes of a frame.
    """

    def __init__(self, model: Detector, texts: TextCache, frames: VideoFrames, *, tokens: int) -> None:
        self._model = model
        self._texts = texts
        self._frames = frames
        self._tokens = tokens
        self._seen: _Look | None = None  # of the frame whose turn it is

    def found(self, place: int, concepts: Concepts) -> dict[int, Found]:
        """What is on a frame of the concepts that are looked for there, by their place in `concepts`.

        Raises:
            PromptError: an exemplar lies outside the frame.
        """
        seen, self._seen = self._seen, None
        if seen is not None and (seen.place, seen.concepts) == (place, concepts):
            return seen.found.result()
        return self._find(place, concepts)  # nobody looked ahead, or something else is looked for since

    def in_turn(
        self, order: range, step: Callable[[int], None], *, sought: Callable[[], Concepts], objects: Callable[[], int]
    ) -> Iterator[None]:
        """Calls `step` for the frames that can be read of `order`, and stops after each.

        Args:
            order: places of frames.
            step: passes a frame; it may ask for what is `found` on it.
            sought: what will probably be looked for on the next frames.
            objects: how many are followed.
        """
        threads = 0 if being_timed() else threads_ahead(self._model.device, self._tokens)
        if not threads:
            for place in self._frames.passed(order):
                step(place)
                yield
            return
        looks: dict[int, _Look] = {}
        with WorkAhead(threads) as work:

            def begin(place: int) -> None:
                if objects() > FEW_OBJECTS:
                    return
                concepts = sought()
                looks[place] = _Look(place, concepts, work.start(lambda: self._look(place, concepts)))

            for place in self._frames.passed(order, ahead=FRAMES_AHEAD, at_hand=begin):
                self._seen = looks.pop(place, None)
                if self._seen is not None:
                    work.wait(self._seen.found)
                with work.following(objects()):
                    step(place)
                yield

    def _look(self, place: int, concepts: Concepts) -> dict[int, Found]:
        """What can be known of a frame whatever happens on those before it."""
        self._frames.tracker(place)  # makes it
        return self._find(place, concepts)

    def _find(self, place: int, concepts: Concepts) -> dict[int, Found]:
        if not any(concept.is_sought_on(place) for concept in concepts):
            return {}
        return find_concepts(self._model, self._texts, self._frames.image(place), place, concepts)
