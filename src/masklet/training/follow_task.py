"""Training the tracker of a model that detects already, by clips of the synthetic world: a task for the loop."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from masklet.config import DEFAULT_TRACKER, TrackerConfig, preset
from masklet.errors import ConfigError
from masklet.layers.attention import ProjectedAttention
from masklet.losses.tracker import TrackerWeights
from masklet.model.build import build_model
from masklet.model.detector import Detector
from masklet.synthetic.sprites import SpriteSheet
from masklet.training.clip_batches import ClipBatch, ClipBatchMaker
from masklet.training.distributed import Processes
from masklet.training.follow import FollowSteps, follow_loss
from masklet.training.groups import TRACKER, learn_only
from masklet.training.staged_task import SEEDS_PER_STAGE, StagedTask
from masklet.training.stages import Schedule, StagedRecipe


@dataclass(frozen=True, kw_only=True)
class FollowStage(Schedule):
    """A part of a run of `FollowTask`.

    Attributes:
        follow: what its steps are.
    """

    follow: FollowSteps = field(default_factory=FollowSteps)


@dataclass(frozen=True, kw_only=True)
class FollowRecipe(StagedRecipe[FollowStage]):
    """A whole run of `FollowTask`; `preset` is that of the detector.

    Attributes:
        tracker: what is trained.
        parts: a step has so many batches whose gradients are averaged; processes share them.
    """

    tracker: TrackerConfig
    parts: int = 2


_FINE_CLICKS = FollowSteps(
    clips=3,
    frames=1,
    objects=5,
    repeats=2,
    masks=0.0,
    boxes=0.25,
    corrections=1,
    later=0.0,
    weights=TrackerWeights(quality=2.0, spread=0.3),
)

DEFAULT_TRACKER_RECIPE = FollowRecipe(
    preset="default",
    tracker=DEFAULT_TRACKER,
    stages=(
        FollowStage(
            name="click",
            steps=800,
            rate=1e-3,
            follow=FollowSteps(clips=6, frames=1, masks=0.0, boxes=0.4, corrections=1, later=0.0),
        ),
        FollowStage(
            name="follow shortly",
            steps=1000,
            rate=8e-4,
            follow=FollowSteps(clips=3, frames=3, masks=0.6, boxes=0.2, corrections=1, later=0.0),
        ),
        FollowStage(
            name="click again",
            steps=1300,
            rate=1e-3,
            warmup=50,
            follow=FollowSteps(clips=6, frames=1, objects=5, repeats=2, masks=0.0, boxes=0.3, corrections=1, later=0.0),
        ),
        FollowStage(name="follow", steps=700, image_size=336, rate=8e-4, warmup=50, follow=FollowSteps(frames=4)),
        FollowStage(
            name="follow finely",
            steps=180,
            image_size=448,
            rate=4e-4,
            warmup=50,
            tail=1.0,
            final=0.0,
            follow=FollowSteps(clips=1, frames=4, repeats=2),
        ),
        FollowStage(
            name="click finely",
            steps=600,
            image_size=448,
            rate=8e-4,
            warmup=50,
            follow=_FINE_CLICKS,
        ),
        FollowStage(
            name="follow long",
            steps=500,
            rate=6e-4,
            warmup=50,
            follow=FollowSteps(clips=2, weights=TrackerWeights(spread=0.2)),
        ),
        FollowStage(
            name="follow long finely",
            steps=200,
            image_size=448,
            rate=4e-4,
            warmup=50,
            tail=1.0,
            final=0.0,
            follow=FollowSteps(clips=1, frames=6, weights=TrackerWeights(spread=0.2)),
        ),
        FollowStage(
            name="click as in films",
            steps=400,
            image_size=336,
            rate=6e-4,
            warmup=50,
            follow=_FINE_CLICKS,
        ),
        FollowStage(
            name="follow as in films",
            steps=1200,
            image_size=336,
            rate=6e-4,
            warmup=50,
            tail=0.7,
            final=0.0,
            follow=FollowSteps(clips=1, objects=4, masks=0.3, weights=TrackerWeights(quality=2.0, spread=0.2)),
        ),
    ),
)


class FollowTask(StagedTask[FollowRecipe]):
    """The tracker of a model; all else stays as it is.

    Its neck is the detector's with levels of unit variance (`copy_neck`) and does not learn; the rest begins at random,
    but for what reads memory (`match_memory`).

    Args:
        recipe: what to train.
        base: the detector, of the recipe's preset with or without a tracker; it is not changed.
        device: where the model stands.
        sheet: sprites; None takes the installed font's.
        processes: that train together; None is this one alone.

    Raises:
        ConfigError: the detector is not of the recipe's preset, or the parts of a step cannot be shared evenly.
    """

    material = "clips"

    def __init__(
        self,
        recipe: FollowRecipe,
        base: Detector,
        *,
        device: torch.device,
        sheet: SpriteSheet | None = None,
        processes: Processes | None = None,
    ) -> None:
        processes = Processes() if processes is None else processes
        if recipe.parts % processes.world_size:
            raise ConfigError(
                f"the {recipe.parts} parts of a step cannot be shared by {processes.world_size} processes; start "
                f"as many as divide {recipe.parts}"
            )
        config = replace(preset(recipe.preset), tracker_neck=True, tracker=recipe.tracker)
        if replace(base.config, tracker_neck=True, tracker=None) != replace(config, tracker=None):
            raise ConfigError(f"expected a detector of the preset {config.name!r}, got one with another configuration")
        model = build_model(config, seed=recipe.seed)
        own = {name: value for name, value in base.state_dict().items() if not name.startswith(TRACKER)}
        model.load_state_dict({**model.state_dict(), **own})
        learn_only(model, lambda name: name.startswith("tracker."))
        self._batches = _Steps(recipe, ClipBatchMaker(config.vision.patch_size, sheet), processes)
        copy_neck(model, self._batches.part(0, 0).pixels.flatten(0, 1))
        match_memory(model, seed=recipe.seed)
        super().__init__(recipe, model.to(device).train())

    def batches(self) -> Dataset[tuple[ClipBatch, ...]]:
        """Of every step; see `Task`."""
        return self._batches

    def loss(self, batch: ClipBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Of all answers to the clips; see `Task`."""
        stage, _ = self.recipe.locate(step)
        # What a user does in a part is the same whoever has it, and as much in all parts: processes wait for others.
        torch.manual_seed(batch.seed // self.recipe.parts)
        return follow_loss(self.model, batch, stage.follow)


@torch.no_grad()
def copy_neck(model: Detector, pixels: Tensor) -> None:
    """Makes the tracker's neck the detector's, every level divided by its standard deviation.

    The detector's levels are far stronger than the places of clicks and the masks of memory that are added to them.
    So would levels be that learn: they grow until nothing that is added counts, and what is remembered is not read.

    Args:
        model: on the CPU.
        pixels: (B, 3, R, R) on which the deviation is measured.
    """
    assert model.tracker_neck is not None
    model.tracker_neck.load_state_dict(model.neck.state_dict())
    levels = model.tracker_neck(model.vision_encoder(pixels))
    for part, level in zip(model.tracker_neck.levels, levels, strict=True):
        deviation = level.std()
        for parameter in part.smooth.parameters():  # type: ignore[union-attr]  # a NeckLevel in a ModuleList
            parameter /= deviation


@torch.no_grad()
def match_memory(model: Detector, *, seed: int) -> None:
    """Lets a frame read memory where both look alike, from the first step on.

    Queries are projected as the memory encoder projects the frame, then both by the same random orthogonal matrix; with
    random projections all places are read alike, and masks of memory become a number.
    """
    assert model.tracker is not None
    encoder, generator = model.tracker.memory_encoder, torch.Generator().manual_seed(seed)
    remembered = encoder.project.weight[:, :, 0, 0] @ encoder.image_project.weight[:, :, 0, 0]  # (Cm, C)
    for layer in model.tracker.memory_attention.layers:
        attention: ProjectedAttention = layer.memory_attention  # type: ignore[assignment]  # a MemoryLayer in a ModuleList
        nn.init.orthogonal_(attention.k.weight, generator=generator)
        attention.q.weight.copy_(attention.k.weight @ remembered)


class _Steps(Dataset[tuple[ClipBatch, ...]]):
    """The parts of every step of a recipe that are this process's."""

    def __init__(self, recipe: FollowRecipe, maker: ClipBatchMaker, processes: Processes) -> None:
        self.recipe = recipe
        self.maker = maker
        self.processes = processes

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> tuple[ClipBatch, ...]:
        own = range(self.processes.rank, self.recipe.parts, self.processes.world_size)
        return tuple(self.part(step, number) for number in own)

    def part(self, step: int, number: int) -> ClipBatch:
        """Number 0 .. parts - 1."""
        stage, stage_step = self.recipe.locate(step)
        follow = stage.follow
        return self.maker.clips(
            (self.recipe.stages.index(stage) * SEEDS_PER_STAGE + stage_step) * self.recipe.parts + number,
            clips=follow.clips,
            frames=follow.frames,
            objects=follow.objects,
            size=stage.image_size,
            repeats=follow.repeats,
            meeting=follow.meeting,
        )
