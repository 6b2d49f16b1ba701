"""Does the full-size tracker compute what transformers computes? `python benchmarks/tracker_parity.py`.

Both get the same strong random weights (tests/tracker_models.py). Scenario I of spec/tracker.md 15.2, prompts of all
kinds on one picture, is asked of `Sam3TrackerModel`; V1, three objects followed forwards and backwards through eight
frames with a click on a tracked one, of `Sam3TrackerVideoModel`, where on every frame ours has the memory that the
oracle had (15.3). Prints the largest difference of each output relative to its largest value beside the limit of 15.3,
and adds a line to results.jsonl. Ends with 1 when one is beyond. Takes some minutes and 12 GB of memory.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from record import append, circumstances

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from tracker_answers import image_answer, like_hugging_face, our_film, our_levels, our_tracker, tracker_of
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
    step_differences,
    worst,
)

SIDE = FULL.vision.image_size


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
    """Largest differences of a film, by the names of `VIDEO_LIMITS`, and how many answers were compared."""
    hf, scenario = new_video_model(FULL, DRAWS["plain"]), SCENARIOS["V1"]
    ours = our_tracker(FULL, hf)
    played = Film(hf, moving_blocks(scenario.frames, SIDE), kept_levels=scenario.frames)
    levels, differences = _levels(ours, hf, played.pixels)
    scenario.play(played)
    records = our_film(tracker_of(ours), levels, played.steps)
    pairs = zip(records, played.steps, strict=True)
    found = [step_differences(record, step.expected) for record, step in pairs]
    return {"levels": differences, **worst(found)}, len(found)


def _levels(ours: Any, hf: Any, pixels: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], float]:
    """Our pyramid of all frames, one at a time, and how far it is from the oracle's."""
    kept, differences = [], []
    for frame in pixels:
        kept.append(our_levels(ours, frame[None]))
        differences.append(level_difference(kept[-1], tuple(hf.vision_encoder(frame[None]).fpn_hidden_states[:3])))
    return tuple(torch.cat(level) for level in zip(*kept, strict=True)), max(differences)


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
    right &= report("film", video, VIDEO_LIMITS)
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
