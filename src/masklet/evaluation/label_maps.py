"""J&F of folders of label maps, in the layout of DAVIS.

    FOLDER/VIDEO/FRAME.png      palette or grey; the number of the object of each pixel, 0 for none

Unusual: of the predictions only what is scored must be there; frames that are skipped may be left out. One video is in
memory at a time.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from masklet.data.segmentation import read_mask_values
from masklet.errors import DataError
from masklet.evaluation.jaccard_boundary import JaccardBoundary, Labels, ObjectScore, jaccard_boundary, score_objects

_log = logging.getLogger(__name__)
_LAYOUT = "expected folders VIDEO with label maps FRAME.png"


@dataclass(frozen=True, kw_only=True)
class FollowedVideos:
    """How well the objects of some videos were followed.

    Attributes:
        total: means over the objects of all videos.
        videos: means over the objects of each, by name; nan where nothing is true in what is scored.
    """

    total: JaccardBoundary
    videos: Mapping[str, JaccardBoundary]

    def to_dict(self) -> dict[str, Any]:
        """Percent and counts as JSON takes them: None for nan."""
        return _figures(self.total) | {"videos": {name: _figures(scores) for name, scores in self.videos.items()}}

    def table(self) -> str:
        """The same as lines of text."""
        rows = [("all videos", self.total), *self.videos.items()]
        width = max(len(name) for name, _ in rows)
        lines = [" " * width + "".join(f"  {name:>7}" for name in _figures(self.total))]
        for name, scores in rows:
            cells = ["-" if cell is None else f"{cell:.2f}" for cell in list(_figures(scores).values())[:-1]]
            lines.append(f"{name:<{width}}" + "".join(f"  {cell:>7}" for cell in (*cells, scores.objects)))
        return "\n".join(lines)


def evaluate_label_maps(ground_truth: Path, predictions: Path, *, skip_ends: bool = True) -> FollowedVideos:
    """J and F of the true objects of all videos in a folder.

    Args:
        ground_truth: folder of videos.
        predictions: folder of the same videos and frames under the same names, objects under the same numbers; more
            of them are left out with a warning that counts them.
        skip_ends: leave out the first frame of each video, which is given, and the last one, as DAVIS and SA-V do.

    Raises:
        DataError: a folder, a video or a frame is missing, cannot be read, or has another size than the truth.
    """
    true_videos, predicted_videos = _videos(ground_truth), _videos(predictions)
    missing = [name for name in true_videos if name not in predicted_videos]
    if missing:
        raise DataError(
            f"{predictions}: expected a folder for each of the {len(true_videos)} videos of {ground_truth}, got none "
            f"for {missing[0]}{_more(missing)}; write one, with maps of zeros if nothing was followed"
        )
    _warn_of(predictions, len(predicted_videos.keys() - true_videos.keys()), "videos")

    extra = 0
    objects: dict[str, list[ObjectScore]] = {}
    for name, folder in true_videos.items():
        true, predicted = _frames(folder), _frames(predicted_videos[name])
        extra += len(predicted.keys() - true.keys())
        scored = list(true)[1:-1] if skip_ends else list(true)
        missing = [frame for frame in scored if frame not in predicted]
        if missing:
            raise DataError(
                f"{predicted_videos[name]}: expected a label map for each scored frame of {folder}, got none for "
                f"{missing[0]}{_more(missing)}; write a map of zeros for a frame without objects"
            )
        objects[name] = _score_video([(true[frame], predicted[frame]) for frame in scored])
    _warn_of(predictions, extra, "frames")
    return FollowedVideos(
        total=jaccard_boundary(objects.values()),
        videos={name: jaccard_boundary([own]) for name, own in objects.items()},
    )


def _score_video(files: Sequence[tuple[Path, Path]]) -> list[ObjectScore]:
    """Scores of the objects of true and predicted label maps, frame by frame."""
    if not files:
        return []
    sides: tuple[list[Labels], list[Labels]] = ([], [])
    size_hw = read_mask_values(files[0][0]).shape
    for paths in files:
        for path, side in zip(paths, sides, strict=True):
            side.append(read_mask_values(path))
            if side[-1].shape != size_hw:
                raise DataError(
                    f"{path}: expected a label map of {size_hw[1]} x {size_hw[0]} (width x height) as "
                    f"{files[0][0]} is, got {side[-1].shape[1]} x {side[-1].shape[0]}; resize it without smoothing"
                )
    return score_objects(np.stack(sides[0]), np.stack(sides[1]), skip_ends=False)


def _videos(folder: Path) -> dict[str, Path]:
    """Folders of videos by name, sorted."""
    if not folder.is_dir():
        raise DataError(f"{folder}: {_LAYOUT}, got no folder; check the path")
    videos = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")}
    if not videos:
        raise DataError(f"{folder}: {_LAYOUT}, got no folder in it; give the folder above that of a video")
    return videos


def _frames(folder: Path) -> dict[str, Path]:
    """Label maps by name, in the order of their numbers, or of their names where these are none."""
    frames = [path for path in folder.iterdir() if path.suffix.lower() == ".png" and not path.name.startswith(".")]
    if not frames:
        raise DataError(f"{folder}: {_LAYOUT}, got none; objects in folders of their own must be joined")
    frames.sort(key=lambda path: (int(path.stem) if path.stem.isdecimal() else math.inf, path.stem))
    return {path.stem: path for path in frames}


def _figures(scores: JaccardBoundary) -> dict[str, float | int | None]:
    means = {"J&F": scores.j_and_f, "J": scores.j, "F": scores.f}
    return {**{name: None if math.isnan(value) else value for name, value in means.items()}, "objects": scores.objects}


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _warn_of(predictions: Path, count: int, what: str) -> None:
    if count:
        _log.warning("%s: %s that are not in the ground truth do not count: %d", predictions, what, count)
