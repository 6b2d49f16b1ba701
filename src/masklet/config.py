"""All hyper-parameters of the model, as frozen dataclasses nested as the modules are nested.

Sizes that follow from others are properties. `model/build.py` is the only reader inside `model/`. The numbers of the
preset `sam3` are those of spec/image-model.md section 12 and spec/tracker.md section 1.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

from masklet.errors import ConfigError

T = TypeVar("T")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """The vision transformer."""

    image_size: int = 1008  # side of the square input, pixels
    patch_size: int = 14  # side of a patch, pixels
    width: int = 1024
    depth: int = 32
    heads: int = 16
    mlp_width: int = 4736
    window: int = 24  # side of an attention window, patches
    global_blocks: tuple[int, ...] = (7, 15, 23, 31)  # blocks that attend to the whole image
    pretrain_image_size: int = 336  # side for which the position table was made, pixels; the table is tiled
    norm_eps: float = 1e-5  # Meta's checkpoints 1e-5, Hugging Face's 1e-6: it belongs to the format
    rope_theta: float = 10000.0

    def __post_init__(self) -> None:
        _require(
            self.image_size % self.patch_size == 0,
            f"image_size must be a multiple of the patch size {self.patch_size}, got {self.image_size}",
        )
        _require(
            self.pretrain_image_size % self.patch_size == 0,
            f"pretrain_image_size must be a multiple of the patch size {self.patch_size}, "
            f"got {self.pretrain_image_size}",
        )
        _require(
            self.width % self.heads == 0,
            f"vision width {self.width} must be divisible by its heads {self.heads}",
        )
        _require(
            (self.width // self.heads) % 4 == 0,
            f"vision head width {self.width // self.heads} must be divisible by 4 (rotary positions)",
        )
        _require(self.width % 4 == 0, f"vision width must be divisible by 4 (neck), got {self.width}")
        _require(
            bool(self.global_blocks) and max(self.global_blocks) == self.depth - 1,
            f"the last vision block must be global: depth {self.depth}, global_blocks {self.global_blocks}",
        )

    @property
    def grid(self) -> int:
        """Patches along one side of the input."""
        return self.image_size // self.patch_size

    @property
    def pretrain_grid(self) -> int:
        """Side of the absolute position table."""
        return self.pretrain_image_size // self.patch_size


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The text encoder and its tokenizer."""

    width: int = 1024
    depth: int = 24
    heads: int = 16
    mlp_width: int = 4096
    context: int = 32  # tokens per phrase, start and end included
    merges: int = 48894  # how many of the byte-pair merges are used; fewer make a smaller vocabulary

    @property
    def vocabulary(self) -> int:
        """Number of token ids: 2 x 256 byte symbols, merges, start, end."""
        return 512 + self.merges + 2


@dataclass(frozen=True, kw_only=True)
class GeometryConfig:
    """The exemplar encoder."""

    depth: int = 3
    heads: int = 8
    mlp_width: int = 2048
    roi_size: int = 7
    points: bool = True  # weights for exemplar points: Meta's checkpoints have them, Hugging Face's do not
    cls_without_exemplars: bool = True  # run the summary token even when there are none (Meta); False: no token (HF)


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """The fusion encoder: image tokens attend to the prompt."""

    depth: int = 6
    heads: int = 8
    mlp_width: int = 2048


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """The object queries and their decoder."""

    depth: int = 6
    heads: int = 8
    mlp_width: int = 2048
    queries: int = 200
    presence_clamp: float | None = None  # Hugging Face clamps presence logits to +-10; Meta does not


@dataclass(frozen=True, kw_only=True)
class MaskDecoderConfig:
    """The tracker's mask decoder: prompt tokens and the image attend to each other."""

    depth: int = 2
    heads: int = 8
    mlp_width: int = 2048
    candidates: int = 3  # masks for a prompt that may mean several things, beside the one for a clear prompt


@dataclass(frozen=True, kw_only=True)
class MemoryEncoderConfig:
    """A mask and the image become a memory map."""

    width: int = 64  # channels of a memory map
    depth: int = 2  # blocks that fuse mask and image
    mlp_width: int = 1024


