"""The request interface without a network: what detector and tracker say is scripted, everything between is real.

The world of scripted_video.py; `TrackerSession` and `find_concepts` of the open video are replaced, so that the
real `OpenVideo`, frame loop and rules answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from masklet.compat.sam3.model.sam3_video_inference import Sam3VideoInferenceWithInstanceInteractivity
from masklet.compat.sam3.model.sam3_video_predictor import Sam3VideoPredictor
from masklet.inference import frame_search, open_video
from masklet.inference.concept_finder import Found as FoundConcept
from masklet.inference.concept_finder import VideoConcept
from masklet.inference.policy import VideoPolicy
from masklet.inference.video_frames import VideoFrames
from masklet.model.build import build_model
from scripted_video import POLICY, SIDE, Found, ScriptedTracker, detections_of


@dataclass
class ScriptedRequests:
    """A predictor with one session, whose id is "s"."""

    predictor: Sam3VideoPredictor
    detected: list[int]
    trackers: list[ScriptedTracker]

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        return self.predictor.handle_request({"type": kind, "session_id": "s", **fields})

    def prompt(self, frame: int, text: str | None = "thing", **fields: Any) -> dict[str, Any]:
        answer = self.ask("add_prompt", frame_index=frame, text=text, **fields)
        assert answer["frame_index"] == frame
        return answer["outputs"]

    def click(self, frame: int, object_id: int, points: Any = ((0.5, 0.5),), labels: Any = (1,), **fields: Any) -> Any:
        request = {"frame_index": frame, "obj_id": object_id, "points": points, "point_labels": labels, **fields}
        return self.ask("add_prompt", **request)["outputs"]

    def propagate(self, start: int | None = None, most: int | None = None, way: str = "forward") -> dict[int, Any]:
        """What each frame shows, in the order in which frames come."""
        answers = self.stream(start, most, way)
        return {answer["frame_index"]: answer["outputs"] for answer in answers}

    def stream(self, start: int | None = None, most: int | None = None, way: str = "forward") -> Any:
        return self.predictor.handle_stream_request(
            {
                "type": "propagate_in_video",
                "session_id": "s",
                "propagation_direction": way,
                "start_frame_index": start,
                "max_frame_num_to_track": most,
            }
        )

    @property
    def tracker(self) -> ScriptedTracker:
        return self.trackers[-1]

    def kind_of(self, start: int | None = None, most: int | None = None, way: str = "forward") -> tuple[str, list[int]]:
        """What a propagation does, and the frames that it gives."""
        detected, followed = len(self.detected), len(self.tracker.log)
        frames = list(self.propagate(start, most, way))
        moves = [move for move in self.tracker.log[followed:] if move[0] == "follow"]
        alone = {move[3] is not None for move in moves}
        if len(self.detected) > detected:
            assert self.detected[detected:] == [move[1] for move in moves] == frames
            assert alone == {False}
            return "full", frames
        if moves:
            assert [move[1] for move in moves] == frames
            assert alone == {True}
            assert {move[2] for move in moves} == {True}  # the tracker remembers by itself
            return "partial", frames
        return "fetch", frames


def scripted(
    monkeypatch: pytest.MonkeyPatch,
    detections: Callable[[int], Found],
    masks: Callable[[int, int], Tensor],
    *,
    frames: int = 10,
    policy: VideoPolicy = POLICY,
    sight: Callable[[int, int], float] = lambda object_id, frame: 5.0,
) -> ScriptedRequests:
    detected: list[int] = []
    trackers: list[ScriptedTracker] = []

    def tracker(*_: Any, **__: Any) -> ScriptedTracker:
        trackers.append(ScriptedTracker(masks, sight))
        return trackers[-1]

    def find(_: Any, __: Any, ___: Any, frame: int, concepts: Sequence[VideoConcept]) -> dict[int, FoundConcept]:
        detected.append(frame)
        sought = [place for place, concept in enumerate(concepts) if concept.is_sought_on(frame)]
        return {place: FoundConcept(presence=1.0, detections=detections_of(detections(frame))) for place in sought}

    monkeypatch.setattr(open_video, "TrackerSession", tracker)
    monkeypatch.setattr(frame_search, "find_concepts", find)
    for reader in ("image", "tracker"):
        monkeypatch.setattr(VideoFrames, reader, lambda self, place: None)
    model = Sam3VideoInferenceWithInstanceInteractivity(build_model("test", seed=0), replace(policy, masks_apart=False))
    requests = ScriptedRequests(Sam3VideoPredictor(model), detected, trackers)
    requests.ask("start_session", resource_path=np.zeros((frames, SIDE, SIDE, 3), dtype=np.uint8))
    return requests
