"""One video in which things are looked for and followed: the mutable object of video.

    frames ─ OpenVideo ─┬─ prompts ─▶ concepts, TrackerSession
                        ├─ a pass ──▶ ConceptLoop.step ─ hold_back ─ video_result ─▶ VideoResult
                        └─ state, restore ─ VideoState

What is mutable is here and in the session; every rule and every value that this file keeps is another's.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import torch
from numpy.typing import ArrayLike

from masklet.errors import InputError, PromptError, VideoError
from masklet.inference.association import NO_CONCEPT
from masklet.inference.concept_finder import VideoConcept, with_exemplar
from masklet.inference.concept_loop import ConceptLoop
from masklet.inference.feature_file import fingerprint
from masklet.inference.frame_masklets import FrameMasklets
from masklet.inference.frame_search import FrameSearch
from masklet.inference.hold_back import HeldBack, HeldFrame, hold_back, release_all
from masklet.inference.lifecycle import Masklets, forgotten, kept_by_user, placed
from masklet.inference.object_prompts import mask_prompt
from masklet.inference.policy import VideoPolicy
from masklet.inference.text_cache import TextCache
from masklet.inference.tracker_policy import TrackerPolicy
from masklet.inference.tracker_session import TrackerSession
from masklet.inference.video_frames import VideoFrames
from masklet.inference.video_pass import Direction, Leg, PassedPicture, VideoPass, Waiting, legs_of
from masklet.inference.video_result import VideoResult, video_result
from masklet.inference.video_state import VideoState
from masklet.media.closed_at_end import ClosedAtEnd
from masklet.media.span import Span
from masklet.media.video_source import VideoSource
from masklet.model.detector import Detector
from masklet.types import VISUAL, Detections, Exemplar


class OpenVideo(ClosedAtEnd):
    """A video in which things are looked for and followed. `VideoPredictor.open` makes it.

    Concepts, exemplars and clicks may be given at any time, several before one pass, and none throws away what was
    given earlier. Frames are called by their number in the source, 0 first.

    Args:
        model: has a tracker.
        source: closed with this.
        span: which of its frames are read.
        image_size: side of the model's input, pixels.
        texts: of the model.
        policy: the rules of following concepts.
        tracker_policy: the rules of the tracker's memory.

    Raises:
        InputError: the span has no frame.
    """

    def __init__(
        self,
        model: Detector,
        source: VideoSource,
        *,
        span: Span,
        image_size: int,
        texts: TextCache,
        policy: VideoPolicy,
        tracker_policy: TrackerPolicy,
    ) -> None:
        assert model.tracker is not None
        self._model = model
        self._tracker = model.tracker
        self._texts = texts
        self._policy = policy
        self._source = source
        self._image_size = image_size
        self._frames = VideoFrames(model, source, span, image_size=image_size)
        tokens = (image_size // model.config.vision.patch_size) ** 2
        self._search = FrameSearch(model, texts, self._frames, tokens=tokens)
        self._concepts: list[VideoConcept] = []
        self._session = TrackerSession(
            model.tracker,
            self._frames.tracker,
            size_hw=source.facts.size_hw,
            frames=self._frames.count,
            policy=tracker_policy,
        )
        self._loop = ConceptLoop(self._session, self._detect, size_hw=source.facts.size_hw, policy=policy)
        self._presence: dict[int, float] = {}
        self._pass = VideoPass()
        self._is_closed = False

    # --- what is known ------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """What the video is called."""
        return self._source.facts.name

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of its frames, pixels."""
        return self._source.facts.size_hw

    @property
    def rate(self) -> float | None:
        """Frames a second on average, None if the source does not tell."""
        return self._source.facts.rate

    @property
    def frame_count(self) -> int | None:
        """How many frames are read; None where nobody knows the end."""
        return self._frames.count

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._model.device

    @property
    def concepts(self) -> tuple[str, ...]:
        """What is looked for, in the order in which it was given."""
        return tuple(concept.text for concept in self._concepts)

    @property
    def object_ids(self) -> tuple[int, ...]:
        """The objects that are followed now."""
        return self._session.object_ids

    # --- prompts ------------------------------------------------------------------------------------------------------

    def add_concept(self, text: str, *, threshold: float | None = None) -> int:
        """Looks for something on every frame from now on.

        Args:
            text: a noun phrase.
            threshold: 0..1, detections must score more; None is the policy's `detection_score`.

        Returns:
            Its number, for `add_exemplar`.

        Raises:
            PromptError: no text, or a concept that is looked for already.
            InputError: the threshold is not in 0..1.
        """
        self._check_open()
        if text in self.concepts:
            raise PromptError(f"{text!r} is looked for already; give every concept once")
        self._texts.tokens([text])  # finds out whether it can be read
        self._concepts.append(VideoConcept(text=text, threshold=self._threshold(threshold)))
        return len(self._concepts) - 1

    def add_exemplar(
        self, frame_idx: int, exemplar: Exemplar, *, concept: int | None = None, threshold: float | None = None
    ) -> int:
        """Shows what is meant on a frame.

        The exemplar acts when that frame is passed. With a named concept it says more of it there; without one, the
        model looks for what is like the exemplar on that frame alone, and what it finds is followed.

        Args:
            frame_idx: of the frame on which the exemplar lies.
            exemplar: a box, point or mask, positive or negative, in pixels of the frame.
            concept: number of the concept that it belongs to; None: one without a name, a new one unless one was
                given on this frame.
            threshold: of a new concept, as in `add_concept`.

        Returns:
            The number of its concept.

        Raises:
            InputError: there is no such frame or concept.
            PromptError: the first exemplar of a concept without a name is negative.
        """
        self._check_open()
        place = self._frames.place_of(frame_idx)
        if not isinstance(exemplar, Exemplar):
            raise PromptError(f"exemplar must be a masklet.Exemplar, got {type(exemplar).__name__}")
        self._concepts, number = with_exemplar(
            self._concepts, place, exemplar, concept=concept, threshold=self._threshold(threshold)
        )
        return number

    def click(
        self,
        frame_idx: int,
        points_xy: Iterable[Sequence[float]] | None = None,
        labels: Iterable[int] | None = None,
        *,
        box_xyxy: Sequence[float] | None = None,
        object_id: int | None = None,
        keep_earlier: bool = False,
        refined: ArrayLike | None = None,
    ) -> VideoResult:
        """Says where an object is on a frame by clicks, a box or both, whether the frame was passed or not.

        It acts on frames that are passed afterwards; no rule removes, hides or corrects the object from now on.

        Args:
            frame_idx: of the frame.
            points_xy: x, y in pixels of the frame.
            labels: 1 on the object, 0 not on it, for each point; None: all on it.
            box_xyxy: around the object, pixels of the frame.
            object_id: of an object that is followed, to set it right, or a new one; None: the next free one.
            keep_earlier: these points are added to the earlier ones of the object on this frame.
            refined: (H, W) bool or 0..1, the object's mask on a frame that was passed so long ago that it is forgotten;
                the clicks refine it. The mask of a frame that is remembered is refined by itself.

        Returns:
            All objects on the frame, as far as they are known there.

        Raises:
            InputError: there is no such frame, or no room for an object more.
            PromptError: points, labels or box cannot be used.
        """
        self._check_open()
        place = self._frames.place_of(frame_idx)
        points = None if points_xy is None else [tuple(point) for point in points_xy]
        if points is not None and labels is None:
            labels = [1] * len(points)
        chosen, masklets = self._object(object_id, place)
        earlier = None if refined is None else self._tracker.given_logits(mask_prompt(refined))
        self._session.click(
            place, chosen, points, labels, box_xyxy=box_xyxy, keep_earlier=keep_earlier, refined=earlier
        )
        self._loop.masklets = masklets
        self._session.demote(chosen, place, window=self._policy.refine_window)
        return self._shown(place)

    def give_mask(self, frame_idx: int, mask: Any, *, object_id: int | None = None) -> VideoResult:
        """Says where an object is on a frame by its mask; otherwise as `click`.

        Args:
            frame_idx: of the frame.
            mask: (H, W) bool or 0..1.
            object_id: as for `click`.
        """
        self._check_open()
        place = self._frames.place_of(frame_idx)
        chosen, masklets = self._object(object_id, place)
        self._session.give_mask(place, chosen, mask)
        self._loop.masklets = masklets
        self._session.demote(chosen, place, window=self._policy.refine_window)
        return self._shown(place)

    def remove(self, object_id: int) -> None:
        """Stops following an object; it is not shown on frames that still wait either.

        Raises:
            InputError: it is not followed.
        """
        self._check_open()
        self._loop.masklets = forgotten(self._loop.masklets, [object_id])
        self._session.remove(object_id)
        self._pass = self._pass.without_objects([object_id])

    def reset(self) -> None:
        """Forgets all concepts, exemplars and objects, and ends a pass that is under way."""
        self._check_open()
        self._concepts.clear()
        self._session.reset()
        self._loop = ConceptLoop(self._session, self._detect, size_hw=self.size_hw, policy=self._policy)
        self._pass = VideoPass()

    # --- passes -------------------------------------------------------------------------------------------------------

    def propagate(
        self,
        start: int | None = None,
        steps: int | None = None,
        *,
        direction: Direction = "forward",
        object_ids: Collection[int] | None = None,
        pixels: bool = True,
    ) -> Generator[VideoResult, None, None]:
        """Passes the video frame after frame, finds what is looked for, and follows it.

        The iterator may be left at any frame and gone on with later, and prompts may be given in between; they act on
        frames that it has not passed yet. It runs ahead of what it gives: with concepts a frame waits until
        `policy.hotstart_delay` frames were passed, so that what lived for a moment is never seen.

        Args:
            start: number of the first frame; None: the first one (backward: the last), or if there are only clicks
                and exemplars without a name, the first frame with one.
            steps: how many frames to go on from there at most; None: to the end.
            direction: backward begins at the frame before `start`; "both" is forward, then backward.
            object_ids: follow these objects alone, as after a click that set one right, and give out nothing else:
                nothing is looked for, nobody is removed, no frame waits. None: everything.
            pixels: results hold the frame's pixels, for overlays; False keeps them small.

        Returns:
            Results in the order of the pass.

        Raises:
            InputError: nothing is looked for or followed, an object is not followed, the frame does not exist, or the
                video comes once and in order and another way is asked for.
            VideoError: from the iterator: it cannot be read on.
        """
        self._check_open()
        if direction not in ("forward", "backward", "both"):
            raise InputError(f"direction must be 'forward', 'backward' or 'both', got {direction!r}")
        if steps is not None and steps < 0:
            raise InputError(f"steps must be 0 or more, got {steps}")
        if not self._concepts and not self._session.object_ids:
            raise InputError("there is nothing to follow: name a concept, show an exemplar or click on an object first")
        alone = None if object_ids is None else frozenset(object_ids)
        unknown = sorted((alone or frozenset()).difference(self.object_ids))
        if unknown:
            raise InputError(f"object_ids must be among those that are followed {list(self.object_ids)}, got {unknown}")
        return self._begin(self._legs(start, steps, direction, alone), pixels=pixels)

    def go_on(self, *, pixels: bool = True) -> Generator[VideoResult, None, None]:
        """The rest of a pass whose iterator was left, or that `restore` brought back.

        Args:
            pixels: as for `propagate`.
        """
        self._check_open()
        return self._rest(pixels=pixels)

    def waiting(self, *, pixels: bool = True) -> Iterator[VideoResult]:
        """Gives out the frames that were passed and still wait, and ends the pass.

        For a camera or pipe that is cut off: nothing that it showed is lost. Also after an interruption at any place.

        Args:
            pixels: as for `propagate`.
        """
        now = self._pass
        self._pass = VideoPass(ready=(*now.ready, *release_all(now.held, self._policy)))
        return self._given(pixels=pixels)

    def with_pixels(self, results: Iterable[VideoResult]) -> Iterator[VideoResult]:
        """Results of this video that hold the pixels of their frames, for overlays.

        Args:
            results: ascending by frame; those of frames that cannot be decoded are left out.

        Raises:
            InputError: frames come once.
        """
        self._check_open()
        if self._frames.count is None:
            raise InputError(f"{self.name}: frames come once and in order, so their pixels cannot be had again")
        with closing(self._frames.passed(range(self._frames.count))) as places:
            for result in results:
                for place in places:
                    frame = self._frames.picture(place)
                    if frame.index == result.frame_idx:
                        yield replace(result, source=frame.pixels)
                        break

    # --- what is remembered -------------------------------------------------------------------------------------------

    def state(self) -> VideoState:
        """All that is remembered, between two results of a pass; cheap, since nothing is copied.

        Raises:
            InputError: frames come once, so nobody could go on.
        """
        if self._frames.count is None:
            raise InputError(f"{self.name}: frames come once and in order, so no other run can go on from here")
        return VideoState(
            belongs_to=self._identity,
            concepts=tuple(self._concepts),
            buckets=self._session.buckets,
            object_ids=self._session.object_ids,
            masklets=self._loop.masklets,
            passing=self._pass.without_pixels(),
        )

    def restore(self, state: VideoState) -> None:
        """Takes everything back as it was when `state` was called; `go_on` gives the results that came after it.

        Args:
            state: of the same video, opened in the same way, with the same model and rules.

        Raises:
            InputError: it is of others.
        """
        self._check_open()
        for what, mine in self._identity.items():
            if state.belongs_to.get(what) != mine:
                raise InputError(
                    f"{self.name}: expected a state with the same {what} ({mine}), got {state.belongs_to.get(what)}"
                )
        self._concepts = list(state.concepts)
        self._session.restore(state.buckets, state.object_ids)
        self._loop.masklets = state.masklets
        self._pass = state.passing

    def close(self) -> None:
        """Ends reading. May be called again."""
        self._is_closed = True
        self._source.close()

    # --- inside -------------------------------------------------------------------------------------------------------

    @functools.cached_property
    def _identity(self) -> dict[str, str]:
        """What a state must have in common with this."""
        height, width = self.size_hw
        return {
            "model": fingerprint(self._model),
            "video": f"{self._frames.count} frames of {width} x {height}",
            "rules": f"{self._policy} {self._session.policy}",
            "image size": str(self._image_size),
        }

    def _legs(
        self, start: int | None, steps: int | None, direction: Direction, alone: frozenset[int] | None
    ) -> tuple[Leg, ...]:
        if self._frames.count is None:
            if start is not None or steps is not None or direction != "forward":
                raise InputError(f"{self.name}: frames come once and in order, so it can only be followed to its end")
            return (Leg(range(0), backwards=False, alone=alone),)
        first = self._first_of_pass(direction) if start is None else self._frames.place_of(start)
        return legs_of(direction, first, steps, frame_count=self._frames.count, alone=alone)

    def _begin(self, legs: tuple[Leg, ...], *, pixels: bool) -> Generator[VideoResult, None, None]:
        self._pass = VideoPass(legs=legs)
        yield from self._rest(pixels=pixels)

    def _rest(self, *, pixels: bool) -> Generator[VideoResult, None, None]:
        """What is left of the pass under way. Between two results `self._pass` says where it is."""
        yield from self._given(pixels=pixels)
        # Clicks alone need no second thoughts: nothing is removed, so no frame has to wait.
        policy = self._policy if self._concepts else replace(self._policy, hotstart_delay=0)
        while self._pass.legs:
            leg = self._pass.legs[0]
            failure: VideoError | None = None
            try:
                for _ in self._passed(leg, policy, pixels=pixels):
                    yield from self._given(pixels=pixels)
            except VideoError as error:
                self._check_open()
                failure = error  # what was passed before is not lost with it
            now = self._pass
            legs = now.legs if failure else now.legs[1:]
            self._pass = replace(now, legs=legs, held=HeldBack(), ready=release_all(now.held, policy))
            yield from self._given(pixels=pixels)
            if failure is not None:
                raise failure

    def _passed(self, leg: Leg, policy: VideoPolicy, *, pixels: bool) -> Iterator[None]:
        """Passes the frames of a leg; stops after each."""
        return self._search.in_turn(
            leg.order,
            lambda place: self._step(place, leg, policy, pixels=pixels),
            sought=lambda: tuple(self._concepts) if leg.alone is None else (),
            objects=lambda: len(self.object_ids),
        )

    def _step(self, place: int, leg: Leg, policy: VideoPolicy, *, pixels: bool) -> None:
        """Passes one frame; those that need not wait any longer are ready then."""
        now = self._pass
        legs = (leg.after(place), *now.legs[1:])
        if leg.alone is not None:
            left = leg.alone.intersection(self.object_ids)  # some may have been removed meanwhile
            self._session.follow(place, backwards=leg.backwards, object_ids=left)
            self._pass = replace(now, legs=legs, ready=(self._remembered(place, left, pixels=pixels),))
            return
        passed = self._loop.step(place, backwards=leg.backwards)
        value = self._picture(
            place, passed.held.value, presence=self._presence.pop(place, 0.0), dropped=passed.dropped, pixels=pixels
        )
        waiting = HeldFrame(place, value, passed.held.hidden, passed.held.unconfirmed)
        held, ready = hold_back(now.held, waiting, removed=passed.removed_ids, policy=policy)
        self._pass = replace(now, legs=legs, held=held, ready=ready)

    def _given(self, *, pixels: bool) -> Iterator[VideoResult]:
        """The results of the frames that are ready; each is marked as given out before it is."""
        while self._pass.ready:
            first, *others = self._pass.ready
            self._pass = replace(self._pass, ready=tuple(others))
            yield self._result(first, pixels=pixels)

    def _result(self, waiting: Waiting, *, pixels: bool) -> VideoResult:
        passed = waiting.value
        source = passed.pixels
        if pixels and source is None:  # it waited on disk
            source = self._source.frame(passed.number).pixels
        return video_result(
            waiting,
            video=self.name,
            size_hw=self.size_hw,
            concepts=self.concepts,
            model=self._model.config.name,
            apart=self._policy.masks_apart,
            source=source,
        )

    def _detect(self, place: int) -> dict[int, Detections]:
        found = self._search.found(place, tuple(self._concepts))
        self._presence[place] = max((one.presence for one in found.values()), default=0.0)
        return {concept: one.detections for concept, one in found.items()}

    def _shown(self, place: int) -> VideoResult:
        """All objects on a frame, as far as it is remembered."""
        return self._result(self._remembered(place, None, pixels=True), pixels=True)

    def _remembered(self, place: int, object_ids: frozenset[int] | None, *, pixels: bool) -> Waiting:
        """All objects, or some, on a frame as far as it is remembered."""
        value = self._picture(place, self._loop.remembered(place), pixels=pixels)
        hidden = frozenset() if object_ids is None else frozenset(self.object_ids) - object_ids
        return HeldFrame(place, value, hidden)

    def _picture(
        self, place: int, masklets: FrameMasklets, *, presence: float = 0.0, dropped: int = 0, pixels: bool
    ) -> PassedPicture:
        frame = self._frames.picture(place)
        return PassedPicture(
            masklets=masklets,
            presence=presence,
            number=frame.index,
            time_s=frame.time_s,
            pixels=frame.pixels if pixels else None,
            followed=len(self.object_ids),
            dropped=dropped,
        )

    def _threshold(self, threshold: float | None) -> float:
        return self._policy.detection_score if threshold is None else threshold

    def _object(self, object_id: int | None, place: int) -> tuple[int, Masklets]:
        """The object that a prompt is about, and the masklets once it is a user's."""
        masklets = self._loop.masklets
        chosen = masklets.next_id if object_id is None else object_id
        if chosen in masklets.ids():
            return chosen, kept_by_user(masklets, [chosen])
        return chosen, placed(masklets, chosen, concept_idx=NO_CONCEPT, frame_idx=place, policy=self._policy)

    def _first_of_pass(self, direction: Direction) -> int:
        """Where a pass begins by itself."""
        if any(concept.text != VISUAL for concept in self._concepts):
            # The whole video; a way back begins before this place.
            return self._frames.count or 0 if direction == "backward" else 0
        return min((*self._session.prompted_frames, *(t for one in self._concepts for t in one.exemplars)))

    def _check_open(self) -> None:
        if self._is_closed:
            raise VideoError(f"{self.name}: expected an open video, it was closed; open it again")
