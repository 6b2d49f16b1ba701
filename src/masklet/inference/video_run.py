"""A video from its first frame to its files; a run that was cut goes on as if it had not been.

<folder>/
  frames.jsonl          a line for each frame in the order of the pass, as frame.schema.json describes it
  overlay.mp4           the video with its objects drawn on it
  masks/007/000012.png  the mask of object 7 on frame 12
  mot.txt               boxes, in the format of the MOT Challenge
  youtube_vis.json      objects with their masks, in the layout of YouTube-VIS
  .state.pt             all that is remembered, until the run is finished; renewed every so often and when it is cut
  .finished.json        written last: what was asked

frames.jsonl is the truth. The other files are made of it, alone or with the pixels of the video, at the end or frame by
frame: so a run that goes on makes them of the lines that are there already, and then of its own.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from masklet.checkpoint.save import written_aside
from masklet.errors import DataError, InputError, OutputError
from masklet.inference.frame_lines import FrameLines, read_results
from masklet.inference.mask_sequences import MaskSequences
from masklet.inference.mot import write_mot
from masklet.inference.open_video import OpenVideo
from masklet.inference.video_coco import write_video_coco
from masklet.inference.video_pass import Direction
from masklet.inference.video_result import VideoResult
from masklet.inference.video_state import VideoState, read_state, write_state
from masklet.media.closed_at_end import ClosedAtEnd
from masklet.media.film_container import load_av
from masklet.render.overlay_film import OverlayFilm

FRAMES_FILE = "frames.jsonl"
FILM_FILE = "overlay.mp4"
MASKS_FOLDER = "masks"
MOT_FILE = "mot.txt"
COCO_FILE = "youtube_vis.json"
STATE_FILE = ".state.pt"
FINISHED_FILE = ".finished.json"

SAVE_EVERY_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which files are written beside frames.jsonl.

    Attributes:
        film: overlay.mp4.
        masks: masks/.
        mot: mot.txt.
        coco: youtube_vis.json.
    """

    film: bool = True
    masks: bool = False
    mot: bool = False
    coco: bool = False

    def are_in(self, folder: Path) -> bool:
        """Whether all of them are there."""
        files = {FILM_FILE: self.film, MASKS_FOLDER: self.masks, MOT_FILE: self.mot, COCO_FILE: self.coco}
        return all((folder / name).exists() for name, wanted in files.items() if wanted)


def run_video(
    video: OpenVideo,
    prompt: Callable[[OpenVideo], None],
    *,
    folder: Path,
    wanted: Wanted,
    settings: Mapping[str, Any],
    direction: Direction = "forward",
    resume: bool = False,
    save_every_s: float = SAVE_EVERY_S,
) -> Generator[VideoResult, None, None]:
    """Follows what is asked for and writes what is found; frames of an earlier run that is resumed come first.

    Close the iterator if you leave it early (`contextlib.closing`). However it ends, what was found so far is whole on
    disk, the film too (of a pass that is not forward it is made at the end), and the run can be resumed. A pipe or
    camera that is cut off cannot; the frames of it that still wait are written.

    Args:
        video: just opened; not closed here.
        prompt: says to a video what is to be followed.
        folder: for the files; those of an earlier run that is not resumed are replaced.
        wanted: which.
        settings: all that the results depend on, as JSON can hold it: only a run with the same ones can be resumed.
        direction: of the pass.
        resume: go on with an earlier run if there is one.
        save_every_s: seconds between two states of the video on disk.

    Raises:
        InputError: the run to be resumed had other settings, or there is nothing to follow.
        OutputError: `folder` holds something else, or a file cannot be written.
        VideoError: the video cannot be read on; files hold what came before.
    """
    if wanted.film:
        load_av()  # what is missing shows before anything is done
    if resume and video.frame_count is None:
        raise InputError(f"{video.name}: frames come once and in order, so there is nothing to resume")
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    earlier = _earlier_run(folder, digest, video.device) if resume else None
    if earlier is not None and earlier.state is None and wanted.are_in(folder):
        yield from read_results(folder / FRAMES_FILE)
        return
    film_now = wanted.film and direction == "forward"
    results = _begun(video, prompt, folder, earlier, direction=direction, pixels=film_now)
    saves = _Saves(video, folder / STATE_FILE, digest, save_every_s)
    with _Files(video, folder, wanted, size=earlier.size if earlier else 0, film_now=film_now) as files:
        if earlier is not None:
            yield from files.again()
        try:
            for result in results:
                files.add(result)
                saves.mark(files.size)
                yield result
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | GeneratorExit) and not saves.is_possible:
                for result in video.waiting(pixels=film_now):
                    files.add(result)
            with suppress(OutputError):  # the disk may be what failed
                saves.write()
            raise
    if wanted.film and not film_now:
        saves.write()  # it takes long
        _draw_film(video, folder)
    with written_aside(folder / FINISHED_FILE) as aside:
        aside.write_text(json.dumps({"settings": digest}) + "\n", encoding="utf-8")
    (folder / STATE_FILE).unlink(missing_ok=True)


