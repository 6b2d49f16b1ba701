"""What a user gets of a video: the objects on one frame, each with its identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from masklet.errors import DataError
from masklet.inference.coco import coco_dataset
from masklet.inference.frame_masklets import presented
from masklet.inference.frame_result import FrameResult, shortest
from masklet.inference.video_pass import Waiting
from masklet.media.images import ImageSource

if TYPE_CHECKING:
    from masklet.render.overlay import Drawn


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class VideoResult(FrameResult):
    """The objects on one frame of a video, ascending by identity; none of them without a pixel.

    A `FrameResult` whose `concept` names all that is looked for, and whose boxes are the tight boxes of the masks.

    Attributes:
        frame_idx: number of the frame in the video, 0 first.
        time_s: seconds after the first frame.
        object_ids: (N,) int64; an identity is given once and never again.
        concepts: N phrases, what each object is one of; "" for one that a user placed.
        tracker_scores: (N,) float32 0..1, how sure the tracker is that the object is in sight on this frame. `scores`
            are those with which the objects were found, 1 where a user placed or corrected them.
        followed: objects that are followed on from this frame, those that are not shown included.
        dropped: detections that would have begun objects and found no room (`VideoPolicy.max_masklets`).
    """

    frame_idx: int
    time_s: float
    object_ids: npt.NDArray[np.int64]
    concepts: tuple[str, ...]
    tracker_scores: npt.NDArray[np.float32]
    followed: int = 0
    dropped: int = 0

    def __repr__(self) -> str:
        height, width = self.image_size_hw
        ids = self.object_ids.tolist()
        return f"<VideoResult {self.image!r} frame {self.frame_idx}, {width} x {height}: objects {ids}>"

    # --- documents ----------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values, as `frame.schema.json` beside this file describes them."""
        document = super().to_dict()
        own = zip(self.object_ids.tolist(), self.concepts, self.tracker_scores, strict=True)
        detections = [
            {"object_id": object_id, "concept": concept, **row, "tracker_score": shortest(score)}
            for row, (object_id, concept, score) in zip(document.pop("detections"), own, strict=True)
        ]
        return {**document, "frame_idx": self.frame_idx, "time_s": round(self.time_s, 6), "detections": detections}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, source: ImageSource | None = None) -> Self:
        """The result that `to_dict` gave.

        Args:
            document: as `frame.schema.json` describes it.
            source: the frame's pixels, for overlays.

        Raises:
            DataError: it is another one.
        """
        try:
            rows = document["detections"]
            width, height = document["size_wh"]
            return cls(
                image=document["image"],
                image_size_hw=(height, width),
                concept=document["concept"],
                presence=document["presence"],
                model=document["model"],
                scores=np.array([row["score"] for row in rows], dtype=np.float32),
                boxes_xyxy=np.array([row["box_xyxy"] for row in rows], dtype=np.float32).reshape(-1, 4),
                mask_counts=tuple(row["mask"]["counts"] for row in rows),
                source=source,
                frame_idx=document["frame_idx"],
                time_s=document["time_s"],
                object_ids=np.array([row["object_id"] for row in rows], dtype=np.int64),
                concepts=tuple(row["concept"] for row in rows),
                tracker_scores=np.array([row["tracker_score"] for row in rows], dtype=np.float32),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"expected the document of a frame (frame.schema.json), got another one: {error!r}"
            ) from error

    def to_coco(self) -> dict[str, Any]:
        """A COCO data set of this frame alone; its categories are the concepts of the objects."""
        document = self.to_dict()
        parts = [
            {
                **document,
                "concept": concept,
                "detections": [row for row in document["detections"] if row["concept"] == concept],
            }
            for concept in dict.fromkeys(self.concepts)
        ]
        return coco_dataset(parts or [document])

    def to_supervision(self) -> Any:
        """The result as `supervision.Detections`, with masks, identities as `tracker_id`, and concepts.

        Raises:
            MissingExtraError: the package `supervision` is not installed.
        """
        detections = super().to_supervision()
        detections.tracker_id = self.object_ids.copy()
        detections.data["class_name"] = np.array(self.concepts, dtype=str)
        return detections

    # --- pictures and files -------------------------------------------------------------------------------------------

    def drawn(self) -> list[Drawn]:
        """The objects as `render.overlay.draw_overlay` takes them: each in the colour of its identity."""
        own = zip(super().drawn(), self.concepts, self.object_ids.tolist(), strict=True)
        return [replace(one, name=concept or "object", object_id=object_id) for one, concept, object_id in own]

    def save(self, folder: str | Path, *, name: str | None = None, image: ImageSource | None = None) -> Path:
        """As that of a picture; `name` is the video's and the frame's number, "clip/000012", unless it is given."""
        video = Path(self.image).stem or "video"
        return super().save(folder, name=name or f"{video}/{self.frame_idx:06d}", image=image)


def video_result(
    waiting: Waiting,
    *,
    video: str,
    size_hw: tuple[int, int],
    concepts: tuple[str, ...],
    model: str,
    apart: bool,
    source: ImageSource | None,
) -> VideoResult:
    """What is given out of a frame, as a user reads it.

    Args:
        waiting: the frame, which need not wait any longer.
        video: what the video is called.
        size_hw: of its frames.
        concepts: all that are looked for; -1 of `concept_idx` stands for none.
        model: name of the model.
        apart: masks of one concept do not overlap (`presented`).
        source: the frame's pixels, for overlays.
    """
    passed = waiting.value
    frame = presented(passed.masklets, waiting.hidden, apart=apart)
    return VideoResult(
        image=video,
        image_size_hw=size_hw,
        concept=", ".join(concepts),
        presence=passed.presence,
        model=model,
        scores=frame.scores,
        boxes_xyxy=frame.boxes_xyxy.astype(np.float32),
        mask_counts=tuple(rle["counts"] for rle in frame.masks),
        source=source,
        frame_idx=passed.number,
        time_s=passed.time_s,
        object_ids=frame.object_ids,
        concepts=tuple(concepts[idx] if idx >= 0 else "" for idx in frame.concept_idx.tolist()),
        tracker_scores=frame.tracker_scores,
        followed=passed.followed,
        dropped=passed.dropped,
    )
