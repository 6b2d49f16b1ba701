"""LoRA: frozen matrices learn W + (alpha / rank) B A, with far fewer numbers than they have (arXiv 2106.09685).

PyTorch modules are adapted by the package peft; what is kept is a file of its own, see checkpoint/adapter.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from masklet.checkpoint.adapter import Adapter, fingerprint
from masklet.errors import ConfigError, MissingExtraError
from masklet.layers.attention import QkvProjection
from masklet.model.detector import Detector
from masklet.training.groups import unwrapped

PARTS = (
    "vision_encoder",
    "text_encoder",
    "geometry_encoder",
    "fusion_encoder",
    "decoder",
    "scoring",
    "mask_head",
)
_NAME = "masklet"  # peft keeps adapters by name
_DOWN, _UP, _BASE = f".lora_A.{_NAME}.weight", f".lora_B.{_NAME}.weight", ".base_layer"


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """How an adapter is shaped.

    Attributes:
        rank: r of the matrices A (r, in) and B (out, r).
        alpha: B A counts alpha / rank times.
        dropout: share of the inputs of A that is left out at random, 0..1.
        rate: learning rates are this many times those of `rates`: B starts at 0 and has a long way to go.
        parts: of the model; all their linear layers are adapted.
    """

    rank: int = 8
    alpha: int = 8
    dropout: float = 0.0
    rate: float = 10.0
    parts: tuple[str, ...] = PARTS

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.alpha > 0 or not self.rate > 0 or not 0 <= self.dropout < 1:
            raise ConfigError(
                f"lora: expected rank >= 1, alpha and rate above 0 and dropout in 0..1 (exclusive), got {self.rank}, "
                f"{self.alpha}, {self.rate} and {self.dropout}"
            )
        unknown = sorted(set(self.parts) - set(PARTS))
        if unknown or not self.parts:
            raise ConfigError(f"lora.parts: expected some of {', '.join(PARTS)}, got {list(self.parts)}")


def add_lora(model: Detector, settings: LoraSettings) -> None:
    """Adapts the linear layers of a model in place; nothing else learns any more.

    Raises:
        MissingExtraError: peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.lora import Linear as LoraLinear
    except ImportError:
        raise MissingExtraError("peft", "train") from None

    class LoraQkv(LoraLinear):
        """Knows that only some of q, k and v may be wanted."""

        def forward(self, x: Tensor, first: int = 0, last: int = 3) -> Tensor:
            own: Any = self  # modules by name, whose types are lost in PyTorch's dictionaries
            down, up = own.lora_A[_NAME].weight, own.lora_B[_NAME].weight
            change = F.linear(F.linear(own.lora_dropout[_NAME](x), down), up[own.base_layer.rows(first, last)])
            result: Tensor = own.base_layer(x, first, last) + change * own.scaling[_NAME]
            return result

    chosen = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.partition(".")[0] in settings.parts
    ]
    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=chosen
    )
    config._register_custom_module({QkvProjection: LoraQkv})
    inject_adapter_in_model(config, model, adapter_name=_NAME)


def plain_name(name: str) -> str:
    """The name that a parameter of an adapted model has in the model as it was."""
    return unwrapped(name).replace(_BASE, "")


def is_added(name: str) -> bool:
    """Whether a parameter belongs to the adapter."""
    return name.endswith((_DOWN, _UP))


def adapter_of(model: Detector, values: Mapping[str, Tensor], settings: LoraSettings, base: str) -> Adapter:
    """What has been learned.

    Args:
        model: that was adapted.
        values: tensors of the adapter by the names of the model's parameters; for example averages.
        settings: of the adapter.
        base: what the model was called before.
    """
    frozen = {plain_name(name): parameter for name, parameter in model.named_parameters() if not is_added(name)}
    pairs = {
        name.removesuffix(_DOWN) + ".weight": (value, values[name.removesuffix(_DOWN) + _UP])
        for name, value in values.items()
        if name.endswith(_DOWN)
    }
    return Adapter(
        config=model.config,
        base=base,
        fingerprint=fingerprint(pairs, frozen.__getitem__),
        scale=settings.alpha / settings.rank,
        pairs=pairs,
    )


def without_lora(model: Detector, adapter: Adapter) -> dict[str, Tensor]:
    """The state of a plain model that does the same: frozen parameters, with the adapter added."""
    state = {plain_name(name): value for name, value in model.state_dict().items() if not is_added(name)}
    return {name: value + adapter.change(name) if name in adapter.pairs else value for name, value in state.items()}
