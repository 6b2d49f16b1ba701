"""TETA: localisation, association and class of tracks, each on its own (spec/evaluation.md 4.5).

Unusual: the three parts look at different things. A prediction of another class may stand for an object of class c; it
counts for localisation and association of c and is wrong for class only. Tracks that come near no object of c do not
lower the localisation of c. The rules were found by fitting them to published values and agree to 0.001 points on
localisation and association; class was seen 0.005 points too low on one set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from masklet.evaluation.frame_matching import FrameMatches, associate, match_frames, reaches
from masklet.evaluation.matching import FloatArray, IntArray
from masklet.evaluation.volume import FrameOverlaps
from masklet.ops.masks import BoolArray

ALPHAS: FloatArray = np.arange(0.0, 0.99, 0.05)  # 20 thresholds of overlap, 0 to 0.95
CLASS_ALPHAS: FloatArray = ALPHAS[10:]  # 0.5 to 0.95
NEAR_IOU = 0.5  # from this overlap on a prediction is about an object
_DECIMALS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class TetaCounts:
    """Counts and sums of one class over any set of videos; frames count, not masklets.

    Attributes:
        found: (20,) at each of `ALPHAS`, true objects in a frame with a prediction that overlaps enough.
        missed: (20,) true ones without.
        extra: (20,) predictions near an object of the class without a partner.
        association: (20,) sum over found ones of frames together / frames of either.
        association_recall: (20,) the same over frames of the true one.
        association_precision: (20,) the same over frames of the predicted one.
        named: (10,) at each of `CLASS_ALPHAS`, found ones whose prediction has their class.
        misnamed: (10,) found ones whose prediction has another.
        wrongly_named: (10,) predictions of the class that are near no object of it, or near one that is taken.
    """

    found: FloatArray
    missed: FloatArray
    extra: FloatArray
    association: FloatArray
    association_recall: FloatArray
    association_precision: FloatArray
    named: FloatArray
    misnamed: FloatArray
    wrongly_named: FloatArray

    def __add__(self, other: Self) -> Self:
        return type(self)(**{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)})


def teta_counts(
    overlaps: FrameOverlaps, predicted_categories: IntArray, true_categories: IntArray
) -> dict[int, TetaCounts]:
    """The counts of one video by category, for every category on either side.

    Args:
        overlaps: of all predictions that count and all true masklets, whatever their categories.
        predicted_categories: (D,) ids.
        true_categories: (G,) ids.
    """
    iou = overlaps.frame_iou()
    matches = match_frames(iou, overlaps.predicted_present, overlaps.true_present)
    return {
        int(category): _count_category(
            overlaps, iou, matches, predicted_categories == category, true_categories == category
        )
        for category in np.union1d(predicted_categories, true_categories)
    }


def teta_values(counts: Mapping[int, TetaCounts]) -> dict[str, float]:
    """teta, loc_a, assoc_a, cls_a, loc_re, loc_pr, assoc_re, assoc_pr, cls_re, cls_pr: percent to 3 decimals.

    Plain means over the categories that have something to find; 0 without any.

    Args:
        counts: over all videos, by category.
    """
    rows = [_category_values(one) for one in counts.values() if (one.found + one.missed + one.extra).any()]
    means = np.mean(rows, axis=0) if rows else np.zeros(9)
    loc, assoc, cls = means.reshape(3, 3) * 100
    values = {"teta": (loc[0] + assoc[0] + cls[0]) / 3, "loc_a": loc[0], "assoc_a": assoc[0], "cls_a": cls[0]}
    values |= {"loc_re": loc[1], "loc_pr": loc[2], "assoc_re": assoc[1], "assoc_pr": assoc[2]}
    values |= {"cls_re": cls[1], "cls_pr": cls[2]}
    return {key: round(float(value), _DECIMALS) for key, value in values.items()}


def _count_category(
    overlaps: FrameOverlaps, iou: FloatArray, all_matches: FrameMatches, named: BoolArray, true: BoolArray
) -> TetaCounts:
    """Of the category of which the (D,) `named` predictions and the (G,) `true` masklets are.

    Args:
        overlaps: of all predictions and true masklets.
        iou: (F, D, G) theirs.
        all_matches: theirs.
        named: (D,) predictions of the category.
        true: (G,) true masklets of the category.
    """
    best = iou[:, :, true].max(axis=2, initial=0.0)  # (F, D) overlap with the nearest object of the category
    near = (best >= NEAR_IOU) & ~_given_away(all_matches, true, best.shape)
    tracks = near.any(axis=0)  # (D,)
    predicted_present, true_present = overlaps.predicted_present[:, tracks], overlaps.true_present[:, true]
    matches = match_frames(iou[:, tracks][:, :, true], predicted_present, true_present)
    together = associate(matches, predicted_present, true_present, ALPHAS)

    near_found = near[:, tracks][matches.frame_idx, matches.predicted_idx] @ matches.kept(ALPHAS).astype(np.float64)
    well_named = named[tracks][matches.predicted_idx]  # (M,)
    class_kept = matches.kept(CLASS_ALPHAS).astype(np.float64)  # (M, 10)
    strays = overlaps.predicted_present[:, named & ~tracks].sum()
    return TetaCounts(
        found=together.pairs,
        missed=true_present.sum() - together.pairs,
        extra=near.sum() - near_found,
        association=together.accuracy,
        association_recall=together.recall,
        association_precision=together.precision,
        named=well_named @ class_kept,
        misnamed=~well_named @ class_kept,
        wrongly_named=strays + _duplicates(matches, best[:, tracks] * named[tracks]),
    )


def _given_away(matches: FrameMatches, true: BoolArray, shape_fd: tuple[int, ...]) -> BoolArray:
    """(F, D) predictions that the matching of all categories gave to an object of another one."""
    given_away = np.zeros(shape_fd, dtype=np.bool_)
    sure = matches.iou >= NEAR_IOU
    given_away[matches.frame_idx[sure], matches.predicted_idx[sure]] = ~true[matches.true_idx[sure]]
    return given_away


def _duplicates(matches: FrameMatches, best: FloatArray) -> FloatArray:
    """(10,) predictions near enough to an object, but not the ones matched.

    Args:
        matches: of the tracks of a category.
        best: (F, tracks) overlap with the nearest object; 0 for tracks of another class.
    """
    free = reaches(best, CLASS_ALPHAS)  # (F, tracks, 10)
    free[matches.frame_idx, matches.predicted_idx] &= ~matches.kept(CLASS_ALPHAS)
    return free.sum(axis=(0, 1)).astype(np.float64)


def _category_values(counts: TetaCounts) -> list[float]:
    """Accuracy, recall, precision of localisation, of association, of class: means over thresholds, 0..1."""
    found, named = counts.found, counts.named
    by_alpha = [
        found / np.maximum(found + counts.missed + counts.extra, 1),
        found / np.maximum(found + counts.missed, 1),
        found / np.maximum(found + counts.extra, 1),
        counts.association / np.maximum(found, 1),
        counts.association_recall / np.maximum(found, 1),
        counts.association_precision / np.maximum(found, 1),
        named / np.maximum(named + counts.misnamed + counts.wrongly_named, 1),
        named / np.maximum(named + counts.misnamed, 1),
        named / np.maximum(named + counts.wrongly_named, 1),
    ]
    return [float(value.mean()) for value in by_alpha]
