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
import json
import sys
import time
from pathlib import Path
from typing import Any

from evaluated import add_model_options, conditions, with_progress

from masklet.checkpoint import load_model
from masklet.errors import MaskletError
from masklet.evaluation.answers import predictor_answers
from masklet.evaluation.report import document, summary, table
from masklet.evaluation.world_scores import Scores, score_scenes
from masklet.inference.image_predictor import ImagePredictor
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


def share(count: int, scenes: int) -> int:
    """Of `count` scenes of a further set, how many go with the first `scenes` of the split: one at least."""
    return -(-count * scenes // EVALUATION_SCENES)


def evaluate(arguments: argparse.Namespace, sheet: SpriteSheet) -> tuple[dict[str, Any], Scores]:
    """What was measured under which conditions, and the scores."""
    model = load_model(arguments.model, device=arguments.device, dtype=arguments.dtype)
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
        **conditions(arguments.model, model, sheet),
        "scenes": scenes,
        "unnamed_scenes": unnamed,
        "bare_scenes": bare,
        "seconds": round(time.perf_counter() - start, 1),
    }
    return facts, scores


def main(words: list[str] | None = None, sheet: SpriteSheet | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--scenes",
        type=int,
        default=EVALUATION_SCENES,
        help="the first N only, and as large a part of the further sets (default: %(default)s)",
    )
    add_model_options(parser)
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
