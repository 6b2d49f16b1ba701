"""A film as single pictures: a folder of frames, a list of files, or pictures in memory. Needs no video decoder."""

from __future__ import annotations

import itertools
import re
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np

from masklet.errors import ImageError, VideoError
from masklet.media.find_images import IMAGE_SUFFIXES
from masklet.media.images import ImageSource, Pixels, image_name, read_image
from masklet.media.span import Span
from masklet.media.video_source import DEFAULT_RATE, Frame, VideoFacts, VideoSource, check_rate, other_size


class FrameSequence(VideoSource):
    """Pictures as the frames of a film; frame k is at k / rate seconds."""

    can_seek = True

    def __init__(
        self,
        pictures: Sequence[ImageSource] | Pixels,
        *,
        name: str,
        rate: float = DEFAULT_RATE,
        damage: str | None = None,
    ) -> None:
        """Reads the first picture.

        Args:
            pictures: in order; whatever `read_image` takes, for example an (F, H, W, 3) uint8 array. Files are read
                when their frame is asked for, and turned as their EXIF data says.
            name: what results call this film.
            rate: frames a second, 0.001 to 1000.
            damage: what is known to be missing, without the name.

        Raises:
            VideoError: no pictures, the first one cannot be read, or `rate` is out of range.
        """
        check_rate(rate)
        if not len(pictures):
            raise VideoError(f"{name}: expected at least one picture, got none")
        self._pictures = pictures
        self._rate = rate
        self._name = name
        height, width = self._pixels(0).shape[:2]
        super().__init__(
            VideoFacts(
                name=name,
                size_hw=(height, width),
                rate=rate,
                frame_count=len(pictures),
                duration_s=len(pictures) / rate,
                codec="pictures",
            )
        )
        if damage is not None:
            self._report_damage(damage)

    def _times_s(self) -> Sequence[float]:
        return [index / self._rate for index in range(len(self._pictures))]

    def _count_frames(self) -> int:
        return len(self._pictures)

    def _pixels(self, index: int) -> Pixels:
        picture = self._pictures[index]
        try:
            pixels = read_image(picture)
        except ImageError as error:
            raise VideoError(f"{self._name}: frame {index}: {error}") from error
        # An array may be shared; a frame is its reader's own.
        return pixels.copy() if isinstance(picture, np.ndarray) else pixels

    def _frame(self, index: int) -> Frame:
        pixels = self._pixels(index)
        if pixels.shape[:2] != self.facts.size_hw:
            picture = self._pictures[index]
            where = f"{self._name} ({image_name(picture)})" if isinstance(picture, str | Path) else self._name
            raise other_size(where, index, (pixels.shape[0], pixels.shape[1]), self.facts.size_hw)
        return Frame(index=index, time_s=index / self._rate, pixels=pixels)

    def _forward(self, span: Span) -> Generator[Frame, None, None]:
        for index in span.indices(self._times_s()):
            yield self._frame(index)

    def _backward(self, indices: Sequence[int]) -> Generator[Frame, None, None]:
        for index in reversed(indices):
            yield self._frame(index)


def open_frame_folder(folder: Path, *, rate: float = DEFAULT_RATE) -> FrameSequence:
    """The pictures that lie in a folder as a film, in natural order: frame2 before frame10.

    Folders below it, hidden files and files of other kinds are left out. Where the names are numbered at even steps
    and some numbers are missing, `damage` says so, which is logged as a warning; the frames that are there count on
    without a gap.

    Raises:
        VideoError: there is no such folder, no picture in it, or the first one cannot be read.
    """
    try:
        files = [path for path in folder.iterdir() if _is_frame(path)]
    except OSError as error:
        raise VideoError(f"{folder}: expected a folder of frames, it cannot be read ({error.strerror})") from error
    if not files:
        raise VideoError(
            f"{folder}: expected a folder with frames ({', '.join(sorted(IMAGE_SUFFIXES))}), found none in it"
        )
    files.sort(key=lambda path: natural_key(path.name))
    return FrameSequence(files, name=str(folder), rate=rate, damage=_gaps([path.stem for path in files]))


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sorts names as a person would: numbers by value and before letters, letters without regard to case."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name.casefold())
    return [(0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts], name


def _is_frame(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _gaps(stems: Sequence[str]) -> str | None:
    """What numbers are missing; None where the names do not look like numbers at even steps."""
    found = [re.search(r"([0-9]+)[^0-9]*$", stem) for stem in stems]
    numbers = [int(match[1]) for match in found if match]
    steps = [after - before for before, after in itertools.pairwise(numbers)]
    if len(numbers) < len(stems) or not steps or min(steps) < 1:
        return None
    step = min(steps)
    wide = [width for width in steps if width != step]
    if not wide or 2 * len(wide) > len(steps) or any(width % step for width in wide):
        return None
    first = numbers[steps.index(wide[0])] + step
    missing = sum(width // step - 1 for width in wide)
    return f"frames missing: {missing}, the first of them number {first}; going on without"
