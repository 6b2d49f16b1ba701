"""What data sets of scenes and of clips have in common: a folder made aside, pictures of one kind, one document."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from masklet.errors import InputError, OutputError
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.world import Split

_ANNOTATIONS_FILE = "annotations.json"
_ENDINGS = {"jpeg": ".jpg", "png": ".png"}
_JPEG_QUALITY = 92


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder aside that becomes `out` when all went well; else nothing is left.

    Raises:
        OutputError: `out` is in use or cannot be written.
    """
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise OutputError(f"{out} must be a new or empty folder, but there is something in it: name another")
        out.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        try:
            yield aside
            aside.chmod(0o755)  # temporary folders are private; the result is not
            aside.replace(out)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"cannot write the data set to {out}: {error.strerror or error}") from error


def ending_of(image_format: str) -> str:
    """How the names of such pictures end: .jpg for "jpeg", .png for "png".

    Raises:
        InputError: another format.
    """
    if image_format not in _ENDINGS:
        raise InputError(f"image_format must be one of {sorted(_ENDINGS)}, got {image_format!r}")
    return _ENDINGS[image_format]


def save_image(image: npt.NDArray[np.uint8], path: Path) -> None:
    """Writes (H, W, 3) in the format that the name tells."""
    if path.suffix == _ENDINGS["jpeg"]:
        # 4:4:4, so that thin coloured outlines keep their colour.
        Image.fromarray(image).save(path, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    else:
        Image.fromarray(image).save(path, "PNG")


def made_of(contents: str, sheet: SpriteSheet, split: Split, seed: int) -> dict[str, Any]:
    """The `info` of a document: what is in it, and all that it follows from.

    Args:
        contents: "scenes" or "clips".
        sheet: their sprites.
        split: where they are from.
        seed: number of the first.
    """
    return {
        "description": f"masklet synthetic {contents}",
        "split": split.name,
        "first_seed": seed,
        "sprites_sha256": sheet.source_hash,
    }


def write_document(document: dict[str, Any], folder: Path) -> None:
    """Writes the annotation file."""
    text = json.dumps(document, separators=(",", ":"))
    (folder / _ANNOTATIONS_FILE).write_text(text, encoding="utf-8")
