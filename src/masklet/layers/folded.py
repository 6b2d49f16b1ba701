"""What is made of parameters alone, such as two linear layers multiplied into one: kept until a parameter changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Folded(Generic[T]):
    """Keeps one value. It is neither copied nor pickled with the module that holds it.

    Where gradients may be wanted nothing is kept, nor of parameters that do not count their changes, which are those
    made in `torch.inference_mode`.
    """

    def __init__(self) -> None:
        self._kept: tuple[tuple[object, ...], tuple[Tensor, ...], T] | None = None

    def __reduce__(self) -> tuple[type[Folded[T]], tuple[()]]:
        return (type(self), ())

    def of(self, parameters: Sequence[Tensor], make: Callable[[], T]) -> T:
        """What `make` gives, which depends on nothing but the parameters."""
        if torch.is_grad_enabled() or any(one.is_inference() for one in parameters):
            return make()
        state = tuple((one.data_ptr(), one._version, one.dtype, one.device) for one in parameters)
        kept = self._kept  # once: another thread may replace it
        if kept is None or kept[0] != state:
            # Holding on to what it was made of, so that no other tensor can come to lie there.
            kept = self._kept = (state, tuple(one.detach() for one in parameters), make())
        return kept[2]
