"""AP of masklets: COCO's average precision with the overlap of volumes (spec/evaluation.md 4.6).

COCO's own code matches and accumulates; only the overlaps come from here. Sizes are not told apart.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools.cocoeval import COCOeval

from masklet.evaluation.matching import FloatArray
from masklet.evaluation.video_files import Pair
from masklet.ops.masks import BoolArray

MOST_MASKLETS = 100  # per video and phrase, best scores first
NOTHING_TO_FIND = -1.0  # COCO's value for an average over nothing
_ONE_CATEGORY = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class RankedPair:
    """The predictions of one (video, phrase) pair beside its truth.

    Attributes:
        volume_iou: (D, G) 0..1.
        scores: (D,) 0..1, in any order; of equal ones the first counts as better.
        is_crowd: (G,) true masklets that neither have to be found nor make a prediction wrong that is assigned to them.
    """

    volume_iou: FloatArray
    scores: FloatArray
    is_crowd: BoolArray


def phrase_ap_values(pairs: Mapping[Pair, RankedPair]) -> dict[str, float]:
    """`50_95`, `50`, `75`: over all pairs together, scores compared across phrases; -1 with nothing to find."""
    precision = _precision([pairs[pair] for pair in sorted(pairs)])
    return {"50_95": _mean(precision), "50": _mean(precision[:1]), "75": _mean(precision[5:6])}


def mean_ap(pairs: Mapping[Pair, RankedPair]) -> float:
    """Mean over phrases with something to find of the AP over videos, 0..1; -1 without any."""
    categories = sorted({category_id for _, category_id in pairs})
    by_category = {
        category_id: [pair for pair in sorted(pairs) if pair[1] == category_id] for category_id in categories
    }
    aps = [_mean(_precision([pairs[pair] for pair in group])) for group in by_category.values()]
    return _mean(np.array(aps))


class _VolumeEval(COCOeval):  # type: ignore[misc]
    """COCO's evaluation, fed with overlaps; each pair is a picture."""

    def __init__(self, pairs: Sequence[RankedPair]) -> None:
        super().__init__(iouType="segm")
        self.pairs = pairs
        self.params.imgIds = list(range(len(pairs)))
        self.params.catIds = [_ONE_CATEGORY]
        self.params.maxDets = [MOST_MASKLETS]
        self.params.areaRng, self.params.areaRngLbl = [[0, np.inf]], ["all"]

    def _prepare(self) -> None:
        # Identifiers start at 1: COCO takes 0 for "not matched".
        for idx, pair in enumerate(self.pairs):
            self._gts[idx, _ONE_CATEGORY] = [
                {"id": number, "iscrowd": int(crowd), "ignore": int(crowd), "area": 0}
                for number, crowd in enumerate(pair.is_crowd, start=1)
            ]
            self._dts[idx, _ONE_CATEGORY] = [
                {"id": number, "score": float(score), "area": 0} for number, score in enumerate(pair.scores, start=1)
            ]

    def computeIoU(self, imgId: int, catId: int) -> FloatArray | list[float]:  # noqa: N802, N803
        pair = self.pairs[imgId]
        best_first = np.argsort(-pair.scores, kind="stable")[:MOST_MASKLETS]
        return pair.volume_iou[best_first] if pair.volume_iou.size else []


def _precision(pairs: Sequence[RankedPair]) -> FloatArray:
    """(10, 101) precision at thresholds of overlap and recall; -1 everywhere with nothing to find."""
    evaluation = _VolumeEval(pairs)
    with contextlib.redirect_stdout(io.StringIO()):  # COCO reports its progress
        evaluation.evaluate()
        evaluation.accumulate()
    precision: FloatArray = evaluation.eval["precision"][:, :, 0, 0, 0]
    return precision


def _mean(values: FloatArray) -> float:
    there = values[values > NOTHING_TO_FIND]
    return float(there.mean()) if there.size else NOTHING_TO_FIND
