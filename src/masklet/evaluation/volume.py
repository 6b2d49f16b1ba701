"""How much masklets overlap: frame by frame, and as volumes over a whole video (spec/evaluation.md 4.2).

Masks stay run-length codes. One call per frame gives all ratios of that frame; intersections follow from ratio and
areas, exactly, since they are whole numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from masklet.evaluation.matching import FloatArray, IntArray
from masklet.evaluation.video_files import VideoMasklet
from masklet.ops.masks import BoolArray, Rle, rle_areas, rle_iou


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameOverlaps:
    """D predicted masklets beside G true ones in F frames of one video.

    Attributes:
        intersections: (F, D, G) pixels; 0 where either is absent.
        predicted_areas: (F, D) pixels; 0 where absent.
        true_areas: (F, G) pixels; 0 where absent.
        predicted_present: (F, D) frames with both a mask and a box.
        true_present: (F, G) likewise.
    """

    intersections: FloatArray
    predicted_areas: FloatArray
    true_areas: FloatArray
    predicted_present: BoolArray
    true_present: BoolArray

    def select(self, predicted: IntArray | BoolArray, true: IntArray | BoolArray) -> FrameOverlaps:
        """Of some masklets only.

        Args:
            predicted: positions, or (D,) whether to keep.
            true: positions, or (G,) whether to keep.
        """
        return FrameOverlaps(
            intersections=self.intersections[:, predicted][:, :, true],
            predicted_areas=self.predicted_areas[:, predicted],
            true_areas=self.true_areas[:, true],
            predicted_present=self.predicted_present[:, predicted],
            true_present=self.true_present[:, true],
        )

    def frame_iou(self) -> FloatArray:
        """(F, D, G) in 0..1; 0 where either is not present."""
        both = self.predicted_present[:, :, None] & self.true_present[:, None]
        unions = self.predicted_areas[:, :, None] + self.true_areas[:, None] - self.intersections
        return np.divide(self.intersections, unions, out=np.zeros_like(unions), where=both & (unions > 0))

    def volume_iou(self) -> FloatArray:
        """(D, G) sum of intersections over sum of unions; 1 where both are empty in all frames."""
        intersection = self.intersections.sum(axis=0)
        union = self.predicted_areas.sum(axis=0)[:, None] + self.true_areas.sum(axis=0) - intersection
        return np.divide(intersection, union, out=np.ones_like(union), where=union > 0)


def mask_overlaps(predicted: Sequence[VideoMasklet], true: Sequence[VideoMasklet], frame_count: int) -> FrameOverlaps:
    """By the masks of masklets of one video.

    Args:
        predicted: D masklets.
        true: G masklets.
        frame_count: F, which all masklets have.
    """
    predicted_areas, true_areas = _mask_areas(predicted, frame_count), _mask_areas(true, frame_count)
    intersections = np.zeros((frame_count, len(predicted), len(true)))
    for frame in range(frame_count):
        predicted_idx, predicted_rles = _masks_of(predicted, frame)
        true_idx, true_rles = _masks_of(true, frame)
        if predicted_rles and true_rles:
            iou = rle_iou(predicted_rles, true_rles)
            sizes = predicted_areas[frame, predicted_idx, None] + true_areas[frame, true_idx]
            # iou = i / (sizes - i), solved for i, which is whole
            intersections[frame, predicted_idx[:, None], true_idx] = np.rint(iou * sizes / (1 + iou))
    return FrameOverlaps(
        intersections=intersections,
        predicted_areas=predicted_areas,
        true_areas=true_areas,
        predicted_present=_presence(predicted, frame_count),
        true_present=_presence(true, frame_count),
    )


def box_overlaps(predicted: Sequence[VideoMasklet], true: Sequence[VideoMasklet], frame_count: int) -> FrameOverlaps:
    """By the boxes of masklets of one video; arguments as of `mask_overlaps`."""
    predicted_boxes, true_boxes = _boxes(predicted, frame_count), _boxes(true, frame_count)
    intersections = np.ones((frame_count, len(predicted), len(true)))
    for low, high in ((0, 2), (1, 3)):  # width, then height
        near = np.maximum(predicted_boxes[:, :, None, low], true_boxes[:, None, :, low])  # (F, D, G)
        far = np.minimum(predicted_boxes[:, :, None, high], true_boxes[:, None, :, high])
        intersections *= (far - near).clip(min=0)
    return FrameOverlaps(
        intersections=intersections,
        predicted_areas=_box_areas(predicted_boxes),
        true_areas=_box_areas(true_boxes),
        predicted_present=_presence(predicted, frame_count),
        true_present=_presence(true, frame_count),
    )


def _masks_of(masklets: Sequence[VideoMasklet], frame: int) -> tuple[IntArray, list[Rle]]:
    """Who has a mask in a frame, and those masks."""
    there = [(idx, rle) for idx, masklet in enumerate(masklets) if (rle := masklet.rles[frame]) is not None]
    return np.array([idx for idx, _ in there], dtype=np.int64), [rle for _, rle in there]


def _mask_areas(masklets: Sequence[VideoMasklet], frame_count: int) -> FloatArray:
    areas = np.zeros((frame_count, len(masklets)))
    for idx, masklet in enumerate(masklets):
        there = [rle is not None for rle in masklet.rles]
        areas[there, idx] = rle_areas([rle for rle in masklet.rles if rle is not None])
    return areas


def _boxes(masklets: Sequence[VideoMasklet], frame_count: int) -> FloatArray:
    """(F, N, 4) xyxy."""
    boxes = [masklet.boxes_xyxy for masklet in masklets]
    return np.stack(boxes, axis=1) if boxes else np.zeros((frame_count, 0, 4))


def _box_areas(boxes_xyxy: FloatArray) -> FloatArray:
    return (boxes_xyxy[..., 2] - boxes_xyxy[..., 0]) * (boxes_xyxy[..., 3] - boxes_xyxy[..., 1])


def _presence(masklets: Sequence[VideoMasklet], frame_count: int) -> BoolArray:
    """(F, N)."""
    if not masklets:
        return np.zeros((frame_count, 0), dtype=np.bool_)
    return np.stack([masklet.present for masklet in masklets], axis=1)
