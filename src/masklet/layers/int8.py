"""Linear layers whose products are of 8-bit integers, for processors that have instructions for it.

Weights have one scale for each output channel, fixed when the layer is made; what comes in has one for each token,
found anew each time, so that a picture's result does not depend on what is computed beside it, and one loud token does
not blur the others (docs/decisions/0022-int8.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from masklet.errors import InputError

_WEIGHT_LEVELS = 127
# The factor that brings a token's largest number here is rounded to bfloat16, up by 0.4 % at most: 126.5 still fits.
_TOKEN_LEVELS = 126
_LEAST = 1e-20  # of a largest number: where all are 0, so is what comes out
_ZERO = 128  # of unsigned numbers: the kernel multiplies unsigned tokens by signed weights
_PACKED_FOR_TOKENS = 1728  # weights are packed for about so many at once; others are right, too


class Int8Linear(nn.Module):
    """Takes the place of an `nn.Linear` that is not trained.

    Args:
        linear: is not changed.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1).clamp_min(_LEAST) / _WEIGHT_LEVELS  # (out,)
        numbers = (weight / scale[:, None]).round_().to(torch.int8)
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self._packed = torch.ops.onednn.qlinear_prepack(numbers, [_PACKED_FOR_TOKENS, linear.in_features])
        self._scale = scale
        self._zeros = torch.zeros(linear.out_features, dtype=torch.int64)
        self._bias = None if linear.bias is None else linear.bias.detach().clone()

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out), in the number format of `x`.

        Raises:
            InputError: gradients of `x` are wanted; there are none.
        """
        if torch.is_grad_enabled() and x.requires_grad:
            raise InputError("a model in int8 cannot be trained: load it with dtype='float32'")
        tokens = x.reshape(-1, self.in_features)
        factor = _TOKEN_LEVELS / tokens.abs().amax(1, keepdim=True).clamp_min(_LEAST)
        signed = torch.mul(tokens, factor).round_().to(torch.int8)
        unsigned = signed.view(torch.uint8).bitwise_xor_(_ZERO)  # adds 128: to uint8 directly takes five times as long
        out = torch.ops.onednn.qlinear_pointwise(
            unsigned, 1.0, _ZERO, self._packed, self._scale, self._zeros, None, 1.0, 0, x.dtype, "none", [], ""
        )
        out = out.div_(factor) if self._bias is None else torch.addcdiv(self._bias, out, factor, out=out)
        return out.unflatten(0, x.shape[:-1])

    def _save_to_state_dict(self, destination: Mapping[str, Any], prefix: str, keep_vars: bool) -> None:
        raise InputError(
            f"{prefix.removesuffix('.')}: weights in int8 cannot be saved; load the model with another dtype for that"
        )
