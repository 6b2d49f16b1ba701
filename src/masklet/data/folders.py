"""Pictures of folders with their sizes, for formats that do not say them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from masklet.errors import DataError, ImageError
from masklet.media.find_images import IMAGE_SUFFIXES
from masklet.media.images import ImageSize, read_image_size

_MOST_NAMED = 3


def pictures_below(folder: Path) -> list[Path]:
    """All pictures in a folder and those below it, sorted; hidden ones are left out.

    Raises:
        DataError: there is no such folder.
    """
    if not os.path.isdir(folder):  # False for a name that cannot be one, too
        raise DataError(f"{folder}: expected a folder of pictures, there is none; see docs/data.md for the layout")
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def sizes_of(paths: Sequence[Path]) -> list[ImageSize]:
    """Sizes by the pictures' headers.

    Raises:
        DataError: some cannot be read; counts them and names the first.
    """
    sizes, failed = [], []
    for path in paths:
        try:
            sizes.append(read_image_size(path))
        except ImageError as error:
            failed.append(str(error))
    if failed:
        more = f" and {len(failed) - _MOST_NAMED} more" if len(failed) > _MOST_NAMED else ""
        raise DataError(
            "expected pictures whose sizes can be read, because the labels need them; mend or remove these "
            f"{len(failed)}: {' | '.join(failed[:_MOST_NAMED])}{more}"
        )
    return sizes


def file_id(path: Path, folder: Path) -> str:
    """What messages call a picture: its path below the folder, with / between the parts."""
    return path.relative_to(folder).as_posix()
