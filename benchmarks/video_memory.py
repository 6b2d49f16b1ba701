"""Peak memory of a long film beside that of a short one: `python benchmarks/video_memory.py`.

Each film is followed in a process of its own, the whole way of `masklet track`: a film is read, lines of JSON and a
film with the objects drawn on it are written, the state is saved now and then. A long run may take at most 1.1 times
the memory of a short one. Two ways:

    few      `masklet track` itself: a concept, and objects that are clicked on the first frame
    crowd    objects come and go by the hundred: an invented detector finds something new on every frame and never
             again, which begins an object that the rules remove; besides, a program gives masks of places and removes
             these objects a while later

Memory does not depend on what weights say, so they are random where the model has no tracker, and always in the crowd,
where its objects have to be in sight: the rules remove none that the tracker believes hidden.

`peak` is the highest resident memory of the process, `own` what of it came after the imports, in MB; the bar is on
`peak`. Needs Linux and the package fonts-noto-color-emoji. 5,000 frames take an hour a way on two free cores;
`--frames`, `--short`, `--image-size` and `--ways` make it short.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import torch
from load import memory
from record import append, circumstances
from torch import nn

from masklet.checkpoint import load_model, save_native
from masklet.cli import main as command
from masklet.errors import MaskletError
from masklet.evaluation.clip_scores import first_clicks
from masklet.inference.concept_finder import Found, VideoConcept
from masklet.inference.open_video import OpenVideo
from masklet.inference.text_cache import TextCache
from masklet.inference.video_predictor import VideoPredictor
from masklet.inference.video_run import Wanted, run_video
from masklet.media.film_writer import FilmWriter
from masklet.model.build import build_model
from masklet.model.detector import Detector
from masklet.synthetic.clips import Clip
from masklet.synthetic.phrases import Question
from masklet.synthetic.sprites import SpriteSheet, default_sheet
from masklet.synthetic.world import EVALUATION, make_clip
from masklet.types import Detections, ImageFeatures

MOST = 1.1  # times the peak of the short film
WAYS = ("few", "crowd")
SIZE_HW = (120, 160)
CLIP_FRAMES = 48
# Frames, of the program in the crowd. An object that is removed is not shown on the 15 frames that wait either, so it
# is seen on 11 at most.
GIVE_EVERY, GIVEN_FOR = 5, 25
SAVE_EVERY_S = 10.0  # of its state: so that a short run saves as well
_MB = 1e6


def write_film(path: Path, clip: Clip, frames: int) -> None:
    """The clip forward, backward, forward ... for so many frames."""
    there_and_back = [*range(len(clip)), *range(len(clip) - 2, 0, -1)]
    with FilmWriter(path, rate=25) as film:
        for number in range(frames):
            film.write(clip.frames[there_and_back[number % len(there_and_back)]])


# --- in a process of its own ------------------------------------------------------------------------------------------


def follow_few(film: Path, out: Path, model: Path, image_size: int | None, asked: Sequence[str]) -> dict[str, int]:
    """`masklet track` with the options `asked`. Returns how many objects there were in all."""
    size = [] if image_size is None else ["--image-size", str(image_size)]
    words = ["masklet", "track", str(film), "--model", str(model), "--out", str(out), "--device", "cpu", *size, *asked]
    before, sys.argv = sys.argv, words
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            command.run()
    except SystemExit as end:
        if end.code:
            raise
    finally:
        sys.argv = before
    with (out / film.stem / "frames.jsonl").open(encoding="utf-8") as lines:
        ids = [{one["object_id"] for one in json.loads(line)["detections"]} for line in lines]
    return {"objects": len(set().union(*ids)), "at_once": max(map(len, ids))}


def follow_crowd(film: Path, out: Path, model: Path, image_size: int | None) -> dict[str, int]:
    """The same by the functions below the command. Returns how many objects began, and were followed at once."""
    predictor = VideoPredictor(load_model(model, device="cpu"))
    ahead = predictor.policy.hotstart_delay  # the first frame that is not passed when a result is given out
    given: deque[tuple[int, int]] = deque()  # frame and object
    most = 0
    with invented_detections(), predictor.open(film, image_size=image_size) as video:
        count = video.frame_count or 0
        run = run_video(video, _ask, folder=out, wanted=Wanted(), settings={}, save_every_s=SAVE_EVERY_S)
        with closing(run) as results:
            for result in results:
                most = max(most, result.followed)
                frame_idx = result.frame_idx + ahead
                if frame_idx >= count:
                    continue
                while given and given[0][0] <= frame_idx - GIVEN_FOR:
                    video.remove(given.popleft()[1])
                if frame_idx % GIVE_EVERY == 0:
                    video.give_mask(frame_idx, _place(frame_idx, side=video.size_hw[0]))
                    given.append((frame_idx, video.object_ids[-1]))
        return {"objects": video.state().masklets.next_id, "at_once": most}


def _ask(video: OpenVideo) -> None:
    video.add_concept("anything")


def _place(frame_idx: int, *, side: int) -> npt.NDArray[np.bool_]:
    """(side, side) a square somewhere; stretched to the frame it is a box."""
    mask = np.zeros((side, side), dtype=np.bool_)
    y, x = np.random.default_rng(frame_idx).integers(0, side - side // 4, 2)
    mask[y : y + side // 4, x : x + side // 4] = True
    return mask


@contextlib.contextmanager
def invented_detections() -> Iterator[None]:
    """While it lasts every video finds one thing on each frame, at a place where nothing was, whatever is asked."""

    def find(
        model: Detector, texts: TextCache, features: ImageFeatures, frame_idx: int, concepts: Sequence[VideoConcept]
    ) -> dict[int, Found]:
        side = 4 * features.levels[-1].shape[-1]
        rng = np.random.default_rng(frame_idx)
        centre = torch.from_numpy(rng.uniform(0.1, 0.9, 2)).float()
        cells = (torch.arange(side) + 0.5) / side
        near = (cells - centre[0]).abs() < 0.05, (cells - centre[1]).abs() < 0.05
        detection = Detections(
            query_idx=torch.zeros(1, dtype=torch.int64),
            scores=torch.tensor([0.9]),
            boxes_cxcywh_norm=torch.tensor([[*centre.tolist(), 0.1, 0.1]]),
            mask_logits=torch.where(near[1][:, None] & near[0], 8.0, -8.0)[None],
        )
        return {place: Found(presence=0.9, detections=detection) for place in range(len(concepts))}

    with patch("masklet.inference.frame_search.find_concepts", find):
        yield


def once(arguments: argparse.Namespace) -> dict[str, float]:
    """Follows a film in this process, and says what it took."""
    base = memory("VmRSS")
    film, out, model = (Path(part) for part in arguments.once)
    if arguments.ways == ["few"]:
        counts = follow_few(film, out, model, arguments.image_size, arguments.asked)
    else:
        counts = follow_crowd(film, out, model, arguments.image_size)
    peak = memory("VmHWM")
    return {"peak": round(peak / _MB, 1), "own": round((peak - base) / _MB, 1), **counts}


# --- all of them ------------------------------------------------------------------------------------------------------


def model_for(way: str, packaged: Detector) -> Detector:
    """The model itself, or one of its sizes with random weights, for which every object is in sight.

    Raises:
        ConfigError: it has no tracker, and is of no preset that says of what size that would be.
    """
    if way == "few" and packaged.tracker is not None:
        return packaged
    model = build_model(packaged.config if packaged.tracker is not None else packaged.config.name, seed=0)
    assert model.tracker is not None
    last = model.tracker.mask_decoder.sight_head.layers[-1]
    assert isinstance(last, nn.Linear)
    nn.init.constant_(last.bias, 10.0)
    return model


def prompts_of(clip: Clip, questions: Sequence[Question]) -> list[str]:
    """Options of `masklet track`: one phrase, and a click on every object of the first frame."""
    clicks = [click.point_xy for click in first_clicks(clip) if click.frame_idx == 0]
    shown = [f"--click=0:{number}:{x},{y}" for number, (x, y) in enumerate(clicks)]
    return [f"--concept={questions[0].phrase}", f"--max-objects={len(clicks) + 2}", *shown]


def measure(way: str, film: Path, model: Path, asked: Sequence[str], image_size: int | None) -> dict[str, float]:
    """What following a film takes, in a process of its own; its files lie beside the film."""
    line = [sys.executable, __file__, "--ways", way, "--once", str(film), str(film.parent / "out"), str(model)]
    line += [] if image_size is None else ["--image-size", str(image_size)]
    done = subprocess.run([*line, *(f"--asked={word}" for word in asked)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"error: {way}, {film.name}: the process ended with {done.returncode}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(words: list[str] | None = None, sheet: SpriteSheet | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=5000, help="of the long film (default: %(default)s)")
    parser.add_argument("--short", type=int, default=200, help="of the short one (default: %(default)s)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--model", default="default", help="name or checkpoint (default: %(default)s)")
    parser.add_argument("--image-size", type=int, metavar="PX", help="side of the model's input (the model's own)")
    parser.add_argument("--record", action="store_true", help="append a line for each way to results.jsonl")
    parser.add_argument("--once", nargs=3, metavar=("FILM", "OUT", "MODEL"), help=argparse.SUPPRESS)
    parser.add_argument("--asked", action="append", default=[], help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    if arguments.once:
        print(json.dumps(once(arguments)))
        return
    if not 1 <= arguments.short < arguments.frames:
        parser.error(f"--short must be 1 or more and less than --frames, got {arguments.short} and {arguments.frames}")

    sheet = default_sheet() if sheet is None else sheet
    clip, questions = make_clip(EVALUATION, 0, SIZE_HW, CLIP_FRAMES, questions=1, kind="gentle", sheet=sheet)
    packaged = load_model(arguments.model, device="cpu", dtype="float32")
    print(f"{'way':<8}{'frames':>8}{'objects':>9}{'at once':>9}{'peak MB':>9}{'own MB':>9}")
    for way in arguments.ways:
        with tempfile.TemporaryDirectory() as name:
            model = Path(name) / "model.safetensors"
            save_native(model_for(way, packaged), model)
            runs = {}
            for length, frames in (("short", arguments.short), ("long", arguments.frames)):
                film = Path(name) / length / "film.mp4"
                write_film(film, clip, frames)
                found = measure(way, film, model, prompts_of(clip, questions), arguments.image_size)
                runs[length] = {"frames": frames, **found}
                columns = "{frames:>8}{objects:>9}{at_once:>9}{peak:>9.0f}{own:>9.0f}".format(**runs[length])
                print(f"{way:<8}{columns}", flush=True)
        ratio = round(runs["long"]["peak"] / runs["short"]["peak"], 3)
        print(f"{way:<8}long / short {ratio:.3f}  bar {MOST}  {'met' if ratio <= MOST else 'MISSED'}", flush=True)
        if arguments.record:
            line = {"benchmark": "video_memory", "way": way, "model": packaged.config.name, **runs, "ratio": ratio}
            append({**line, "image_size": arguments.image_size, **circumstances()})


if __name__ == "__main__":
    try:
        main()
    except MaskletError as error:
        sys.exit(f"error: {error}")
