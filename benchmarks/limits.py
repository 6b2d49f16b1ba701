"""What this machine can do at most, and the least time of every stage: `python benchmarks/limits.py` (`make limits`).

Rates of matrix products, attention and convolutions are measured on the shapes of the `sam3` preset at 1008 pixels, the
bandwidth of memory by copies, the cost of fresh pages by touching them. The operations of every stage are counted, not
timed (no weight is made for that); each kind over the best rate that this machine reached for it gives the least time
of a stage. Norms, activations, positions and copies are not in it: nothing reaches it wholly.

A rate is the best of several runs: other programs only take away. `speed.py` says which share of this limit each stage
reaches. Takes a minute and a gigabyte.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from record import append, circumstances
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from masklet.config import SAM3, ModelConfig
from masklet.layers.attention import Kernel, attend, use_kernel
from masklet.layers.position import position_map
from masklet.model.build import build_model
from masklet.model.detector import Detector
from masklet.types import ImageFeatures, PromptTokens

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

# Rows, inner size and columns of a product.
PRODUCTS = {
    "vision, q k v": (5184, 1024, 3072),
    "vision, attention out": (5184, 1024, 1024),
    "vision, MLP in": (5184, 1024, 4736),
    "vision, MLP out": (5184, 4736, 1024),
    "fusion, MLP in": (5184, 256, 2048),
    "fusion, MLP out": (5184, 2048, 256),
}
# P, heads, tokens and channels of a head.
ATTENTIONS = {
    "vision, windows": (9, 16, 576, 64),
    "vision, whole picture": (1, 16, 5184, 64),
    "fusion, whole picture": (1, 8, 5184, 32),
}
# Channels and side of the map of a 3x3 convolution.
CONVOLUTIONS = {
    "neck and mask head, fine": (256, 288),
    "neck and mask head, middle": (256, 144),
}
_COPIED = 1 << 28  # bytes
_PAGE = 4096  # bytes


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The best that was reached in one number format, operations a second."""

    products: float
    attention: float
    convolutions: float


@dataclass(frozen=True, kw_only=True)
class Work:
    """Operations of a stage; a multiplication and an addition are two."""

    products: int
    attention: int
    convolutions: int

    def least_s(self, rates: Rates) -> float:
        """Seconds at these rates."""
        return (
            self.products / rates.products + self.attention / rates.attention + self.convolutions / rates.convolutions
        )


def best_s(call: Callable[[], object], runs: int) -> float:
    """The shortest of some runs after one that does not count."""
    call()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


# --- rates ------------------------------------------------------------------------------------------------------------


def product_rate(shape: tuple[int, int, int], dtype: torch.dtype, runs: int) -> float:
    """Of a linear layer, with weights as they lie in a checkpoint or packed for the kernel, whichever is faster."""
    rows, inner, columns = shape
    x, weight = torch.randn(rows, inner).to(dtype), torch.randn(columns, inner).to(dtype)
    bias = torch.zeros(columns, dtype=dtype)
    calls: list[Callable[[], object]] = [lambda: F.linear(x, weight, bias)]
    if torch.backends.mkldnn.is_available():
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
        calls.append(lambda: torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], ""))
    return 2 * rows * inner * columns / min(best_s(call, runs) for call in calls)


def int8_rate(shape: tuple[int, int, int], runs: int) -> float:
    """Of a product of int8 matrices that is summed in int32."""
    rows, inner, columns = shape
    x = torch.randint(-128, 128, (rows, inner), dtype=torch.int8)
    weight = torch.randint(-128, 128, (columns, inner), dtype=torch.int8).T
    return 2 * rows * inner * columns / best_s(lambda: torch._int_mm(x, weight), runs)


def attention_rate(shape: tuple[int, int, int, int], dtype: torch.dtype, runs: int) -> float:
    """Of the faster kernel."""
    batch, heads, tokens, width = shape
    query = torch.randn(batch, tokens, heads, width).to(dtype).transpose(1, 2)
    kernels: tuple[Kernel, ...] = ("fused", "products")

    def seconds(kernel: Kernel) -> float:
        with use_kernel(kernel):
            return best_s(lambda: attend(query, query, query), runs)

    return 4 * batch * heads * tokens * tokens * width / min(map(seconds, kernels))


