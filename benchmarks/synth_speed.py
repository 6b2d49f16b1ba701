"""How many synthetic scenes a second: `python benchmarks/synth_speed.py`. The bar is 60 with two processes.

How it is measured: each of `--processes` worker processes renders its own share of `--scenes` scenes with six questions
each, after rendering twenty to warm caches; scenes/s is the sum of the workers' scenes over the longest worker's wall
time. CPU milliseconds are the mean process time per scene, which other loads on the machine touch least. One JSON line
per setting.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import time

from masklet.synthetic.scenes import Crowd
from masklet.synthetic.world import training_scene

CROWD = Crowd()
SETTINGS = (((224, 224), None), ((224, 224), CROWD), ((336, 336), None), ((336, 336), CROWD), ((480, 640), None))
WARM_UP = 20


def timed(first: int, count: int, size_hw: tuple[int, int], crowd: Crowd | None) -> tuple[float, float]:
    """(wall seconds, CPU seconds) of `count` scenes in this process."""
    for seed in range(WARM_UP):
        training_scene(seed, size_hw, crowd=crowd)
    wall, processor = time.perf_counter(), time.process_time()
    for seed in range(first, first + count):
        training_scene(seed, size_hw, crowd=crowd)
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=400)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    share = arguments.scenes // arguments.processes
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        for size_hw, crowd in SETTINGS:
            jobs = [(1000 + worker * share, share, size_hw, crowd) for worker in range(arguments.processes)]
            times = pool.starmap(timed, jobs, chunksize=1)
            made = share * arguments.processes
            print(
                json.dumps(
                    {
                        "benchmark": "synth_speed",
                        "size_hw": size_hw,
                        "layout": "crowd" if crowd else "ordinary",
                        "processes": arguments.processes,
                        "scenes": made,
                        "scenes_per_second": round(made / max(wall for wall, _ in times), 1),
                        "cpu_ms_per_scene": round(1000 * sum(cpu for _, cpu in times) / made, 2),
                        "python": platform.python_version(),
                        "cores": os.cpu_count(),
                    }
                )
            )


if __name__ == "__main__":
    main()
