"""Scores how a model follows things through the fixed clips: `python benchmarks/eval_tracker.py` (`make eval-tracker`).

120 clips of 32 frames of the synthetic world, never trained on, as many of each difficulty (synthetic/clips.py):

- J&F of given objects: each is clicked once, in the middle, on the first frame that shows it, and followed to the end.
  The first and the last frame of a clip do not count, as in DAVIS and SA-V. With `--clicks 3` two more clicks follow
  the first at once, each where the answer is most wrong, which is how SAM 2 was measured.
- HOTA of named ones: each clip is asked for two phrases, about half of which name nothing that is there. Counts of all
  (clip, phrase) pairs are added up (pHOTA); what is returned for an absent concept counts as wrong detections.
- HOTA of detector + IoU (joined_by_iou.py): what the same detector finds on each frame, joined by overlap alone. The
  difference on the clips in which objects are hidden or leave says what the tracker is worth.

Prints a table and the bars that the default model must clear. The clips need the package fonts-noto-color-emoji;
results belong to the font, the weights and the number format. float32 unless `--dtype` says otherwise.

Rules are chosen with `--validation`, which takes other clips, of the training half, that training never draws; for
example `--validation --clips 24 --rule near_iou=0.1`.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from typing import Any, Self

import torch
from evaluated import add_model_options, conditions, with_progress
from joined_by_iou import detect_phrases, join_by_iou
from record import append

from masklet.checkpoint import load_model
from masklet.config import ModelConfig
from masklet.errors import MaskletError
from masklet.evaluation.clip_answers import follow_clicks, follow_phrases
from masklet.evaluation.clip_scores import count_named, first_clicks, score_given
from masklet.evaluation.hota import HotaCounts
from masklet.evaluation.jaccard_boundary import ObjectScore, jaccard_boundary
from masklet.evaluation.report import Bar, bar_lines, shown
from masklet.inference.image_predictor import ImagePredictor
from masklet.inference.policy import VideoPolicy
from masklet.inference.video_predictor import VideoPredictor
from masklet.model.detector import Detector
from masklet.synthetic.clips import KINDS, Clip
from masklet.synthetic.phrases import Question
from masklet.synthetic.sprites import SpriteSheet, default_sheet
from masklet.synthetic.world import EVALUATION_CLIPS, evaluation_clip, validation_clip

ALL, OCCLUDED = "all", "crossing + leaving"
OCCLUDED_KINDS = ("crossing", "leaving")
_PARTS = ("HOTA", "DetA", "AssA")


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What came of some clips; those of more clips add up.

    Attributes:
        clips: how many.
        phrases: how many were asked.
        given: scores of the objects that were clicked.
        named: counts of what was asked by name.
        joined: counts of the same by detector + IoU.
    """

    clips: int = 0
    phrases: int = 0
    given: tuple[ObjectScore, ...] = ()
    named: HotaCounts = field(default_factory=HotaCounts.none)
    joined: HotaCounts = field(default_factory=HotaCounts.none)

    def __add__(self, other: Self) -> Self:
        return type(self)(
            clips=self.clips + other.clips,
            phrases=self.phrases + other.phrases,
            given=self.given + other.given,
            named=self.named + other.named,
            joined=self.joined + other.joined,
        )

    def figures(self) -> dict[str, float | None]:
        """J&F, J, F; HOTA, DetA, AssA of the tracker and (IoU ...) of detector + IoU; 0..1, None of nothing."""
        found: dict[str, float | None] = dict.fromkeys(("J&F", "J", "F"))
        if self.given:
            mean = jaccard_boundary([self.given])
            found = {"J&F": mean.j_and_f / 100, "J": mean.j / 100, "F": mean.f / 100}
        for prefix, counts in (("", self.named), ("IoU ", self.joined)):
            values = counts.values()
            something = bool((counts.true_positives + counts.false_negatives + counts.false_positives).any())
            found |= {f"{prefix}{part}": values[part] if something else None for part in _PARTS}
        return found


