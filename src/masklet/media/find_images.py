"""Which pictures are meant: files, folders and patterns to a list of paths, each with a name for its results."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from masklet.errors import ImageError

# Endings that make a file in a folder a picture; a file that is named itself may have any.
IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}
)


@dataclass(frozen=True)
class FoundImage:
    """A picture to work on.

    Attributes:
        path: where it is; may not exist if it was named itself.
        name: relative path for its results, unique among the pictures found; no ending unless it is needed.
    """

    path: Path
    name: str


def find_images(inputs: Sequence[str | Path], *, skip: Path | None = None) -> list[FoundImage]:
    """The pictures that the user names, each once, in the order of `inputs`, folders sorted.

    Args:
        inputs: files, folders (searched with all that is below them, hidden ones left out) and patterns with `*`, `?`
            or `[...]` (`**` stands for any folders). A file that exists is itself, even if its name looks like a
            pattern.
        skip: a folder whose content is never taken: that of the results.

    Raises:
        ImageError: a folder or pattern with no picture in it. Files that do not exist are found out when they are
            read, so that they do not stop the others.
    """
    paths: dict[Path, tuple[Path, Path]] = {}  # by true path: as found, and relative
    barred = None if skip is None else skip.resolve()
    for given in inputs:
        for path, relative in _expand(given):
            true_path = path.resolve()
            if barred is None or barred not in true_path.parents:
                paths.setdefault(true_path, (path, relative))
    return _named(paths.values())


def _expand(given: str | Path) -> list[tuple[Path, Path]]:
    path = Path(given).expanduser()
    if path.is_dir():
        found = [(item, item.relative_to(path)) for item in sorted(path.rglob("*")) if _is_picture(item, path)]
        if not found:
            raise ImageError(
                f"{given}: expected a folder with pictures ({', '.join(sorted(IMAGE_SUFFIXES))}), found none in it"
            )
        return found
    if glob.has_magic(str(given)) and not path.exists():
        matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
        base = _folder_before_magic(path)
        found = [(item, item.relative_to(base)) for item in matches if item.is_file()]
        if not found:
            raise ImageError(f"{given}: expected a pattern that fits some pictures, no file fits it")
        return found
    return [(path, Path(path.name))]


def _is_picture(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden and path.is_file()


def _folder_before_magic(pattern: Path) -> Path:
    plain: list[str] = []
    for part in pattern.parent.parts:
        if glob.has_magic(part):
            break
        plain.append(part)
    return Path(*plain)


def _named(found: Iterable[tuple[Path, Path]]) -> list[FoundImage]:
    """Names without endings; with the ending where two would be the same; numbered where that does not help."""
    pairs = list(found)
    stems = Counter(relative.with_suffix("").as_posix().lower() for _, relative in pairs)
    images, taken = [], set()
    for path, relative in pairs:
        stem = relative.with_suffix("").as_posix()
        base = stem if stems[stem.lower()] == 1 else relative.as_posix()
        name, number = base, 1
        while name.lower() in taken:  # file systems that ignore case count as well
            number += 1
            name = f"{base}-{number}"
        taken.add(name.lower())
        images.append(FoundImage(path=path, name=name))
    return images
