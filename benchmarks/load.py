"""Seconds and memory to load the full-size model, beside transformers: `python benchmarks/load.py`.

Writes 840 M random parameters (3.4 GB, float32) as a Hugging Face folder into a temporary folder, converts it to the
other formats, then loads each in a process of its own, several times in turns. `load_s` is the call alone; `ready_s`
has every parameter read once as well, because mapped weights come from the disk (here: its cache) when they are first
used. `peak` is the highest resident memory after every parameter was read, less what the process had after its
imports, over the size of the loaded weights; `peak_of_call` the same when the call returns. Medians; one JSON line per
case. Needs 12 GB of disk and 5 GB of free memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from masklet.checkpoint import convert, load_detector
from masklet.checkpoint.convert import PROJECTION_WIDTH
from masklet.checkpoint.hf_config import config_to_hf
from masklet.checkpoint.save import Item, write_safetensors
from masklet.config import SAM3, ModelConfig

KEYS = Path(__file__).parents[1] / "tests" / "data" / "keys" / "hf-image-keys.tsv"
PUBLIC = replace(
    SAM3,
    tracker_neck=False,
    tracker=None,
    vision=replace(SAM3.vision, norm_eps=1e-6),
    geometry=replace(SAM3.geometry, points=False),
)
CASES = (  # reader, file, number format
    ("masklet", "huggingface", "float32"),
    ("masklet", "huggingface", "bfloat16"),
    ("masklet", "native", "float32"),
    ("masklet", "meta", "float32"),
    ("masklet", "meta", "bfloat16"),
    ("transformers", "huggingface", "float32"),
    ("transformers", "huggingface", "bfloat16"),
)


def write_folder(folder: Path, config: ModelConfig) -> None:
    """A Hugging Face folder of random weights, one tensor in memory at a time."""

    def item(name: str, shape: tuple[int, ...]) -> Item:
        return Item(name, torch.empty(shape, device="meta"), lambda: torch.randn(shape) * 0.02)

    rows = [line.split("\t") for line in KEYS.read_text(encoding="utf-8").splitlines()]
    folder.mkdir()
    items = [item(name, tuple(int(size) for size in shape.split("x"))) for name, shape, _ in rows]
    write_safetensors(folder / "model.safetensors", items, {"format": "pt"})
    values = config_to_hf(config, projection_width=PROJECTION_WIDTH, video=False)
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")


def memory(field: str) -> int:
    """Bytes of a field of this process's status, such as VmHWM (highest) or VmRSS (now)."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {field} in /proc/self/status: this benchmark needs Linux")


def load_once(reader: str, path: str, dtype: str) -> None:
    """Loads in this process and prints what it took as JSON."""
    if reader == "transformers":
        from transformers import Sam3Model  # imported before the clock starts

    base = memory("VmRSS")
    start = time.perf_counter()
    if reader == "transformers":
        model: torch.nn.Module = Sam3Model.from_pretrained(path, dtype=getattr(torch, dtype))
    else:
        model = load_detector(path, dtype=dtype)
    loaded, peak_of_call = time.perf_counter(), memory("VmHWM")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sum()
    ready = time.perf_counter()
    weights = sum(parameter.nbytes for parameter in model.parameters())
    result = {
        "load_s": loaded - start,
        "ready_s": ready - start,
        "peak_of_call": (peak_of_call - base) / weights,
        "peak": (memory("VmHWM") - base) / weights,
        "weights_gb": weights / 1e9,
    }
    print(json.dumps(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--once", nargs=3, metavar=("READER", "PATH", "DTYPE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        load_once(*arguments.once)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = {"huggingface": folder / "hf", "native": folder / "native.safetensors", "meta": folder / "sam3.pt"}
        write_folder(paths["huggingface"], PUBLIC)
        seconds = {}
        for kind in ("native", "meta"):
            start = time.perf_counter()
            convert(paths["huggingface"], paths[kind], kind)
            seconds[kind] = round(time.perf_counter() - start, 2)
        results: dict[tuple[str, str, str], list[dict[str, float]]] = {case: [] for case in CASES}
        for _ in range(arguments.repeats):
            for reader, kind, dtype in CASES:
                command = [sys.executable, __file__, "--once", reader, str(paths[kind]), dtype]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                results[reader, kind, dtype].append(json.loads(output.splitlines()[-1]))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    for (reader, kind, dtype), runs in results.items():
        medians = {key: round(statistics.median(run[key] for run in runs), 3) for key in runs[0]}
        line = {"benchmark": "load", "reader": reader, "file": kind, "dtype": dtype, **medians}
        line |= {"convert_to_it_s": seconds.get(kind), "repeats": arguments.repeats, "commit": commit}
        line |= {"torch": torch.__version__, "threads": torch.get_num_threads(), "cores": os.cpu_count()}
        print(json.dumps({**line, "machine": platform.machine(), "python": platform.python_version()}))


if __name__ == "__main__":
    main()
