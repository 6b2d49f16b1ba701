"""Stands for the original's `sam3.model.sam3_video_predictor`: concepts in videos by requests (spec/video.md 11).

    predictor = build_sam3_video_predictor()
    session_id = predictor.handle_request({"type": "start_session", "resource_path": "clip.mp4"})["session_id"]
    request = {"type": "add_prompt", "session_id": session_id, "frame_index": 0, "text": "dog"}
    outputs = predictor.handle_request(request)["outputs"]
    request = {"type": "propagate_in_video", "session_id": session_id}
    for answer in predictor.handle_stream_request(request):
        answer["frame_index"], answer["outputs"]

What is in `outputs` says `masklet.compat.video_answers.Outputs`. Each type of request is a method, too.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from masklet.compat.refusals import MissingKeyError, RefusedError, RequestError
from masklet.compat.sam3.model.sam3_video_inference import Sam3VideoInferenceWithInstanceInteractivity
from masklet.compat.video_prompts import exemplars_of, labels_of, points_px
from masklet.compat.video_session import VideoSession
from masklet.errors import InputError
from masklet.inference.video_pass import Direction
from masklet.inference.video_predictor import VideoPredictor
from masklet.media.video import VideoInput
from masklet.types import Exemplar

_log = logging.getLogger(__name__)

Answer = dict[str, Any]

_WAYS: dict[str, tuple[Direction, ...]] = {
    "both": ("forward", "backward"),
    "forward": ("forward",),
    "backward": ("backward",),
}


class Sam3VideoPredictor:
    """Answers requests about videos; each video is a session, any number at a time.

    Attributes:
        model: as `build_sam3_video_model` gives it.
    """

    def __init__(self, model: Sam3VideoInferenceWithInstanceInteractivity) -> None:
        self.model = model
        self._predictor = VideoPredictor(model.detector.detector, policy=model.policy)
        self._sessions: dict[str, VideoSession] = {}
        self._is_shut_down = False

    # --- requests -----------------------------------------------------------------------------------------------------

    def handle_request(self, request: Mapping[str, Any]) -> Answer:
        """The answer to a request.

        Args:
            request: has "type", and what the method of that type takes: start_session, add_prompt, remove_object,
                reset_session, cancel_propagation, close_session.

        Raises:
            RuntimeError: another type, an unknown session, or the predictor was shut down.
            KeyError: something is missing.
        """
        return self._called(request, _REQUESTS)

    def handle_stream_request(self, request: Mapping[str, Any]) -> Iterator[Answer]:
        """The answers to a request of type propagate_in_video, one for each frame.

        Raises:
            RuntimeError: another type, an unknown session, no prompt, or the predictor was shut down.
            KeyError: something is missing.
            ValueError: an unknown direction, or a frame that there is not.
        """
        answers: Iterator[Answer] = self._called(request, _STREAMS)
        return answers

    def _called(self, request: Mapping[str, Any], types: Mapping[str, _Fields]) -> Any:
        """What the method for a request gives; its faults in the order type, session, key."""
        self._check_running()
        kind = _required(request, "type")
        if kind not in types:
            raise RequestError(f"invalid request type: {kind!r}; expected one of {', '.join(types)}")
        fields = types[kind]
        if "session_id" in fields.required and kind != "close_session":
            self._session(_required(request, "session_id"))
        arguments = {key: _required(request, key) for key in fields.required}
        arguments |= {key: request[key] for key in fields.optional if request.get(key) is not None}
        unknown = sorted(set(request) - {"type", *fields.required, *fields.optional})
        if unknown:
            _log.warning("a request of type %s has no %s, which changes nothing", kind, ", ".join(map(repr, unknown)))
        return getattr(self, kind)(**{_ARGUMENTS.get(key, key): value for key, value in arguments.items()})

    # --- sessions -----------------------------------------------------------------------------------------------------

    def start_session(self, resource_path: VideoInput, session_id: str | None = None) -> Answer:
        """Opens a video: {"session_id"}.

        Args:
            resource_path: a film, a folder of frames, a picture, or pictures in memory.
            session_id: its name from now on, whose earlier session is closed; None, or "": one is made up.

        Raises:
            VideoError: it cannot be read.
        """
        self._check_running()
        session = VideoSession(self._predictor.open(resource_path))
        session_id = session_id or str(uuid.uuid4())
        if session_id in self._sessions:
            self._sessions[session_id].close()
        self._sessions[session_id] = session
        return {"session_id": session_id}

    def reset_session(self, session_id: str) -> Answer:
        """Forgets all prompts and objects of a video: {"is_success": True}."""
        self._session(session_id).reset()
        return {"is_success": True}

    def close_session(self, session_id: str) -> Answer:
        """Ends a session, if there is one of that name: {"is_success": True}."""
        self._check_running()
        session = self._sessions.pop(session_id, None)
        if session is None:
            _log.warning("session %s cannot be closed: there is none of that name", session_id)
        else:
            session.close()
        return {"is_success": True}

    def shutdown(self) -> None:
        """Ends all sessions of this predictor, and answers no more."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()
        self._is_shut_down = True

    # --- prompts ------------------------------------------------------------------------------------------------------

    def add_prompt(
        self,
        session_id: str,
        frame_idx: int,
        text: str | None = None,
        points: Any = None,
        point_labels: Any = None,
        bounding_boxes: Any = None,
        bounding_box_labels: Any = None,
        obj_id: int | None = None,
        clear_old_points: bool = True,
        rel_coordinates: bool = True,
    ) -> Answer:
        """What is on a frame once something was said of it: {"frame_index", "outputs"}.

        A text, boxes or both say what is looked for; the session begins anew with them. Points place one object or
        set it right, and leave the others as they are.

        Args:
            session_id: of the video.
            frame_idx: of the frame.
            text: a phrase, looked for on all frames.
            points: (P, 2) x, y as fractions of the frame.
            point_labels: (P,), 1 on the object, 0 not on it.
            bounding_boxes: (N, 4) left, top, width, height as fractions of the frame, examples of what is meant on this
                frame.
            bounding_box_labels: (N,), 1 for an example, 0 for a counter-example.
            obj_id: whom the points are about; a known object or a new one.
            clear_old_points: drop earlier points of the object on this frame.
            rel_coordinates: points are fractions; else pixels of the model's square.

        Raises:
            AssertionError: a prompt that cannot be; nothing was changed.
            ValueError: the same, and points or boxes that cannot be used.
        """
        session = self._session(session_id)
        if points is None and point_labels is None:
            boxes: tuple[Exemplar, ...] = ()
            if bounding_boxes is not None or bounding_box_labels is not None:
                boxes = exemplars_of(bounding_boxes, bounding_box_labels, session.size_hw)
            return {"frame_index": frame_idx, "outputs": session.prompt(frame_idx, text, boxes)}
        if text is not None or bounding_boxes is not None:
            raise RefusedError(
                "points go without text and bounding_boxes, got both; send them in requests of their own"
            )
        if points is None or point_labels is None or obj_id is None:
            raise RefusedError("points, point_labels and obj_id go together, got only some of them")
        side = self.model.detector.detector.config.vision.image_size
        places = points_px(points, session.size_hw, of_hw=None if rel_coordinates else (side, side))
        outputs = session.click(frame_idx, obj_id, places, labels_of(point_labels), keep_earlier=not clear_old_points)
        return {"frame_index": frame_idx, "outputs": outputs}

    def remove_object(self, session_id: str, obj_id: int, is_user_action: bool = True) -> Answer:
        """Forgets an object: {"is_success": True}.

        Args:
            session_id: of the video.
            obj_id: which.
            is_user_action: changes nothing: who calls this is a user.

        Raises:
            AssertionError: it is not known.
        """
        self._session(session_id).remove(obj_id)
        return {"is_success": True}

    # --- passes -------------------------------------------------------------------------------------------------------

    def propagate_in_video(
        self,
        session_id: str,
        propagation_direction: str = "both",
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
    ) -> Iterator[Answer]:
        """Passes frames, {"frame_index", "outputs"} of each one.

        Args:
            session_id: of the video.
            propagation_direction: "forward" with the first frame, "backward" from the one before it, or "both".
            start_frame_idx: first frame; None: the earliest that was given out.
            max_frame_num_to_track: how many frames to go on from there at most; None: to the end.

        Raises (when the first frame is asked for):
            RuntimeError: there is no prompt.
            ValueError: an unknown direction, or a frame that there is not.
        """
        session = self._session(session_id)
        if propagation_direction not in _WAYS:
            raise InputError(
                f"invalid propagation direction: {propagation_direction!r}; expected one of {', '.join(_WAYS)}"
            )
        ways = _WAYS[propagation_direction]
        for frame_idx, outputs in session.propagate(start_frame_idx, max_frame_num_to_track, ways):
            yield {"frame_index": frame_idx, "outputs": outputs}

    def cancel_propagation(self, session_id: str) -> Answer:
        """Ends the propagation under way at the next frame, as if it had not begun: {"is_success": True}."""
        self._session(session_id).cancel()
        return {"is_success": True}

    # --- inside -------------------------------------------------------------------------------------------------------

    def _session(self, session_id: str) -> VideoSession:
        self._check_running()
        if session_id not in self._sessions:
            raise RequestError(
                f"Cannot find session {session_id}; it might have expired. Begin one with start_session first"
            )
        return self._sessions[session_id]

    def _check_running(self) -> None:
        if self._is_shut_down:
            raise RequestError("cannot handle request after the predictor has shutdown; build another one")


@dataclass(frozen=True)
class _Fields:
    """Keys of a request: those that it must have, and those that it may have."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


# The methods have the names of the types.
_REQUESTS = {
    "start_session": _Fields(("resource_path",), ("session_id",)),
    "add_prompt": _Fields(
        ("session_id", "frame_index"),
        (
            *("text", "points", "point_labels", "bounding_boxes", "bounding_box_labels", "obj_id"),
            *("clear_old_points", "rel_coordinates"),
        ),
    ),
    "remove_object": _Fields(("session_id", "obj_id"), ("is_user_action",)),
    "reset_session": _Fields(("session_id",)),
    "cancel_propagation": _Fields(("session_id",)),
    "close_session": _Fields(("session_id",)),
}
_STREAMS = {
    "propagate_in_video": _Fields(
        ("session_id",), ("propagation_direction", "start_frame_index", "max_frame_num_to_track")
    )
}
_ARGUMENTS = {"frame_index": "frame_idx", "start_frame_index": "start_frame_idx"}  # their names in methods


def _required(request: Mapping[str, Any], key: str) -> Any:
    if key not in request:
        raise MissingKeyError(f"a request must have {key!r}, got only {', '.join(map(repr, request)) or 'nothing'}")
    return request[key]
