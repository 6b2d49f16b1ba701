"""Does the full-size model compute what transformers computes? `python benchmarks/parity.py` (`make parity`).

Both get the same strong random weights (tests/oracle_models.py), the same three images and five prompts (text, text
with exemplars of both labels, exemplars alone, the longest and the shortest text); ours in one padded batch,
transformers' one prompt at a time. Prints the largest difference of each stage relative to its largest value beside the
limit of spec/image-model.md 19.3, and adds one line to results.jsonl.

A difference has no limit of its own where the values themselves are nearly 0, as all presence logits of a draw may be.
So transformers' part behind the vision encoder also runs in float64, for the prompts without exemplars: a stage beyond
its limit is rounding if ours is not further from float64 than four times what transformers' own float32 is. Ends with
1 when a stage is beyond both. Takes about ten minutes on one core and 16 GB of memory.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from record import append, circumstances

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from oracle import LIMITS, excesses, in_float64, oracle_answers, relative_differences
from oracle_cases import Case, case
from oracle_models import FULL, hf_model
from our_answers import our_answers, our_model

ROUNDING = 4.0  # presence is three numbers, whose largest error varies; the smallest mistakes are off 100 times as much


def questions(images: int, seed: int) -> Case:
    """The case of the tests at full size; prompts on images that are left out go to the first one."""
    whole = case(FULL, seed)
    prompts = tuple(replace(prompt, image_idx=prompt.image_idx % images) for prompt in whole.prompts)
    return Case(pixels=whole.pixels[:images], prompts=prompts)


@torch.no_grad()
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=3, choices=(1, 2, 3), help="fewer are faster")
    parser.add_argument("--seed", type=int, default=0, help="of the weights, images and phrases")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--no-record", action="store_true", help="leave results.jsonl as it is")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    start = time.perf_counter()
    hf = hf_model(FULL, seed=arguments.seed)
    ours = our_model(FULL, hf)
    asked = questions(arguments.images, arguments.seed)
    print(f"{sum(p.numel() for p in ours.parameters()):,} parameters, {time.perf_counter() - start:.0f} s to make")
    start = time.perf_counter()
    found = our_answers(ours, asked)
    ours_s, start = time.perf_counter() - start, time.perf_counter()
    vision = hf.get_vision_features(asked.pixels)
    expected = oracle_answers(hf, asked, vision=vision)
    theirs_s = time.perf_counter() - start

    texts = tuple(place for place, prompt in enumerate(asked.prompts) if not prompt.labels)
    with in_float64(hf, vision) as exact_vision:
        exact = oracle_answers(hf, asked.only(*texts), vision=exact_vision)
    differences = relative_differences(found, expected)
    ours_off = relative_differences(found.only(*texts), exact)
    theirs_off = relative_differences(expected.only(*texts), exact)
    beyond = excesses(differences)
    wrong = [stage for stage in beyond if not 0 < ours_off[stage] <= ROUNDING * theirs_off[stage]]
    print(f"{'stage':<10} {'difference':>10} {'limit':>7}  from float64: {'masklet':>8} {'transformers':>13}")
    for stage, value in differences.items():
        word = "WRONG" if stage in wrong else "rounding" if stage in beyond else ""
        off = f"{ours_off[stage]:>23.1e} {theirs_off[stage]:>13.1e}"
        print(f"{stage:<10} {value:>10.1e} {LIMITS[stage]:>7.0e} {off} {word}")
    print(f"masklet {ours_s:.0f} s, transformers {theirs_s:.0f} s")
    if not arguments.no_record:
        append(
            {"benchmark": "parity", "preset": "sam3", "dtype": "float32", "images": arguments.images}
            | {"prompts": len(asked.prompts), "seed": arguments.seed, "relative_differences": _short(differences)}
            | {"from_float64": _short(ours_off), "transformers_from_float64": _short(theirs_off)}
            | {"beyond_limit": list(beyond), "wrong": wrong, "threads": arguments.threads, **circumstances()}
        )
    return bool(wrong)


def _short(figures: dict[str, float]) -> dict[str, float]:
    return {stage: float(f"{value:.2e}") for stage, value in figures.items()}


if __name__ == "__main__":
    sys.exit(main())
