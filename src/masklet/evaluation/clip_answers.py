"""What a video predictor follows through a clip: exactly what a user gets who clicks or names things."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from masklet.evaluation.clip_scores import Click, FrameMasks
from masklet.inference.video_predictor import VideoPredictor
from masklet.ops.masks import Rle
from masklet.synthetic.clips import Clip


def follow_clicks(predictor: VideoPredictor, clip: Clip, clicks: Sequence[Click]) -> list[FrameMasks]:
    """Follows O objects to the end of a clip, all in one pass.

    Each is clicked before its frame is passed, as by a user who watches: earlier frames show nothing of it.

    Args:
        predictor: whose model has a tracker.
        clip: of which the frames alone are looked at.
        clicks: one for each object.

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
                video.click(frame_idx, [clicks[object_id].point_xy], object_id=object_id)

        show(first)
        for result in video.propagate(first, pixels=False):
            for object_id, rle in zip(result.object_ids.tolist(), result.rle(), strict=True):
                masks[object_id][result.frame_idx] = rle
            show(result.frame_idx + 1)
    return list(masks)


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
