"""A result as a folder of files, which appears as a whole or not at all.

<folder>/<name>/<concept>/
  result.json       the document of result.schema.json
  overlay.png       if the picture is known
  labels.png        16 bit: 0 outside, n + 1 on detection n
  masks/000.png     1 bit, one for each detection, best first
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from masklet.checkpoint.save import written_aside
from masklet.errors import OutputError
from masklet.media.images import ImageSource

if TYPE_CHECKING:
    from masklet.inference.frame_result import FrameResult

RESULT_FILE = "result.json"
_LONGEST_NAME = 60  # characters of a concept that go into a folder's name
# Of 9: masks are as small at any level, overlays a fifth larger than at 6 and written in a third of the time.
_PNG_LEVEL = 1


def save_result(result: FrameResult, folder: Path, *, name: str | None, image: ImageSource | None) -> Path:
    """See `FrameResult.save`."""
    target = result_folder(folder, name or Path(result.image).stem or "image", result.concept)
    with replaced_folder(target, RESULT_FILE) as aside:
        (aside / "masks").mkdir(parents=True)
        for index, mask in enumerate(result.iter_masks()):
            Image.fromarray(mask).save(aside / "masks" / f"{index:03d}.png", compress_level=_PNG_LEVEL)
        Image.fromarray(result.label_map()).save(aside / "labels.png", compress_level=_PNG_LEVEL)
        if image is not None or result.source is not None:
            result.overlay(image).save(aside / "overlay.png", compress_level=_PNG_LEVEL)
        (aside / RESULT_FILE).write_text(result.to_json() + "\n", encoding="utf-8")
    return target


def result_folder(folder: Path, name: str, concept: str) -> Path:
    """Where the result of a concept on the picture called `name` goes; another concept always has another folder."""
    words = re.sub(r"[\W_]+", "-", concept.lower()).strip("-")[:_LONGEST_NAME].strip("-")
    if words.replace("-", " ") != concept:  # something was lost: two concepts could become the same words
        words = f"{words}-{hashlib.sha256(concept.encode(errors='replace')).hexdigest()[:8]}".strip("-")
    return folder / name / words


@contextmanager
def replaced_folder(target: Path, mark: str) -> Iterator[Path]:
    """A path beside `target` to make a folder at, which takes its place when the block ends well.

    Args:
        target: does not exist, is empty, or holds a file called `mark`: then it is ours and is replaced.
        mark: relative path of that file.

    Raises:
        OutputError: `target` is something else, or cannot be written.
    """
    try:
        foreign = target.exists() and not (target / mark).is_file() and (not target.is_dir() or any(target.iterdir()))
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror or error})") from error
    if foreign:
        raise OutputError(f"{target}: expected a folder of earlier results or none, got something else; move it away")
    retired = target.with_name(f".{target.name}.old")
    with written_aside(target) as aside:
        yield aside
        shutil.rmtree(retired, ignore_errors=True)
        if target.exists():
            target.rename(retired)
    shutil.rmtree(retired, ignore_errors=True)
