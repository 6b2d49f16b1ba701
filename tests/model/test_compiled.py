"""What PyTorch's compiler is given is one graph, and computes what the vision encoder does.

The compiler proper needs a C++ compiler, which not every machine has; the graph it would get runs as it was captured.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import masklet
from masklet.checkpoint.save import save_native
from masklet.errors import InputError
from masklet.model.build import build_model
from masklet.model.compiled import compile_model

# The graph turns pairs with real numbers instead of complex ones, and adds nothing else that rounds otherwise.
LIMITS = {torch.float32: 1e-5, torch.bfloat16: 0.05}


@pytest.fixture(autouse=True)
def forgotten() -> None:
    torch.compiler.reset()


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.filterwarnings("error::UserWarning")
def test_the_graph_computes_the_same(dtype: torch.dtype, gradients: bool) -> None:
    model = build_model("test", seed=0).to(dtype).eval()
    names = set(model.state_dict())
    side = model.config.vision.image_size
    sizes = (side, side + 2 * model.config.vision.patch_size)  # the second one has windows that are not full
    pictures = [torch.randn(1, 3, size, size, generator=torch.manual_seed(1)).to(dtype) for size in sizes]
    with torch.set_grad_enabled(gradients):
        expected = [model.vision_encoder(pixels) for pixels in pictures]
        graphs = []

        def backend(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> torch.fx.GraphModule:
            graphs.append(graph)
            return graph

        compile_model(model, backend=backend)  # type: ignore[arg-type]
        for pixels, wanted in zip(pictures, expected, strict=True):
            for _ in range(2):
                found = model.vision_encoder(pixels)
                assert found.shape == wanted.shape and found.requires_grad == gradients
                assert (found - wanted).abs().max() <= LIMITS[dtype] * wanted.abs().max()
    assert len(graphs) == len(pictures)
    assert set(model.state_dict()) == names


def test_a_model_is_loaded_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_native(build_model("test", seed=0), tmp_path / "weights.safetensors")
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function, **options: compiled.append(function) or function)
    model = masklet.load_model(tmp_path / "weights.safetensors", compile=True)
    assert [function.__self__ for function in compiled] == [model.vision_encoder]


def test_int8_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masklet.runtime.multiplies_int8", lambda device: True)
    with pytest.raises(InputError, match="compile=True is for float32, bfloat16 and float16, got dtype='int8'"):
        masklet.load_model(dtype="int8", compile=True)
