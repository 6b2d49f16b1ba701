"""How long it takes to be ready: `python benchmarks/start.py`.

New processes, in turns: one imports torch, one masklet, one masklet with everything that predictors need, one loads the
packaged model as well. Medians. Bars: the imports at most 1.5 times that of torch, the model at most 0.5 s above them.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

from record import append, circumstances

CASES = {
    "import torch": "import torch",
    "import masklet": "import masklet",
    "import masklet, predictors": "import masklet; masklet.ImagePredictor, masklet.VideoPredictor, masklet.load_model",
    "packaged model loaded": "import masklet; masklet.ImagePredictor, masklet.VideoPredictor; masklet.load_model()",
}
MOST_RATIO = 1.5
MOST_SECONDS = 0.5


def seconds_of(code: str) -> float:
    """Of a new process that runs `code`."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=7, help="after one that does not count (default: %(default)s)")
    parser.add_argument("--record", action="store_true", help="append a line to results.jsonl")
    arguments = parser.parse_args()
    turns = [{name: seconds_of(code) for name, code in CASES.items()} for _ in range(arguments.turns + 1)][1:]
    medians = {name: round(statistics.median(turn[name] for turn in turns), 3) for name in CASES}
    for name, seconds in medians.items():
        print(f"{name:<28}{seconds:>8.2f} s")
    torch_s, bare_s, ready_s, loaded_s = medians.values()
    ratio, above = max(bare_s, ready_s) / torch_s, loaded_s - ready_s
    bars = [("imports, times that of torch", ratio, MOST_RATIO), ("model above the imports, s", above, MOST_SECONDS)]
    for name, value, most in bars:
        print(f"{name:<28}{value:>8.2f}  at most {most}  {'met' if value <= most else 'MISSED'}")
    if arguments.record:
        append({"benchmark": "start", "figures": medians, "turns": arguments.turns, **circumstances()})
    return 0 if all(value <= most for _, value, most in bars) else 1


if __name__ == "__main__":
    raise SystemExit(main())
