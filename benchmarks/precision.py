"""How far faster number formats are from float32: `python benchmarks/precision.py` (`make precision`).

The packaged model answers the questions of the fixed evaluation split, as `eval_default.py` asks them, in float32 and
in each other format. What both find is paired by the overlap of masks. Prints, beside the bars: the mean overlap of
pairs and its first percentile, the mean difference of their scores and its 99th percentile, how many objects only one
of the two found (those near the threshold), and how many points of F1 over all prompts are lost. Needs the package
fonts-noto-color-emoji.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from evaluated import conditions, with_progress
from record import append

from masklet.checkpoint import load_model
from masklet.evaluation.answers import predictor_answers
from masklet.evaluation.matching import Instances, compare
from masklet.evaluation.world_scores import ALL, score_scenes
from masklet.inference.frame_result import FrameResult
from masklet.inference.image_predictor import ImagePredictor
from masklet.model.detector import Detector
from masklet.synthetic.sprites import SpriteSheet, default_sheet
from masklet.synthetic.world import EVALUATION_SCENES, evaluation_scene, phrase_book

LEAST_OVERLAP = 0.98
MOST_SCORE_DIFFERENCE = 0.02
MOST_F1_LOST = {"bfloat16": 0.3, "int8": 1.0}  # points
_SAME_OBJECT = 0.5  # overlap


class _Noting(ImagePredictor):
    """Keeps what it answers."""

    def __init__(self, model: Detector) -> None:
        super().__init__(model)
        self.noted: list[FrameResult] = []

    def segment(self, *arguments: Any, **options: Any) -> Any:
        found = super().segment(*arguments, **options)
        self.noted += found if isinstance(found, list) else [found]
        return found


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of a number format from float32.

    Attributes:
        overlaps: of the masks of each object that both found.
        scores: absolute differences of their scores.
        alone: objects that one of the two found.
        f1_lost: points.
    """

    overlaps: list[float]
    scores: list[float]
    alone: int
    f1_lost: float

    def figures(self) -> dict[str, float | int]:
        """For table and record."""
        return {
            "objects": len(self.overlaps),
            "alone": self.alone,
            "overlap": round(float(np.mean(self.overlaps)), 5),
            "overlap_1st_percentile": round(float(np.percentile(self.overlaps, 1)), 4),
            "score": round(float(np.mean(self.scores)), 5),
            "score_99th_percentile": round(float(np.percentile(self.scores, 99)), 4),
            "f1_lost": round(self.f1_lost, 3),
        }


def answers(name: str, dtype: str, scenes: int, sheet: SpriteSheet) -> tuple[list[FrameResult], float, Detector]:
    """Everything that a model finds, in the order of the questions, its F1 in points, and the model."""
    model = load_model(name, dtype=dtype)
    predictor = _Noting(model)
    shown = with_progress((evaluation_scene(index, sheet=sheet) for index in range(scenes)), scenes, dtype)
    f1 = score_scenes(shown, predictor_answers(predictor), phrase_book(sheet)).rows["all"][ALL].f1
    assert f1 is not None
    return predictor.noted, 100 * f1, model


def difference(exact: list[FrameResult], rounded: list[FrameResult], f1_lost: float) -> Difference:
    """Between two lists of answers to the same questions."""
    overlaps, scores, alone = [], [], 0
    for one, other in zip(exact, rounded, strict=True):
        pair = compare(*(Instances(rles=each.rle(), boxes_xyxy=each.boxes_xyxy) for each in (other, one)))
        same = pair.mask_ious >= _SAME_OBJECT
        overlaps += pair.mask_ious[same].tolist()
        scores += np.abs(other.scores[pair.predicted_idx[same]] - one.scores[pair.true_idx[same]]).tolist()
        alone += len(one) + len(other) - 2 * int(same.sum())
    return Difference(overlaps=overlaps, scores=scores, alone=alone, f1_lost=f1_lost)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default", help="name or checkpoint (default: %(default)s)")
    parser.add_argument("--scenes", type=int, default=EVALUATION_SCENES, help="the first N (default: %(default)s)")
    parser.add_argument("--dtype", nargs="+", choices=MOST_F1_LOST, default=list(MOST_F1_LOST))
    parser.add_argument("--record", action="store_true", help="append lines to results.jsonl")
    arguments = parser.parse_args()
    sheet, start = default_sheet(), time.perf_counter()
    exact, exact_f1, _ = answers(arguments.model, "float32", arguments.scenes, sheet)
    print(f"float32: {sum(len(result) for result in exact)} objects, F1 {exact_f1:.2f}")
    met = True
    for dtype in arguments.dtype:
        rounded, f1, model = answers(arguments.model, dtype, arguments.scenes, sheet)
        figures = difference(exact, rounded, exact_f1 - f1).figures()
        bars = {
            "overlap": (figures["overlap"] >= LEAST_OVERLAP, f"at least {LEAST_OVERLAP}"),
            "score": (figures["score"] <= MOST_SCORE_DIFFERENCE, f"at most {MOST_SCORE_DIFFERENCE}"),
            "f1_lost": (figures["f1_lost"] <= MOST_F1_LOST[dtype], f"at most {MOST_F1_LOST[dtype]}"),
        }
        print(f"\n{dtype} beside float32")
        for name, value in figures.items():
            right, bar = bars.get(name, (True, ""))
            print(f"{name:<24}{value:>10} {bar:<14} {'' if not bar else 'met' if right else 'MISSED'}".rstrip())
            met &= right
        if arguments.record:
            facts = {"benchmark": "precision", **conditions(arguments.model, model, sheet), "scenes": arguments.scenes}
            append(facts | {"figures": figures, "seconds": round(time.perf_counter() - start, 1)})
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
