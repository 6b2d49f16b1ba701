"""Does the full-size tracker compute what transformers computes? `python benchmarks/tracker_parity.py`.

Both get the same strong random weights (tests/tracker_models.py). Scenario I of spec/tracker.md 15.2, prompts of all
kinds on one picture, is asked of `Sam3TrackerModel`; V1, three objects followed forwards and backwards through eight
frames with a click on a tracked one, of `Sam3TrackerVideoModel`, where on every frame ours has the memory that the
oracle had (15.3). Beside prompts masks are remembered as 0 and 1, and of 1.3 million pixels a few lie so near to 0 that
rounding decides: they are counted, and the map is then compared for the oracle's mask. Prints the largest difference of
each output relative to its largest value beside the limit of 15.3, and adds a line to results.jsonl. Ends with 1 when
one is beyond. Takes half an hour and 12 GB of memory.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from record import append, circumstances

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from tracker_answers import (
    compared_step,
    image_answer,
    like_hugging_face,
    our_levels,
    our_tracker,
    tracker_of,
)
from tracker_models import DRAWS, FULL, new_image_model, new_video_model
from tracker_oracle import (
    IMAGE_LIMITS,
    SCENARIOS,
    VIDEO_LIMITS,
    Film,
    answers_of,
    image_differences,
    image_questions,
    level_difference,
    moving_blocks,
    worst,
)

SIDE = FULL.vision.image_size
# "flipped" is a share of pixels: masks differ by 3e-6 of their largest value, so about as many change sides.
FILM_LIMITS = {**VIDEO_LIMITS, "flipped": 2e-5}


@torch.no_grad()
def pictures() -> dict[str, float]:
    """Largest differences of prompts on a picture, by the names of `IMAGE_LIMITS`."""
    hf = new_image_model(FULL, DRAWS["plain"])
    ours = our_tracker(FULL, hf)
    pixels = moving_blocks(1, SIDE, seed=5)
    levels = our_levels(ours, pixels)
    theirs = tuple(hf.vision_encoder(pixels).fpn_hidden_states[:3])
    tracker = like_hugging_face(tracker_of(ours))
    features = tracker.features(levels)
    expected = answers_of(hf, side=SIDE, image_embeddings=hf.get_image_embeddings(pixels))
    found = [
        image_differences(image_answer(tracker, features, question), expected[name])
        for name, question in image_questions(SIDE).items()
    ]
    return {"levels": level_difference(levels, theirs), **worst(found)}


@torch.no_grad()
def film() -> tuple[dict[str, float], int]:
    """Largest differences of a film, by the names of `FILM_LIMITS`, and how many answers were compared."""
    hf, scenario = new_video_model(FULL, DRAWS["plain"]), SCENARIOS["V1"]
    ours = our_tracker(FULL, hf)
    tracker = tracker_of(ours)
    played = Film(hf, moving_blocks(scenario.frames, SIDE), kept_levels=scenario.frames)
    with _pyramids(hf) as theirs:
        scenario.play(played)
    found, features = [], {}
    for frame_idx, frame in enumerate(played.pixels):
        levels = our_levels(ours, frame[None])
        found.append({"levels": level_difference(levels, theirs[_digest(frame)])})
        features[frame_idx] = tracker.features(levels)
        print(f"frame {frame_idx}", file=sys.stderr)
    found += [compared_step(tracker, features[step.frame_idx], step, scenario.frames) for step in played.steps]
    return worst(found), len(played.steps)


@contextmanager
def _pyramids(hf: Any) -> Iterator[dict[float, tuple[torch.Tensor, ...]]]:
    """What the oracle's vision encoder makes meanwhile, by the digest of the frame."""
    made: dict[float, tuple[torch.Tensor, ...]] = {}

    def keep(_: Any, inputs: tuple[torch.Tensor, ...], named: Mapping[str, torch.Tensor], output: Any) -> None:
        made[_digest(inputs[0] if inputs else named["pixel_values"])] = tuple(output.fpn_hidden_states[:3])

    hook = hf.vision_encoder.register_forward_hook(keep, with_kwargs=True)
    try:
        yield made
    finally:
        hook.remove()


def _digest(pixels: torch.Tensor) -> float:
    """Tells the frames of one film apart."""
    return float(pixels.double().sum())


def report(name: str, differences: Mapping[str, float], limits: Mapping[str, float]) -> bool:
    """Prints what was found; whether all is within its limits."""
    for output, value in differences.items():
        print(f"{name:<8} {output:<9} {value:>8.1e} {limits[output]:>8.0e} {'WRONG' if value > limits[output] else ''}")
    return all(value <= limits[output] for output, value in differences.items())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--no-record", action="store_true", help="leave results.jsonl as it is")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    start = time.perf_counter()
    print(f"{'':<8} {'output':<9} {'found':>8} {'limit':>8}")
    picture = pictures()
    right = report("picture", picture, IMAGE_LIMITS)
    video, answers = film()
    right &= report("film", video, FILM_LIMITS)
    print(f"{answers} answers of the film, {time.perf_counter() - start:.0f} s")
    if not arguments.no_record:
        append(
            {"benchmark": "tracker parity", "preset": "sam3", "dtype": "float32", "answers": answers}
            | {"picture": _short(picture), "film": _short(video), "right": right, "threads": arguments.threads}
            | circumstances()
        )
    return not right


def _short(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.2e}") for name, value in figures.items()}


if __name__ == "__main__":
    sys.exit(main())
