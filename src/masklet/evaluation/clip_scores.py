"""Scores of what was followed through a clip of the synthetic world: given objects by J&F, named ones by HOTA.

An object is given by a click on the first frame that shows it (`first_clicks`), perhaps by more where the answer is
wrong (`correcting_click`, as SAM 2 was evaluated: Ravi et al. 2024), and followed from there to the end.
Counts of HOTA add up over (clip, phrase) pairs, so that clips of one difficulty have figures of their own; all that is
returned counts, whatever its score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from masklet.evaluation.hota import HotaCounts, hota_counts
from masklet.evaluation.jaccard_boundary import ObjectScore, score_objects
from masklet.evaluation.video_files import VideoMasklet
from masklet.evaluation.volume import mask_overlaps
from masklet.ops.masks import BoolArray, Rle, decode_rle, encode_rle, rle_boxes
from masklet.synthetic.clips import Clip
from masklet.synthetic.phrases import Question

FrameMasks = Sequence[Rle | None]
"""One object on F frames: its mask on each, of the frames' size; None where it is not to be seen."""


@dataclass(frozen=True, kw_only=True)
class Click:
    """Where an object is shown.

    Attributes:
        frame_idx: on which frame.
        point_xy: x, y in pixels; pixel 0 covers 0..1.
    """

    frame_idx: int
    point_xy: tuple[float, float]


def first_clicks(clip: Clip) -> list[Click]:
    """A click in the middle of each instance on the first frame that shows it, in the order of the instances."""
    first = clip.visible.argmax(axis=0)
    return [
        Click(frame_idx=int(frame_idx), point_xy=middle_of(clip.masks(instance_idx)[frame_idx]))
        for instance_idx, frame_idx in enumerate(first)
    ]


def middle_of(mask: BoolArray) -> tuple[float, float]:
    """x, y of the pixel that lies deepest in a (H, W) mask with a pixel or more; of several the first, row by row.

    Unlike the mean of all pixels it is never outside the mask. The picture's edge counts as the mask's edge.
    """
    return _deepest(mask)[0]


def correcting_click(found: BoolArray, truth: BoolArray) -> tuple[tuple[float, float], int] | None:
    """Where a user clicks to set a mask right: in the middle of the widest mistake; None if there is none.

    Args:
        found: (H, W), the answer.
        truth: (H, W).

    Returns:
        x, y in pixels and the label: 1 on what is missing, also where both are as wide, 0 on what is too much.
    """
    missing, too_much = truth & ~found, found & ~truth
    if not (missing.any() or too_much.any()):
        return None
    (missing_xy, missing_px), (too_much_xy, too_much_px) = _deepest(missing), _deepest(too_much)
    return (missing_xy, 1) if missing_px >= too_much_px else (too_much_xy, 0)


def _deepest(mask: BoolArray) -> tuple[tuple[float, float], float]:
    """The pixel that lies deepest in a mask, and how many pixels it is from the outside."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), mask.shape)
    return (float(column) + 0.5, float(row) + 0.5), float(depth[row, column])


def score_given(clip: Clip, followed: Sequence[FrameMasks]) -> list[ObjectScore]:
    """J and F of the instances, each by itself, under their label in the clip's maps (index + 1).

    The first and the last frame of the clip do not count (`score_objects`), so an instance that is seen on those alone
    has no score.

    Args:
        clip: the truth.
        followed: what was found of each instance, in their order.
    """
    return [
        ObjectScore(object_id=instance_idx + 1, j=score.j, f=score.f)
        for instance_idx, masks in enumerate(followed)
        for score in score_objects(clip.masks(instance_idx), _decoded(masks, clip.frames.shape[1:3]))
    ]


def count_named(clip: Clip, question: Question, followed: Sequence[FrameMasks]) -> HotaCounts:
    """The counts of one phrase on one clip.

    Args:
        clip: the truth.
        question: names the instances that are a right answer; none of an absent concept.
        followed: N objects that were found.
    """
    true = [_coded(clip.masks(instance_idx)) for instance_idx in question.instances]
    predicted, expected = ([_as_masklet(masks) for masks in side] for side in (followed, true))
    return hota_counts(mask_overlaps(predicted, expected, len(clip)))


def _decoded(masks: FrameMasks, size_hw: tuple[int, ...]) -> BoolArray:
    """(F, H, W)."""
    nothing = np.zeros(size_hw, dtype=np.bool_)
    return np.stack([nothing if rle is None else decode_rle(rle) for rle in masks])


def _coded(masks: BoolArray) -> FrameMasks:
    """Of (F, H, W)."""
    return [encode_rle(mask) if mask.any() else None for mask in masks]


def _as_masklet(masks: FrameMasks) -> VideoMasklet:
    """As the metrics of files take it; there is one video, one phrase and no score here."""
    boxes_xyxy = np.zeros((len(masks), 4))
    boxes_xyxy[[rle is not None for rle in masks]] = rle_boxes([rle for rle in masks if rle is not None])
    return VideoMasklet(video_id=1, category_id=1, score=1.0, is_crowd=False, rles=tuple(masks), boxes_xyxy=boxes_xyxy)
