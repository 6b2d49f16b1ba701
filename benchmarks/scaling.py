"""How time grows with picture size, concepts, masks and threads: `python benchmarks/scaling.py` (`make scaling`).

Ours alone, without weights to download: random ones of a preset's sizes, pictures of noise, and a fixed number of masks
of each concept. From prepared pixels to mask logits; what follows is in `postprocess.py`. Each series changes one thing
and leaves the rest as it is: one picture of the preset's own size, one concept, 20 masks, all threads. All points of
all series are measured in turns; medians. `tools/performance_page.py` draws what `--record` writes down.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from record import append, circumstances
from torch import Tensor

from masklet.config import preset
from masklet.inference.batches import in_chunks
from masklet.inference.questions import tokens_at_once
from masklet.model.build import build_model
from masklet.model.detector import Detector, concat_prompts
from masklet.model.int8 import to_int8
from masklet.runtime import resolve_numbers
from masklet.types import ExemplarBatch

SIZES = {"sam3": (504, 756, 1008), "default": (224, 336, 448, 672)}
CONCEPTS = (1, 2, 4, 8, 16)
MASKS = (0, 1, 20, 50, 100, 200)


@dataclass(frozen=True)
class Point:
    """One setting.

    Attributes:
        side: of the square picture, pixels.
        concepts: asked of it.
        masks: made of each concept.
        threads: of PyTorch.
    """

    side: int
    concepts: int
    masks: int
    threads: int


def series(name: str, threads: int) -> dict[str, dict[int, Point]]:
    """By what changes: its values and the whole setting."""
    usual = Point(side=preset(name).vision.image_size, concepts=1, masks=20, threads=threads)
    return {
        "picture size": {side: replace(usual, side=side) for side in SIZES[name]},
        "concepts": {count: replace(usual, concepts=count) for count in CONCEPTS},
        "masks": {count: replace(usual, masks=count) for count in MASKS},
        "threads": {count: replace(usual, threads=count) for count in range(1, threads + 1)},
    }


def models(name: str, dtype: str) -> Callable[[int], Detector]:
    """Gives the preset's model for a picture size; all share their weights."""
    numbers, int8 = resolve_numbers(dtype, torch.device("cpu"))
    usual = build_model(name, seed=0).to(numbers).eval()
    state = usual.state_dict()
    if int8:
        to_int8(usual)

    @functools.cache
    def of_size(side: int) -> Detector:
        if side == usual.config.vision.image_size:
            return usual
        model = build_model(usual.config.with_image_size(side), seed=None)
        model.load_state_dict(state, assign=True)
        if int8:
            to_int8(model)
        return model.eval()

    return of_size


def ask(model: Detector, pixels: Tensor, point: Point) -> None:
    """From pixels to mask logits, in parts of bounded memory as the predictor does it."""
    features = model.encode_image(pixels)
    words = model.config.text
    phrase = (words.vocabulary - 2, 1, 2, words.vocabulary - 1)  # any two words between begin and end
    ids = torch.tensor([phrase + (0,) * (words.context - len(phrase))])
    text, one = model.encode_text(ids.expand(point.concepts, -1)), torch.zeros(1, dtype=torch.int64)
    summary = model.encode_exemplars(features, one, ExemplarBatch.empty(1, dtype=model.dtype))
    laterals = functools.cache(lambda image: model.laterals(features)) if point.concepts > 1 else None
    keep = torch.arange(model.config.decoder.queries)[None] < point.masks
    for chunk in in_chunks(range(point.concepts), max(1, tokens_at_once(model.device) // model.config.vision.grid**2)):
        image_idx = torch.zeros(len(chunk), dtype=torch.int64)
        prompt = concat_prompts(text.select(torch.tensor(list(chunk))), summary.select(image_idx))
        raw = model.detect(features, image_idx, prompt)
        model.decode_masks(features, image_idx, prompt, raw, keep.expand(len(chunk), -1), laterals=laterals)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=SIZES, default="default")
    parser.add_argument("--dtype", default="auto", help="auto, float32, bfloat16 or int8 (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="the most (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=3, help="measurements of each point (default: %(default)s)")
    parser.add_argument("--record", action="store_true", help="append a line to results.jsonl")
    arguments = parser.parse_args()
    wanted = series(arguments.preset, arguments.threads)
    points = list(dict.fromkeys(point for values in wanted.values() for point in values.values()))
    of_size = models(arguments.preset, arguments.dtype)
    seconds: dict[Point, list[float]] = {point: [] for point in points}
    for turn in range(-1, arguments.turns):  # one turn of the smallest picture to warm up
        for point in points:
            model = of_size(point.side)
            if turn < 0 and point.side > min(SIZES[arguments.preset]):
                continue
            torch.set_num_threads(point.threads)
            pixels = torch.randn(1, 3, point.side, point.side, generator=torch.Generator().manual_seed(0))
            start = time.perf_counter()
            ask(model, pixels.to(model.dtype), point)
            if turn >= 0:
                seconds[point].append(time.perf_counter() - start)
    medians = {point: float(f"{statistics.median(each):.4g}") for point, each in seconds.items()}
    for name, values in wanted.items():
        print(f"\n{name:<16}{'seconds':>9}")
        for value, point in values.items():
            print(f"{value:<16}{medians[point]:>9.3f}")
    if arguments.record:
        figures = {
            name: {str(value): medians[point] for value, point in values.items()} for name, values in wanted.items()
        }
        line = {"benchmark": "scaling", "preset": arguments.preset, "dtype": arguments.dtype}
        append(line | {"threads": arguments.threads, "turns": arguments.turns, "figures": figures, **circumstances()})


if __name__ == "__main__":
    main()
