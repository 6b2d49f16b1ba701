"""Device and number format: decided here, passed down, never at import.

A processor counts as multiplying bfloat16 natively when it has AVX-512 BF16, AMX BF16 or (on ARM) the BF16
extension; elsewhere bfloat16 would be emulated and slower than float32. It counts as multiplying 8-bit integers when
it has VNNI or AMX INT8; without them products are slower and not exact.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch

from masklet.errors import InputError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_SHORT = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
INT8 = "int8"


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """The device that `device` names; "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        InputError: the name is unknown or the device is not here.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device must be auto, cpu, cuda, cuda:N or mps, got {device!r}") from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device {str(device)!r} was asked for, but CUDA is not available here; use device='cpu'")
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device {str(device)!r} was asked for, but there are {torch.cuda.device_count()} CUDA devices"
        )
    if resolved.type == "mps" and not torch.backends.mps.is_available():
        raise InputError(f"device {str(device)!r} was asked for, but MPS is not available here; use device='cpu'")
    return resolved


def resolve_dtype(dtype: str | torch.dtype = "auto", device: torch.device | None = None) -> torch.dtype:
    """The number format that `dtype` names; "auto" is bfloat16 where `device` multiplies it natively, else float32.

    Raises:
        InputError: the name is unknown.
    """
    if isinstance(dtype, torch.dtype):
        if dtype in _DTYPES.values():
            return dtype
    elif dtype == "auto":
        return torch.bfloat16 if multiplies_bfloat16(device or torch.device("cpu")) else torch.float32
    elif _SHORT.get(dtype, dtype) in _DTYPES:
        return _DTYPES[_SHORT.get(dtype, dtype)]
    raise InputError(f"dtype must be auto, float32, bfloat16 or float16, got {dtype!r}")


def resolve_numbers(dtype: str | torch.dtype, device: torch.device) -> tuple[torch.dtype, bool]:
    """The number format of a model, and whether products of its vision encoder are of 8-bit integers.

    Args:
        dtype: as `resolve_dtype` takes it; "int8" is "auto" with such products.
        device: where the model shall run.

    Raises:
        InputError: the name is unknown, or `device` cannot multiply 8-bit integers.
    """
    if dtype == INT8:
        if not multiplies_int8(device):
            what = "this processor has none" if device.type == "cpu" else f"the device is {str(device)!r}"
            raise InputError(
                f"dtype 'int8' needs a processor with VNNI or AMX instructions, {what}; use dtype='auto' instead"
            )
        return resolve_dtype("auto", device), True
    if isinstance(dtype, str) and dtype != "auto" and _SHORT.get(dtype, dtype) not in _DTYPES:
        raise InputError(f"dtype must be auto, float32, bfloat16, float16 or int8, got {dtype!r}")
    return resolve_dtype(dtype, device), False


def name_of_numbers(dtype: str, device: torch.device) -> str:
    """The full name of what `dtype` means on `device`: "bfloat16" for "bf16", and for "auto" where that is chosen.

    Raises:
        InputError: as `resolve_numbers`.
    """
    number_format, int8 = resolve_numbers(dtype, device)
    return INT8 if int8 else str(number_format).removeprefix("torch.")


def known_dtypes(device: torch.device) -> tuple[str, ...]:
    """Names of the number formats that `device` computes in natively; first the one that "auto" takes there."""
    own = name_of_numbers("auto", device)
    return (own, *(name for name, is_native in _NATIVE.items() if name != own and is_native(device)))


def device_name(device: torch.device) -> str:
    """What the maker calls the processor or accelerator; the kind of machine where nobody says."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _cpu_line("model name") or platform.processor() or platform.machine()


def multiplies_int8(device: torch.device) -> bool:
    """Whether products of 8-bit integers are native on `device`, and PyTorch has them."""
    return (
        device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and bool(cpu_features() & {"avx512_vnni", "avx_vnni", "amx_int8"})
    )


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are native on `device`, hence faster than in float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and bool(cpu_features() & {"avx512_bf16", "amx_bf16", "bf16"})


@functools.cache
def cpu_features() -> frozenset[str]:
    """The feature flags of this processor as Linux names them; empty where they cannot be read."""
    return frozenset(_cpu_line("flags", "Features").split())


def _cpu_line(*names: str) -> str:
    """What Linux says of this processor under one of these names; empty where it says nothing."""
    if platform.system() != "Linux":
        return ""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in names:
            return value.strip()
    return ""


_NATIVE: Final[dict[str, Callable[[torch.device], bool]]] = {
    "float32": lambda _: True,
    "bfloat16": multiplies_bfloat16,
    "float16": lambda device: device.type != "cpu",
    INT8: multiplies_int8,
}
"""All that can be asked of `resolve_numbers` by name, and where it is worth asking for."""