def score_clip(
    clip: Clip, questions: Sequence[Question], video: VideoPredictor, image: ImagePredictor, *, clicks: int = 1
) -> Scores:
    """The scores of one clip, of which the model sees the frames, so many clicks on each object, and phrases."""
    phrases = [question.phrase for question in questions]
    found = detect_phrases(image, video.policy, clip, phrases)
    ways = follow_phrases(video, clip, phrases), [join_by_iou(detections) for detections in found]
    named, joined = (
        sum((count_named(clip, *one) for one in zip(questions, way, strict=True)), HotaCounts.none()) for way in ways
    )
    given = score_given(clip, follow_clicks(video, clip, first_clicks(clip), corrections=clicks - 1))
    return Scores(clips=1, phrases=len(questions), given=tuple(given), named=named, joined=joined)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is scored.

    Attributes:
        sheet: sprites of the clips.
        validation: clips of the training half.
        original: by the original's rules, not by those that suit the model.
        changed: rules that are otherwise, by their names in `VideoPolicy`.
        clicks: on each object that is given.
    """

    sheet: SpriteSheet
    validation: bool = False
    original: bool = False
    changed: dict[str, float | bool] = field(default_factory=dict)
    clicks: int = 1

    def policy(self, config: ModelConfig) -> VideoPolicy:
        """The rules for a model."""
        return replace(VideoPolicy() if self.original else VideoPolicy.of(config), **self.changed)  # type: ignore[arg-type]

    @property
    def rules(self) -> str:
        """Their name."""
        return " ".join(["original" if self.original else "own", *(f"{k}={v}" for k, v in self.changed.items())])


class Scorer:
    """Scores clips by their numbers.

    Args:
        model: that is asked.
        wanted: which clips, and by which rules.
    """

    def __init__(self, model: Detector, wanted: Wanted) -> None:
        self.video = VideoPredictor(model, policy=wanted.policy(model.config))
        self.image = ImagePredictor(model)
        self.wanted = wanted

    def __call__(self, number: int) -> tuple[str, Scores]:
        """Difficulty and scores of a clip."""
        make = validation_clip if self.wanted.validation else evaluation_clip
        clip, questions = make(number, sheet=self.wanted.sheet)
        return clip.kind, score_clip(clip, questions, self.video, self.image, clicks=self.wanted.clicks)


def score_in_processes(
    count: int, processes: int, load: Callable[[], Detector], wanted: Wanted
) -> Iterator[tuple[str, Scores]]:
    """What `Scorer` says of the first `count` clips, by processes of one thread each that all load the model."""
    with ProcessPoolExecutor(processes, get_context("spawn"), _begin_process, (load, wanted)) as pool:
        yield from pool.map(_score, range(count))


_scorer: Scorer
"""Of this process, if `_begin_process` began it."""


def _begin_process(load: Callable[[], Detector], wanted: Wanted) -> None:
    global _scorer
    torch.set_num_threads(1)
    _scorer = Scorer(load(), wanted)


def _score(number: int) -> tuple[str, Scores]:
    return _scorer(number)


def added_up(scored: Iterable[tuple[str, Scores]]) -> dict[str, Scores]:
    """The scores of all clips, of each difficulty, and of those with occlusion."""
    by_kind = {kind: Scores() for kind in KINDS}
    for kind, scores in scored:
        by_kind[kind] += scores
    return {
        ALL: sum(by_kind.values(), Scores()),
        **by_kind,
        OCCLUDED: sum((by_kind[kind] for kind in OCCLUDED_KINDS), Scores()),
    }


def bars_of(rows: dict[str, Scores], clicks: int = 1) -> list[Bar]:
    """What is asked of the default model."""
    everything, occluded = rows[ALL].figures(), rows[OCCLUDED].figures()
    followed, joined = occluded["HOTA"], occluded["IoU HOTA"]
    given = "one click" if clicks == 1 else f"{clicks} clicks"
    gain = None if followed is None or joined is None else followed - joined
    return [
        Bar(name=f"J&F of objects given by {given}", value=everything["J&F"], least=0.80),
        Bar(name="HOTA of concepts", value=everything["HOTA"], least=0.60),
        Bar(name=f"HOTA above that of detector + IoU, {OCCLUDED}", value=gain, least=0.05),
    ]


def table(rows: dict[str, Scores], clicks: int = 1) -> str:
    """The rows and the bars: lines of at most 100 characters."""
    columns = tuple(Scores().figures())
    heading = f"{'':<20}{'clips':>6}{'objects':>8}{'phrases':>8}" + "".join(f"{name[-4:]:>6}" for name in columns)
    groups = " " * 42 + f"{'given':^18}{'named':^18}{'detector + IoU':^18}"
    lines = [groups.rstrip(), heading]
    for name, scores in rows.items():
        if name in (KINDS[0], OCCLUDED):
            lines.append("-" * len(heading))
        counts = f"{name:<20}{scores.clips:>6}{len(scores.given):>8}{scores.phrases:>8}"
        lines.append(counts + "".join(f"{shown(value):>6}" for value in scores.figures().values()))
    lines.append("-" * len(heading))
    return "\n".join([*lines, *bar_lines(bars_of(rows, clicks))])


def document(rows: dict[str, Scores], clicks: int = 1) -> dict[str, Any]:
    """Rows and bars as plain values."""
    return {
        "rows": {
            name: {
                "clips": scores.clips,
                "objects": len(scores.given),
                "phrases": scores.phrases,
                **{key: None if value is None else round(value, 4) for key, value in scores.figures().items()},
            }
            for name, scores in rows.items()
        },
        "bars": [asdict(bar) | {"met": bar.met} for bar in bars_of(rows, clicks)],
    }


def rule(word: str) -> tuple[str, float | bool]:
    """A field of `VideoPolicy` and another value for it, of NAME=VALUE."""
    name, _, value = word.partition("=")
    known = {name: type(value) for name, value in asdict(VideoPolicy()).items()}
    if name not in known:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE with a field of VideoPolicy, got {word!r}")
    try:
        return name, {"True": True, "False": False}[value] if known[name] is bool else known[name](value)
    except (KeyError, ValueError):
        raise argparse.ArgumentTypeError(f"expected a {known[name].__name__} for {name}, got {value!r}") from None


def main(words: list[str] | None = None, sheet: SpriteSheet | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--clips", type=int, default=EVALUATION_CLIPS, help="the first N only; difficulties take turns (%(default)s)"
    )
    parser.add_argument("--processes", type=int, default=1, help="that share the clips (%(default)s)")
    parser.add_argument("--clicks", type=int, default=1, help="on each object that is given (%(default)s)")
    parser.add_argument("--validation", action="store_true", help="clips of the training half, to choose rules by")
    parser.add_argument("--image-size", type=int, metavar="PX", help="side of the model's input [the model's]")
    parser.add_argument("--original-rules", action="store_true", help="not those that suit the model")
    parser.add_argument("--rule", type=rule, action="append", default=[], metavar="NAME=VALUE", help="another rule")
    add_model_options(parser)
    arguments = parser.parse_args(words)
    count, processes = arguments.clips, arguments.processes
    if processes < 1:
        parser.error(f"--processes must be at least 1, got {processes}")
    if arguments.clicks < 1:
        parser.error(f"--clicks must be at least 1, got {arguments.clicks}")
    if not 1 <= count <= EVALUATION_CLIPS:
        parser.error(f"--clips must be 1..{EVALUATION_CLIPS}, got {count}")

    sheet = default_sheet() if sheet is None else sheet
    wanted = Wanted(
        sheet=sheet,
        validation=arguments.validation,
        original=arguments.original_rules,
        changed=dict(arguments.rule),
        clicks=arguments.clicks,
    )
    load = functools.partial(
        load_model,
        arguments.model,
        device=arguments.device,
        dtype=arguments.dtype,
        image_size=arguments.image_size,
    )
    model = load()
    wanted.policy(model.config)  # what is wrong with a rule shows before anything is scored
    start = time.perf_counter()
    if processes == 1:
        scored: Iterable[tuple[str, Scores]] = map(Scorer(model, wanted), range(count))
    else:
        scored = score_in_processes(count, processes, load, wanted)
    rows = added_up(with_progress(scored, count, "clips"))
    seconds = round(time.perf_counter() - start, 1)
    facts = {
        "benchmark": "eval_tracker",
        **conditions(arguments.model, model, sheet),
        "clips": count,
        "half": "train" if wanted.validation else "evaluation",
        "rules": wanted.rules,
        "clicks": wanted.clicks,
        "image_size": model.config.video_image_size or model.config.vision.image_size,
        "processes": processes,
    }
    line = facts | {"seconds": seconds} | document(rows, wanted.clicks)
    print(table(rows, wanted.clicks))
    print("model {model}, weights {weights}, sprites {sprites}".format(**line))
    print("clips {clips} ({half}), rules {rules}, {image_size} px, {dtype} on {device}, {seconds} s".format(**line))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(line, indent=1) + "\n", encoding="utf-8")
    if arguments.record:
        append(line)


if __name__ == "__main__":
    try:
        main()
    except MaskletError as error:
        sys.exit(f"error: {error}")
