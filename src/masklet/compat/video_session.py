"""A video with what was asked of it so far, as the original keeps it in a session (spec/video.md 8, 9).

    session = VideoSession(predictor.open("clip.mp4"))
    outputs = session.prompt(0, "dog", ())
    for frame_idx, outputs in session.propagate(None, None): ...
    outputs = session.click(12, 3, [(210, 350)], [1])
    for frame_idx, outputs in session.propagate(None, None): ...     follows object 3 alone

What masklet's own `OpenVideo` does not have lives here: a text or a box begins anew, frames that were given out are
kept to be given out again, and what was done decides what the next propagation does (`propagation_kind.py`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from masklet.compat.propagation_kind import Edit, Pass, next_pass
from masklet.compat.refusals import RefusedError, RequestError
from masklet.compat.video_answers import NOTHING, Outputs, kept, outputs_of, replaced
from masklet.errors import VideoError
from masklet.inference.frame_masklets import FrameMasklets
from masklet.inference.hold_back import frame_order
from masklet.inference.open_video import OpenVideo
from masklet.inference.video_pass import Direction
from masklet.inference.video_result import VideoResult
from masklet.ops.masks import decode_rle
from masklet.types import VISUAL, Exemplar


class VideoSession:
    """One video, its prompts, and the frames that were given out.

    Args:
        video: without prompts, of a policy whose masks may overlap; closed with the session.

    Raises:
        VideoError: its frames cannot be read in any order; the video is closed.
    """

    def __init__(self, video: OpenVideo) -> None:
        if video.frame_count is None:
            video.close()
            raise VideoError(
                f"{video.name}: a session needs a video whose frames can be read in any order, a pipe or camera gives "
                "each once; use masklet.VideoPredictor"
            )
        self._video = video
        self._frame_count = video.frame_count
        self._frames: dict[int, FrameMasklets] = {}
        self._vouched: set[int] = set()
        self._history: tuple[Edit | Pass, ...] = ()
        self._under_way: Pass | None = None

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the frames, pixels."""
        return self._video.size_hw

    # --- prompts ------------------------------------------------------------------------------------------------------

    def prompt(self, frame_idx: int, text: str | None, exemplars: Sequence[Exemplar]) -> Outputs:
        """What a text, or boxes, or both mean on a frame. Everything said before is forgotten.

        Args:
            frame_idx: on which the boxes lie; a text is looked for on all frames.
            text: a phrase; None or "visual": boxes alone say what is meant.
            exemplars: the boxes, an example first.

        Raises:
            RefusedError: no such frame, neither a text nor a box, or counter-examples alone; nothing is forgotten.
        """
        frame_idx = self._frame(frame_idx, "frame_index")
        if not isinstance(text, str | None):
            raise RefusedError(f"text must be words, got {text!r}")
        named = text if text != VISUAL else None
        if named is not None and not named.strip():
            raise RefusedError(f"text must have at least one visible character, got {text!r}; name what to find")
        if named is None and not exemplars:
            raise RefusedError(
                f"a prompt needs a text, bounding_boxes or points, got text {text!r} and no box; say what to find"
            )
        if named is None and not exemplars[0].positive:
            raise RefusedError("without a text a box must be an example, label 1, got counter-examples alone")
        self.reset()
        concept = None if named is None else self._video.add_concept(named)
        for exemplar in exemplars:
            concept = self._video.add_exemplar(frame_idx, exemplar, concept=concept)
        results = list(self._video.propagate(frame_idx, 0, pixels=False))
        if not results:
            raise VideoError(f"{self._video.name}: frame {frame_idx} cannot be decoded; give the prompt on another")
        return self._kept(results[0])

    def click(
        self,
        frame_idx: int,
        object_id: int,
        points_xy: Sequence[tuple[float, float]],
        labels: Sequence[int],
        *,
        keep_earlier: bool = False,
    ) -> Outputs:
        """All objects of a frame once one of them was placed or set right there; the frame need not have been passed.

        Args:
            frame_idx: which.
            object_id: a known one, or a new one.
            points_xy: x, y in pixels of the frame.
            labels: 1 on the object, 0 not on it, for each point.
            keep_earlier: these points are added to the earlier ones of the object on this frame.

        Raises:
            RefusedError: no such frame, or an id that is no number.
            PromptError: points or labels cannot be used.
            InputError: an id below 0, or no room for an object more.
        """
        frame_idx, object_id = self._frame(frame_idx, "frame_index"), _whole(object_id, "obj_id")
        before = self._frames.get(frame_idx)
        found = kept(
            self._video.click(
                frame_idx,
                points_xy,
                labels,
                object_id=object_id,
                keep_earlier=keep_earlier,
                refined=None if before is None else _mask_of(before, object_id),
            )
        )
        self._history = (*self._history, Edit(object_id))
        self._vouched.add(object_id)
        self._frames[frame_idx] = found if before is None else replaced(before, [object_id], found)
        return self._outputs(frame_idx)

    def remove(self, object_id: int) -> None:
        """Forgets an object, also on the frames that were given out.

        Raises:
            RefusedError: it is neither followed nor on any of those frames.
        """
        object_id = _whole(object_id, "obj_id")
        is_followed = object_id in self._video.object_ids
        if not is_followed and not any(object_id in frame.object_ids for frame in self._frames.values()):
            raise RefusedError(
                f"obj_id must be one of the objects that are followed {list(self._video.object_ids)}, got {object_id}"
            )
        if is_followed:
            self._video.remove(object_id)
        self._frames = {frame_idx: replaced(frame, [object_id]) for frame_idx, frame in self._frames.items()}
        self._vouched.discard(object_id)
        self._history = (*self._history, Edit(object_id, removed=True))

    def reset(self) -> None:
        """Forgets everything but the video."""
        self.cancel()
        self._video.reset()
        self._frames.clear()
        self._vouched.clear()
        self._history = ()

    # --- passes -------------------------------------------------------------------------------------------------------

    def propagate(
        self, start: int | None, steps: int | None, ways: Sequence[Direction] = ("forward",)
    ) -> Iterator[tuple[int, Outputs]]:
        """Frames in the order of a pass, or of two, each with what is on it.

        A pass that is left before its end does not count: the next one does the same. One that begins ends the one
        under way.

        Args:
            start: first frame, backward the one after it; None: the earliest that was given out.
            steps: how many frames to go on from there at most; None: to the end.
            ways: of the passes.

        Raises:
            RequestError: there was no prompt.
            RefusedError: no such frame, or `steps` is below 0.
        """
        for way in ways:
            is_done = yield from self._passed(start, steps, way)
            if not is_done:
                return

    def cancel(self) -> None:
        """Ends the pass under way at the next frame, as if it had not begun; nothing happens if there is none."""
        self._history = tuple(done for done in self._history if done is not self._under_way)
        self._under_way = None

    def close(self) -> None:
        """Ends reading."""
        self.cancel()
        self._video.close()

    # --- inside -------------------------------------------------------------------------------------------------------

    def _passed(
        self, start: int | None, steps: int | None, way: Direction
    ) -> Generator[tuple[int, Outputs], None, bool]:
        """One pass; in the end, whether it came there by itself."""
        if not self._frames:
            raise RequestError(
                "No prompts are received on any frames. Add a text, a box or points with add_prompt, then propagate"
            )
        first = min(self._frames) if start is None else self._frame(start, "start_frame_index")
        if steps is not None and _whole(steps, "max_frame_num_to_track") < 0:
            raise RefusedError(f"max_frame_num_to_track must be 0 or more, got {steps}")
        order = frame_order(first, steps, frame_count=self._frame_count, backwards=way == "backward")
        self.cancel()
        this = self._under_way = self._next_pass(start, order)
        self._history = (*self._history, this)
        try:
            for frame_idx, outputs in self._frames_of(this, first, steps, way, order):
                yield frame_idx, outputs
                if self._under_way is not this:
                    return False
            self._under_way = None  # done: it stays in the history
            return True
        finally:
            if self._under_way is this:
                self.cancel()

    def _next_pass(self, start: int | None, order: range) -> Pass:
        is_sought = bool(self._video.concepts)
        chosen = next_pass(self._history, start, frame_count=self._frame_count, is_sought=is_sought)
        # Films are passed in parts, too: frames of which none was given out are passed, not fetched. The first one may
        # be the last of the part before.
        is_new = bool(order) and not any(frame_idx in self._frames for frame_idx in order[1:] or order)
        if chosen.kind == "fetch" and is_new and (is_sought or self._video.object_ids):
            return Pass("full" if is_sought else "partial", frozenset(self._video.object_ids), start)
        return chosen

    def _frames_of(
        self, this: Pass, start: int, steps: int | None, way: Direction, order: range
    ) -> Iterator[tuple[int, Outputs]]:
        if this.kind == "fetch":
            for frame_idx in order:
                yield frame_idx, self._outputs(frame_idx)
            return
        if not self._video.concepts and not self._video.object_ids:  # all that was clicked is removed
            return
        if this.kind == "full":
            for result in self._video.propagate(start, steps, direction=way, pixels=False):
                yield result.frame_idx, self._kept(result)
            return
        for result in self._video.propagate(start, steps, direction=way, object_ids=this.object_ids, pixels=False):
            before = self._frames.get(result.frame_idx, NOTHING)
            self._frames[result.frame_idx] = replaced(before, this.object_ids, kept(result))
            yield result.frame_idx, self._outputs(result.frame_idx)

    def _kept(self, result: VideoResult) -> Outputs:
        """Keeps a frame that was passed as a whole."""
        self._frames[result.frame_idx] = kept(result)
        stats = {"num_obj_tracked": result.followed, "num_obj_dropped": result.dropped}
        return self._outputs(result.frame_idx, stats)

    def _outputs(self, frame_idx: int, stats: dict[str, int] | None = None) -> Outputs:
        frame = self._frames.get(frame_idx, NOTHING)
        return outputs_of(frame, size_hw=self.size_hw, vouched=self._vouched, stats=stats)

    def _frame(self, frame_idx: Any, name: str) -> int:
        """The number of a frame, checked."""
        number = _whole(frame_idx, name)
        if not 0 <= number < self._frame_count:
            raise RefusedError(f"{name} must be from 0 to {self._frame_count - 1}, got {number}")
        return number


def _whole(value: Any, name: str) -> int:
    if not isinstance(value, int | np.integer):
        raise RefusedError(f"{name} must be a whole number, got {value!r}")
    return int(value)


def _mask_of(frame: FrameMasklets, object_id: int) -> npt.NDArray[np.bool_] | None:
    """(H, W) of an object, None where it is not on the frame."""
    places = np.flatnonzero(frame.object_ids == object_id)
    return decode_rle(frame.masks[places[0]]) if len(places) else None
