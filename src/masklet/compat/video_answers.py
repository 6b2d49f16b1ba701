"""What was given out of a frame, how it is kept, and how it goes out in the original's form (spec/video.md 7.1).

A session keeps the masks of each frame as run-length codes that may overlap, so that one object can be replaced or
taken out later. What goes out is put apart, and its boxes are those of the masks that go out. Pure.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from masklet.inference.frame_masklets import FrameMasklets, presented
from masklet.inference.video_result import VideoResult
from masklet.ops.masks import decode_rles

Outputs = dict[str, Any]
"""`out_obj_ids` (N,) int64 ascending, `out_probs` (N,) float32, `out_boxes_xywh` (N, 4) float32 fractions of the frame,
`out_binary_masks` (N, H, W) bool, `frame_stats` None or a dictionary of counts."""

NOTHING = FrameMasklets(
    object_ids=np.zeros(0, dtype=np.int64),
    concept_idx=np.zeros(0, dtype=np.int64),
    scores=np.zeros(0, dtype=np.float32),
    tracker_scores=np.zeros(0, dtype=np.float32),
    masks=(),
)
"""A frame without objects, or one that was never passed."""


def kept(result: VideoResult) -> FrameMasklets:
    """A result as it is kept. All objects count as one concept: in what goes out no two of them overlap."""
    return FrameMasklets(
        object_ids=result.object_ids,
        concept_idx=np.zeros(len(result), dtype=np.int64),
        scores=result.scores,
        tracker_scores=result.tracker_scores,
        masks=tuple(result.rle()),
    )


def replaced(frame: FrameMasklets, object_ids: Collection[int], by: FrameMasklets = NOTHING) -> FrameMasklets:
    """A frame with some objects as another tells of them; without those of which it tells nothing."""
    stay = np.flatnonzero(~np.isin(frame.object_ids, list(object_ids)))
    come = np.flatnonzero(np.isin(by.object_ids, list(object_ids)))
    return FrameMasklets(
        object_ids=np.concatenate((frame.object_ids[stay], by.object_ids[come])),
        concept_idx=np.concatenate((frame.concept_idx[stay], by.concept_idx[come])),
        scores=np.concatenate((frame.scores[stay], by.scores[come])),
        tracker_scores=np.concatenate((frame.tracker_scores[stay], by.tracker_scores[come])),
        masks=(*(frame.masks[place] for place in stay), *(by.masks[place] for place in come)),
    )


def outputs_of(
    frame: FrameMasklets, *, size_hw: tuple[int, int], vouched: Collection[int], stats: dict[str, int] | None = None
) -> Outputs:
    """A frame in the original's form.

    Args:
        frame: as it is kept.
        size_hw: of the frame, pixels.
        vouched: objects that a user placed or set right, whose score is 1 on all frames.
        stats: counts of the frame; None where it was not passed as a whole.
    """
    shown = presented(frame, ())
    height, width = size_hw
    x0, y0, x1, y1 = shown.boxes_xyxy.T
    # The original's sides are differences of pixel indices: a mask of one pixel has a box of width and height 0.
    boxes = np.stack((x0, y0, x1 - 1 - x0, y1 - 1 - y0), axis=1) / np.array([width, height, width, height])
    return {
        "out_obj_ids": shown.object_ids,
        "out_probs": np.where(np.isin(shown.object_ids, list(vouched)), np.float32(1), shown.scores),
        "out_boxes_xywh": boxes.astype(np.float32),
        "out_binary_masks": decode_rles(shown.masks, size_hw),
        "frame_stats": stats,
    }
