"""Which predicted mask stands for which true one. Pure functions.

Unusual: the assignment is the one-to-one pairing of greatest total IoU over all pairs, made once and before any
threshold, as the official evaluator of SAM 3 does it (spec/evaluation.md 2.2). It is neither greedy nor by score as
COCO's is: whatever is returned above the model's threshold counts the same, so scores have no say in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment

from masklet.ops.boxes import iou_xyxy
from masklet.ops.masks import Rle, rle_areas, rle_iou

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Instances:
    """Masks of one prompt with their boxes, predicted or true; N may be 0.

    Attributes:
        rles: N run-length codes, all of the picture's size.
        boxes_xyxy: (N, 4) pixels.
    """

    rles: Sequence[Rle]
    boxes_xyxy: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        assert self.boxes_xyxy.shape == (len(self.rles), 4)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """D predictions of one prompt beside its G true instances; the first min(D, G) pairs of the best assignment.

    Attributes:
        predicted_areas: (D,) pixels.
        true_areas: (G,) pixels.
        predicted_idx: (min(D, G),) the prediction of each pair.
        true_idx: (min(D, G),) the true instance of each pair.
        mask_ious: (min(D, G),) 0..1; pairs that do not overlap at all are among them.
        box_ious: (min(D, G),) 0..1.
    """

    predicted_areas: IntArray
    true_areas: IntArray
    predicted_idx: IntArray
    true_idx: IntArray
    mask_ious: FloatArray
    box_ious: FloatArray


def assign(iou: FloatArray) -> tuple[IntArray, IntArray]:
    """The one-to-one pairing of greatest total overlap.

    Args:
        iou: (D, G) of each prediction with each true instance, 0..1; either may be 0.

    Returns:
        (min(D, G),) predictions, ascending, and (min(D, G),) the true instance of each.
    """
    predicted_idx, true_idx = linear_sum_assignment(iou, maximize=True)
    return predicted_idx.astype(np.int64), true_idx.astype(np.int64)


def compare(predicted: Instances, true: Instances) -> Comparison:
    """Both sides of one prompt, paired by the overlap of their masks.

    Raises:
        InputError: masks of different sizes.
    """
    iou = rle_iou(predicted.rles, true.rles)
    predicted_idx, true_idx = assign(iou)
    box_ious = iou_xyxy(
        torch.from_numpy(predicted.boxes_xyxy[predicted_idx]), torch.from_numpy(true.boxes_xyxy[true_idx])
    )
    return Comparison(
        predicted_areas=rle_areas(predicted.rles),
        true_areas=rle_areas(true.rles),
        predicted_idx=predicted_idx,
        true_idx=true_idx,
        mask_ious=iou[predicted_idx, true_idx],
        box_ious=box_ious.double().numpy(),
    )
