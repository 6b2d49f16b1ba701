"""Which number formats suit a device, and what things are called."""

from __future__ import annotations

import pytest
import torch

from masklet import runtime
from masklet.errors import InputError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("features", "known"),
    [
        ({"avx2"}, ("float32",)),
        ({"avx512_bf16"}, ("bfloat16", "float32")),
        ({"avx512_bf16", "avx512_vnni"}, ("bfloat16", "float32", "int8")),
        ({"avx_vnni"}, ("float32", "int8")),
    ],
)
def test_number_formats_that_the_processor_has_and_first_that_of_auto(
    monkeypatch: pytest.MonkeyPatch, features: set[str], known: tuple[str, ...]
) -> None:
    monkeypatch.setattr(runtime, "cpu_features", lambda: frozenset(features))
    assert runtime.known_dtypes(CPU) == known
    assert runtime.name_of_numbers("auto", CPU) == known[0]
    for name in known:
        assert runtime.name_of_numbers(name, CPU) == name


def test_an_accelerator_has_half_precision_and_no_integers() -> None:
    assert runtime.known_dtypes(torch.device("mps")) == ("float32", "float16")


def test_short_names_and_unknown_ones() -> None:
    assert runtime.name_of_numbers("bf16", CPU) == "bfloat16"
    assert runtime.name_of_numbers("fp16", CPU) == "float16"
    with pytest.raises(InputError, match="got 'int4'"):
        runtime.name_of_numbers("int4", CPU)


def test_a_device_beyond_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert runtime.resolve_device("cuda:1").index == 1
    with pytest.raises(InputError, match="'cuda:2' was asked for, but there are 2 CUDA devices"):
        runtime.resolve_device("cuda:2")


def test_the_processor_has_a_name() -> None:
    assert runtime.device_name(CPU).strip()
