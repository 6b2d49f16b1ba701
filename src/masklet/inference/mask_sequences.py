"""Masks of the objects of a video as pictures: masks/<identity>/<frame>.png, 1 bit, where the object is to be seen."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from masklet.checkpoint.save import written_aside
from masklet.inference.video_result import VideoResult

_PNG_LEVEL = 1  # of 9: a mask is as small at any


class MaskSequences:
    """Writes the masks of results, each picture whole or not at all.

    Args:
        folder: made with the first mask.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, result: VideoResult) -> None:
        """Writes the masks of a frame.

        Raises:
            OutputError: one cannot be written.
        """
        for object_id, mask in zip(result.object_ids.tolist(), result.iter_masks(), strict=True):
            with written_aside(self._folder / f"{object_id:03d}" / f"{result.frame_idx:06d}.png") as aside:
                Image.fromarray(mask).save(aside, format="png", compress_level=_PNG_LEVEL)
