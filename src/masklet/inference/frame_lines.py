"""frames.jsonl: a line of JSON for each frame of a video, in the order in which the frames were passed.

Only whole lines are ever left in the file: each is written at once, and what an interruption leaves of one is cut off.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from masklet.errors import DataError, OutputError
from masklet.inference.video_result import VideoResult
from masklet.media.closed_at_end import ClosedAtEnd


class FrameLines(ClosedAtEnd):
    """Writes results to a file, line by line; a context manager.

    Attributes:
        size: bytes of the whole lines so far.
    """

    def __init__(self, path: Path, *, size: int = 0) -> None:
        """Opens the file.

        Args:
            path: made if it does not exist.
            size: bytes of it that are kept, whole lines; what follows them is cut off.

        Raises:
            OutputError: it cannot be written.
        """
        self._path = path
        self.size = size
        with self._told():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            self._file = path.open("r+b", buffering=0)  # on a full disk a buffer would come again and again
            self._file.truncate(size)
            self._file.seek(size)

    def add(self, result: VideoResult) -> None:
        """Adds a line; it is in the file when this returns.

        Raises:
            OutputError: it cannot be written.
        """
        line = result.to_json().encode() + b"\n"
        left = memoryview(line)
        with self._told():
            while left:
                left = left[self._file.write(left) :]
        self.size += len(line)

    def close(self) -> None:
        """Ends the file behind the last whole line. May be called again."""
        if self._file.closed:
            return
        with self._told():
            self._file.truncate(self.size)
            self._file.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written ({error.strerror or error})") from error


def read_results(path: Path, *, ascending: bool = False) -> Iterator[VideoResult]:
    """The results in a file that `FrameLines` wrote, one at a time.

    Args:
        path: of the file.
        ascending: by the numbers of their frames, in whatever order they were passed; then it is read twice.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            if not ascending:
                for number, line in enumerate(file, start=1):
                    yield VideoResult.from_dict(_document(line, path, number))
                return
            for place in sorted(_places(file, path)):
                file.seek(place.offset)
                yield VideoResult.from_dict(_document(file.readline(), path, place.line))
    except OSError as error:
        raise DataError(f"{path}: expected a file of frames, it cannot be read ({error.strerror or error})") from error


class _Place(NamedTuple):
    """Where a frame stands in the file."""

    frame_idx: int
    line: int
    offset: int


def _places(file: BinaryIO, path: Path) -> list[_Place]:
    places, offset = [], 0
    for number, line in enumerate(file, start=1):
        places.append(_Place(_document(line, path, number).get("frame_idx", 0), number, offset))
        offset += len(line)
    return places


def _document(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except ValueError as error:
        raise DataError(f"{path}: line {number}: expected the JSON of a frame, it cannot be read ({error})") from error
    if not isinstance(document, dict):
        raise DataError(f"{path}: line {number}: expected the JSON of a frame, got {line[:40]!r}")
    return document
