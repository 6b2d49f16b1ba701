"""Which predicted masklet stands for which true one in each frame, and how steadily: what HOTA and TETA share.

Unusual: the pairing in a frame is not by that frame's overlap alone but by overlap times how well two masklets fit in
the whole video, so that it does not jump between objects that touch (spec/evaluation.md 4.4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from masklet.evaluation.matching import FloatArray, IntArray
from masklet.ops.masks import BoolArray

_EPS = np.finfo(np.float64).eps


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameMatches:
    """M pairs of a predicted and a true masklet, each in one frame; at most one pair per masklet and frame.

    Attributes:
        frame_idx: (M,) ascending.
        predicted_idx: (M,) of D.
        true_idx: (M,) of G.
        iou: (M,) 0..1; any: thresholds come later.
    """

    frame_idx: IntArray
    predicted_idx: IntArray
    true_idx: IntArray
    iou: FloatArray

    def kept(self, alphas: FloatArray) -> BoolArray:
        """(M, A) pairs whose overlap reaches each threshold, less the last bit."""
        return reaches(self.iou, alphas)


@dataclass(frozen=True, kw_only=True, eq=False)
class Association:
    """Sums over the M pairs at A thresholds: how much of both masklets' lives the two spend together.

    Attributes:
        pairs: (A,) pairs that reach the threshold.
        accuracy: (A,) sum over pairs of frames together / frames of either.
        recall: (A,) sum over pairs of frames together / frames of the true one.
        precision: (A,) sum over pairs of frames together / frames of the predicted one.
    """

    pairs: FloatArray
    accuracy: FloatArray
    recall: FloatArray
    precision: FloatArray


def reaches(iou: FloatArray, alphas: FloatArray) -> BoolArray:
    """(..., A) whether overlaps of shape (...) reach each of A thresholds; less by the last bit is enough."""
    enough: BoolArray = iou[..., None] >= alphas - _EPS
    return enough


def match_frames(iou: FloatArray, predicted_present: BoolArray, true_present: BoolArray) -> FrameMatches:
    """The pairing of greatest total overlap times fit over the video, frame by frame.

    Args:
        iou: (F, D, G) 0..1; 0 where either is absent.
        predicted_present: (F, D).
        true_present: (F, G).
    """
    fit = _fit(iou, predicted_present, true_present)
    frames, predicted, true = [], [], []
    for frame in np.flatnonzero(predicted_present.any(axis=1) & true_present.any(axis=1)):
        predicted_idx, true_idx = np.flatnonzero(predicted_present[frame]), np.flatnonzero(true_present[frame])
        weight = (fit * iou[frame])[np.ix_(predicted_idx, true_idx)]
        # True ones in rows, as the official evaluator has them: it settles exact ties alike.
        true_at, predicted_at = linear_sum_assignment(weight.T, maximize=True)
        frames.append(np.full(len(true_at), frame))
        predicted.append(predicted_idx[predicted_at])
        true.append(true_idx[true_at])
    frame_idx, predicted_idx, true_idx = (
        np.concatenate([np.zeros(0, dtype=np.int64), *parts]) for parts in (frames, predicted, true)
    )
    return FrameMatches(
        frame_idx=frame_idx,
        predicted_idx=predicted_idx,
        true_idx=true_idx,
        iou=iou[frame_idx, predicted_idx, true_idx],
    )


def associate(
    matches: FrameMatches, predicted_present: BoolArray, true_present: BoolArray, alphas: FloatArray
) -> Association:
    """The sums of spec/evaluation.md 4.4 over pairs, before they are divided by their number.

    Args:
        matches: of one video.
        predicted_present: (F, D).
        true_present: (F, G).
        alphas: (A,) thresholds of overlap.
    """
    kept = matches.kept(alphas).astype(np.float64)  # (M, A)
    together = np.zeros((predicted_present.shape[1], true_present.shape[1], len(alphas)))
    np.add.at(together, (matches.predicted_idx, matches.true_idx), kept)
    predicted_frames = predicted_present.sum(axis=0)[:, None, None]
    true_frames = true_present.sum(axis=0)[:, None]

    def total(frames: FloatArray | IntArray) -> FloatArray:
        # Two masklets together in n frames are n pairs.
        return (together * together / np.maximum(frames, 1)).sum(axis=(0, 1))

    return Association(
        pairs=kept.sum(axis=0),
        accuracy=total(predicted_frames + true_frames - together),
        recall=total(true_frames),
        precision=total(predicted_frames),
    )


def _fit(iou: FloatArray, predicted_present: BoolArray, true_present: BoolArray) -> FloatArray:
    """(D, G) in 0..1: soft count of frames together / frames of either."""
    rivals = iou.sum(axis=1, keepdims=True) + iou.sum(axis=2, keepdims=True) - iou  # (F, D, G)
    share = np.divide(iou, rivals, out=np.zeros_like(iou), where=rivals > _EPS).sum(axis=0)
    frames = predicted_present.sum(axis=0)[:, None] + true_present.sum(axis=0)
    return np.divide(share, frames - share, out=np.zeros_like(share), where=frames > share)
