"""Which parameters learn at which rate and with how much decay, as released (spec/training.md 7.2).

Three parts have base rates of their own: everything that sees the picture, the text encoder, and the rest. Inside the
vision encoder the rate falls from block to block towards the input; its position table is the exception and learns at
the full rate of its part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

VISION = ("vision_encoder.", "neck.", "tracker_neck.")
TEXT = ("text_encoder.",)
TRACKER = ("tracker.", "tracker_neck.")
"""Only clicks and clips teach these."""
_TRUNK = "vision_encoder."
_WRAPPED = "_checkpoint_wrapped_module."  # PyTorch's, around blocks that are computed again in the backward pass
_BLOCKS = _TRUNK + "blocks."
_TRUNK_INPUT = (_TRUNK + "patch_embed.", _TRUNK + "norm_in.")
_FULL_RATE = (_TRUNK + "position",)


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Base learning rates of AdamW; the defaults are those released for fine-tuning.

    Attributes:
        vision: vision encoder and necks.
        text: text encoder.
        rest: everything else.
        layer_decay: factor from each vision block to the one before it, 0..1; 1: all blocks alike.
        weight_decay: of everything but biases and layer norms.
    """

    vision: float = 2.5e-5
    text: float = 5e-6
    rest: float = 8e-5
    layer_decay: float = 0.9
    weight_decay: float = 0.1

    def times(self, factor: float) -> Rates:
        """The same with all three base rates multiplied."""
        return replace(self, vision=self.vision * factor, text=self.text * factor, rest=self.rest * factor)


def learning_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that need a gradient, by the names that they have in `model.state_dict()`."""
    return {unwrapped(name): each for name, each in model.named_parameters() if each.requires_grad}


def learn_only(model: nn.Module, chosen: Callable[[str], bool]) -> None:
    """Keeps all parameters as they are but those whose names are chosen; what never learns stays out anyway."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and chosen(name))


def unwrapped(name: str) -> str:
    """The name of a parameter in `state_dict()`, from that in `named_parameters()`."""
    return name.replace(_WRAPPED, "")


def parameter_groups(model: nn.Module, rates: Rates, *, vision_depth: int) -> list[dict[str, Any]]:
    """Groups for an optimiser: "params", "names", "base_lr", "lr" and "weight_decay" of each.

    Every parameter that needs a gradient is in exactly one; frozen ones are in none. Groups and the names in them are
    in a fixed order, so that the state of an optimiser fits after a restart.

    Args:
        model: whose names are those of `Detector`.
        rates: base rates.
        vision_depth: blocks of the vision encoder.
    """
    undecayed = {
        f"{name}.{own}" if name else own
        for name, module in model.named_modules()
        if isinstance(module, nn.LayerNorm)
        for own, _ in module.named_parameters(recurse=False)
    }
    groups: dict[tuple[float, float], list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in sorted(model.named_parameters()):
        if parameter.requires_grad:
            decay = 0.0 if "bias" in name or name in undecayed else rates.weight_decay
            groups.setdefault((base_rate(name, rates, vision_depth=vision_depth), decay), []).append((name, parameter))
    return [
        {
            "params": [parameter for _, parameter in members],
            "names": [name for name, _ in members],
            "base_lr": rate,
            "lr": rate,
            "weight_decay": decay,
        }
        for (rate, decay), members in sorted(groups.items(), key=lambda item: item[0])
    ]


def base_rate(name: str, rates: Rates, *, vision_depth: int) -> float:
    """Base learning rate of a parameter of `Detector`."""
    if name.startswith(TEXT):
        return rates.text
    if not name.startswith(VISION):
        return rates.rest
    if not name.startswith(_TRUNK) or name.startswith(_FULL_RATE):
        return rates.vision
    return float(rates.vision * rates.layer_decay ** (vision_depth + 1 - _layer(name, vision_depth)))


def _layer(name: str, depth: int) -> int:
    """0 for the input, k + 1 for block k, depth + 1 for what follows the blocks."""
    if name.startswith(_TRUNK_INPUT):
        return 0
    return int(name.removeprefix(_BLOCKS).partition(".")[0]) + 1 if name.startswith(_BLOCKS) else depth + 1


def set_rates(groups: Iterable[dict[str, Any]], factor: float) -> None:
    """Gives every group `factor` times its base rate."""
    for group in groups:
        group["lr"] = group["base_lr"] * factor
