"""Stands for the original's `sam3.model.sam3_tracking_predictor`: clicks on a video as in SAM 2 (spec/tracker.md 9).

The state that all calls take is a dictionary, which `init_state` makes:

    video_height, video_width       pixels
    num_frames                      its length
    obj_ids                         the objects, in the order in which they came
    frames                          as the model sees them, `VideoFrames`
    session                         what is remembered, a `TrackerSession`

All frames are remembered for ever, since programs return to any of them; `masklet.VideoPredictor` forgets what cannot
be read any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from masklet.compat.refusals import RequestError, UnsupportedError
from masklet.compat.video_prompts import box_px, labels_of, points_px
from masklet.errors import InputError
from masklet.inference.tracked_frame import pass_order
from masklet.inference.tracker_policy import TrackerPolicy
from masklet.inference.tracker_session import TrackerSession
from masklet.inference.video_frames import VideoFrames
from masklet.media.span import Span
from masklet.media.video import VideoInput, open_video
from masklet.model.detector import Detector
from masklet.model.memory_bank import BankRules
from masklet.model.tracker import Tracker

State = dict[str, Any]

Masks = tuple[int, list[int], Tensor, Tensor]
"""Frame, ids, and logits of the O objects: (O, 1, h, w) as the network gives them, (O, 1, H, W) of the video's size."""


