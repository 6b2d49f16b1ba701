"""Scores a model on the fixed evaluation split of the synthetic world: `python benchmarks/eval_default.py`.

1000 scenes of 336 x 336 pixels with 5 questions each, never trained on; 300 scenes more in which symbols that training
never names are asked by exemplars; and 200 pictures without sprites, asked for 5 things each. Prints one table: F1 and
others over all prompts, by how and what was asked, by colour phrases seen or held out, by size; the bars of the default
model, cgF1 among them; and figures without a bar. The scenes need the package fonts-noto-color-emoji; results belong to
the font, the weights and the number format, which `--json` and `--record` write beside them. float32 unless `--dtype`
says otherwise, so that machines can be compared.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from masklet.checkpoint import load_model
from masklet.checkpoint.hub import find_weights
from masklet.errors import MaskletError
from masklet.evaluation.answers import predictor_answers
from masklet.evaluation.report import document, summary, table
from masklet.evaluation.world_scores import Scores, score_scenes
from masklet.inference.image_predictor import ImagePredictor
from masklet.synthetic.phrases import Question
from masklet.synthetic.scenes import Scene
from masklet.synthetic.sprites import SpriteSheet, default_sheet
from masklet.synthetic.world import (
    BARE_SCENES,
    EVALUATION_SCENES,
    UNNAMED_SCENES,
    bare_scene,
    evaluation_scene,
    phrase_book,
    unnamed_scenes,
)

RESULTS = Path(__file__).parent / "results.jsonl"
_DIGITS = 16  # of the hashes

SceneQuestions = tuple[Scene, list[Question]]


def share(count: int, scenes: int) -> int:
    """Of `count` scenes of a further set, how many go with the first `scenes` of the split: one at least."""
    return -(-count * scenes // EVALUATION_SCENES)


def with_progress(scenes: Iterable[SceneQuestions], count: int, what: str) -> Iterator[SceneQuestions]:
    """The `count` scenes one at a time; progress goes to a terminal only."""
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        yield from progress.track(scenes, total=count, description=what)


def evaluate(arguments: argparse.Namespace, sheet: SpriteSheet) -> tuple[dict[str, Any], Scores]:
    """What was measured under which conditions, and the scores."""
    path = find_weights(arguments.model)
    model = load_model(path, device=arguments.device, dtype=arguments.dtype)
    scenes = arguments.scenes
    unnamed, bare = (share(count, scenes) for count in (UNNAMED_SCENES, BARE_SCENES))
    start = time.perf_counter()
    scores = score_scenes(
        with_progress((evaluation_scene(index, sheet=sheet) for index in range(scenes)), scenes, "scenes"),
        predictor_answers(ImagePredictor(model)),
        phrase_book(sheet),
        unnamed=with_progress(unnamed_scenes(unnamed, sheet=sheet), unnamed, "unnamed symbols"),
        bare=with_progress((bare_scene(index, sheet=sheet) for index in range(bare)), bare, "pictures without sprites"),
    )
    facts = {
        "benchmark": "eval_default",
        "model": path.name if Path(arguments.model).exists() else arguments.model,
        "weights": hashlib.sha256(path.read_bytes()).hexdigest()[:_DIGITS] if path.is_file() else None,
        "sprites": sheet.source_hash[:_DIGITS],
        "scenes": scenes,
        "unnamed_scenes": unnamed,
        "bare_scenes": bare,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
        "seconds": round(time.perf_counter() - start, 1),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    return facts, scores


def main(words: list[str] | None = None, sheet: SpriteSheet | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default", help="name or checkpoint (default: %(default)s)")
    parser.add_argument(
        "--scenes",
        type=int,
        default=EVALUATION_SCENES,
        help="the first N only, and as large a part of the further sets (default: %(default)s)",
    )
    parser.add_argument("--dtype", default="float32", help="auto, float32, bfloat16 or float16 (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all counts and rates there as well")
    parser.add_argument("--record", action="store_true", help=f"append a line to {RESULTS.name}")
    arguments = parser.parse_args(words)
    if not 1 <= arguments.scenes <= EVALUATION_SCENES:
        parser.error(f"--scenes must be 1..{EVALUATION_SCENES}, got {arguments.scenes}")

    facts, scores = evaluate(arguments, default_sheet() if sheet is None else sheet)
    print(table(scores))
    print("model {model}, weights {weights}, sprites {sprites}".format(**facts))
    print("scenes {scenes} + {unnamed_scenes} + {bare_scenes}, {dtype} on {device}, {seconds} s".format(**facts))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(facts | document(scores), indent=1) + "\n", encoding="utf-8")
    if arguments.record:
        with RESULTS.open("a", encoding="utf-8") as log:
            log.write(json.dumps(facts | summary(scores)) + "\n")


if __name__ == "__main__":
    try:
        main()
    except MaskletError as error:
        sys.exit(f"error: {error}")
