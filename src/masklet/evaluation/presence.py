"""How well a score says whether a concept is there: decisions, ranking and calibration over N pairs. Pure functions."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

SAID_FROM = 0.5  # a score of this or more says that the concept is there
BINS = 10  # of equal width, for calibration


@dataclass(frozen=True, kw_only=True)
class PresenceScores:
    """Rates 0..1; None where there is nothing to take them of.

    Attributes:
        pairs: how many.
        positives: pairs in which the concept is there.
        accuracy: right decisions / pairs.
        precision: right yes / yes.
        recall: right yes / positives.
        specificity: right no / negatives.
        auc: chance that a positive scores above a negative, ties half (area under the ROC curve, Mann-Whitney's U).
        brier: mean squared distance of score and truth.
        calibration_error: distance of mean score and share of positives, over `BINS` bins weighted by their pairs
            (expected calibration error, Naeini et al., AAAI 2015).
    """

    pairs: int
    positives: int
    accuracy: float | None
    precision: float | None
    recall: float | None
    specificity: float | None
    auc: float | None
    brier: float | None
    calibration_error: float | None

    def to_dict(self) -> dict[str, float | None]:
        """By name."""
        return asdict(self)


def presence_scores(scores: npt.ArrayLike, there: npt.ArrayLike) -> PresenceScores:
    """All rates of N scores.

    Args:
        scores: (N,) 0..1.
        there: (N,) bool, whether the concept is there.
    """
    score = np.asarray(scores, dtype=np.float64).reshape(-1)
    truth = np.asarray(there, dtype=np.bool_).reshape(-1)
    assert score.shape == truth.shape
    said, count, positives = score >= SAID_FROM, len(score), int(truth.sum())
    negatives = count - positives
    bin_idx = np.minimum((score * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(bin_idx, score - truth, minlength=BINS)
    # The sum of the ranks of the positives, less what it would be if they came last (Mann and Whitney 1947).
    above = rankdata(score)[truth].sum() - positives * (positives + 1) / 2
    return PresenceScores(
        pairs=count,
        positives=positives,
        accuracy=_rate((said == truth).sum(), count),
        precision=_rate((said & truth).sum(), said.sum()),
        recall=_rate((said & truth).sum(), positives),
        specificity=_rate((~said & ~truth).sum(), negatives),
        auc=_rate(above, positives * negatives),
        brier=_rate(((score - truth) ** 2).sum(), count),
        calibration_error=_rate(np.abs(gaps).sum(), count),
    )


def _rate(part: float, whole: float) -> float | None:
    return float(part) / float(whole) if whole else None
