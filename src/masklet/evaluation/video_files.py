"""Ground truth and predictions of SA-Co/VEval (spec/evaluation.md 3.2): masklets of phrases in videos.

Files or already loaded objects become frozen values; what was given is never changed. A frame in which a masklet is
absent may be written as null, as a box of zeros or as an empty mask, on either side.

Read: of `videos` id, video_name, height, width, length; of `categories` id, name; of `video_np_pairs` video_id,
category_id, num_masklets; of `annotations` and predictions video_id, category_id, segmentations, bboxes (made from the
masks where the list is missing), and iscrowd or score. Areas are those of the masks; areas of a file are not read.
"""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from masklet.errors import DataError
from masklet.evaluation.matching import FloatArray
from masklet.evaluation.segmentations import read_segmentations
from masklet.ops.masks import BoolArray, Rle, rle_boxes

_log = logging.getLogger(__name__)

Pair = tuple[int, int]
"""(video_id, category_id): one phrase asked of one video."""


@dataclass(frozen=True, kw_only=True)
class Video:
    """A video as the ground truth lists it.

    Attributes:
        video_id: as in the file.
        name: "" where the file has none.
        size_hw: height and width in pixels.
        frame_count: how many frames are annotated.
    """

    video_id: int
    name: str
    size_hw: tuple[int, int]
    frame_count: int


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoMasklet:
    """One object through one video, true or predicted.

    Attributes:
        video_id: of its video.
        category_id: of its phrase.
        score: 0..1; 1 of a true one.
        is_crowd: a true one that stands for many objects.
        rles: one mask per frame, None where there is none.
        boxes_xyxy: (F, 4) pixels; zeros where there is none.
    """

    video_id: int
    category_id: int
    score: float
    is_crowd: bool
    rles: tuple[Rle | None, ...]
    boxes_xyxy: FloatArray

    @property
    def pair(self) -> Pair:
        """The phrase and video it belongs to."""
        return self.video_id, self.category_id

    @property
    def present(self) -> BoolArray:
        """(F,) frames with both a mask and a box."""
        return np.array([rle is not None for rle in self.rles], dtype=np.bool_) & self.boxes_xyxy.any(axis=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoGroundTruth:
    """What is true of some videos.

    Attributes:
        videos: by id.
        categories: phrases by id.
        masklets: all annotated ones, in the order of the file.
        pairs: every phrase asked of every video, with and without masklets; None where the file has no list of them.
    """

    videos: Mapping[int, Video]
    categories: Mapping[int, str]
    masklets: tuple[VideoMasklet, ...]
    pairs: frozenset[Pair] | None


FileOrObject = str | PathLike[str] | Mapping[str, Any] | Sequence[Any]
"""The path of a JSON file, or what such a file holds."""


def read_video_ground_truth(source: FileOrObject) -> VideoGroundTruth:
    """The ground truth of one file.

    Raises:
        DataError: unreadable, in another layout, or contradictory: an id twice, an unknown id, a list that has not one
            entry per frame, a mask of another size than its video, a pair whose number of masklets is 0 although it
            has annotations or is not 0 although it has none.
    """
    content, name = _load(source, "ground truth")
    if not isinstance(content, Mapping):
        raise DataError(
            f"{name} must be an object with videos, categories and annotations, got {type(content).__name__}; "
            "a list is the layout of predictions"
        )
    videos = {}
    for idx, record in enumerate(_list_of(content, "videos", name)):
        where = f"videos[{idx}] of {name}"
        video = Video(
            video_id=_integer(record, "id", where),
            name=str(record.get("video_name", "")),
            size_hw=(_integer(record, "height", where, least=1), _integer(record, "width", where, least=1)),
            frame_count=_integer(record, "length", where, least=1),
        )
        videos[video.video_id] = video
    _refuse_repeats(content["videos"], videos, f"videos of {name}")
    categories = {
        _integer(record, "id", f"categories[{idx}] of {name}"): str(record.get("name", ""))
        for idx, record in enumerate(_list_of(content, "categories", name))
    }
    _refuse_repeats(content["categories"], categories, f"categories of {name}")

    masklets = []
    for idx, record in enumerate(_list_of(content, "annotations", name)):
        where = f"annotations[{idx}] of {name}"
        video_id, category_id = _integer(record, "video_id", where), _integer(record, "category_id", where)
        _refuse_unknown(video_id, videos, "video_id", where)
        _refuse_unknown(category_id, categories, "category_id", where)
        masklets.append(_read_masklet(record, videos[video_id], where, score=1.0, crowd=bool(record.get("iscrowd", 0))))
    pairs = _read_pairs(content, videos, categories, masklets, name) if "video_np_pairs" in content else None
    return VideoGroundTruth(videos=videos, categories=categories, masklets=tuple(masklets), pairs=pairs)


def read_video_predictions(source: FileOrObject, ground_truth: VideoGroundTruth) -> tuple[VideoMasklet, ...]:
    """The predictions of one file, in its order; an empty list is none.

    Predictions of a video or a phrase that the ground truth does not list are left out, with a warning that counts
    them: nothing is known that could make them right or wrong. The same masklet twice stays twice.

    Raises:
        DataError: unreadable, in another layout, a score that is not in 0..1, a list that has not one entry per
            frame, a mask of another size than its video.
    """
    content, name = _load(source, "predictions")
    if isinstance(content, Mapping):
        raise DataError(f"{name} must be a list of predictions, got an object; an object is the layout of ground truth")
    masklets = []
    foreign: Counter[str] = Counter()
    for idx, record in enumerate(content):
        where = f"record {idx} of {name}"
        if not isinstance(record, Mapping):
            raise DataError(f"{where} must be an object with video_id, category_id and score, got {record!r:.60}")
        video_id, category_id = _integer(record, "video_id", where), _integer(record, "category_id", where)
        score = _score(record, where)
        if video_id not in ground_truth.videos:
            foreign["video"] += 1
        elif category_id not in ground_truth.categories:
            foreign["phrase"] += 1
        else:
            video = ground_truth.videos[video_id]
            masklets.append(_read_masklet(record, video, where, score=score, crowd=False))
    for kind, count in foreign.items():
        _log.warning("%s: %d predictions left out, their %s is not in the ground truth", name, count, kind)
    return tuple(masklets)


def _read_masklet(record: Mapping[str, Any], video: Video, where: str, *, score: float, crowd: bool) -> VideoMasklet:
    segmentations = _per_frame(record, "segmentations", video, where)
    names = [f"segmentations[{frame}] of {where}" for frame in range(video.frame_count)]
    rles = tuple(read_segmentations(segmentations, video.size_hw, names))
    boxes_xyxy = np.zeros((video.frame_count, 4))
    if record.get("bboxes") is None:
        boxes_xyxy[[rle is not None for rle in rles]] = rle_boxes([rle for rle in rles if rle is not None])
    else:
        for frame, box_xywh in enumerate(_per_frame(record, "bboxes", video, where)):
            if box_xywh is not None:
                boxes_xyxy[frame] = _read_box(box_xywh, f"bboxes[{frame}] of {where}")
    return VideoMasklet(
        video_id=video.video_id,
        category_id=_integer(record, "category_id", where),
        score=score,
        is_crowd=crowd,
        rles=rles,
        boxes_xyxy=boxes_xyxy,
    )


def _read_box(box_xywh: object, where: str) -> tuple[float, float, float, float]:
    """In xyxy."""
    try:
        x, y, width, height = (float(value) for value in box_xywh)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        x = y = width = height = math.nan
    if not all(map(math.isfinite, (x, y, width, height))) or width < 0 or height < 0:
        raise DataError(
            f"{where} must be null or [x, y, width, height] in pixels, finite and not negative in size, got "
            f"{box_xywh!r:.60}; write null for a frame without the object"
        )
    return x, y, x + width, y + height


def _read_pairs(
    content: Mapping[str, Any],
    videos: Mapping[int, Video],
    categories: Mapping[int, str],
    masklets: Sequence[VideoMasklet],
    name: str,
) -> frozenset[Pair]:
    annotated = Counter(masklet.pair for masklet in masklets)
    pairs = set()
    for idx, record in enumerate(_list_of(content, "video_np_pairs", name)):
        where = f"video_np_pairs[{idx}] of {name}"
        pair = _integer(record, "video_id", where), _integer(record, "category_id", where)
        _refuse_unknown(pair[0], videos, "video_id", where)
        _refuse_unknown(pair[1], categories, "category_id", where)
        count = _integer(record, "num_masklets", where, least=0)
        if (count > 0) != (annotated[pair] > 0):
            raise DataError(
                f"{where} says num_masklets {count}, but the file has {annotated[pair]} annotations of that phrase and "
                "video; annotations may be missing (some test sets are published without them)"
            )
        pairs.add(pair)
    return frozenset(pairs)


# --- records ----------------------------------------------------------------------------------------------------------


def _load(source: FileOrObject, kind: str) -> tuple[Mapping[str, Any] | Sequence[Any], str]:
    """The content and what messages call it."""
    if isinstance(source, str | PathLike):
        path = Path(source)
        try:
            content = json.loads(path.read_bytes())
        except OSError as error:
            raise DataError(f"{kind} {path} cannot be read: {error.strerror}; give the path of a JSON file") from error
        except ValueError as error:
            raise DataError(f"{kind} {path} must be JSON, got something else: {error}") from error
        name = f"{kind} {path}"
    else:
        content, name = source, kind
    if not isinstance(content, Mapping | Sequence) or isinstance(content, str | bytes):
        raise DataError(f"{name} must be the path of a JSON file or what it holds, got {type(content).__name__}")
    return content, name


def _list_of(content: Mapping[str, Any], key: str, name: str) -> Sequence[Mapping[str, Any]]:
    records = content.get(key)
    if not isinstance(records, Sequence) or isinstance(records, str | bytes):
        raise DataError(
            f"{name} must have a list {key!r}, got {type(records).__name__}; its keys are {sorted(map(str, content))}"
        )
    for idx, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise DataError(f"{key}[{idx}] of {name} must be an object, got {type(record).__name__}")
    return records


def _per_frame(record: Mapping[str, Any], key: str, video: Video, where: str) -> Sequence[Any]:
    values = record.get(key)
    if not isinstance(values, Sequence) or isinstance(values, str | bytes) or len(values) != video.frame_count:
        came = f"{len(values)}" if isinstance(values, Sequence) else type(values).__name__
        raise DataError(
            f"{where} must have {key!r} with one entry for each of the {video.frame_count} frames of video "
            f"{video.video_id}, got {came}; write null for a frame without the object"
        )
    return values


def _integer(record: Mapping[str, Any], key: str, where: str, *, least: int | None = None) -> int:
    value = record.get(key)
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or (least is not None and value < least):
        bound = "" if least is None else f" of at least {least}"
        raise DataError(f"{where} must have an integer {key!r}{bound}, got {value!r:.60}")
    return int(value)


def _score(record: Mapping[str, Any], where: str) -> float:
    value = record.get("score")
    if not isinstance(value, int | float | np.number) or isinstance(value, bool) or not 0 <= value <= 1:
        raise DataError(f"{where} must have a score in 0..1, got {value!r:.60}; scores are probabilities, not logits")
    return float(value)


def _refuse_repeats(records: Sequence[Mapping[str, Any]], by_id: Mapping[int, object], name: str) -> None:
    if len(by_id) < len(records):
        repeated = sorted(value for value, count in Counter(record["id"] for record in records).items() if count > 1)
        raise DataError(f"{name} must have an id each, got {repeated[:10]} more than once; give each its own")


def _refuse_unknown(value: int, known: Mapping[int, object], key: str, where: str) -> None:
    if value not in known:
        raise DataError(f"{where} has {key} {value}, which the file does not list; add it or leave the record out")