# --- what is written --------------------------------------------------------------------------------------------------


class _Files(ClosedAtEnd):
    """All files of a run while it lasts; whole when the block ends, however it ends.

    Args:
        video: of the run.
        folder: for the files.
        wanted: which.
        size: bytes of frames.jsonl that stay.
        film_now: draw the film frame by frame.
    """

    def __init__(self, video: OpenVideo, folder: Path, wanted: Wanted, *, size: int, film_now: bool) -> None:
        self._video, self._folder, self._wanted = video, folder, wanted
        self._lines = FrameLines(folder / FRAMES_FILE, size=size)
        self._film = OverlayFilm(folder / FILM_FILE, rate=video.rate) if film_now else None
        self._masks = MaskSequences(folder / MASKS_FOLDER) if wanted.masks else None

    @property
    def size(self) -> int:
        """Bytes of frames.jsonl."""
        return self._lines.size

    def add(self, result: VideoResult) -> None:
        """Writes all that is written of a frame when it comes."""
        self._lines.add(result)
        self._draw(result)

    def again(self) -> Iterator[VideoResult]:
        """The results that are in frames.jsonl; the other files are made of them anew."""
        results = read_results(self._folder / FRAMES_FILE)
        for result in results if self._film is None else self._video.with_pixels(results):
            self._draw(result)
            yield result

    def _draw(self, result: VideoResult) -> None:
        for sink in (self._film, self._masks):
            if sink is not None:
                sink.add(result)

    def close(self) -> None:
        """Finishes the film and the lines, then writes what is made of all lines."""
        with ExitStack() as last:  # each is done even if one before it fails
            last.callback(_write_documents, self._video, self._folder, self._wanted)
            last.callback(self._lines.close)
            if self._film is not None:
                last.callback(self._film.close)


def _draw_film(video: OpenVideo, folder: Path) -> None:
    """Of a pass that was not forward: its frames have to come in order."""
    with closing(OverlayFilm(folder / FILM_FILE, rate=video.rate)) as film:
        for result in video.with_pixels(read_results(folder / FRAMES_FILE, ascending=True)):
            film.add(result)


def _write_documents(video: OpenVideo, folder: Path, wanted: Wanted) -> None:
    """The files that are made of frames.jsonl alone."""
    lines_path = folder / FRAMES_FILE
    if wanted.mot:
        write_mot(read_results(lines_path, ascending=True), folder / MOT_FILE)
    if wanted.coco:
        write_video_coco(read_results(lines_path, ascending=True), folder / COCO_FILE, concepts=video.concepts)


# --- going on ---------------------------------------------------------------------------------------------------------


