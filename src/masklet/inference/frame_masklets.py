"""The masklets of one frame, before and after it is decided who is shown (spec/video.md 7.1). Pure.

A frame is kept with all its masklets; what is given out is `presented(frame, hidden)`. The same step serves frames that
were held back, frames that are fetched again and the answer to a prompt.

Unlike the original's, boxes are those of the masks that are given out, and a tracker's score decides who keeps a pixel
that two masklets claim, but never erases anyone.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from masklet.ops.masks import Rle, rle_areas, rle_boxes, rles_apart

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameMasklets:
    """O masklets on one frame of a video.

    Attributes:
        object_ids: (O,).
        concept_idx: (O,) the concept each belongs to.
        scores: (O,) float32 0..1, of the detection at birth; 1 where a user vouched for it.
        tracker_scores: (O,) float32 0..1, probability of being in sight on this frame; of a masklet born on it the
            detection's score.
        masks: O run-length codes of the frame's size.
    """

    object_ids: IntArray
    concept_idx: IntArray
    scores: FloatArray
    tracker_scores: FloatArray
    masks: tuple[Rle, ...]

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def boxes_xyxy(self) -> FloatArray:
        """(O, 4) tight boxes of the masks, xyxy in pixels of the frame, far edge exclusive."""
        return rle_boxes(self.masks)


def presented(frame: FrameMasklets, hidden: Collection[int], *, apart: bool = True) -> FrameMasklets:
    """What is given out of a frame: ids ascending, none hidden, none without a pixel, no overlaps within a concept.

    Args:
        frame: O masklets.
        hidden: ids that must not be shown; they take no pixel from others either.
        apart: False leaves overlaps as they are.
    """
    shown = np.flatnonzero(~np.isin(frame.object_ids, list(hidden)) & (rle_areas(frame.masks) > 0))
    shown = shown[frame.object_ids[shown].argsort()]
    whole = _select(frame, shown, frame.masks)
    if not apart:
        return whole
    masks = rles_apart(whole.masks, whole.tracker_scores, whole.concept_idx.tolist())
    return _select(whole, np.flatnonzero(rle_areas(masks) > 0), masks)


def _select(frame: FrameMasklets, chosen: IntArray, masks: Collection[Rle]) -> FrameMasklets:
    """Those at (K,) `chosen` with their part of O other masks."""
    every = list(masks)
    return FrameMasklets(
        object_ids=frame.object_ids[chosen],
        concept_idx=frame.concept_idx[chosen],
        scores=frame.scores[chosen],
        tracker_scores=frame.tracker_scores[chosen],
        masks=tuple(every[index] for index in chosen),
    )
