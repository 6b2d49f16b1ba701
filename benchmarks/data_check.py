"""Seconds to open and check a COCO file: `python benchmarks/data_check.py`.

How it is measured: a file of 100,000 annotations on 14,000 pictures of 640 x 480 and 80 categories, every absent
category a negative, is written to a temporary folder; once with polygons of 25 corners, once with run-length codes of
the same. It is opened and checked `--repeats` times after one that does not count, in one process with one thread.
Medians are appended to results.jsonl. Needs 200 MB of disk and 1 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask
from record import append, circumstances

from masklet.data.check import check_dataset
from masklet.data.open import open_dataset

ANNOTATIONS, PICTURES, CATEGORIES = 100_000, 14_000, 80
HEIGHT, WIDTH, CORNERS = 480, 640, 25


def annotation(number: int, random: np.random.Generator, *, compressed: bool) -> dict[str, Any]:
    """A star-shaped thing somewhere inside a picture."""
    angles = np.sort(random.random(CORNERS)) * 2 * np.pi
    radii = random.uniform(10, 120) * random.uniform(0.7, 1, CORNERS)
    x = (random.uniform(130, 500) + radii * np.cos(angles)).round(2)
    y = (random.uniform(130, 340) + radii * np.sin(angles)).round(2)
    polygon = np.stack((x, y), axis=1).ravel().tolist()
    segmentation: Any = [polygon]
    if compressed:
        code = coco_mask.frPyObjects([polygon], HEIGHT, WIDTH)[0]
        segmentation = {"size": [HEIGHT, WIDTH], "counts": code["counts"].decode("ascii")}
    return {
        "id": number,
        "image_id": int(random.integers(PICTURES)),
        "category_id": int(random.integers(CATEGORIES)),
        "bbox": [float(value) for value in (x.min(), y.min(), np.ptp(x), np.ptp(y))],
        "segmentation": segmentation,
        "iscrowd": 0,
    }


def write_annotations(path: Path, *, compressed: bool) -> None:
    random = np.random.default_rng(0)
    images = [{"id": n, "file_name": f"{n}.jpg", "height": HEIGHT, "width": WIDTH} for n in range(PICTURES)]
    annotations = [annotation(number, random, compressed=compressed) for number in range(ANNOTATIONS)]
    categories = [{"id": n, "name": f"thing {n}"} for n in range(CATEGORIES)]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def timed(path: Path) -> tuple[float, float]:
    """Seconds to open and to check."""
    start = time.perf_counter()
    dataset = open_dataset(path)
    opened = time.perf_counter()
    assert check_dataset(dataset) == []
    return opened - start, time.perf_counter() - opened


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "0.jpg")
        content = (folder / "0.jpg").read_bytes()
        for number in range(1, PICTURES):
            (folder / f"{number}.jpg").write_bytes(content)
        for segmentation in ("polygons", "codes"):
            path = folder / f"{segmentation}.json"
            write_annotations(path, compressed=segmentation == "codes")
            times = [timed(path) for _ in range(1 + arguments.repeats)][1:]
            line = {
                "benchmark": "data_check",
                "segmentation": segmentation,
                "annotations": ANNOTATIONS,
                "pictures": PICTURES,
                "file_mb": round(path.stat().st_size / 1e6),
                "repeats": arguments.repeats,
                "open_s": round(statistics.median(opening for opening, _ in times), 2),
                "open_spread_s": [round(bound([opening for opening, _ in times]), 2) for bound in (min, max)],
                "check_s": round(statistics.median(checking for _, checking in times), 2),
                "check_spread_s": [round(bound([checking for _, checking in times]), 2) for bound in (min, max)],
            }
            print(json.dumps(line))
            append(line | circumstances())


if __name__ == "__main__":
    main()