def _begun(
    video: OpenVideo,
    prompt: Callable[[OpenVideo], None],
    folder: Path,
    earlier: _Earlier | None,
    *,
    direction: Direction,
    pixels: bool,
) -> Iterator[VideoResult]:
    """The results that are still to come. The folder of a run that begins anew is cleared, once all is well."""
    if earlier is None:
        prompt(video)
        results = video.propagate(direction=direction, pixels=pixels)
        _clear(folder)
        return results
    if earlier.state is None:
        return iter(())
    video.restore(earlier.state)
    return video.go_on(pixels=pixels)


@dataclass(frozen=True, kw_only=True)
class _Earlier:
    """A run that can be resumed.

    Attributes:
        size: bytes of frames.jsonl that it vouches for.
        state: where it was cut; None if it was finished.
    """

    size: int
    state: VideoState | None


def _earlier_run(folder: Path, digest: str, device: torch.device) -> _Earlier | None:
    """The run whose files lie in a folder; None if there is none, or it was cut before it could be resumed.

    Raises:
        InputError: it had other settings.
        DataError: its files are damaged.
    """
    lines_path, state = folder / FRAMES_FILE, None
    note: dict[str, Any]
    if (folder / FINISHED_FILE).is_file():
        note = {"settings": _finished_settings(folder / FINISHED_FILE)}
        note["size"] = lines_path.stat().st_size if lines_path.is_file() else 0
    elif (folder / STATE_FILE).is_file():
        state, note = read_state(folder / STATE_FILE, device)
    else:
        return None
    if note.get("settings") != digest:
        raise InputError(
            f"{folder}: expected a run of the same video with the same options, got another one; give the same line "
            "again, or leave out --resume to begin anew"
        )
    if not lines_path.is_file() or lines_path.stat().st_size < note["size"]:
        raise DataError(f"{lines_path}: expected the lines of the run that is resumed, some are gone; begin anew")
    for path in folder.glob(".*.partial"):  # of a run that was killed
        path.unlink(missing_ok=True)
    return _Earlier(size=note["size"], state=state)


def _finished_settings(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: expected what a finished run was asked, it cannot be read ({error})") from error


def _clear(folder: Path) -> None:
    """Removes the files of an earlier run.

    Raises:
        OutputError: the folder holds something else.
    """
    files = (FINISHED_FILE, STATE_FILE, FRAMES_FILE, FILM_FILE, MOT_FILE, COCO_FILE)
    try:
        if folder.exists():
            is_ours = any((folder / name).exists() for name in (FRAMES_FILE, FINISHED_FILE))
            if not folder.is_dir() or (any(folder.iterdir()) and not is_ours):
                raise OutputError(
                    f"{folder}: expected a folder of an earlier run or none, got something else; move it away"
                )
        for path in (*(folder / name for name in files), *folder.glob(".*.partial")):
            path.unlink(missing_ok=True)
        if (folder / MASKS_FOLDER).exists():
            shutil.rmtree(folder / MASKS_FOLDER)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error})") from error


class _Saves:
    """What a run that is cut goes on from: marked after each frame, written now and then.

    A mark costs nothing. It is taken between two frames: where an interruption strikes, the video may have learnt half
    of one.
    """

    def __init__(self, video: OpenVideo, path: Path, digest: str, every_s: float) -> None:
        self.is_possible = video.frame_count is not None  # what passes by once cannot be resumed
        self._video, self._path, self._digest, self._every_s = video, path, digest, every_s
        self._marked: tuple[VideoState, int] | None = None
        self._written_s = time.monotonic()

    def mark(self, size: int) -> None:
        """A frame is done, with so many bytes of frames.jsonl."""
        if not self.is_possible:
            return
        self._marked = (self._video.state(), size)
        if time.monotonic() - self._written_s >= self._every_s:
            self.write()

    def write(self) -> None:
        """The last mark to disk, if there is a new one."""
        if self._marked is None:
            return
        state, size = self._marked
        write_state(state, self._path, {"settings": self._digest, "size": size})
        self._marked, self._written_s = None, time.monotonic()
