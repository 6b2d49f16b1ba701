"""What a user gets: the instances of one concept on one picture, in pixels of that picture, and all ways to hand it on.

Unusual: masks are kept as run-length codes and become arrays when they are asked for, so that a result is small and can
be kept by the thousand (unless `masks` was read, or `source` holds the pixels of a picture that was no file).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from masklet.errors import InputError, MissingExtraError
from masklet.media.images import MAX_PIXELS, ImageSource, Pixels, read_image
from masklet.ops.masks import BoolArray, Rle, decode_crop, decode_rles, rle_areas

if TYPE_CHECKING:
    from PIL import Image

    from masklet.render.overlay import Drawn


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FrameResult:
    """The instances of one concept on one picture, best first. N may be 0: the concept is not there.

    Attributes:
        image: what the picture is called: its path as given, or "image".
        image_size_hw: height and width of the picture, pixels.
        concept: what was looked for.
        presence: 0..1, is the concept anywhere in the picture.
        model: name of the model that answered.
        scores: (N,) float32 in 0..1, descending.
        boxes_xyxy: (N, 4) float32 pixels, clipped to the picture; left, top, right, bottom, far edge exclusive. They
            are the model's boxes, not the tight boxes of the masks.
        mask_counts: N run-length codes of the picture's size; read them with `rle` or `masks`.
        source: the picture, or where to read it again, for overlays; None if neither is known.
    """

    image: str
    image_size_hw: tuple[int, int]
    concept: str
    presence: float
    model: str
    scores: npt.NDArray[np.float32]
    boxes_xyxy: npt.NDArray[np.float32]
    mask_counts: tuple[str, ...]
    source: ImageSource | None = None

    def __post_init__(self) -> None:
        count = len(self.mask_counts)
        assert self.scores.shape == (count,)
        assert self.boxes_xyxy.shape == (count, 4)
        numbers = (self.presence, *self.scores.tolist(), *self.boxes_xyxy.flatten().tolist())
        if not np.isfinite(numbers).all():
            raise InputError(
                f"model {self.model!r} gave numbers that are not finite for {self.concept!r} on {self.image}; "
                "use dtype='float32', or another checkpoint"
            )

    def __len__(self) -> int:
        return len(self.mask_counts)

    def __repr__(self) -> str:
        height, width = self.image_size_hw
        best = f", best score {self.scores[0]:.2f}" if len(self) else ""
        return (
            f"<FrameResult {self.image!r} {width} x {height}, {self.concept!r}: {len(self)} found{best}, "
            f"presence {self.presence:.2f}>"
        )

    # --- masks --------------------------------------------------------------------------------------------------------

    def rle(self) -> list[Rle]:
        """N masks as COCO run-length codes, {"size": [H, W], "counts": str}; no pixels are made."""
        return [{"size": list(self.image_size_hw), "counts": counts} for counts in self.mask_counts]

    @functools.cached_property
    def masks(self) -> BoolArray:
        """(N, H, W) bool; made when first asked for and kept. For many large masks see `iter_masks`."""
        return decode_rles(self.rle(), self.image_size_hw)

    def iter_masks(self) -> Iterator[BoolArray]:
        """(H, W) bool masks, one at a time; nothing is kept."""
        for rle in self.rle():
            yield decode_rles([rle], self.image_size_hw)[0]

    @functools.cached_property
    def areas(self) -> npt.NDArray[np.int64]:
        """(N,) pixels in each mask."""
        return rle_areas(self.rle())

    def label_map(self) -> npt.NDArray[np.uint16]:
        """(H, W) with 0 outside and n + 1 on detection n; where masks overlap the better score is on top."""
        labels = np.zeros(self.image_size_hw, dtype=np.uint16)
        for label, rle in reversed(list(enumerate(self.rle(), start=1))):
            crop, (x0, y0, x1, y1) = decode_crop(rle)
            labels[y0:y1, x0:x1][crop] = label
        return labels

    # --- documents ----------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values, as `result.schema.json` beside this file describes them."""
        height, width = self.image_size_hw
        rows = zip(self.boxes_xyxy, self.scores, self.areas.tolist(), self.rle(), strict=True)
        return {
            "image": self.image,
            "size_wh": [width, height],
            "concept": self.concept,
            "presence": shortest(np.float32(self.presence)),
            "model": self.model,
            "detections": [
                {
                    "box_xyxy": [shortest(value) for value in box],
                    "score": shortest(score),
                    "area": area,
                    "mask": rle,
                }
                for box, score, area, rle in rows
            ],
        }

    def to_json(self) -> str:
        """`to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def to_coco(self) -> dict[str, Any]:
        """A COCO data set of this picture alone; see `coco.coco_dataset` for many."""
        from masklet.inference.coco import coco_dataset

        return coco_dataset([self.to_dict()])

    def to_supervision(self) -> Any:
        """The result as `supervision.Detections`, with masks.

        Raises:
            MissingExtraError: the package `supervision` is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise MissingExtraError("supervision", "viz") from error
        return supervision.Detections(
            xyxy=self.boxes_xyxy.copy(),
            mask=self.masks,
            confidence=self.scores.copy(),
            class_id=np.zeros(len(self), dtype=int),
            data={"class_name": np.array([self.concept] * len(self), dtype=str)},
        )

    # --- pictures and files -------------------------------------------------------------------------------------------

    def drawn(self) -> list[Drawn]:
        """The detections as `render.overlay.draw_overlay` takes them."""
        from masklet.render.overlay import Drawn

        rows = zip(self.rle(), self.boxes_xyxy.tolist(), self.scores.tolist(), strict=True)
        return [
            Drawn(rle=rle, box_xyxy=(x0, y0, x1, y1), name=self.concept, score=score)
            for rle, (x0, y0, x1, y1), score in rows
        ]

    def overlay(self, image: ImageSource | None = None) -> Image.Image:
        """The picture with masks, boxes, names and scores drawn on it.

        Args:
            image: the picture; None takes the one that was segmented, which is read again if it was a file.

        Raises:
            InputError: no picture is known, or it has another size than the one that was segmented.
        """
        return draw_results([self], image)

    def save(self, folder: str | Path, *, name: str | None = None, image: ImageSource | None = None) -> Path:
        """Writes `folder/<name>/<concept>/` with result.json, overlay.png, labels.png and masks/000.png ...

        The folder of the result appears as a whole or not at all; an earlier one is replaced.

        Args:
            folder: made if it does not exist.
            name: of the picture, may hold "/"; None takes its file name without ending.
            image: the picture for the overlay, as in `overlay`. If none is known, overlay.png is left out.

        Returns:
            The folder of the result.

        Raises:
            OutputError: it cannot be written, or holds something that is no result.
        """
        from masklet.inference.result_files import save_result

        return save_result(self, Path(folder), name=name, image=image)


