"""Pictures and frames a second of the packaged model: `python benchmarks/default_speed.py` (`make bench-default`).

The whole path of a user, on two threads, in the number format that `load_model` chooses here:

    pictures  one concept, from JPEG files to run-length codes, all in one call, so that each core has a picture
    alone     the same, one call for each picture
    frames    one concept, from an MP4 file to run-length codes, three objects to follow: the film is opened, read,
              followed and ended in each turn

Pictures and film are made by the synthetic world into a folder that is removed again. What comes once in a program,
loading the model and encoding a phrase, is a warm-up. Medians over turns, and the slowest and the fastest turn; the
machine's other work counts as ours, so look at `load` before you believe a figure. Needs the package
fonts-noto-color-emoji and the extra `video`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from record import append, circumstances

from masklet.checkpoint import load_model
from masklet.inference.image_predictor import ImagePredictor
from masklet.inference.video_predictor import VideoPredictor
from masklet.media.film_writer import FilmWriter
from masklet.model.detector import Detector
from masklet.synthetic.world import EVALUATION, evaluation_scene, make_clip

SIZE_HW = (360, 480)  # pixels
LEAST = {"pictures": 15.0, "frames": 15.0}  # a second
SOUGHT = "animal"  # in pictures, of which most have some
FOLLOWED = "bunch of grapes"  # in the clip; three of them look alike and pass each other


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How many a second, over the turns.

    Attributes:
        median: over the turns.
        slowest: turn.
        fastest: turn.
        objects: found on each on average.
        turns: how many.
    """

    median: float
    slowest: float
    fastest: float
    objects: float
    turns: int

    def rounded(self) -> dict[str, Any]:
        """For the record."""
        return {key: round(value, 2) if isinstance(value, float) else value for key, value in vars(self).items()}


def rate_of(turn: Callable[[], Sequence[int]], turns: int) -> Rate:
    """Times turns that say how many objects each of their pictures or frames has; one goes before the clock starts."""
    turn()
    rates, counts = [], list[int]()
    for _ in range(turns):
        start = time.perf_counter()
        found = turn()
        rates.append(len(found) / (time.perf_counter() - start))
        counts += found
    return Rate(
        median=statistics.median(rates),
        slowest=min(rates),
        fastest=max(rates),
        objects=statistics.fmean(counts),
        turns=turns,
    )


def _photos(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{index}.jpg" for index in range(count)]
    for index, path in enumerate(paths):
        scene, _ = evaluation_scene(index, SIZE_HW)
        Image.fromarray(scene.image).save(path, quality=95)
    return paths


def pictures(model: Detector, folder: Path, count: int, turns: int) -> Rate:
    """One concept in some pictures, from files."""
    predictor, paths = ImagePredictor(model), _photos(folder, count)
    return rate_of(lambda: [len(result.rle()) for result in predictor.segment(paths, SOUGHT)], turns)


def alone(model: Detector, folder: Path, count: int, turns: int) -> Rate:
    """One concept in some pictures, from files, one call each."""
    predictor, paths = ImagePredictor(model), _photos(folder, count)
    return rate_of(lambda: [len(predictor.segment(path, SOUGHT).rle()) for path in paths], turns)


def frames(model: Detector, folder: Path, count: int, turns: int) -> Rate:
    """A film from its first frame to its last."""
    clip, _ = make_clip(EVALUATION, 20003, SIZE_HW, 64, kind="alike")  # that of `make demo`
    with FilmWriter(folder / "film.mp4") as film:
        for frame in clip.frames[:count]:
            film.write(frame)
    predictor = VideoPredictor(model)

    def turn() -> list[int]:
        with predictor.open(folder / "film.mp4") as video:
            video.add_concept(FOLLOWED)
            return [len(result.rle()) for result in video.propagate(pixels=False)]

    return rate_of(turn, turns)


def verdict(name: str, rate: Rate) -> str:
    """Whether a bar is met, where there is one."""
    if name not in LEAST:
        return ""
    return f"  bar {LEAST[name]:g}: {'met' if rate.median >= LEAST[name] else 'MISSED'}"


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--dtype", default="auto", help="of the model (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=7, help="of each (default: %(default)s)")
    parser.add_argument("--pictures", type=int, default=16, help="in a turn (default: %(default)s)")
    parser.add_argument(
        "--frames", type=int, default=38, help="in a turn (default: %(default)s, with all three on each)"
    )
    parser.add_argument("--record", action="store_true", help="add the figures to results.jsonl")
    arguments = parser.parse_args(words)
    torch.set_num_threads(arguments.threads)
    model = load_model(dtype=arguments.dtype)
    dtype = str(model.dtype).removeprefix("torch.")
    print(
        f"{dtype}, threads: {arguments.threads}\n{'':<12}{'a second':>10}{'slowest':>10}{'fastest':>10}{'objects':>10}"
    )
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for measured, count in (
            (pictures, arguments.pictures),
            (alone, arguments.pictures),
            (frames, arguments.frames),
        ):
            name = measured.__name__
            rate = found[name] = measured(model, Path(folder), count, arguments.turns)
            columns = (rate.median, rate.slowest, rate.fastest, rate.objects)
            print(f"{name:<12}{''.join(f'{value:>10.1f}' for value in columns)}{verdict(name, rate)}")
    if arguments.record:
        figures = {name: rate.rounded() | {"least": LEAST.get(name)} for name, rate in found.items()}
        load = round(os.getloadavg()[0], 1)
        setting = {"preset": "default", "dtype": dtype, "threads": arguments.threads, "turns": arguments.turns}
        append({"benchmark": "default_speed", **setting, "figures": figures, "load": load, **circumstances()})


if __name__ == "__main__":
    main()
