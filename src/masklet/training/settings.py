"""Settings of a fine-tuning run: one small TOML file, every name typed, every default the released one.

base = "default"                    # or sam3.pt, a Hugging Face folder, a native file
adapt = "full"                      # or "lora", "heads", "no-vision", "no-text", "no-encoders"

[train]
path = "labels/annotations.json"    # COCO, SA-Co, YOLO or a folder of masks

[validation]
path = "labels/held_out.json"

[run]
steps = 500
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from masklet.config import from_dict
from masklet.data.transforms import Augmentation
from masklet.errors import ConfigError
from masklet.losses.total import LossWeights
from masklet.training.groups import Rates
from masklet.training.lora import LoraSettings
from masklet.training.samples import PromptSampling

_NO_MASKS = {"mask_focal": 0.0, "mask_dice": 0.0, "semantic_focal": 0.0, "semantic_dice": 0.0}

PRESETS: dict[str, dict[str, Any]] = {
    # Released for Roboflow-100-VL: boxes only, 20 rounds through 100 pictures, one picture on each of two devices.
    "rf100vl": {
        "weights": {**_NO_MASKS, "pos_weight": 10.0},
        "prompts": {"shown": 0.0, "shown_too": 0.0},
        "run": {"masks": False},
    },
    # Released for ODinW-13, ten examples a class: the same with another weight of matched queries, and 40 rounds.
    "odinw": {
        "weights": {**_NO_MASKS, "pos_weight": 5.0},
        "prompts": {"shown": 0.0, "shown_too": 0.0},
        "run": {"masks": False, "epochs": 40},
    },
    # The original training's third stage (paper): corrections, rates of the second stage times 0.025. The second one
    # had no presence token and is left out.
    "paper-stage3": {
        "weights": {"classification": 100.0, "presence": 20.0, "semantic_focal": 0.0, "semantic_dice": 0.0},
        "rates": {"vision": 1.25e-5, "text": 2.5e-6, "rest": 2.5e-5},
        "prompts": {"rounds": 5},
        "run": {"warmup": 5000, "cooldown": 5000},
    },
}
"""Published settings (spec/training.md 6.8, 7.2, 8) as what differs from the defaults here."""

Adapt = Literal["full", "lora", "heads", "no-vision", "no-text", "no-encoders"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Labelled pictures; see `data.open.open_dataset`.

    Attributes:
        path: file or folder, relative to the settings' file.
        format: "coco", "saco", "yolo" or "masks"; None recognises it.
        pictures: folder of the pictures; None is beside the labels.
        negatives: which concepts are known to be absent: "all", "listed" or "none"; None is the format's choice.
        split: for yolo.
    """

    path: str
    format: Literal["coco", "saco", "yolo", "masks"] | None = None
    pictures: str | None = None
    negatives: Literal["all", "listed", "none"] | None = None
    split: str | None = None


@dataclass(frozen=True, kw_only=True)
class Replay(Source):
    """Labelled pictures of what the base model knows, seen now and then so that it is not forgotten.

    Attributes:
        share: of all pictures that the run sees, above 0 and below 1.
    """

    share: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ConfigError(f"replay.share must be above 0 and below 1, got {self.share}")


