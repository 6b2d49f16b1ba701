"""Multi-head attention; `attend` is the only caller of attention kernels.

Two kernels give the same numbers: PyTorch's `scaled_dot_product_attention`, and plain products in blocks that stay in
cache. In bfloat16 on processors without AMX the products are twice as fast, with AMX they are not, so a short
measurement on first use decides (docs/decisions/0006-attention-kernel.md).
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Kernel = Literal["fused", "products"]

# Scores of one block, 3 MB of bfloat16, for all three of its passes: of 5184 keys 288 rows at once take 0.88 of the
# time of 576; of a window of 576 all rows go together.
_BLOCK_SCORES = 1_500_000
_MEASURED_TOKENS = 576
_SMALL_SCORES = 1 << 20
# Many windows with so few scores each go together: a call for each costs more than its numbers.
_WINDOW_SCORES = 1 << 14
# With fewer of them the fused kernel is the faster one, unless gradients are wanted: its backward pass is slow.
_FEW_QUERIES, _FEW_KEYS = 32, 64

_forced_kernel: ContextVar[Kernel | None] = ContextVar("forced_kernel", default=None)


@contextlib.contextmanager
def use_kernel(kernel: Kernel | None) -> Iterator[None]:
    """Within this scope every attention runs on `kernel`; None gives the choice back. For tests and benchmarks."""
    token = _forced_kernel.set(kernel)
    try:
        yield
    finally:
        _forced_kernel.reset(token)


def attend(
    query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Softmax attention.

    Args:
        query: (P, heads, Tq, d).
        key: (P, heads, Tk, d).
        value: (P, heads, Tk, d).
        mask: broadcastable to (P, heads, Tq, Tk); bool (True = may be attended to) or numbers that are added to the
            scaled scores. No row may be masked wholly.
        scale: of the scores; None is 1/sqrt(d).

    Returns:
        (P, heads, Tq, d).
    """
    if _choose_kernel(query, key, value) == "products":
        if scale != 1.0:
            query = query * (query.shape[-1] ** -0.5 if scale is None else scale)
        return _attend_by_products(query, key, value, mask)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)


def attend_and_merge(query: Tensor, key: Tensor, value: Tensor, *, scale: float | None = None) -> Tensor:
    """`attend` without a mask, then `merge_heads`: (P, Tq, heads * d). Where it is compiled a single step."""
    if torch.compiler.is_compiling() and query.device.type == "cpu" and not _wants_gradient(query, key, value):
        out: Tensor = torch.ops.masklet.attend_and_merge(query, key, value, scale)
        return out
    return merge_heads(attend(query, key, value, scale=scale))


