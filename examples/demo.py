"""Segments the pictures of examples/images by name and by example, writes out/demo and prints what it found.

python examples/demo.py            with the model that comes with the package
python examples/demo.py MODEL      with another checkpoint
"""

import json
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

import masklet
from masklet import Exemplar, ImagePredictor
from masklet.inference.frame_result import draw_results
from masklet.inference.stages import stage, timed_stages

IMAGES = Path(__file__).parent / "images"
OUT = Path("out/demo")


def main(model: str = "default") -> int:
    """Exit code: 0 if anything was found."""
    start = time.perf_counter()
    predictor = ImagePredictor(masklet.load_model(model))
    loading = time.perf_counter() - start

    prompts = json.loads((IMAGES / "prompts.json").read_text(encoding="utf-8"))
    table = Table("picture", "asked for", "found", "best", "presence")
    found = 0
    with timed_stages() as seconds:
        for name, prompt in prompts.items():
            features = predictor.encode(IMAGES / name)  # once for everything that is asked of this picture
            named = predictor.segment(features, prompt["concepts"])
            shown = predictor.segment(features, exemplars=[Exemplar(prompt["exemplar_xyxy"])])
            for row, result in enumerate([*named, shown]):
                best = f"{result.scores[0]:.2f}" if len(result) else ""
                asked_for = "[i]like the one in a box[/i]" if result is shown else result.concept
                table.add_row("" if row else name, asked_for, str(len(result) or "-"), best, f"{result.presence:.2f}")
                found += len(result)
            with stage("write"):
                for result in (*named, shown):
                    folder = result.save(OUT, image=IMAGES / name)
                draw_results(named, IMAGES / name).save(folder.with_name("overlay.png"))
            table.add_section()

    Console(highlight=False).print(table)
    print(f"seconds: load {loading:.2f}, " + ", ".join(f"{what} {time:.2f}" for what, time in seconds.items()))
    print(f"{time.perf_counter() - start:.1f} s in all; overlays, masks and JSON are in {OUT}")
    if not found:
        print("demo: expected to find something, found nothing", file=sys.stderr)
    return 0 if found else 1


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:2]))
    except masklet.errors.MaskletError as error:
        sys.exit(f"demo: {error}")
