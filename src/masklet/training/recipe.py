"""What a training run does, stage by stage, as data. `DEFAULT_RECIPE` makes the packaged model."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace

from masklet.losses.mask import MaskSettings
from masklet.losses.score import ScoreSettings
from masklet.losses.total import LossSettings, LossWeights
from masklet.synthetic.scenes import Crowd
from masklet.training.stages import Schedule, StagedRecipe


@dataclass(frozen=True, kw_only=True)
class DenseSteps:
    """Recognition steps (training/recognition.py).

    Attributes:
        every: every `every`-th step of the stage is one; 1: all.
        crowd: layout of the pictures.
        images: pictures per step.
        questions: phrases per picture; all pictures are asked all of them.
        masks: whether masks are painted too.
        exemplars: boxes per picture that are shown too.
        counter_examples: share of these boxes that are negative.
    """

    every: int = 1
    crowd: Crowd = field(default_factory=Crowd)
    images: int = 16
    questions: int = 4
    masks: bool = False
    exemplars: int = 0
    counter_examples: float = 0.0


@dataclass(frozen=True, kw_only=True)
class PromptSteps:
    """Steps of the whole model on ordinary scenes.

    Attributes:
        images: pictures per step.
        questions: prompts per picture, of all kinds.
        coloured: more prompts per picture, about the colour of what is there: the right one or another.
        shown: more prompts per picture, by exemplars alone.
        categories: more prompts per picture, by the word for a kind of thing.
        words: more prompts per picture, by words of a list that are no symbol.
        strays: more prompts per picture, by any words of the language that are none.
        scene_scale: scenes are drawn at so many times the size that the model sees, between these two limits: users
            have pictures both finer and coarser than that.
        mask_prompts: at most this many prompts of a step have their masks trained.
        weights: of the losses.
        relevance: weight of the focal loss on fused image tokens: is the concept here.
        iou_power: see `ScoreSettings`.
    """

    images: int = 4
    questions: int = 8
    coloured: int = 0
    shown: int = 0
    categories: int = 0
    words: int = 0
    strays: int = 0
    scene_scale: tuple[float, float] = (1.0, 1.0)
    mask_prompts: int = 12
    weights: LossWeights = field(default_factory=LossWeights)
    relevance: float = 4.0
    iou_power: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Stage(Schedule):
    """A part of a run of `WorldTask`.

    Attributes:
        dense: recognition steps, or None for none.
        prompts: steps of the whole model, or None for none.
    """

    dense: DenseSteps | None = None
    prompts: PromptSteps | None = None

    def is_dense(self, step: int) -> bool:
        """Whether step `step` of the stage is a recognition step."""
        if self.prompts is None or self.dense is None:
            return self.prompts is None
        return step % self.dense.every == self.dense.every - 1


@dataclass(frozen=True, kw_only=True)
class Recipe(StagedRecipe[Stage]):
    """A whole run of `WorldTask`.

    Attributes:
        settings: shape of the detection loss.
    """

    settings: LossSettings = field(
        default_factory=lambda: LossSettings(
            score=ScoreSettings(pad_n_queries=1),
            masks=MaskSettings(resolution="prediction"),
            scale_by_prompts=False,
        )
    )


_WEIGHTS = LossWeights(
    l1=5.0,
    giou=2.0,
    classification=20.0,
    presence=10.0,
    mask_focal=100.0,
    mask_dice=8.0,
    semantic_focal=20.0,
    semantic_dice=4.0,
    one_to_many=1.0,
)

# Sprites of all sizes that ordinary scenes have, many symbols more than once: what exemplars are learned from.
_VARIED = Crowd(cells=(2, 3, 3, 4, 4, 5), repeats=0.4, side_range=(0.7, 1.3))

_full_size = functools.partial(
    Stage,
    image_size=336,
    recognition_factor=0.3,
    tail=1.0,
    final=0.0,
    dense=DenseSteps(every=6, crowd=_VARIED, images=6, masks=True, exemplars=6, counter_examples=0.25),
)

_judging = functools.partial(
    Stage,
    image_size=448,
    recognition_factor=0.6,
    tail=1.0,
    final=0.0,
    dense=DenseSteps(every=5, crowd=_VARIED, images=5, masks=True, exemplars=5, counter_examples=0.25),
)

_JUDGED = PromptSteps(
    questions=3,
    coloured=1,
    shown=2,
    categories=1,
    scene_scale=(0.65, 1.15),
    weights=replace(_WEIGHTS, giou=4.0, pos_weight=2.5),
    iou_power=0.4,
)

DEFAULT_RECIPE = Recipe(
    preset="default",
    stages=(
        Stage(name="recognise", steps=1500, rate=1.5e-3, tail=0.0, dense=DenseSteps()),
        Stage(
            name="paint",
            steps=1100,
            rate=1.5e-3,
            warmup=0,
            tail=1.0,
            dense=DenseSteps(crowd=_VARIED, masks=True, exemplars=4, counter_examples=0.25),
        ),
        Stage(
            name="detect",
            steps=2600,
            rate=1e-3,
            recognition_factor=0.2,
            dense=DenseSteps(every=4, crowd=_VARIED, images=12, masks=True, exemplars=4, counter_examples=0.25),
            prompts=PromptSteps(questions=5, shown=3, weights=_WEIGHTS),
        ),
        _full_size(name="sharpen", steps=3100, rate=6e-4, prompts=PromptSteps(questions=4, shown=4, weights=_WEIGHTS)),
        _full_size(
            name="compare",
            steps=660,
            rate=5e-4,
            warmup=30,
            prompts=PromptSteps(questions=2, coloured=2, shown=5, weights=_WEIGHTS),
        ),
        Stage(
            name="fine",
            steps=4000,
            image_size=448,
            rate=6e-4,
            recognition_factor=0.4,
            warmup=60,
            tail=0.85,
            final=0.0,
            dense=DenseSteps(every=6, crowd=_VARIED, images=5, masks=True, exemplars=5, counter_examples=0.25),
            prompts=PromptSteps(
                questions=5,
                coloured=1,
                shown=2,
                scene_scale=(0.65, 1.15),
                weights=replace(_WEIGHTS, giou=4.0),
            ),
        ),
        _judging(name="judge", steps=4400, rate=5e-4, warmup=60, prompts=replace(_JUDGED, words=1)),
        _judging(name="strays", steps=600, rate=3e-4, warmup=30, prompts=replace(_JUDGED, strays=2)),
    ),
)
