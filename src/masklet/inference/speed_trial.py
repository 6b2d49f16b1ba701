"""A model's speed here: pictures, lists of pictures and frames of a video, in several number formats, within a time.

From the file of a picture to masks as run-length codes, and from the pixels of a frame to the same. Phrases are encoded
ahead, as they are in any run over more than one picture. Models of all number formats are held at once and take turns;
large ones come one after the other.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final, overload

import numpy as np
import numpy.typing as npt
import torch

from masklet.checkpoint.load import build_blank
from masklet.errors import InputError
from masklet.inference.batches import pictures_at_once
from masklet.inference.image_predictor import ImagePredictor
from masklet.inference.open_video import OpenVideo
from masklet.inference.policy import VideoPolicy
from masklet.inference.side_by_side import workers_for
from masklet.inference.speed import Row, Timed, Work, expected_s, row_of, take_turns
from masklet.inference.video_predictor import VideoPredictor
from masklet.inference.video_result import VideoResult
from masklet.media.images import ImageSource, Pixels
from masklet.model.detector import Detector

HELD_AT_ONCE: Final = 100_000_000
"""Parameters of a model above which only one number format is held at a time."""

_ENDLESS: Final = 100_000  # frames: an hour at 27 a second
_MEMORY_FRAMES: Final = 16  # after so many frames following reads as much as it ever does


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """What is looked at.

    Attributes:
        read: gives the picture, as undecoded as it comes.
        concepts: to ask of it, the first ones first.
        frames: (F, H, W, 3) uint8 RGB of a clip; it is shown to and fro.
        boxes_xyxy: (O, 4) of what is followed through it, pixels of the first frame.
        clip_concept: what is looked for on every frame.
        threshold: least score of what is found; None is the model's own.
    """

    read: Callable[[], ImageSource]
    concepts: tuple[str, ...]
    frames: npt.NDArray[np.uint8]
    boxes_xyxy: npt.NDArray[np.float32]
    clip_concept: str
    threshold: float | None = None


class SpeedTrial:
    """The state of a measurement; what was measured before an interruption stays.

        trial = SpeedTrial({"float32": lambda: load_model(dtype="float32")}, subject, concepts=(1, 4))
        trial.run(seconds=20)
        trial.rows()

    Attributes:
        model_name: of the configuration; empty before `run`.
        parameters: of the model.
        notes: what a reader of the figures should know, one sentence each.
    """

    def __init__(
        self, loaders: Mapping[str, Callable[[], Detector]], subject: Subject, *, concepts: Sequence[int]
    ) -> None:
        """Loads nothing yet.

        Args:
            loaders: give the model in each number format, by its name.
            subject: what is looked at.
            concepts: how many to ask for, ascending.

        Raises:
            InputError: more than `subject` has.
        """
        if max(concepts) > len(subject.concepts):
            raise InputError(f"concepts: expected 1 to {len(subject.concepts)}, got {max(concepts)}")
        self._loaders = dict(loaders)
        self._subject = subject
        self._concepts = tuple(concepts)
        self._timed: list[Timed] = []
        self._load_s: list[float] = []
        self.model_name = ""
        self.parameters = 0
        self.notes: list[str] = []

    def run(self, seconds: float, *, before: Callable[[str], None] = lambda _: None) -> None:
        """Measures until the time is over; loading counts.

        Args:
            seconds: no run is begun that would end later, as far as is known.
            before: told what is done next.

        Raises:
            MaskletError: the model cannot be loaded, or a picture not be read.
        """
        end = time.perf_counter() + seconds
        # A picture that cannot be read is nobody's slowness, and is told before a model is loaded.
        formats = [_Format(name, load, self._subject) for name, load in self._loaders.items()]
        try:
            self._load(formats[0], before)
            together = self.parameters <= HELD_AT_ONCE
            works = [one.works(self._concepts, formats[0]) for one in formats]
            if formats[0].tracker is False:
                self.notes.append("the model has no tracker: no video")
            if together:
                for one in formats[1:]:
                    self._load(one, before)
                self._timed = [Timed(work) for turn in zip(*works, strict=True) for work in turn]
                take_turns(self._timed, until=end, before=lambda work: before(label(work)))
                return
            self.notes += ["one number format after the other: the model is too large to hold two"] * (len(formats) > 1)
            self._one_by_one(formats, works, end, before)
        finally:
            for one in formats:
                one.close()

    def _one_by_one(
        self, formats: Sequence[_Format], works: Sequence[Sequence[Work]], end: float, before: Callable[[str], None]
    ) -> None:
        each = [[Timed(work) for work in mine] for mine in works]
        self._timed = [one for row in zip(*each, strict=True) for one in row]
        for number, (one, mine) in enumerate(zip(formats, each, strict=True)):
            now = time.perf_counter()
            least = self._load_s[-1] * (number > 0) + (expected_s(mine[0], self._timed) or 0.0)
            if now + least > end:
                continue
            # An equal part of what is left, but enough for the first row.
            until = min(end, now + max((end - now) / (len(formats) - number), least * 1.1))
            if number:
                self._load(one, before)
            take_turns(mine, until=until, earlier=self._timed, before=lambda work: before(label(work)))
            one.close()

    def _load(self, one: _Format, before: Callable[[str], None]) -> None:
        before(f"loading {one.name}")
        start = time.perf_counter()
        model = one.open(self._concepts[-1])
        self._load_s.append(time.perf_counter() - start)
        if not self.model_name:
            self.model_name = model.config.name
            # Of the configuration: what became integers is no parameter any more.
            self.parameters = sum(tensor.numel() for tensor in build_blank(model.config).parameters())

    def rows(self) -> list[Row]:
        """The figures, also of what was not measured; number formats of the same work stand together."""
        return [row_of(one) for one in self._timed]

    def needed_s(self) -> float:
        """About how long it takes to do everything once, by what is known."""
        each = dict.fromkeys(self._loaders, max(self._load_s, default=0.0))
        for one in self._timed:
            times = 1 if one.work.prepare is None else 2
            each[one.work.dtype] += times * (expected_s(one, self._timed) or 0.0)
        if self.parameters <= HELD_AT_ONCE:
            return sum(each.values())
        return len(each) * max(each.values())  # each number format has an equal part of the time


def label(work: Work | Row) -> str:
    """`bfloat16, a picture, 4 concepts`."""
    things = {"picture": "a picture", "list": "a list of pictures", "frame": "a frame of a video"}
    return f"{work.dtype}, {things[work.kind]}, {work.concepts} concept{'s' * (work.concepts != 1)}"


class _Format:
    """A model in one number format, loaded or not, and what can be timed of it."""

    def __init__(self, name: str, load: Callable[[], Detector], subject: Subject) -> None:
        self.name = name
        self.tracker: bool | None = None  # None: not known yet
        self.at_once = 1
        self._load = load
        self._subject = subject
        self._pictures: ImagePredictor | None = None
        self._video: OpenVideo | None = None
        self._frames: Generator[VideoResult, None, None] | None = None
        self._open = ExitStack()

    def open(self, concepts: int) -> Detector:
        """Loads the model and encodes so many phrases."""
        model = self._load()
        self.tracker = model.tracker is not None
        self.at_once = max(workers_for(model), pictures_at_once(model.device))
        self._pictures = ImagePredictor(model)
        self._pictures.prepare(self._subject.concepts[:concepts])
        return model

    def close(self) -> None:
        """Gives the memory back; may be called again."""
        self._open.close()
        self._pictures = self._video = self._frames = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def works(self, concepts: Sequence[int], known: _Format) -> list[Work]:
        """What is timed, in an order in which the ones before tell what the next ones take.

        Args:
            concepts: how many, ascending.
            known: a format of the same model that was loaded.
        """
        works = [
            Work(kind="picture", dtype=self.name, concepts=count, run=lambda count=count: self._picture(count))  # type: ignore[misc]
            for count in concepts
        ]
        if known.at_once > 1:
            units = known.at_once * 2
            works.append(
                Work(
                    kind="list",
                    dtype=self.name,
                    concepts=concepts[0],
                    units=units,
                    run=lambda: self._list(units, concepts[0]),
                )
            )
        if known.tracker:
            works.append(
                Work(
                    kind="frame",
                    dtype=self.name,
                    concepts=1,
                    warm_up=_MEMORY_FRAMES,
                    prepare=self._open_video,
                    run=self._frame,
                )
            )
        return works

    def _picture(self, concepts: int) -> int:
        assert self._pictures is not None
        subject = self._subject
        found = self._pictures.segment(subject.read(), subject.concepts[:concepts], threshold=subject.threshold)
        return sum(map(len, found))

    def _list(self, pictures: int, concepts: int) -> int:
        assert self._pictures is not None
        subject = self._subject
        rows = self._pictures.segment(
            [subject.read() for _ in range(pictures)], subject.concepts[:concepts], threshold=subject.threshold
        )
        return sum(len(result) for row in rows for result in row)

    def _open_video(self) -> None:
        """Everything up to the first frame: all that follow are the same work."""
        assert self._pictures is not None
        model, subject = self._pictures.model, self._subject
        # As many objects on every frame, and each frame given out when it was passed.
        policy = replace(VideoPolicy.of(model.config), max_masklets=len(subject.boxes_xyxy), hotstart_delay=0)
        video = self._open.enter_context(VideoPredictor(model, policy=policy).open(_ToAndFro(subject.frames)))
        video.add_concept(subject.clip_concept, threshold=subject.threshold)
        for box in subject.boxes_xyxy.tolist():
            video.click(0, box_xyxy=box)
        self._video, self._frames = video, video.propagate(pixels=False)
        next(self._frames)

    def _frame(self) -> int:
        assert self._video is not None
        assert self._frames is not None
        next(self._frames)
        return len(self._video.object_ids)


class _ToAndFro(Sequence[ImageSource]):
    """A clip without an end: forward, backward, forward; as a list of pictures."""

    def __init__(self, frames: Pixels) -> None:
        self._frames = frames

    def __len__(self) -> int:
        return _ENDLESS

    @overload
    def __getitem__(self, index: int) -> ImageSource: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[ImageSource]: ...

    def __getitem__(self, index: int | slice) -> ImageSource | Sequence[ImageSource]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        last = max(1, len(self._frames) - 1)
        return self._frames[last - abs(last - index % (2 * last))]


def round_up(seconds: float) -> int:
    """To full tens, for a hint."""
    return 10 * math.ceil(seconds / 10)
