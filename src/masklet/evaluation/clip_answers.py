"""What a video predictor follows through a clip: exactly what a user gets who clicks or names things."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from masklet.evaluation.clip_scores import Click, FrameMasks, correcting_click
from masklet.inference.video_predictor import VideoPredictor
from masklet.inference.video_result import VideoResult
from masklet.ops.masks import BoolArray, Rle, decode_rle
from masklet.synthetic.clips import Clip


def follow_clicks(
    predictor: VideoPredictor, clip: Clip, clicks: Sequence[Click], *, corrections: int = 0
) -> list[FrameMasks]:
    """Follows O objects to the end of a clip, all in one pass.

    Each is clicked before its frame is passed, as by a user who watches: earlier frames show nothing of it.

    Args:
        predictor: whose model has a tracker.
        clip: of which the frames alone are looked at, but for corrections.
        clicks: one for each object, in the order of the clip's instances if they are corrected.
        corrections: at most so many clicks set the answer on that frame right, each where it is most wrong.

    Returns:
        The masks of each object.
    """
    ids_on = defaultdict(list)
    for object_id, click in enumerate(clicks):
        ids_on[click.frame_idx].append(object_id)
    masks: list[list[Rle | None]] = [[None] * len(clip) for _ in clicks]
    if not clicks:
        return list(masks)
    first = min(ids_on)
    with predictor.open(clip.frames) as video:

        def show(frame_idx: int) -> None:
            for object_id in ids_on[frame_idx]:
                result = video.click(frame_idx, [clicks[object_id].point_xy], object_id=object_id)
                for _ in range(corrections):
                    click = correcting_click(_mask_of(result, object_id), clip.masks(object_id)[frame_idx])
                    if click is None:
                        break
                    point_xy, label = click
                    result = video.click(frame_idx, [point_xy], [label], object_id=object_id, keep_earlier=True)

        show(first)
        for result in video.propagate(first, pixels=False):
            for object_id, rle in zip(result.object_ids.tolist(), result.rle(), strict=True):
                masks[object_id][result.frame_idx] = rle
            show(result.frame_idx + 1)
    return list(masks)


def _mask_of(result: VideoResult, object_id: int) -> BoolArray:
    """(H, W); empty where the object is not shown."""
    (rows,) = np.nonzero(result.object_ids == object_id)
    return decode_rle(result.rle()[rows[0]]) if len(rows) else np.zeros(result.image_size_hw, dtype=np.bool_)


def follow_phrases(predictor: VideoPredictor, clip: Clip, phrases: Sequence[str]) -> list[list[FrameMasks]]:
    """Finds and follows what P phrases name, all in one pass.

    Args:
        predictor: whose model has a tracker.
        clip: of which the frames alone are looked at.
        phrases: each once.

    Returns:
        For each phrase the masks of the objects that were found, in the order of their identities.
    """
    if not phrases:
        return []
    found: dict[str, dict[int, list[Rle | None]]] = {phrase: {} for phrase in phrases}
    with predictor.open(clip.frames) as video:
        for phrase in phrases:
            video.add_concept(phrase)
        for result in video.propagate(pixels=False):
            for object_id, concept, rle in zip(result.object_ids.tolist(), result.concepts, result.rle(), strict=True):
                masks = found[concept].setdefault(object_id, [None] * len(clip))
                masks[result.frame_idx] = rle
    return [[by_id[object_id] for object_id in sorted(by_id)] for by_id in found.values()]
