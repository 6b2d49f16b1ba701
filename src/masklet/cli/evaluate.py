"""`masklet evaluate`: scores predictions, or a model, by the official metrics."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from masklet.cli import options

if TYPE_CHECKING:
    from masklet.evaluation.cases import Case


class Metric(StrEnum):
    """What is measured."""

    CGF1 = "cgf1"
    AP = "ap"
    LVIS = "lvis"
    COUNTING = "counting"
    PRESENCE = "presence"
    VIDEO = "video"
    JF = "jf"


class Iou(StrEnum):
    """What overlaps."""

    SEGM = "segm"
    BBOX = "bbox"


def evaluate(
    ground_truth: Annotated[
        list[Path], typer.Option("--ground-truth", metavar="PATH", help="Labels; once for each annotator.")
    ],
    predictions: Annotated[
        Path | None, typer.Option("--predictions", metavar="PATH", help="Answers: a list of COCO results.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="M", help="Instead: ask this checkpoint file, folder, or name.")
    ] = None,
    metric: Annotated[Metric, typer.Option("--metric", help="What to measure.")] = Metric.CGF1,
    iou: Annotated[Iou, typer.Option("--iou", help="Compare masks or boxes.")] = Iou.SEGM,
    per_category: Annotated[
        bool, typer.Option("--per-category", help="COCO files: every image and category is a question.")
    ] = False,
    positives_only: Annotated[
        bool, typer.Option("--positives-only", help="For ap: leave out categories that a picture does not show.")
    ] = False,
    all_frames: Annotated[
        bool, typer.Option("--all-frames", help="For jf: score the first and the last frame of a video, too.")
    ] = False,
    images: Annotated[
        Path | None, typer.Option("--images", metavar="DIR", help="Folder of the pictures. [that of the labels]")
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Keep the answers of --model, for --predictions.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write an HTML page: curves, breakdowns, failures.")
    ] = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Score predictions, or a model, by the official metrics.

    Labels are SA-Co's pairs of picture and phrase, COCO's categories, or what 'masklet synth' writes; for --metric
    video SA-Co/VEval's videos; for --metric jf folders VIDEO/FRAME.png of label maps, and so are the predictions. A
    model is asked for every phrase, or every category, of every picture.
    """
    of_videos = metric in (Metric.VIDEO, Metric.JF)
    for refused, option, message in (
        ((predictions is None) == (model is None), "--predictions", "give one of --predictions and --model."),
        (
            metric is not Metric.CGF1 and len(ground_truth) > 1,
            "--ground-truth",
            "several annotators go with --metric cgf1.",
        ),
        (metric is not Metric.CGF1 and report is not None, "--report", "a report goes with --metric cgf1."),
        (metric is not Metric.AP and positives_only, "--positives-only", "it goes with --metric ap."),
        (metric is not Metric.JF and all_frames, "--all-frames", "it goes with --metric jf."),
        (model is None and save is not None, "--save", "it goes with --model."),
        (of_videos and model is not None, "--model", "videos are scored from --predictions."),
        (metric is Metric.LVIS and model is not None, "--model", "LVIS is scored from --predictions."),
        (metric is Metric.LVIS and per_category, "--per-category", "LVIS says what is asked of a picture."),
        (of_videos and images is not None, "--images", "it does not go with videos."),
        (of_videos and per_category, "--per-category", "it does not go with videos."),
        (metric is Metric.JF and iou is Iou.BBOX, "--iou", "--metric jf compares masks."),
    ):
        if refused:
            raise typer.BadParameter(message, param_hint=option)

    # Imported here: help needs none of it.
    from masklet.evaluation.cases import case_of_files
    from masklet.evaluation.coco_ap import RANKED_ABOVE, evaluate_ap
    from masklet.evaluation.label_maps import evaluate_label_maps
    from masklet.evaluation.lvis_ap import evaluate_lvis
    from masklet.evaluation.video_report import evaluate_video

    if metric is Metric.JF:
        assert predictions is not None
        followed = evaluate_label_maps(ground_truth[0], predictions, skip_ends=not all_frames)
        sys.stdout.write((json.dumps(followed.to_dict()) if as_json else followed.table()) + "\n")
        return
    if metric is Metric.VIDEO:
        assert predictions is not None
        _print(evaluate_video(ground_truth[0], predictions, ("mask" if iou is Iou.SEGM else "bbox",)).scores, as_json)
        return
    if metric is Metric.LVIS:
        assert predictions is not None
        _print(evaluate_lvis(ground_truth[0], predictions, iou.value), as_json)
        return
    if metric is Metric.AP and predictions is not None and not per_category:
        _print(evaluate_ap(ground_truth[0], predictions, iou.value, positives_only=positives_only), as_json)
        return
    folder = ground_truth[0].parent if images is None else images
    if predictions is not None:
        case = case_of_files(ground_truth, predictions, per_category=per_category)
    else:
        assert model is not None
        # Average precision ranks the answers to all categories, far below the score of a detection too.
        asking: dict[str, Any] = {"per_category": per_category, "threshold": None}
        if metric is Metric.AP:
            asking = {"per_category": True, "threshold": RANKED_ABOVE}
        case = _ask(model, ground_truth, folder, device, dtype, asking)
    if save is not None:
        _write(save, json.dumps(case.answers))
    values, text = _measure(case, metric, iou, positives_only=positives_only, report=report, folder=folder)
    _print(values, as_json, text)


