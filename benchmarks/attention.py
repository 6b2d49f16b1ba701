"""Milliseconds of both attention kernels on the shapes of the `sam3` preset: `python benchmarks/attention.py`.

Processor time, which does not count waiting for other programs, the least of several runs. docs/decisions/0006 reads
from this table which kernel takes which shape.
"""

from __future__ import annotations

import argparse
import time

import torch

from masklet.layers.attention import Kernel, attend, use_kernel

# (P, heads, queries, keys, d) and the kind of mask
SHAPES = {
    "windowed block": ((9, 16, 576, 576, 64), None),
    "global block": ((1, 16, 5184, 5184, 64), None),
    "fusion, image to image": ((1, 8, 5184, 5184, 32), None),
    "fusion, image to prompt": ((1, 8, 5184, 33, 32), "padding"),
    "decoder, queries to image": ((1, 8, 201, 5184, 32), "bias"),
    "decoder, queries to queries": ((1, 8, 201, 201, 32), None),
    "exemplars to image": ((1, 8, 3, 5184, 32), None),
    "text": ((1, 16, 8, 8, 64), "padding"),
}
KERNELS: tuple[Kernel, ...] = ("fused", "products")


def milliseconds(kernel: Kernel, shape: tuple[int, ...], mask_kind: str | None, dtype: torch.dtype, runs: int) -> float:
    """The least processor time of some runs, after one that does not count."""
    batch, heads, rows, keys, width = shape
    # As the projections give them: heads lie within the tokens.
    query, key, value = (
        torch.randn(batch, length, heads, width, dtype=dtype).transpose(1, 2) for length in (rows, keys, keys)
    )
    mask = {
        None: None,
        "padding": torch.ones(batch, 1, 1, keys, dtype=torch.bool),
        "bias": torch.randn(batch, heads, rows, keys, dtype=dtype),
    }[mask_kind]
    times = []
    with use_kernel(kernel):
        for _ in range(runs + 1):
            start = time.process_time()
            attend(query, key, value, mask=mask)
            times.append(time.process_time() - start)
    return 1e3 * min(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        for dtype in (torch.bfloat16, torch.float32):
            print(f"\n{str(dtype).removeprefix('torch.'):<28}{'fused':>10}{'products':>10}{'ratio':>7}")
            for name, (shape, mask) in SHAPES.items():
                fused, products = (milliseconds(kernel, shape, mask, dtype, arguments.runs) for kernel in KERNELS)
                print(f"{name:<28}{fused:>10.2f}{products:>10.2f}{fused / products:>7.2f}", flush=True)


if __name__ == "__main__":
    main()
