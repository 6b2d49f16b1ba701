"""Weights that mean nothing: a model that does all the work, and always finds as much."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from masklet import ImagePredictor, build_model
from masklet.errors import ConfigError, InputError
from masklet.inference.untrained import FOUND, THRESHOLD, untrained_model

CPU = torch.device("cpu")
PICTURE = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_as_many_are_found_whatever_is_asked(dtype: str) -> None:
    model = untrained_model("test", device=CPU, dtype=dtype)
    assert str(model.dtype) == f"torch.{dtype}"
    assert not model.training
    results = ImagePredictor(model).segment(PICTURE, ["dog", "red bus", "cup"], threshold=THRESHOLD)
    assert [len(result) for result in results] == [FOUND] * 3


def test_the_same_parameters_each_with_memory_of_its_own() -> None:
    model, drawn = untrained_model("test", device=CPU, dtype="float32"), build_model("test", seed=0)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in drawn.parameters())
    places = [parameter.untyped_storage().data_ptr() for parameter in model.parameters()]
    assert len(set(places)) == len(places)
    bytes_held = sum(parameter.untyped_storage().nbytes() for parameter in model.parameters())
    assert bytes_held == 4 * sum(p.numel() for p in model.parameters())


def test_a_tensor_larger_than_the_noise_is_filled_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masklet.inference.untrained._POOL", 1000)
    table = untrained_model("test", device=CPU, dtype="float32").text_encoder.token_embedding.weight
    assert table.numel() > 1000
    numbers = table.detach().flatten()
    assert torch.equal(numbers[1000:2000], numbers[:1000])
    assert 0.015 < float(numbers[-500:].std()) < 0.025


def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match="preset must be one of"):
        untrained_model("sam4", device=CPU, dtype="float32")
    with pytest.raises(InputError, match="got 'int4'"):
        untrained_model("test", device=CPU, dtype="int4")