@dataclass(frozen=True, kw_only=True)
class MemoryAttentionConfig:
    """A frame reads what is remembered."""

    depth: int = 4
    mlp_width: int = 2048


@dataclass(frozen=True, kw_only=True)
class TrackerConfig:
    """The tracker: clicks on objects, and objects followed through time (spec/tracker.md 1)."""

    mask_decoder: MaskDecoderConfig = field(default_factory=MaskDecoderConfig)
    memory_encoder: MemoryEncoderConfig = field(default_factory=MemoryEncoderConfig)
    memory_attention: MemoryAttentionConfig = field(default_factory=MemoryAttentionConfig)
    maps: int = 7  # distances in time that a memory map may have: prompted, or 1 to 6 frames away
    pointers: int = 16  # object pointers that are read, those of prompted frames not counted
    conditioning_maps: int = 4  # maps of prompted frames that are read at most


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """What a predictor keeps when the caller does not say; not part of the network."""

    score_threshold: float = 0.5  # detections must score strictly more
    nms_iou: float | None = None  # mask overlap above which the weaker of two detections goes; None: keep both
    detections_lead: bool = False  # in video a mask is the detector's where detector and tracker agree
    masks_compete: bool = False  # in video a pixel is followed as one object's of a concept


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The whole model."""

    name: str = "sam3"
    width: int = 256  # channels of everything after the neck
    tracker_neck: bool = True  # second pyramid, for clicks and video
    tracker: TrackerConfig | None = None  # what reads the second pyramid
    vision: VisionConfig = field(default_factory=VisionConfig)
    video_image_size: int | None = None  # side of the square input for frames, pixels; None: `vision.image_size`
    text: TextConfig = field(default_factory=TextConfig)
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    scoring_mlp_width: int = 2048
    mask_heads: int = 8  # attention heads of the mask head's prompt attention
    selection: SelectionConfig = field(default_factory=SelectionConfig)

    def __post_init__(self) -> None:
        _require(self.width % 8 == 0, f"width must be divisible by 8 (group norm), got {self.width}")
        for part in ("geometry", "fusion", "decoder"):
            heads = getattr(self, part).heads
            _require(self.width % heads == 0, f"width {self.width} must be divisible by {part}.heads {heads}")
        _require(
            self.width % self.mask_heads == 0,
            f"width {self.width} must be divisible by mask_heads {self.mask_heads}",
        )
        _require(
            self.video_image_size is None
            or (self.video_image_size > 0 and self.video_image_size % self.vision.patch_size == 0),
            f"video_image_size must be a positive multiple of the patch size {self.vision.patch_size}, "
            f"got {self.video_image_size}",
        )
        if self.tracker is not None:
            _check_tracker(self.tracker, self.width, self.tracker_neck)

    def with_image_size(self, image_size: int) -> Self:
        """The same model for another input side (pixels, a multiple of the patch size), of pictures and frames."""
        return replace(self, vision=replace(self.vision, image_size=image_size), video_image_size=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionary, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; unknown names are errors."""
        return from_dict(cls, values, "config")