def _attend_and_merge_now(query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    return merge_heads(attend(query, key, value, scale=scale)).contiguous()


def _attend_and_merge_shape(query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    batch, heads, rows, _ = query.shape
    return query.new_empty(batch, rows, heads * value.shape[-1])


# What a compiler makes of the blocks above is slower than they are, and measuring kernels cannot be compiled. Operators
# live as long as the process, also when a program imports this file anew.
if not hasattr(torch.ops.masklet, "attend_and_merge"):
    _library = torch.library.Library("masklet", "DEF")
    _library.define("attend_and_merge(Tensor query, Tensor key, Tensor value, float? scale) -> Tensor")
    _library.impl("attend_and_merge", _attend_and_merge_now, "CPU")
    torch.library.register_fake("masklet::attend_and_merge", _attend_and_merge_shape, lib=_library)


def _choose_kernel(query: Tensor, key: Tensor, value: Tensor) -> Kernel:
    if torch.compiler.is_compiling():  # which knows no context variables, and cannot measure
        return "fused"
    forced = _forced_kernel.get()
    if forced is not None:
        return forced
    if query.device.type != "cpu" or query.dtype != torch.bfloat16:
        return "fused"
    if (query.shape[-2] < _FEW_QUERIES or key.shape[-2] < _FEW_KEYS) and not _wants_gradient(query, key, value):
        return "fused"
    return _faster_kernel_for_bfloat16()


def _wants_gradient(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


@functools.cache
def _faster_kernel_for_bfloat16() -> Kernel:
    """Times both kernels once on one layer of windows (about 30 ms) and returns the faster."""
    with torch.inference_mode():
        query = torch.full((2, 8, _MEASURED_TOKENS, 64), 0.1, dtype=torch.bfloat16)  # draws no random numbers
        seconds: dict[Kernel, float] = {}
        kernels: tuple[Kernel, ...] = ("fused", "products")
        for kernel in kernels:
            with use_kernel(kernel):
                attend(query, query, query)
                runs = []
                for _ in range(3):
                    start = time.perf_counter()
                    attend(query, query, query)
                    runs.append(time.perf_counter() - start)
            seconds[kernel] = min(runs)
    return min(kernels, key=lambda kernel: seconds[kernel])


def _attend_by_products(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """With queries that are scaled already."""
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, dtype=query.dtype, device=mask.device).masked_fill_(~mask, float("-inf"))
    batch, heads, rows, _ = query.shape
    keys = key.shape[-2]
    if _wants_gradient(query, key, value) or batch * heads * rows * keys <= _SMALL_SCORES:
        scores = query @ key.transpose(-1, -2)
        if mask is not None:
            scores = scores + mask
        return scores.softmax(-1) @ value
    if mask is not None:
        mask = mask.to(query.dtype).expand(batch, heads, rows, keys)
    # As `merge_heads` wants it, which is a view then.
    out = value.new_empty(batch, rows, heads, value.shape[-1]).transpose(1, 2)
    if rows * keys <= _WINDOW_SCORES:
        together = max(1, _SMALL_SCORES // (heads * rows * keys))
        for start in range(0, batch, together):
            some = slice(start, start + together)
            scores = query[some] @ key[some].transpose(-1, -2)
            if mask is not None:
                scores += mask[some]
            torch.matmul(torch.softmax(scores, -1), value[some], out=out[some])
        return out
    kept = query.new_empty(min(rows, max(_FEW_QUERIES, _BLOCK_SCORES // keys)), keys)
    for item, head in itertools.product(range(batch), range(heads)):
        of_head = query[item, head], key[item, head], value[item, head]
        _attend_in_blocks(*of_head, None if mask is None else mask[item, head], kept, out[item, head])
    return out


def _attend_in_blocks(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, kept: Tensor, out: Tensor
) -> None:
    """One head, query (Tq, d), whose scores go through `kept` (rows at once, Tk), into `out` (Tq, d)."""
    rows, block = len(query), len(kept)
    if block < rows:  # each block reads them again
        key, value = key.contiguous(), value.contiguous()
    for start in range(0, rows, block):
        some = slice(start, min(start + block, rows))
        scores = kept[: some.stop - start]
        if mask is None:
            torch.mm(query[some], key.T, out=scores)
        else:  # one pass over the scores less than adding afterwards
            torch.addmm(mask[some], query[some], key.T, out=scores)
        torch.softmax(scores, -1, out=scores)
        torch.mm(scores, value, out=out[some])


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(P, T, heads * d) -> (P, heads, T, d), a view."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(P, heads, T, d) -> (P, T, heads * d)."""
    return x.transpose(1, 2).flatten(2)


class QkvProjection(nn.Linear):
    """Makes q, k and v by one matrix, in this order, or some of them.

    Args:
        width: channels in, and of each of the three.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, 3 * width)

    def forward(self, x: Tensor, first: int = 0, last: int = 3) -> Tensor:
        """(..., C) -> (..., (last - first) * C): parts `first` to `last` (exclusive) of (q, k, v)."""
        rows = self.rows(first, last)
        return F.linear(x, self.weight[rows], self.bias[rows])

    def rows(self, first: int, last: int) -> slice:
        """Where these parts are among the rows of the matrix."""
        return slice(first * self.in_features, last * self.in_features)


class MultiHeadAttention(nn.Module):
    """Attention with biases on all four projections; q, k and v are rows of one matrix, in this order.

    Args:
        width: channels in and out, divisible by `heads`.
        heads: number of heads.
    """

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.width = width
        self.heads = heads
        self.qkv = QkvProjection(width)
        self.out = nn.Linear(width, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Lets `query` (P, Tq, C) read `value` (P, Tk, C) where it resembles `key` (P, Tk, C): (P, Tq, C).

        Inputs that are the same object are projected by one product. `mask` is that of `attend`.
        """
        if query is key and key is value:
            q, k, v = self._project(query, 0, 3)
        elif query is key:
            (q, k), (v,) = self._project(query, 0, 2), self._project(value, 2, 3)
        elif key is value:
            (q,), (k, v) = self._project(query, 0, 1), self._project(key, 1, 3)
        else:
            (q,), (k,), (v,) = self._project(query, 0, 1), self._project(key, 1, 2), self._project(value, 2, 3)
        out: Tensor = self.out(merge_heads(attend(q, k, v, mask=mask)))
        return out

    def _project(self, x: Tensor, first: int, last: int) -> tuple[Tensor, ...]:
        """Parts `first` to `last` of (q, k, v) made from `x`, each (P, heads, T, d)."""
        projected: Tensor = self.qkv(x, first, last)
        return tuple(split_heads(part, self.heads) for part in projected.split(self.width, dim=-1))


class ProjectedAttention(nn.Module):
    """Attention whose projections are matrices of their own: the heads may be narrower, the keys of another width.

    Args:
        width: channels of queries and of what comes out.
        inner_width: channels of all heads together.
        heads: number of heads, which divides `inner_width`.
        key_width: channels of keys and values; None: as the queries.
    """

    def __init__(self, *, width: int, inner_width: int, heads: int = 1, key_width: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, inner_width)
        self.k = nn.Linear(width if key_width is None else key_width, inner_width)
        self.v = nn.Linear(width if key_width is None else key_width, inner_width)
        self.out = nn.Linear(inner_width, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Lets `query` (O, Tq, C) read `value` (O, Tk, Ck) where it resembles `key` (O, Tk, Ck): (O, Tq, C).

        A leading axis of 1 stands for all O, at no cost.
        """
        return self.read(*(split_heads(x, self.heads) for x in (self.q(query), self.k(key), self.v(value))))

    def read(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of what is projected and split into heads already, (O, heads, T, d) each: (O, Tq, C)."""
        (count,) = torch.broadcast_shapes(q.shape[:1], k.shape[:1], v.shape[:1])
        q, k, v = (x.expand(count, -1, -1, -1) for x in (q, k, v))
        out: Tensor = self.out(merge_heads(attend(q, k, v)))
        return out


def padding_mask(valid: Tensor) -> Tensor:
    """(P, T) bool, True = valid -> (P, 1, 1, T), the `mask` that hides padding keys from every query."""
    return valid[:, None, None, :]
