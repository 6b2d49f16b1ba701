"""Seconds and memory of a fine-tuning step, for each way to adapt a model: `python benchmarks/tune_cost.py`.

Random weights of a preset learn from synthetic pictures of the input's size, one picture and its prompts at a time.
Each case runs in a process of its own. `step_s` is the median of the steps after the first, forward, backward and
update; `peak_gb` the highest resident memory above what the process had after its imports, so weights, gradients and
the optimiser's state are in it. `--preset sam3` at full size needs a machine with more memory than `peak_gb` says
there: try one case with `--case`, and fewer `--prompts`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from load import memory

from masklet.config import PRESETS
from masklet.data.open import open_dataset
from masklet.model.build import build_model
from masklet.synthetic.world import TRAIN
from masklet.synthetic.writer import write_coco
from masklet.training.loop import Loop
from masklet.training.samples import PromptSampling
from masklet.training.settings import Adapt, Run, Source, TrainSettings
from masklet.training.tune_task import TuneTask

PICTURES = 4
PROMPTS = 16  # at most that many
ALL = Run()
CASES: dict[str, tuple[Adapt, Run]] = {
    "full": ("full", ALL),
    "full, blocks kept short": ("full", replace(ALL, checkpointing=True)),
    "full, no masks": ("full", replace(ALL, masks=False)),
    "full, no one-to-many": ("full", replace(ALL, one_to_many=False)),
    "lora": ("lora", ALL),
    "lora, blocks kept short": ("lora", replace(ALL, checkpointing=True)),
    "no-vision": ("no-vision", ALL),
    "no-text": ("no-text", ALL),
    "no-encoders": ("no-encoders", ALL),
    "heads": ("heads", ALL),
}


def measure(preset: str, case: str, steps: int, prompts: int, labels: str) -> dict[str, Any]:
    """Trains in this process."""
    adapt, run = CASES[case]
    settings = TrainSettings(
        train=Source(path=labels),
        adapt=adapt,
        prompts=PromptSampling(most=prompts, absent=prompts),
        run=replace(run, steps=steps, workers=0),
    )
    dataset = open_dataset(labels)
    base = memory("VmRSS")
    task = TuneTask(settings, build_model(preset, seed=0), dataset)
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(task, Path(folder), device=torch.device("cpu"), workers=0)
        seconds = []
        for step in range(steps):
            batches = task.batches()[step]
            start = time.perf_counter()
            loop._train_step(batches)
            loop.step += 1
            seconds.append(time.perf_counter() - start)
    learning = sum(one.numel() for one in task.model.parameters() if one.requires_grad)
    return {
        "step_s": round(statistics.median(seconds[1:]), 3),
        "peak_gb": round((memory("VmHWM") - base) / 1e9, 3),
        "learning_parameters": learning,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="default", choices=sorted(PRESETS))
    parser.add_argument("--case", choices=list(CASES), help="this one only")
    parser.add_argument("--steps", type=int, default=6, help="of each case, 2 or more (default: %(default)s)")
    parser.add_argument("--prompts", type=int, default=PROMPTS, help="about the picture (default: %(default)s)")
    parser.add_argument("--labels", help=argparse.SUPPRESS)  # of the process that measures
    arguments = parser.parse_args()
    if arguments.labels is not None:
        print(
            json.dumps(measure(arguments.preset, arguments.case, arguments.steps, arguments.prompts, arguments.labels))
        )
        return
    side = PRESETS[arguments.preset].vision.image_size
    with tempfile.TemporaryDirectory() as folder:
        labels = Path(folder) / "labels"
        write_coco(labels, count=PICTURES, size_hw=(side, side), seed=0, split=TRAIN, questions=PROMPTS)
        for case in [arguments.case] if arguments.case else CASES:
            line = [sys.executable, __file__, "--preset", arguments.preset, "--case", case]
            line += ["--steps", str(arguments.steps), "--prompts", str(arguments.prompts), "--labels", str(labels)]
            done = subprocess.run(line, capture_output=True, text=True, check=True)
            facts = {"benchmark": "tune_cost", "preset": arguments.preset, "case": case, "prompts": arguments.prompts}
            found = cast(dict[str, Any], json.loads(done.stdout))
            machine = {"threads": torch.get_num_threads(), "cores": os.cpu_count(), "torch": torch.__version__}
            print(json.dumps(facts | found | machine), flush=True)


if __name__ == "__main__":
    main()