def _check_tracker(tracker: TrackerConfig, width: int, tracker_neck: bool) -> None:
    _require(tracker_neck, "a tracker needs tracker_neck, the pyramid that it reads")
    heads, memory_width = tracker.mask_decoder.heads, tracker.memory_encoder.width
    _require(width // 2 % heads == 0, f"half the width {width} must be divisible by tracker.mask_decoder.heads {heads}")
    _require(
        memory_width % 4 == 0 and width % memory_width == 0,
        f"tracker.memory_encoder.width must be divisible by 4 and divide the width {width}, got {memory_width}",
    )


def from_dict(kind: type[T], values: dict[str, Any], path: str) -> T:
    """A frozen dataclass of settings from a plain nested dictionary, the inverse of `dataclasses.asdict`.

    Args:
        kind: class.
        values: by field; what is absent keeps its default.
        path: what messages call the dictionary.

    Raises:
        ConfigError: an unknown name, or a value of another type.
    """
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    _require(not unknown, f"{path}: unknown names {unknown}; known are {sorted(hints)}")
    return kind(**{name: _from_plain(hints[name], value, f"{path}.{name}") for name, value in values.items()})


def _from_plain(hint: Any, value: Any, path: str) -> Any:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        (hint,) = (option for option in typing.get_args(hint) if option is not types.NoneType)
        if value is None:
            return None
    if dataclasses.is_dataclass(hint):
        _require(isinstance(value, dict), f"{path}: expected a table of settings, got {value!r}")
        return from_dict(typing.cast(type[Any], hint), value, path)
    if typing.get_origin(hint) is tuple:
        _require(isinstance(value, list | tuple), f"{path}: expected a list, got {value!r}")
        return tuple(value)
    if typing.get_origin(hint) is typing.Literal:
        choices = typing.get_args(hint)
        _require(value in choices, f"{path}: expected one of {', '.join(map(repr, choices))}, got {value!r}")
    if hint in (int, float, bool, str):
        fits = isinstance(value, (int, float) if hint is float else hint) and (
            hint is bool or not isinstance(value, bool)
        )
        _require(fits, f"{path}: expected {hint.__name__}, got {value!r}")
    return value


SAM3 = ModelConfig(tracker=TrackerConfig())

DEFAULT_TRACKER = TrackerConfig(
    mask_decoder=MaskDecoderConfig(mlp_width=512),
    memory_encoder=MemoryEncoderConfig(depth=1, mlp_width=512),
    memory_attention=MemoryAttentionConfig(depth=1, mlp_width=512),
    maps=4,
)
"""Of the preset `default`; `training.follow_task` trains it beside a finished detector."""

DEFAULT = ModelConfig(
    name="default",
    width=128,
    vision=VisionConfig(
        image_size=448,
        width=192,
        depth=8,
        heads=3,
        mlp_width=768,
        window=8,
        global_blocks=(3, 7),
        pretrain_image_size=112,
    ),
    text=TextConfig(width=128, depth=2, heads=4, mlp_width=512, context=16, merges=3582),
    geometry=GeometryConfig(depth=1, heads=2, mlp_width=512),
    fusion=FusionConfig(depth=2, heads=2, mlp_width=512),
    decoder=DecoderConfig(depth=3, heads=4, mlp_width=512, queries=40),
    scoring_mlp_width=512,
    mask_heads=4,
    tracker=DEFAULT_TRACKER,
    video_image_size=336,
    selection=SelectionConfig(nms_iou=0.5, detections_lead=True, masks_compete=True),
)

TEST = ModelConfig(
    name="test",
    width=16,
    vision=VisionConfig(
        image_size=84,
        width=16,
        depth=2,
        heads=2,
        mlp_width=24,
        window=4,
        global_blocks=(1,),
        pretrain_image_size=28,
    ),
    text=TextConfig(width=16, depth=1, heads=2, mlp_width=24, context=12, merges=64),
    geometry=GeometryConfig(depth=1, heads=2, mlp_width=24),
    fusion=FusionConfig(depth=1, heads=2, mlp_width=24),
    decoder=DecoderConfig(depth=2, heads=4, mlp_width=24, queries=12),
    scoring_mlp_width=24,
    mask_heads=2,
    tracker=TrackerConfig(
        mask_decoder=MaskDecoderConfig(heads=2, mlp_width=24),
        memory_encoder=MemoryEncoderConfig(width=4, depth=1, mlp_width=24),
        memory_attention=MemoryAttentionConfig(depth=1, mlp_width=24),
    ),
)

PRESETS: dict[str, ModelConfig] = {config.name: config for config in (SAM3, DEFAULT, TEST)}


def preset(name: str) -> ModelConfig:
    """The configuration called `name`: "sam3", "default" or "test".

    Raises:
        ConfigError: there is no such preset.
    """
    _require(name in PRESETS, f"preset must be one of {sorted(PRESETS)}, got {name!r}")
    return PRESETS[name]
