"""Optimisers: Muon for the matrices inside blocks, AdamW for everything else; two rates.

Muon (Jordan et al. 2024, in PyTorch since 2.9) turns the momentum of a matrix into the nearest orthogonal one. Its
steps are scaled so that one learning rate serves both optimisers ("match_rms_adamw", Liu et al. 2025).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_BETAS = (0.9, 0.98)
_BLOCKS = (".blocks.", ".layers.")  # matrices of repeated blocks are Muon's
# What dense recognition trains; later stages may give it a rate of its own.
_RECOGNITION = ("vision_encoder.", "text_encoder.", "neck.levels.2.", "fusion_encoder.layers.0.prompt_attention.qkv")


class Optimizers:
    """Both optimisers as one.

    Args:
        modules: name prefix -> module; every parameter that needs a gradient is trained.
        weight_decay: of matrices and convolutions; embeddings, biases and norms have none.
    """

    def __init__(self, modules: dict[str, nn.Module], *, weight_decay: float) -> None:
        groups: dict[tuple[str, bool, bool], list[nn.Parameter]] = {}
        for prefix, module in modules.items():
            for name, parameter in module.named_parameters():
                if parameter.requires_grad:
                    groups.setdefault(_kind(prefix + name, parameter), []).append(parameter)

        def rows(wanted: str) -> list[dict[str, Any]]:
            return [
                {"params": parameters, "weight_decay": weight_decay if decays else 0.0, "recognition": recognition}
                for (kind, decays, recognition), parameters in groups.items()
                if kind == wanted
            ]

        self._parts: list[torch.optim.Optimizer] = [torch.optim.AdamW(rows("adamw"), betas=_BETAS)]
        if rows("muon"):
            self._parts.append(torch.optim.Muon(rows("muon"), adjust_lr_fn="match_rms_adamw"))

    @property
    def parameters(self) -> Iterable[nn.Parameter]:
        """All trained parameters."""
        return (parameter for part in self._parts for group in part.param_groups for parameter in group["params"])

    def clip(self, most: float) -> Tensor:
        """Limits the norm of all gradients together; gives what it was, scalar."""
        return nn.utils.clip_grad_norm_(self.parameters, most)

    def step(self, *, rate: float, recognition_rate: float) -> None:
        """One step with the gradients that are there, which are gone then; parameters without one stay.

        Args:
            rate: learning rate.
            recognition_rate: of what dense recognition has trained.
        """
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = recognition_rate if group["recognition"] else rate
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        """State of both."""
        return [part.state_dict() for part in self._parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """The inverse of `state_dict`."""
        for part, state in zip(self._parts, states, strict=True):
            part.load_state_dict(state)


def _kind(name: str, parameter: nn.Parameter) -> tuple[str, bool, bool]:
    """Optimiser, whether it decays, whether recognition trains it."""
    muon = parameter.ndim == 2 and any(part in name for part in _BLOCKS) and "embedding" not in name
    decays = parameter.ndim >= 2 and not any(part in name for part in ("embedding", "position", "reference_boxes"))
    return "muon" if muon else "adamw", decays, name.startswith(_RECOGNITION)
