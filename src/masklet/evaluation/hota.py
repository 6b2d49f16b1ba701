"""pHOTA: how well objects of a phrase are found in each frame and kept apart over time (spec/evaluation.md 4.4).

Counts of (video, phrase) pairs add up; values are made of the sum, and averaged over the thresholds last.
docs/decisions/0008-hota.md says why the formulas are here and the official package is not called.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from masklet.evaluation.frame_matching import associate, match_frames
from masklet.evaluation.matching import FloatArray
from masklet.evaluation.volume import FrameOverlaps

ALPHAS: FloatArray = np.arange(0.05, 0.99, 0.05)  # 19 thresholds of overlap, 0.05 to 0.95


@dataclass(frozen=True, kw_only=True, eq=False)
class HotaCounts:
    """Counts and sums at each of `ALPHAS`, over any set of (video, phrase) pairs.

    Attributes:
        true_positives: (19,) pairs of a predicted and a true masklet in a frame that overlap enough.
        false_negatives: (19,) true masklets in a frame without such a partner.
        false_positives: (19,) predicted ones.
        association: (19,) sum over true positives of frames together / frames of either.
        association_recall: (19,) the same over frames of the true one.
        association_precision: (19,) the same over frames of the predicted one.
        iou: (19,) sum over true positives of their overlap.
    """

    true_positives: FloatArray
    false_negatives: FloatArray
    false_positives: FloatArray
    association: FloatArray
    association_recall: FloatArray
    association_precision: FloatArray
    iou: FloatArray

    @classmethod
    def none(cls) -> Self:
        """Of no pair at all."""
        return cls(**{field.name: np.zeros(len(ALPHAS)) for field in fields(cls)})

    def __add__(self, other: Self) -> Self:
        return type(self)(**{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)})

    def values(self) -> dict[str, float]:
        """HOTA, DetA, AssA, DetRe, DetPr, AssRe, AssPr, LocA, OWTA: means over thresholds, 0..1.

        Ratios of nothing are 0, but LocA is 1 where there is no true positive.
        """
        found, missed, wrong = self.true_positives, self.false_negatives, self.false_positives
        at_least_one = np.maximum(found, 1)
        det_a, ass_a = found / np.maximum(found + missed + wrong, 1), self.association / at_least_one
        det_re = found / np.maximum(found + missed, 1)
        by_alpha = {
            "HOTA": np.sqrt(det_a * ass_a),
            "DetA": det_a,
            "AssA": ass_a,
            "DetRe": det_re,
            "DetPr": found / np.maximum(found + wrong, 1),
            "AssRe": self.association_recall / at_least_one,
            "AssPr": self.association_precision / at_least_one,
            "LocA": np.where(found > 0, self.iou / at_least_one, 1.0),
            "OWTA": np.sqrt(det_re * ass_a),
        }
        return {key: float(value.mean()) for key, value in by_alpha.items()}


def hota_counts(overlaps: FrameOverlaps) -> HotaCounts:
    """Of one video and phrase.

    Args:
        overlaps: of all predictions that count, whatever their score, and all true masklets.
    """
    predicted_present, true_present = overlaps.predicted_present, overlaps.true_present
    matches = match_frames(overlaps.frame_iou(), predicted_present, true_present)
    together = associate(matches, predicted_present, true_present, ALPHAS)
    return HotaCounts(
        true_positives=together.pairs,
        false_negatives=true_present.sum() - together.pairs,
        false_positives=predicted_present.sum() - together.pairs,
        association=together.accuracy,
        association_recall=together.recall,
        association_precision=together.precision,
        iou=matches.iou @ matches.kept(ALPHAS).astype(np.float64),
    )
