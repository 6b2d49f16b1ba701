"""All scores of predictions on videos at once, as SA-Co/VEval reports them (spec/evaluation.md 4.3-4.6).

One video is in memory at a time: its overlaps are made once, for all its phrases, and every metric takes its part.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from masklet.errors import InputError
from masklet.evaluation.cgf1 import KEPT_SCORE, PairCounts
from masklet.evaluation.hota import HotaCounts, hota_counts
from masklet.evaluation.matching import FloatArray
from masklet.evaluation.teta import TetaCounts, teta_counts, teta_values
from masklet.evaluation.video_ap import RankedPair, mean_ap, phrase_ap_values
from masklet.evaluation.video_cgf1 import count_pairs, pair_values, video_cgf1_values
from masklet.evaluation.video_files import (
    FileOrObject,
    Pair,
    VideoGroundTruth,
    VideoMasklet,
    read_video_ground_truth,
    read_video_predictions,
)
from masklet.evaluation.volume import FrameOverlaps, box_overlaps, mask_overlaps

IouType = Literal["mask", "bbox"]
_OVERLAPS = {"mask": mask_overlaps, "bbox": box_overlaps}


@dataclass(frozen=True, kw_only=True)
class VideoReport:
    """What predictions on videos are worth.

    Attributes:
        scores: figures by their published names, `{name}_{mask|bbox}_...`; fractions, but percent in TETA.
        video_np_results: one record per (video, phrase) pair with `video_id`, `category_id` and the pair's own values,
            ascending by these ids.
        counts: by kind of overlap what cgF1 was made of; empty where the ground truth lists no pairs.
    """

    scores: dict[str, float]
    video_np_results: list[dict[str, Any]]
    counts: dict[str, PairCounts]


def evaluate_video(
    ground_truth: FileOrObject | VideoGroundTruth,
    predictions: FileOrObject,
    iou: Sequence[IouType] = ("mask", "bbox"),
    name: str = "video",
) -> VideoReport:
    """cgF1, pHOTA, TETA, phrase AP and mAP of predictions on the videos of one ground truth file.

    cgF1 is left out where the ground truth has no `video_np_pairs`. AP is -1 and LocA 1 where there is nothing to
    measure them on; other ratios of nothing are 0, `ilmcc_50` and `ilmcc_75` nan.

    The order of videos and phrases does not matter. That of masklets matters in exact ties only: of scores in AP, and
    of overlaps where two pairings are equally good, as all are of masklets that never meet at TETA's threshold 0.

    Args:
        ground_truth: path, content of such a file, or `read_video_ground_truth` of one.
        predictions: path or content of such a file; may be empty.
        iou: by which overlaps: "mask", "bbox" or both.
        name: the data set's, first part of every key.

    Raises:
        DataError: a file that cannot be used.
        InputError: another kind of overlap, none or one twice.
    """
    if not iou or isinstance(iou, str) or len(set(iou)) < len(iou) or not set(iou) <= set(_OVERLAPS):
        raise InputError(
            f"iou must be some of {tuple(_OVERLAPS)}, each once, got {iou!r}; for one kind write ('mask',)"
        )
    truth = ground_truth if isinstance(ground_truth, VideoGroundTruth) else read_video_ground_truth(ground_truth)
    found = read_video_predictions(predictions, truth)

    scores: dict[str, float] = {}
    counts: dict[str, PairCounts] = {}
    records: dict[Pair, dict[str, float]] = {pair: {} for pair in sorted(_pairs(truth, found))}
    for kind in iou:
        evidence = _gather(truth, found, kind)
        scores |= _scores(evidence, f"{name}_{kind}")
        if truth.pairs is not None:
            counts[kind] = _cgf1_counts(evidence, records)
            values = video_cgf1_values(counts[kind])
            scores |= {f"{name}_{kind}_demo_{key}": value for key, value in values.items()}
            for pair, result in zip(counts[kind].pairs, pair_values(counts[kind]), strict=True):
                records[pair] |= {f"{kind}_{key}": value for key, value in result.items()}
        for pair, one in evidence.hota.items():
            records[pair] |= {f"{kind}_{key}": value for key, value in one.values().items()}
    results = [{"video_id": pair[0], "category_id": pair[1], **values} for pair, values in records.items()]
    return VideoReport(scores=scores, video_np_results=results, counts=counts)


@dataclass(frozen=True, kw_only=True)
class _Evidence:
    """What is kept of the videos: for each pair with an annotation or a prediction, and for each category."""

    volume_ious: dict[Pair, FloatArray] = field(default_factory=dict)
    hota: dict[Pair, HotaCounts] = field(default_factory=dict)
    ranked: dict[Pair, RankedPair] = field(default_factory=dict)
    teta: dict[int, TetaCounts] = field(default_factory=dict)


def _gather(truth: VideoGroundTruth, found: Sequence[VideoMasklet], kind: IouType) -> _Evidence:
    evidence = _Evidence()
    true_of, found_of = _by_video(truth.masklets), _by_video(found)
    for video_id in sorted(true_of.keys() | found_of.keys()):
        true, predicted = true_of.get(video_id, []), found_of.get(video_id, [])
        overlaps = _OVERLAPS[kind](predicted, true, truth.videos[video_id].frame_count)
        _add_video(evidence, overlaps, predicted, true)
    return evidence


def _add_video(
    evidence: _Evidence, overlaps: FrameOverlaps, predicted: Sequence[VideoMasklet], true: Sequence[VideoMasklet]
) -> None:
    scores = np.array([masklet.score for masklet in predicted], dtype=np.float64)
    predicted_categories = np.array([masklet.category_id for masklet in predicted], dtype=np.int64)
    true_categories = np.array([masklet.category_id for masklet in true], dtype=np.int64)
    crowd = np.array([masklet.is_crowd for masklet in true], dtype=np.bool_)
    kept, everyone = scores >= KEPT_SCORE, np.ones(len(true), dtype=np.bool_)

    in_video = teta_counts(overlaps.select(kept, everyone), predicted_categories[kept], true_categories)
    for category_id, one in in_video.items():
        before = evidence.teta.get(category_id)
        evidence.teta[category_id] = one if before is None else before + one

    for pair in _pairs_of((*predicted, *true)):
        asked, there = predicted_categories == pair[1], true_categories == pair[1]
        volume_iou = overlaps.select(asked, there).volume_iou()
        evidence.ranked[pair] = RankedPair(volume_iou=volume_iou, scores=scores[asked], is_crowd=crowd[there])
        evidence.volume_ious[pair] = volume_iou[kept[asked]][:, ~crowd[there]]
        # Strictly above, unlike everywhere else: so it is published.
        evidence.hota[pair] = hota_counts(overlaps.select(asked & (scores > KEPT_SCORE), there))


def _scores(evidence: _Evidence, prefix: str) -> dict[str, float]:
    """All but cgF1."""
    scores = {f"{prefix}_{key}": value for key, value in teta_values(evidence.teta).items()}
    all_pairs = sum(evidence.hota.values(), HotaCounts.none())
    scores |= {f"{prefix}_all_phrase_{key}": value for key, value in all_pairs.values().items()}
    scores |= {f"{prefix}_phrase_ap_{key}": value for key, value in phrase_ap_values(evidence.ranked).items()}
    return scores | {f"{prefix}_mAP_50_95": mean_ap(evidence.ranked)}


def _cgf1_counts(evidence: _Evidence, pairs: Iterable[Pair]) -> PairCounts:
    nothing = np.zeros((0, 0))
    return count_pairs([(pair, evidence.volume_ious.get(pair, nothing)) for pair in pairs])


def _pairs(truth: VideoGroundTruth, found: Sequence[VideoMasklet]) -> set[Pair]:
    """All that are asked about, annotated or predicted."""
    return _pairs_of((*truth.masklets, *found)) | (truth.pairs or frozenset())


def _pairs_of(masklets: Iterable[VideoMasklet]) -> set[Pair]:
    return {masklet.pair for masklet in masklets}


def _by_video(masklets: Iterable[VideoMasklet]) -> Mapping[int, list[VideoMasklet]]:
    by_video = defaultdict(list)
    for masklet in masklets:
        by_video[masklet.video_id].append(masklet)
    return by_video
