"""Linear layers of 8-bit integers beside the numbers that they stand for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from masklet import runtime
from masklet.checkpoint import load_model, save_native
from masklet.errors import InputError
from masklet.layers.int8 import Int8Linear
from masklet.model.int8 import numbers_of

CPU = torch.device("cpu")
needs_int8 = pytest.mark.skipif(not runtime.multiplies_int8(CPU), reason="no VNNI and no AMX here")


def linear(inputs: int = 64, outputs: int = 48, *, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs, bias=bias)


def tokens(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@needs_int8
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_are_those_of_the_rounded_operands(bias: bool, dtype: torch.dtype) -> None:
    """Weights to 1/127 of a row's largest, tokens to 1/126 of their own: the product of these, and nothing else."""
    layer = linear(bias=bias).to(dtype)
    x = tokens(3, 70, 64).to(dtype)
    weight, flat = layer.weight.detach().float(), x.float()
    scale = weight.abs().amax(1, keepdim=True) / 127
    factor = (126 / x.abs().amax(-1, keepdim=True)).float()
    expected = ((flat * factor).to(dtype).float().round() / factor) @ ((weight / scale).round() * scale).T
    if bias:
        expected = expected + layer.bias.detach().float()
    with torch.no_grad():
        found = Int8Linear(layer)(x)
    assert found.dtype == dtype
    # Sums of integers are exact; what rounds is the number format of the result, twice.
    within = 1e-5 if dtype == torch.float32 else 2**-7
    torch.testing.assert_close(found.float(), expected, atol=within, rtol=within)


@needs_int8
def test_near_the_layer_that_it_stands_for() -> None:
    """Rounding to 126 levels of three standard deviations: 3 / 126 / sqrt(12), of weights half of it: 0.8 %."""
    layer, x = linear(512, 256, bias=False), tokens(100, 512)
    with torch.no_grad():
        expected = layer(x)
        assert 1e-3 < float((Int8Linear(layer)(x) - expected).norm() / expected.norm()) < 0.012


@needs_int8
def test_a_token_does_not_depend_on_the_others() -> None:
    layer = Int8Linear(linear())
    x = tokens(5, 64)
    loud = torch.cat((x, 1000 * x[:1]))
    with torch.no_grad():
        assert torch.equal(layer(loud)[:5], layer(x))
        assert torch.equal(layer(x[2:3]), layer(x)[2:3])


@needs_int8
def test_a_token_of_zeros_gives_the_bias() -> None:
    plain = linear()
    with torch.no_grad():
        assert torch.equal(Int8Linear(plain)(torch.zeros(2, 64)), plain.bias.expand(2, -1))


@needs_int8
def test_it_is_neither_trained_nor_saved(tmp_path) -> None:
    with pytest.raises(InputError, match="cannot be trained"):
        Int8Linear(linear())(tokens(2, 64).requires_grad_())
    model = load_model("default", device="cpu", dtype="int8")
    with pytest.raises(InputError, match="cannot be saved"):
        save_native(model, tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


@needs_int8
def test_a_model_in_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features within 5 % of those in float32; the rest of the model is as it was."""
    pixels = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(0)) * 2 - 1
    monkeypatch.setattr(runtime, "multiplies_bfloat16", lambda device: False)
    exact, rounded = (load_model("default", device="cpu", dtype=dtype) for dtype in ("float32", "int8"))
    assert (numbers_of(exact), numbers_of(rounded)) == ("float32", "int8")
    assert rounded.dtype == torch.float32
    assert sum(isinstance(part, Int8Linear) for part in rounded.modules()) == 4 * exact.config.vision.depth
    with torch.inference_mode():
        expected, found = exact.encode_patches(pixels), rounded.encode_patches(pixels)
    assert 1e-3 < float((found - expected).norm() / expected.norm()) < 0.05
    for name, value in exact.neck.state_dict().items():
        assert torch.equal(value, rounded.neck.state_dict()[name])


def test_where_it_is_not_native_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "cpu_features", lambda: frozenset({"avx2"}))
    with pytest.raises(InputError, match="'int8' needs a processor with VNNI or AMX"):
        load_model("default", device="cpu", dtype="int8")
    with pytest.raises(InputError, match=r"'int8' needs a processor .* the device is 'cuda'"):
        runtime.resolve_numbers("int8", torch.device("cuda"))


def test_names_of_number_formats() -> None:
    with pytest.raises(InputError, match="auto, float32, bfloat16, float16 or int8, got 'int4'"):
        runtime.resolve_numbers("int4", CPU)
    assert runtime.resolve_numbers("bf16", CPU) == (torch.bfloat16, False)
    assert runtime.resolve_numbers(torch.float16, CPU) == (torch.float16, False)
