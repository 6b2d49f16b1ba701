"""Objects followed through a video as text in the format of the MOT Challenge: boxes only, no masks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from masklet.checkpoint.save import written_aside
from masklet.inference.video_result import VideoResult


def write_mot(results: Iterable[VideoResult], path: Path) -> None:
    """Writes a line for each object on each frame: frame, identity, left, top, width, height, confidence, -1, -1, -1.

    The format counts frames, identities and pixels from 1, so each is one more than in other files. The confidence is
    `tracker_scores`.

    Args:
        results: frames of one video, ascending; taken one at a time.
        path: an existing file is replaced when the new one is whole.

    Raises:
        OutputError: the file cannot be written.
    """
    with written_aside(path) as aside, aside.open("w", encoding="utf-8") as file:
        for result in results:
            rows = zip(result.object_ids, result.boxes_xyxy.tolist(), result.tracker_scores, strict=True)
            for object_id, (x0, y0, x1, y1), score in rows:
                box = f"{x0 + 1:g},{y0 + 1:g},{x1 - x0:g},{y1 - y0:g}"
                file.write(f"{result.frame_idx + 1},{object_id + 1},{box},{score:.4f},-1,-1,-1\n")