class Sam3TrackerPredictor(nn.Module):
    """Follows what is clicked through videos; it holds none.

    Attributes:
        tracker: masklet's.
        policy: the rules of its memory.
        backbone: encodes frames: the `detector.backbone` of a video model. None: it has to be set first.
    """

    def __init__(self, tracker: Tracker, policy: TrackerPolicy, backbone: Detector | None = None) -> None:
        super().__init__()
        self.tracker = tracker
        self.policy = policy
        self.backbone = backbone

    @classmethod
    def of(cls, model: Detector, *, select: bool) -> Self:
        """That of a model, which also encodes the frames.

        Args:
            model: masklet's.
            select: read frames on which the objects were seen well, not the last ones.

        Raises:
            InputError: the model has no tracker.
        """
        if model.tracker is None or model.config.tracker is None:
            raise InputError(f"model {model.config.name!r} has no tracker, so it cannot follow anything: load another")
        return cls(
            model.tracker, TrackerPolicy(bank=BankRules.of(model.config.tracker, select=select), forget=False), model
        )

    def init_state(
        self,
        video_path: VideoInput,
        offload_video_to_cpu: bool = False,
        offload_state_to_cpu: bool = False,
        async_loading_frames: bool = False,
    ) -> State:
        """A state of a video without objects.

        Args:
            video_path: a film, a folder of frames, or whatever else `masklet.media.video.open_video` takes and can be
                read in any order.
            offload_video_to_cpu: changes nothing: frames are read when they are needed, and two are kept.
            offload_state_to_cpu: changes nothing: what is remembered stays where the model is.
            async_loading_frames: changes nothing: frames are read ahead on a thread.

        Raises:
            VideoError: it cannot be read.
            InputError: there is no backbone yet, or one that does not encode for trackers, or the frames come once.
        """
        backbone, tracker = self.backbone, self.tracker
        if not isinstance(backbone, Detector) or backbone.tracker is None:
            raise InputError(
                "the tracker needs a backbone that encodes frames, got "
                f"{type(backbone).__name__}: set predictor.backbone = build_sam3_video_model().detector.backbone"
            )
        frames = VideoFrames(
            backbone,
            source := open_video(video_path),
            Span(),
            image_size=backbone.config.vision.image_size,
            tracker=tracker,  # whosever backbone it is
        )
        if frames.count is None:
            source.close()
            raise InputError(f"{source.facts.name}: expected a video whose frames can be read in any order")

        size_hw = source.facts.size_hw
        session = TrackerSession(tracker, frames.tracker, size_hw=size_hw, frames=frames.count, policy=self.policy)
        return {
            "video_height": size_hw[0],
            "video_width": size_hw[1],
            "num_frames": frames.count,
            "obj_ids": [],
            "frames": frames,
            "session": session,
        }

    # --- prompts ------------------------------------------------------------------------------------------------------

    def add_new_points_or_box(
        self,
        inference_state: State,
        frame_idx: int,
        obj_id: int,
        points: ArrayLike | Tensor | None = None,
        labels: ArrayLike | Tensor | None = None,
        clear_old_points: bool = True,
        rel_coordinates: bool = True,
        use_prev_mem_frame: bool = False,
        normalize_coords: bool = True,
        box: ArrayLike | Tensor | None = None,
    ) -> Masks:
        """Says where an object is by clicks, a box, or both; a new object may come at any time.

        Args:
            inference_state: of the video.
            frame_idx: of the frame.
            obj_id: of a known object or a new one.
            points: (P, 2) or (1, P, 2) x, y.
            labels: (P,) or (1, P), 1 on the object, 0 not on it.
            clear_old_points: drop earlier points of the object on this frame; a box needs that.
            rel_coordinates: points and box are fractions of the frame; else pixels of the model's square.
            use_prev_mem_frame: read memory on a frame that was passed before.
            normalize_coords: changes nothing, in the original neither.
            box: (4,) or (1, 4) left, top, right, bottom.

        Returns:
            The objects on this frame.

        Raises:
            InputError: the frame does not exist, or the id is below 0.
            ValueError: points without labels, labels without points, neither points nor a box, numbers out of range.
        """
        session = _session(inference_state)
        size_hw = (inference_state["video_height"], inference_state["video_width"])
        of_hw = None if rel_coordinates else self._side_hw()
        session.click(
            frame_idx,
            obj_id,
            None if points is None else points_px(points, size_hw, of_hw=of_hw),
            None if labels is None else labels_of(labels),
            box_xyxy=None if box is None else box_px(box, size_hw, of_hw=of_hw),
            keep_earlier=not clear_old_points,
            with_memory=use_prev_mem_frame,
        )
        return self._masks(inference_state, frame_idx)

    add_new_points = add_new_points_or_box

    def add_new_mask(
        self,
        inference_state: State,
        frame_idx: int,
        obj_id: int,
        mask: ArrayLike | Tensor,
        add_mask_to_memory: bool = False,
    ) -> Masks:
        """Says where an object is by its mask.

        Args:
            inference_state: of the video.
            frame_idx: of the frame.
            obj_id: of a known object or a new one.
            mask: (H, W) bool or 0..1, at any size.
            add_mask_to_memory: changes nothing, in the original neither: masks are remembered when a pass begins.

        Raises:
            InputError: the frame does not exist, or the id is below 0.
            ValueError: no mask.
        """
        _session(inference_state).give_mask(frame_idx, obj_id, mask)
        return self._masks(inference_state, frame_idx)

    def clear_all_points_in_frame(
        self, inference_state: State, frame_idx: int, obj_id: int, need_output: bool = True
    ) -> Masks | None:
        """Takes back what was said of an object on a frame; gives the frame unless `need_output` is off.

        Raises:
            InputError: the object is not known.
        """
        _session(inference_state).clear(frame_idx, obj_id)
        return self._masks(inference_state, frame_idx) if need_output else None

    def clear_all_points_in_video(self, inference_state: State) -> None:
        """Forgets all objects."""
        _session(inference_state).reset()
        inference_state["obj_ids"] = []

    def remove_object(
        self, inference_state: State, obj_id: int, strict: bool = False, need_output: bool = True
    ) -> tuple[list[int], list[tuple[int, Tensor]]]:
        """Forgets an object.

        Args:
            inference_state: of the video.
            obj_id: which; one that is not known changes nothing unless `strict`.
            strict: it must be known.
            need_output: give the frames on which something was said of it.

        Returns:
            The ids that are left, and of each of those frames its number and (O, 1, H, W) logits of the others.

        Raises:
            RuntimeError: it is not known and `strict`.
        """
        session = _session(inference_state)
        if obj_id not in session.object_ids:
            if strict:
                raise RequestError(f"obj_id must be one of {list(session.object_ids)}, got {obj_id}")
            return list(session.object_ids), []
        prompted = sorted(
            frame_idx for bucket in session.buckets for frame_idx, said in bucket.prompts.items() if obj_id in said
        )
        session.remove(obj_id)
        inference_state["obj_ids"] = list(session.object_ids)
        if not need_output or not session.object_ids:
            return list(session.object_ids), []
        frames = (self._masks(inference_state, frame_idx) for frame_idx in prompted)
        return list(session.object_ids), [(frame_idx, masks) for frame_idx, _, _, masks in frames]

    # --- passes -------------------------------------------------------------------------------------------------------

    def propagate_in_video(
        self,
        inference_state: State,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
        tqdm_disable: bool = False,
        obj_ids: Sequence[int] | None = None,
        run_mem_encoder: bool = True,
        propagate_preflight: bool = False,
    ) -> Iterator[tuple[int, list[int], Tensor, Tensor, Tensor]]:
        """Follows all objects.

        Args:
            inference_state: of the video.
            start_frame_idx: first frame, that one included in both directions; None: the earliest prompted one.
            max_frame_num_to_track: how many frames to move on from there at most; None: to the end.
            reverse: towards the first frame.
            tqdm_disable: changes nothing: no bar is drawn.
            obj_ids: only None, as in the original.
            run_mem_encoder: remember the frames; without it only one frame can be passed.
            propagate_preflight: changes nothing: prompts are always taken up before a frame is passed.

        Returns:
            An iterator of frame, ids, logits (O, 1, h, w) and (O, 1, H, W), and (O, 1) logits of being in sight.

        Raises (when the first frame is asked for):
            RuntimeError: there is no prompt.
            NotImplementedError: `obj_ids` is given.
            InputError: the frame does not exist, or a number is below 0.
        """
        session = _session(inference_state)
        if obj_ids is not None:
            raise UnsupportedError("obj_ids must be None: all objects are followed together; remove_object the others")
        if not session.prompted_frames:
            raise RequestError("No points are provided; please add points first")
        frames: VideoFrames = inference_state["frames"]
        start = frames.place_of(session.prompted_frames[0] if start_frame_idx is None else start_frame_idx)
        order = pass_order(start, max_frame_num_to_track, frames=frames.count, backwards=reverse)
        for frame_idx in frames.passed(order):
            found = session.follow(frame_idx, backwards=reverse, remember=run_mem_encoder)
            yield (*self._masks(inference_state, frame_idx), found.masks.sight_logits[:, None])

    # --- inside -------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _masks(self, state: State, frame_idx: int) -> Masks:
        session = _session(state)
        shown = session.shown(frame_idx)
        state["obj_ids"] = list(shown.object_ids)
        low, full = shown.masks.mask_logits, session.mask_logits_px(frame_idx)
        return frame_idx, list(shown.object_ids), low[:, None], full[:, None]

    def _side_hw(self) -> tuple[int, int]:
        assert isinstance(self.backbone, Detector)
        side = self.backbone.config.vision.image_size
        return side, side


def _session(state: State) -> TrackerSession:
    session = state.get("session") if isinstance(state, dict) else None
    if not isinstance(session, TrackerSession):
        raise InputError(f"inference_state must be what init_state gave, got {type(state).__name__} without a session")
    return session