def _print(values: Mapping[str, float | None], as_json: bool, text: str | None = None) -> None:
    from masklet.evaluation.pair_report import figures_table

    if as_json:  # JSON has no word for a ratio of nothing
        finite = {name: None if value is not None and math.isnan(value) else value for name, value in values.items()}
        sys.stdout.write(json.dumps(finite) + "\n")
    else:
        sys.stdout.write((figures_table(values) if text is None else text) + "\n")


def _ask(model: str, ground_truth: list[Path], folder: Path, device: str, dtype: str, asking: dict[str, Any]) -> Case:
    from masklet.checkpoint import load_model
    from masklet.evaluation.cases import case_of_model
    from masklet.inference.image_predictor import ImagePredictor

    predictor = ImagePredictor(load_model(model, device=device, dtype=dtype))
    with _progress() as progress:
        return case_of_model(ground_truth, predictor, folder, progress=progress, **asking)


def _measure(
    case: Case, metric: Metric, iou: Iou, *, positives_only: bool, report: Path | None, folder: Path
) -> tuple[dict[str, float | None], str]:
    """Figures by name, and the same to be read."""
    from masklet.evaluation.cgf1 import cgf1_values, count_files, named_values, scored_pairs
    from masklet.evaluation.coco_ap import evaluate_ap
    from masklet.evaluation.pair_report import (
        count_of_pairs,
        figures_table,
        levels_line,
        pair_report,
        presence_of_pairs,
    )

    values: dict[str, float | None]
    if metric is Metric.CGF1:
        counts = count_files(case.annotators, case.predictions, iou.value)
        plain: dict[str, float | None] = {**cgf1_values(counts)}
        values = {**named_values(counts, iou.value)}
        if report is not None:
            facts = {"labels": ", ".join(truth.name for truth in case.annotators), "compared by": iou.value}
            page = pair_report(
                case.annotators, case.predictions, counts, plain, iou=iou.value, facts=facts, folder=folder
            )
            _write(report, page)
        return values, f"{figures_table(plain)}\n{levels_line(counts)}"
    truth = case.annotators[0]
    if metric is Metric.AP:
        values = {**evaluate_ap(case.labels, case.answers, iou.value, positives_only=positives_only)}
    elif metric is Metric.COUNTING:
        values = {**count_of_pairs(truth, case.predictions, scored_pairs([truth])).to_dict()}
    else:
        values = {**presence_of_pairs(truth, case.predictions, scored_pairs([truth]), case.presence).to_dict()}
    return values, figures_table(values)


def _write(path: Path, text: str) -> None:
    from masklet.checkpoint.save import written_aside

    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


@contextmanager
def _progress() -> Iterator[Callable[[int], Callable[[], None]]]:
    """A bar on stderr if that is a terminal; is told the number of pictures."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:

        def start(total: int) -> Callable[[], None]:
            task = progress.add_task("pictures", total=total)
            return lambda: progress.update(task, advance=1)

        yield start
