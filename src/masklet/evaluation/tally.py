"""Counts that add up: what was right and wrong over any set of prompts, and the rates that follow from it.

A tally of all prompts is the sum of the tallies of each, so memory does not grow with the number of prompts. Rates of
nothing are None, never 0 or 1; where nothing is to be found only `rejection` and `presence_accuracy` say anything.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from masklet.evaluation.matching import Comparison, IntArray

MATCH_IOU = 0.5  # a pair is a match from this overlap on, inclusive (spec/evaluation.md 2.2)
PRESENT = 0.5  # a presence score above this says that the concept is there

# COCO's limits (cocodataset.org, "detection-eval"): the side of a square of the mask's area, in pixels.
SMALL_BELOW, LARGE_ABOVE = 32, 96
SIZES = (f"small, below {SMALL_BELOW} px", f"medium, {SMALL_BELOW}-{LARGE_ABOVE} px", f"large, above {LARGE_ABOVE} px")


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Counts over some prompts; all 0 is the tally of none.

    Attributes:
        prompts: how many.
        presence_right: prompts whose presence score was on the right side of `PRESENT`.
        absent: prompts with an empty answer.
        rejected: of these, those for which nothing at all was returned.
        true_positives: predictions matched to a true instance.
        false_positives: predictions that are not, those of prompts with an empty answer included.
        false_negatives: true instances that are not matched.
        mask_iou_sum: over matched pairs.
        box_iou_sum: over matched pairs (matched by mask).
    """

    prompts: int = 0
    presence_right: int = 0
    absent: int = 0
    rejected: int = 0
    true_positives: int = 0
    false_positives: int = 0
    false_negatives: int = 0
    mask_iou_sum: float = 0.0
    box_iou_sum: float = 0.0

    def __add__(self, other: Self) -> Self:
        return type(self)(**{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)})

    @property
    def objects(self) -> int:
        """True instances."""
        return self.true_positives + self.false_negatives

    @property
    def precision(self) -> float | None:
        """Matched predictions / predictions; None with no true instance."""
        return _rate(self.true_positives, self.true_positives + self.false_positives) if self.objects else None

    @property
    def recall(self) -> float | None:
        """Matched true instances / true instances."""
        return _rate(self.true_positives, self.objects)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall, 0 when nothing matched; None with no true instance."""
        both = 2 * self.true_positives
        return _rate(both, both + self.false_positives + self.false_negatives) if self.objects else None

    @property
    def mask_iou(self) -> float | None:
        """Mean over matched pairs."""
        return _rate(self.mask_iou_sum, self.true_positives)

    @property
    def box_iou(self) -> float | None:
        """Mean over matched pairs."""
        return _rate(self.box_iou_sum, self.true_positives)

    @property
    def presence_accuracy(self) -> float | None:
        """Prompts whose presence score was right / prompts."""
        return _rate(self.presence_right, self.prompts)

    @property
    def rejection(self) -> float | None:
        """Absent concepts for which nothing was returned / absent concepts."""
        return _rate(self.rejected, self.absent)


def tally_prompt(comparison: Comparison, presence: float) -> Tally:
    """The tally of one prompt.

    Args:
        comparison: its predictions beside its truth.
        presence: the model's presence score, 0..1.
    """
    predictions, objects = len(comparison.predicted_areas), len(comparison.true_areas)
    matched = comparison.mask_ious >= MATCH_IOU
    matches = int(matched.sum())
    return Tally(
        prompts=1,
        presence_right=int((presence > PRESENT) == (objects > 0)),
        absent=int(objects == 0),
        rejected=int(objects == 0 and predictions == 0),
        true_positives=matches,
        false_positives=predictions - matches,
        false_negatives=objects - matches,
        mask_iou_sum=float(comparison.mask_ious[matched].sum()),
        box_iou_sum=float(comparison.box_ious[matched].sum()),
    )


def tally_sizes(comparison: Comparison) -> dict[str, Tally]:
    """The masks of one prompt by `SIZES`; prompts themselves have no size and are not counted.

    A match and a miss belong to the size of the true mask, a wrong prediction to its own.
    """
    matched = comparison.mask_ious >= MATCH_IOU
    true_size, predicted_size = _size_idx(comparison.true_areas), _size_idx(comparison.predicted_areas)
    size_of_match = true_size[comparison.true_idx[matched]]
    wrong = np.ones(len(predicted_size), dtype=np.bool_)
    wrong[comparison.predicted_idx[matched]] = False

    count = len(SIZES)
    objects = np.bincount(true_size, minlength=count)
    true_positives = np.bincount(size_of_match, minlength=count)
    false_positives = np.bincount(predicted_size[wrong], minlength=count)
    mask_iou_sums = np.bincount(size_of_match, comparison.mask_ious[matched], minlength=count)
    box_iou_sums = np.bincount(size_of_match, comparison.box_ious[matched], minlength=count)
    return {
        name: Tally(
            true_positives=int(true_positives[idx]),
            false_positives=int(false_positives[idx]),
            false_negatives=int(objects[idx] - true_positives[idx]),
            mask_iou_sum=float(mask_iou_sums[idx]),
            box_iou_sum=float(box_iou_sums[idx]),
        )
        for idx, name in enumerate(SIZES)
    }


def _size_idx(areas: IntArray) -> IntArray:
    """(N,) position in `SIZES` of masks of these areas."""
    return (areas >= SMALL_BELOW**2).astype(np.int64) + (areas > LARGE_ABOVE**2)


def _rate(part: float, whole: float) -> float | None:
    return part / whole if whole else None
