"""Seconds and memory from mask logits to run-length codes: `python benchmarks/postprocess.py`.

Masks of 288 x 288 logits (those of the `sam3` preset) to codes at 1080p, 4K and 24 megapixels, for 1, 20 and 200
masks of two kinds: `objects` (ellipses with uneven edges, a tenth of the picture in the mean) and `clutter` (smooth
noise over the whole picture: half of it inside, hundreds of parts; far worse than anything seen). `full` is the plain
way: each mask stretched by PyTorch, compared with 0, and encoded by pycocotools. `save` is `codes` and all that
`FrameResult.save` writes: a PNG of each mask, the label map, the overlay, JSON. Each case runs in a process of its own
with one thread; `cpu_seconds` leaves out what other programs and the disk took; `peak_mb` is what that process needed
above its imports and the logits, the codes included (`save`: the picture as well). Medians; one JSON line per case, to
append to results.jsonl.
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
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from masklet.inference.postprocess import frame_result, masks_to_rles
from masklet.ops.masks import Rle, encode_rle, rle_iou
from masklet.types import Detections

SIDE = 288
SIZES_HW = {"1080p": (1080, 1920), "4K": (2160, 3840), "24MP": (4000, 6000)}
COUNTS = (1, 20, 200)
# The plain way takes 40 s for 200 masks of 24 megapixels: it is timed for the others only.
CASES = [
    (way, kind, size, count)
    for way in ("codes", "full", "save")
    for kind in ("objects", "clutter")
    for size in SIZES_HW
    for count in COUNTS
    if way == "codes" or (kind == "objects" and (way == "save" or count < 200))
]


def make_logits(kind: str, count: int) -> torch.Tensor:
    """(count, 288, 288) float32."""
    generator = torch.Generator().manual_seed(0)
    noise = F.interpolate(
        torch.randn(count, 1, 24, 24, generator=generator), (SIDE, SIDE), mode="bicubic", align_corners=False
    )[:, 0]
    if kind == "clutter":
        return noise * 8
    random = torch.rand(4, count, 1, 1, generator=generator)
    axis = torch.linspace(0, 1, SIDE)
    radius_x, radius_y = 0.05 + 0.25 * random[2], 0.05 + 0.25 * random[3]
    distance = ((axis[None, None] - random[0]) / radius_x) ** 2 + ((axis[None, :, None] - random[1]) / radius_y) ** 2
    return 8 * (1 - distance) + noise


def plain_way(logits: torch.Tensor, size_hw: tuple[int, int]) -> list[Rle]:
    """Every mask at full size, one at a time."""
    rles = []
    for one in logits:
        stretched = F.interpolate(one[None, None], size_hw, mode="bilinear", align_corners=False)[0, 0]
        rles.append(encode_rle((stretched > 0).numpy()))
    return rles


def save_all(logits: torch.Tensor, size_hw: tuple[int, int]) -> list[Rle]:
    """Codes and files of every mask."""
    count = len(logits)
    detections = Detections(
        query_idx=torch.arange(count),
        scores=torch.linspace(1, 0.5, count),
        boxes_cxcywh_norm=torch.tensor([0.5, 0.5, 0.4, 0.3]).expand(count, 4),
        mask_logits=logits,
    )
    picture = np.full((*size_hw, 3), 120, dtype=np.uint8)
    result = frame_result(
        detections, image="image", image_size_hw=size_hw, concept="dog", presence=1, model="", source=picture
    )
    with tempfile.TemporaryDirectory() as folder:
        result.save(folder)
    return result.rle()


WAYS = {"codes": masks_to_rles, "full": plain_way, "save": save_all}


def memory(field: str) -> int:
    """Bytes of a field of this process's status, such as VmHWM (highest) or VmRSS (now)."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {field} in /proc/self/status: this benchmark needs Linux")


def run_once(way: str, kind: str, size: str, count: int) -> None:
    """One case in this process; prints what it took as JSON."""
    torch.set_num_threads(1)
    size_hw = SIZES_HW[size]
    function = WAYS[way]
    function(make_logits(kind, 1), (300, 400))  # warm-up
    logits = make_logits(kind, count)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the highest memory so far
    base = memory("VmRSS")
    start, cpu_start = time.perf_counter(), time.process_time()
    rles = function(logits, size_hw)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    peak = (memory("VmHWM") - base) / 1e6
    same = rle_iou(rles[:1], plain_way(logits[:1], size_hw))[0, 0]
    result_mb = sum(len(rle["counts"]) for rle in rles) / 1e6
    numbers = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak, "result_mb": result_mb}
    print(json.dumps({**numbers, "iou_with_full": same}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help="this one only")
    parser.add_argument("--kind", choices=("objects", "clutter"), help="of masks, this one only")
    parser.add_argument("--once", nargs=4, metavar=("WAY", "KIND", "SIZE", "COUNT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        way, kind, size, count = arguments.once
        run_once(way, kind, size, int(count))
        return
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for case in CASES:
        if arguments.way not in {None, case[0]} or arguments.kind not in {None, case[1]}:
            continue
        command = [sys.executable, __file__, "--once", *map(str, case)]
        runs = [
            json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
            for _ in range(arguments.repeats)
        ]
        medians = {key: float(np.round(statistics.median(run[key] for run in runs), 5)) for key in runs[0]}
        line = {"benchmark": "postprocess", **dict(zip(("way", "kind", "size", "masks"), case, strict=True)), **medians}
        line |= {"repeats": arguments.repeats, "commit": commit, "torch": torch.__version__, "threads": 1}
        print(json.dumps({**line, "machine": platform.machine(), "python": platform.python_version()}), flush=True)


if __name__ == "__main__":
    main()
