"""Whether a path leads to a file that can be read, before a decoder is asked."""

from __future__ import annotations

from pathlib import Path

from masklet.errors import InputError


def check_file(path: Path, wanted: str, error_type: type[InputError]) -> None:
    """Refuses what no decoder could read.

    Args:
        path: as the user gave it.
        wanted: what was expected there, for the message: "a picture".
        error_type: what is raised.

    Raises:
        InputError: of that type; the file is missing, empty, no ordinary file or closed to us, or the path cannot be
            one.
    """
    try:
        if not path.exists():
            raise error_type(f"{path}: expected {wanted}, there is no such file")
        if not path.is_file():  # reading from a pipe or a device might never end
            what = "a folder" if path.is_dir() else "no ordinary file"
            raise error_type(f"{path}: expected {wanted}, got {what}")
        if path.stat().st_size == 0:
            raise error_type(f"{path}: expected {wanted}, the file is empty")
        path.open("rb").close()
    except (OSError, ValueError) as error:  # a name that is too long or has a NUL in it, a file that is closed to us
        if isinstance(error, error_type):
            raise
        raise error_type(f"{str(path)!r}: expected {wanted}, this path cannot be read ({error})") from error