@dataclass(frozen=True, kw_only=True)
class Run:
    """How long, and how much at a time.

    Attributes:
        steps: of the run; 0 takes them from `epochs`.
        epochs: rounds through the data to learn from where `steps` is 0; 20 as released for small data sets.
        images: pictures that go through the model together.
        batches: of a step, whose gradients are averaged; for more pictures a step than memory holds.
        warmup: steps in which the rate rises.
        timescale: steps after that in which it falls to 1 / sqrt(2).
        cooldown: steps at the end in which it falls to 0.
        clip: greatest gradient norm.
        ema: decay of the averaged weights that are kept, 0..1; 0 keeps the last ones.
        one_to_many: whether the duplicated queries are trained too.
        masks: whether masks are trained; without them a step needs far less memory.
        image_size: side of the model's input, pixels; None is the model's own.
        validate_every: steps between two validations.
        checkpointing: compute what is inside the blocks again when their gradients are wanted, instead of keeping it:
            a third slower, with a fraction of the memory.
        workers: processes that read pictures.
        tensorboard: also write curves for TensorBoard, into the folder of the run.
        seed: of all that is random.
    """

    steps: int = 0
    epochs: int = 20
    images: int = 1
    batches: int = 1
    warmup: int = 20
    timescale: int = 20
    cooldown: int = 20
    clip: float = 0.1
    ema: float = 0.0
    one_to_many: bool = True
    masks: bool = True
    image_size: int | None = None
    validate_every: int = 200
    checkpointing: bool = False
    workers: int = 1
    tensorboard: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        least = dict.fromkeys(("epochs", "images", "batches", "validate_every"), 1)
        least |= dict.fromkeys(("steps", "workers", "warmup", "cooldown", "seed"), 0)
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ConfigError(f"run.{name} must be at least {value}, got {getattr(self, name)}")
        if self.timescale < 1 or not self.clip > 0 or not 0 <= self.ema < 1:
            raise ConfigError(
                f"run: expected timescale >= 1, clip above 0 and ema in 0..1 (exclusive), got {self.timescale}, "
                f"{self.clip} and {self.ema}"
            )


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Everything about a fine-tuning run.

    Attributes:
        train: what is learned from.
        validation: what tells how good it is, never learned from; None measures nothing.
        replay: what shall not be forgotten, mixed in; None learns from `train` alone.
        base: the model to start from: a checkpoint's file or folder, or a name.
        adapt: what may change: "full" all; "lora" an adapter of the linear layers; "heads" scores, boxes, presence and
            masks only; "no-vision", "no-text" or "no-encoders" all but the encoders named.
        lora: shape of the adapter, for "lora" only.
        prompts: what is asked of each picture.
        augment: how pictures vary.
        rates: learning rates of the parts.
        weights: of the losses.
        run: steps and sizes.
    """

    train: Source
    validation: Source | None = None
    replay: Replay | None = None
    base: str = "default"
    adapt: Adapt = "full"
    lora: LoraSettings = field(default_factory=LoraSettings)
    prompts: PromptSampling = field(default_factory=PromptSampling)
    augment: Augmentation = field(default_factory=Augmentation)
    rates: Rates = field(default_factory=Rates)
    weights: LossWeights = field(default_factory=LossWeights)
    run: Run = field(default_factory=Run)

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionary, ready for JSON."""
        return dataclasses.asdict(self)


def read_settings(path: Path, changes: Sequence[str] = ()) -> TrainSettings:
    """The settings in a file.

    Args:
        path: TOML.
        changes: `name.name=value` each, value in TOML or plain text; they win over the file.

    Raises:
        ConfigError: not TOML, an unknown name, a value of another type or out of range, no training data.
    """
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: expected a settings file, it cannot be read ({error.strerror})") from error
    except ValueError as error:  # also wrong UTF-8
        raise ConfigError(f"{path}: expected TOML, got something else ({error})") from error
    for change in changes:
        _change(values, change)
    values = _merged(_preset(values.pop("preset", None)), values)
    if "train" not in values:
        raise ConfigError(f'{path}: expected a table [train] with path = "LABELS", got none; say what to learn from')
    return from_dict(TrainSettings, values, "settings")


def _preset(name: object) -> dict[str, Any]:
    if name is not None and name not in PRESETS:
        raise ConfigError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}; leave it out for the defaults")
    return {} if name is None else PRESETS[str(name)]


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Both, table by table; `above` wins."""
    both = below | above
    for name in below.keys() & above.keys():
        if isinstance(below[name], dict) and isinstance(above[name], dict):
            both[name] = _merged(below[name], above[name])
    return both


def _change(values: dict[str, Any], change: str) -> None:
    name, equals, text = change.partition("=")
    *tables, last = name.strip().split(".")
    if not equals or not last:
        raise ConfigError(f"--set: expected NAME=VALUE such as run.steps=100, got {change!r}")
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # a word without quotes
    for table in tables:
        inner = values.setdefault(table, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set: {table} in {change!r} is a value and no table of settings")
        values = inner
    values[last] = value
