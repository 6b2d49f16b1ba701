"""Many picture files, a few at a time: a bad one is reported and the rest are done; a cut run goes on.

<out>/
  annotations.json          COCO, all pictures of the run                      written by `write_annotations`
  <name>/overlay.png        all concepts on one picture, if there are several
  <name>/<concept>/         see result_files.py
  <name>/.finished.json     written last: what was asked, of which file. While it holds, the picture is not done again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from masklet.checkpoint.save import written_aside
from masklet.errors import OutputError
from masklet.inference.coco import Document, write_coco
from masklet.inference.frame_result import FrameResult, draw_results
from masklet.inference.result_files import RESULT_FILE
from masklet.inference.side_by_side import side_by_side
from masklet.inference.stages import stage
from masklet.media.find_images import FoundImage
from masklet.media.images import MAX_PIXELS, Pixels, read_image

FINISHED_FILE = ".finished.json"

Ask = Callable[[Pixels], Sequence[FrameResult]]
"""A picture to its results, one for each concept."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one picture.

    Attributes:
        picture: which.
        documents: one for each concept, as result.schema.json describes them; none if it failed.
        folders: where they were written, in the same order; none without an output folder.
        resumed: whether they were found there, from an earlier run.
        error: why there are no results; None if there are.
    """

    picture: FoundImage
    documents: tuple[Document, ...] = ()
    folders: tuple[Path, ...] = ()
    resumed: bool = False
    error: Exception | None = None


def run_pictures(
    pictures: Iterable[FoundImage],
    ask: Ask,
    *,
    out: Path | None,
    settings: Mapping[str, Any],
    resume: bool = True,
    max_pixels: int = MAX_PIXELS,
    workers: int = 1,
) -> Iterator[Outcome]:
    """Asks every picture and writes its results; they are whole on disk when the outcome comes.

    Args:
        pictures: which; outcomes come in their order.
        ask: what to do with each.
        out: folder for the results; None writes nothing.
        settings: all that the answers depend on, as JSON can hold it: a picture counts as finished only if it was asked
            with the same settings and its file has not changed.
        resume: take finished pictures as they are.
        max_pixels: larger pictures fail.
        workers: how many pictures are worked on at once; `ask` is called by so many threads.

    Raises:
        OutputError: results cannot be written: that would be so for every picture.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def outcome(picture: FoundImage) -> Outcome:
        try:
            earlier = _finished(picture, out, digest) if out is not None and resume else None
            return earlier or _asked(picture, ask, out, digest, max_pixels)
        except OutputError:
            raise
        except Exception as error:  # whatever is wrong with this picture, the others are done
            return Outcome(picture=picture, error=error)

    yield from side_by_side(outcome, pictures, workers)


def write_annotations(folders: Iterable[Path], out: Path) -> None:
    """`out/annotations.json`: the results in these folders as one COCO data set.

    Raises:
        OutputError: it cannot be written.
    """
    write_coco(map(read_document, folders), out / "annotations.json")


def file_stamp(path: Path) -> list[Any]:
    """What changes when a file, or any file of a folder, is another one: names, sizes in bytes, times of change."""
    files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    return [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _asked(picture: FoundImage, ask: Ask, out: Path | None, digest: str, max_pixels: int) -> Outcome:
    with stage("decode"):
        pixels = read_image(picture.path, max_pixels=max_pixels)
    results = [replace(result, image=str(picture.path), source=None) for result in ask(pixels)]
    folders: tuple[Path, ...] = ()
    if out is not None:
        with stage("write"):
            folders = _written(picture, results, pixels, out, digest)
    return Outcome(picture=picture, documents=tuple(result.to_dict() for result in results), folders=folders)


def _written(
    picture: FoundImage, results: Sequence[FrameResult], pixels: Pixels, out: Path, digest: str
) -> tuple[Path, ...]:
    mark = out / picture.name / FINISHED_FILE
    try:
        mark.unlink(missing_ok=True)  # from here on the folder holds neither the old results nor the new ones
    except OSError as error:
        raise OutputError(f"{mark}: cannot be written ({error.strerror or error})") from error
    folders = tuple(result.save(out, name=picture.name, image=pixels) for result in results)
    if len(results) > 1:
        with written_aside(mark.with_name("overlay.png")) as aside:
            draw_results(results, pixels).save(aside, format="png", compress_level=1)
    note = {"settings": digest, "file": file_stamp(picture.path), "folders": [folder.name for folder in folders]}
    with written_aside(mark) as aside:
        aside.write_text(json.dumps(note) + "\n", encoding="utf-8")
    return folders


def _finished(picture: FoundImage, out: Path, digest: str) -> Outcome | None:
    """The outcome of an earlier run if it still holds."""
    folder = out / picture.name
    try:
        note = json.loads((folder / FINISHED_FILE).read_text(encoding="utf-8"))
        if note["settings"] != digest or note["file"] != file_stamp(picture.path):
            return None
        folders = tuple(folder / name for name in note["folders"])
        documents = tuple(map(read_document, folders))
    except (OSError, ValueError, KeyError, TypeError):  # not there, or damaged by other hands: then it is done again
        return None
    return Outcome(picture=picture, documents=documents, folders=folders, resumed=True)


def read_document(folder: Path) -> Document:
    """The document of a result that was written to `folder`."""
    document: Document = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
    return document
