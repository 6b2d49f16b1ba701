"""What PyTorch's compiler gives: `python benchmarks/compiled.py --preset default`. Needs a C++ compiler, or Triton.

The vision encoder of a preset with random weights, compiled (`load_model(compile=True)`) and not, in turns within one
run; the ratio is the median over turns. Also how long the first picture took, with what the compiler left of earlier
runs or, with `--fresh`, without it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time

import torch
from record import append, circumstances

from masklet.config import PRESETS
from masklet.model.build import build_model
from masklet.model.compiled import compile_model
from masklet.runtime import resolve_device, resolve_dtype


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="default")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--fresh", action="store_true", help="compile into an empty folder")
    parser.add_argument("--record", action="store_true", help="add the figures to results.jsonl")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = resolve_device(arguments.device)
    dtype = resolve_dtype(arguments.dtype, device)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.fresh:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        figures = measured(arguments.preset, device, dtype, arguments.turns)
    for name, value in figures.items():
        print(f"{name:<32}{value:>10.3g}")
    if arguments.record:
        setting = {"preset": arguments.preset, "dtype": str(dtype).removeprefix("torch."), "device": device.type}
        threads = {"threads": arguments.threads, "turns": arguments.turns, "fresh": arguments.fresh}
        append({"benchmark": "compiled", **setting, **threads, "figures": figures, **circumstances()})


@torch.no_grad()
def measured(preset: str, device: torch.device, dtype: torch.dtype, turns: int) -> dict[str, float]:
    """Seconds and their ratio."""
    model = build_model(preset).to(device, dtype).eval().requires_grad_(False)
    encoder = model.vision_encoder
    side = model.config.vision.image_size
    pixels = torch.rand(1, 3, side, side, generator=torch.manual_seed(0)).mul_(2).sub_(1).to(device, dtype)

    def seconds(call: object) -> float:
        start = time.perf_counter()
        call(pixels)  # type: ignore[operator]
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        return time.perf_counter() - start

    compile_model(model)
    first = seconds(encoder)
    pairs = [(seconds(encoder.forward), seconds(encoder)) for _ in range(turns + 1)][1:]
    return {
        "as it is, s": round(statistics.median(plain for plain, _ in pairs), 4),
        "compiled, s": round(statistics.median(compiled for _, compiled in pairs), 4),
        "times as fast": round(statistics.median(plain / compiled for plain, compiled in pairs), 3),
        "first picture, s": round(first, 1),
    }


if __name__ == "__main__":
    main()
