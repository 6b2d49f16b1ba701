"""How well objects are counted (spec/evaluation.md 6). Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import torch
from pycocotools import mask as coco_mask

from masklet.ops.masks import Rle, keep_distinct

COUNTED_ABOVE = 0.5  # score, exclusive: unlike cgF1's
SAME_OVERLAP = 0.5  # of the smaller of two masks, above which they are one object


@dataclass(frozen=True, kw_only=True)
class CountingScores:
    """Errors over N pairs; None without any.

    Attributes:
        pairs: how many.
        mean_absolute_error: objects too many or too few.
        accuracy: pairs counted exactly / pairs, 0..1.
    """

    pairs: int
    mean_absolute_error: float | None
    accuracy: float | None

    def to_dict(self) -> dict[str, float | None]:
        """By name."""
        return asdict(self)


def counting_scores(predicted: npt.ArrayLike, true: npt.ArrayLike) -> CountingScores:
    """Errors of (N,) counts beside (N,) true ones."""
    difference = np.abs(np.asarray(predicted, dtype=np.int64) - np.asarray(true, dtype=np.int64)).reshape(-1)
    some = bool(difference.size)
    return CountingScores(
        pairs=difference.size,
        mean_absolute_error=float(difference.mean()) if some else None,
        accuracy=float((difference == 0).mean()) if some else None,
    )


def count_objects(rles: Sequence[Rle], scores: Sequence[float]) -> int:
    """Masks above the score that are different objects.

    Of two whose intersection is more than half of the smaller one the weaker goes: a group and its member are not
    counted twice (SAM 3, arXiv 2511.16719, F.6).

    Args:
        rles: N masks of one size.
        scores: N, 0..1.
    """
    ranked = sorted(range(len(rles)), key=lambda idx: -scores[idx])
    masks = [rles[idx] for idx in ranked if scores[idx] > COUNTED_ABOVE]
    if not masks:
        return 0
    # With its crowd flag pycocotools divides the intersection by the area of the first mask.
    share = coco_mask.iou(masks, masks, [1] * len(masks))
    return int(keep_distinct(torch.from_numpy(np.maximum(share, share.T)), SAME_OVERLAP).sum())