def convolution_rate(shape: tuple[int, int], dtype: torch.dtype, runs: int) -> float:
    """Stored channels last."""
    channels, side = shape
    x = torch.randn(1, channels, side, side).to(dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(channels, channels, 3, 3).to(dtype).contiguous(memory_format=torch.channels_last)
    return 2 * 9 * channels**2 * side**2 / best_s(lambda: F.conv2d(x, weight, padding=1), runs)


def bandwidth() -> float:
    """Bytes a second that are read and written by a copy."""
    source, target = torch.zeros(_COPIED, dtype=torch.uint8), torch.zeros(_COPIED, dtype=torch.uint8)
    return 2 * _COPIED / best_s(lambda: target.copy_(source), 5)


def fresh_page_s() -> float:
    """Seconds for a page that was never touched, beyond those for writing it."""
    again = torch.zeros(_COPIED, dtype=torch.uint8)
    known = best_s(lambda: again.fill_(1), 5)
    fresh = best_s(lambda: torch.empty(_COPIED, dtype=torch.uint8).fill_(1), 5)
    return max(0.0, fresh - known) * _PAGE / _COPIED


def measured(dtype: torch.dtype, runs: int) -> tuple[Rates, dict[str, float]]:
    """The best rate of each kind, and all of them by name."""
    products = {name: product_rate(shape, dtype, runs) for name, shape in PRODUCTS.items()}
    attention = {name: attention_rate(shape, dtype, runs) for name, shape in ATTENTIONS.items()}
    convolutions = {name: convolution_rate(shape, dtype, runs) for name, shape in CONVOLUTIONS.items()}
    rates = Rates(
        products=max(products.values()), attention=max(attention.values()), convolutions=max(convolutions.values())
    )
    return rates, {**products, **attention, **convolutions}


def rates_of(numbers: str, runs: int) -> Rates:
    """Of a number format by name; "int8" has its own rate of products, and bfloat16's of everything else."""
    if numbers != "int8":
        return measured(DTYPES[numbers], runs)[0]
    rates, _ = measured(torch.bfloat16, runs)
    return Rates(
        products=max(int8_rate(shape, runs) for shape in PRODUCTS.values()),
        attention=rates.attention,
        convolutions=rates.convolutions,
    )


# --- work -------------------------------------------------------------------------------------------------------------


def counted(call: Callable[[], object]) -> Work:
    """The operations of a call on tensors without numbers, on which attention is two batched products."""
    with FlopCounterMode(display=False) as counter:
        call()
    flops: dict[str, int] = {}
    for operation, count in counter.get_flop_counts().get("Global", {}).items():
        name = str(operation)
        kind = "attention" if "bmm" in name or "attention" in name else "convolutions" if "conv" in name else "products"
        flops[kind] = flops.get(kind, 0) + count
    return Work(**{kind: flops.get(kind, 0) for kind in ("products", "attention", "convolutions")})


@functools.cache
def stage_work(config: ModelConfig = SAM3, *, kept: int = 20) -> dict[str, Work]:
    """Of one picture and one concept: the large stages, named as in `speed.py`, and the whole."""
    with torch.device("meta"), torch.inference_mode():
        model: Detector = build_model(config, seed=None)
        side, queries = config.vision.image_size, config.decoder.queries
        pixels = torch.empty(1, 3, side, side)
        one = torch.zeros(1, dtype=torch.int64)
        trunk = model.encode_patches(pixels)
        features: ImageFeatures = model.detector_features(trunk, [(side, side)])
        prompt = PromptTokens(
            tokens=torch.empty(1, config.text.context + 1, config.width),
            valid=torch.ones(1, config.text.context + 1, dtype=torch.bool),
        )
        level = features.levels[-1]
        height, width = level.shape[-2:]
        position = position_map(
            height=height, width=width, channels=config.width, device=level.device, dtype=level.dtype
        )
        tokens = level.flatten(2).transpose(1, 2)
        memory = model.fusion_encoder(tokens, one, position, prompt)
        states = torch.empty(1, queries, config.width)

        def masks() -> Tensor:
            return model.mask_head.masks(
                states[:, :kept], model.mask_head.pixel_features(memory, prompt, features.levels, one)
            )

        calls: dict[str, Callable[[], object]] = {
            "vision encoder": lambda: model.encode_patches(pixels),
            "neck": lambda: model.neck(trunk),
            "fusion encoder": lambda: model.fusion_encoder(tokens, one, position, prompt),
            "decoder and scoring": lambda: model.decoder(memory, position, prompt, grid_hw=(height, width)),
            f"mask head, {kept} masks kept": masks,
        }
        found = {name: counted(call) for name, call in calls.items()}
    whole = Work(
        products=sum(work.products for work in found.values()),
        attention=sum(work.attention for work in found.values()),
        convolutions=sum(work.convolutions for work in found.values()),
    )
    return {**found, "whole image, one concept": whole}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--runs", type=int, default=3, help="of which the best counts")
    parser.add_argument("--record", action="store_true", help="add the figures to results.jsonl")
    arguments = parser.parse_args()
    print(f"copies: {bandwidth() / 1e9:.1f} GB/s; a fresh page of {_PAGE} bytes: {1e6 * fresh_page_s():.2f} us")
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            found = {name: measured(dtype, arguments.runs) for name, dtype in DTYPES.items()}
            int8 = {name: int8_rate(shape, arguments.runs) for name, shape in PRODUCTS.items()}
        print(f"\n{f'GFLOP/s, threads: {threads}':<34}{'float32':>10}{'bfloat16':>10}{'int8':>10}")
        for name in found["float32"][1]:
            columns = [found[dtype][1][name] for dtype in DTYPES]
            last = f"{int8[name] / 1e9:>10.0f}" if name in int8 else f"{'-':>10}"
            print(f"{name:<34}{''.join(f'{rate / 1e9:>10.0f}' for rate in columns)}{last}")
        print(f"\n{'least seconds':<34}{'float32':>10}{'bfloat16':>10}{'int8 *':>10}{'GFLOP':>10}")
        with_int8 = Rates(**{**vars(found["bfloat16"][0]), "products": max(int8.values())})
        for name, work in stage_work().items():
            least = [work.least_s(rates) for rates in (*(found[dtype][0] for dtype in DTYPES), with_int8)]
            total = work.products + work.attention + work.convolutions
            print(f"{name:<34}{''.join(f'{seconds:>10.3f}' for seconds in least)}{total / 1e9:>10.0f}")
        if arguments.record:
            rates = {
                dtype: {name: round(rate / 1e9, 1) for name, rate in every.items()}
                for dtype, (_, every) in found.items()
            }
            rates["int8"] = {name: round(rate / 1e9, 1) for name, rate in int8.items()}
            append({"benchmark": "limits", "preset": "sam3", "threads": threads, "gflops": rates, **circumstances()})
    print("\n* products of linear layers in int8, the rest in bfloat16")


if __name__ == "__main__":
    main()
