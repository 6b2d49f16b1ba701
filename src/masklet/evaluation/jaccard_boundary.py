"""J&F: how well given objects are followed, by region (J) and by outline (F) (spec/evaluation.md 4.7).

Unusual: an outline matches within a tolerance, which the official code tests by widening one outline with a disk and
looking under the other. Here the distance of each outline pixel to the nearest one of the other is looked up instead;
both count the same pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from masklet.errors import InputError
from masklet.evaluation.matching import FloatArray
from masklet.ops.masks import BoolArray

_TOLERANCE = 0.008  # of the picture's diagonal, rounded up to whole pixels
_NO_OBJECT = 0

Labels = npt.NDArray[np.integer | np.bool_]


@dataclass(frozen=True, kw_only=True)
class ObjectScore:
    """How well one object of one video was followed.

    Attributes:
        object_id: its number in the label maps.
        j: mean overlap of regions, percent.
        f: mean agreement of outlines, percent.
    """

    object_id: int
    j: float
    f: float

    @property
    def j_and_f(self) -> float:
        """Mean of both, percent."""
        return (self.j + self.f) / 2


@dataclass(frozen=True, kw_only=True)
class JaccardBoundary:
    """Means over the objects of all videos, in percent.

    Attributes:
        objects: how many.
        j: of regions; nan of no object.
        f: of outlines; nan of no object.
    """

    objects: int
    j: float
    f: float

    @property
    def j_and_f(self) -> float:
        """Mean of both, percent."""
        return (self.j + self.f) / 2


def score_objects(true: Labels, predicted: Labels, *, skip_ends: bool = True) -> list[ObjectScore]:
    """The scores of the true objects of one video, ascending by number.

    An object counts from the first frame in which it is on either side to the last frame of the video; frames where it
    is on neither count 1. Predicted objects that are never true are ignored. What is skipped is as if it were not
    there: an object that is true in skipped frames only is ignored.

    Args:
        true: (F, H, W) number of the object of each pixel, 0 for none; bool for one object.
        predicted: (F, H, W) likewise, under the same numbers.
        skip_ends: leave out the first frame, which is given, and the last one, as DAVIS and SA-V do.

    Raises:
        InputError: not of one shape, or not of whole numbers.
    """
    for name, labels in (("true", true), ("predicted", predicted)):
        if labels.ndim != 3 or labels.dtype.kind not in "biu":
            raise InputError(
                f"{name} must be (F, H, W) labels of whole numbers or bool, got {labels.shape} {labels.dtype}; "
                "stack one label map per frame"
            )
    if true.shape != predicted.shape:
        raise InputError(
            f"true and predicted must have one shape, got {true.shape} and {predicted.shape}; "
            "resize the predictions and write a map for every frame"
        )
    if skip_ends:
        true, predicted = true[1:-1], predicted[1:-1]
    return [_score_object(true, predicted, int(number)) for number in np.unique(true) if number != _NO_OBJECT]


def jaccard_boundary(videos: Iterable[Iterable[ObjectScore]]) -> JaccardBoundary:
    """The means of a data set over objects, not over videos.

    Args:
        videos: `score_objects` of each.
    """
    objects = [score for video in videos for score in video]
    if not objects:
        return JaccardBoundary(objects=0, j=math.nan, f=math.nan)
    return JaccardBoundary(
        objects=len(objects),
        j=float(np.mean([score.j for score in objects])),
        f=float(np.mean([score.f for score in objects])),
    )


def region_overlap(true: BoolArray, predicted: BoolArray) -> float:
    """J of one object in one frame, 0..1: intersection over union of (H, W) masks; 1 if both are empty."""
    union = int((true | predicted).sum())
    return int((true & predicted).sum()) / union if union else 1.0


def outline_agreement(true: BoolArray, predicted: BoolArray) -> float:
    """F of one object in one frame, 0..1: harmonic mean of the shares of both outlines that are near the other.

    Without a true outline recall is 1, without a predicted one precision is 1, and what is there is not near anything.
    """
    height, width = true.shape
    radius = math.ceil(_TOLERANCE * math.hypot(height, width))
    true_points, predicted_points = _outline(true), _outline(predicted)
    if not len(true_points) or not len(predicted_points):
        return float(len(true_points) == len(predicted_points))
    precision = _share_near(predicted_points, true_points, radius)
    recall = _share_near(true_points, predicted_points, radius)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _score_object(true: Labels, predicted: Labels, number: int) -> ObjectScore:
    regions: list[float] = []
    outlines: list[float] = []
    for true_labels, predicted_labels in zip(true, predicted, strict=True):
        true_mask, predicted_mask = true_labels == number, predicted_labels == number
        there = (true_mask | predicted_mask).any()
        if there:
            regions.append(region_overlap(true_mask, predicted_mask))
            outlines.append(outline_agreement(true_mask, predicted_mask))
        elif regions:
            regions.append(1.0)
            outlines.append(1.0)
    return ObjectScore(object_id=number, j=100 * _mean(regions), f=100 * _mean(outlines))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _outline(mask: BoolArray) -> FloatArray:
    """(N, 2) pixels that differ from their right, lower or lower right neighbour; outside is no neighbour."""
    differs = np.zeros(mask.shape, dtype=np.bool_)
    differs[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    differs[:-1] |= mask[:-1] != mask[1:]
    differs[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return np.argwhere(differs).astype(np.float64)


def _share_near(points: FloatArray, others: FloatArray, radius: int) -> float:
    """Share of points with one of the others at most `radius` away."""
    distances, _ = KDTree(others).query(points)  # roots of whole numbers, so that equality is exact
    return float(np.mean(distances <= radius))