def draw_results(results: Sequence[FrameResult], image: ImageSource | None = None) -> Image.Image:
    """One picture with the detections of several concepts drawn on it.

    Args:
        results: one or more, all of the same picture.
        image: the picture; None takes the one that was segmented.

    Raises:
        InputError: there are no results, no picture is known, or sizes differ.
    """
    from masklet.render.overlay import draw_overlay

    if not results:
        raise InputError("expected results to draw, got none")
    pixels = _picture_of(results[0], image)
    for result in results:
        if result.image_size_hw != pixels.shape[:2]:
            raise InputError(
                f"{result.image}: expected the picture that was segmented, (H, W) = {result.image_size_hw}, "
                f"got one of {pixels.shape[:2]}; pass it as image="
            )
    return draw_overlay(pixels, [one for result in results for one in result.drawn()])


def _picture_of(result: FrameResult, image: ImageSource | None) -> Pixels:
    source = result.source if image is None else image
    if source is None:
        raise InputError(f"{result.image}: the picture is not known to the result; pass it as image=")
    # The picture has been accepted once, under whatever limit that was.
    return read_image(source, max_pixels=max(MAX_PIXELS, result.image_size_hw[0] * result.image_size_hw[1]))


def shortest(number: np.float32) -> float:
    """The number of fewest digits that is the same in float32."""
    return float(str(number))
