import math

import pytest
import torch

from masklet.model.build import build_model
from masklet.training.optimizers import Optimizers


def test_every_parameter_is_trained_once_and_matrices_of_blocks_by_muon() -> None:
    model = build_model("test", seed=0)
    optimizers = Optimizers({"": model}, weight_decay=0.03)
    trained = list(optimizers.parameters)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert len(trained) == len({id(parameter) for parameter in trained}) == len(learning)
    adamw, muon = optimizers._parts
    by_muon = {id(parameter) for group in muon.param_groups for parameter in group["params"]}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in by_muon}
    assert "vision_encoder.blocks.0.attention.qkv.weight" in names
    assert "fusion_encoder.layers.0.mlp.fc1.weight" in names
    assert not any("embedding" in name or name.endswith("bias") for name in names)
    undecayed = {id(p) for group in adamw.param_groups if not group["weight_decay"] for p in group["params"]}
    assert id(model.text_encoder.token_embedding.weight) in undecayed
    assert id(model.vision_encoder.norm_in.weight) in undecayed
    assert id(model.neck.levels[0].smooth.weight) not in undecayed


def test_a_step_clips_moves_at_two_rates_and_leaves_what_has_no_gradient() -> None:
    model = build_model("test", seed=0)
    optimizers = Optimizers({"": model}, weight_decay=0.0)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    seen, fresh = model.vision_encoder.norm_in.weight, model.decoder.norm_out.weight
    (30 * seen.sum() + 40 * fresh.sum()).backward()
    norm = optimizers.clip(1.0)
    optimizers.step(rate=1e-2, recognition_rate=1e-3)
    width = len(seen)  # both have the width of the preset
    assert float(norm) == pytest.approx(50 * math.sqrt(width))
    # Adam's first step has the size of the rate whatever the gradient.
    assert torch.allclose(before["vision_encoder.norm_in.weight"] - seen, torch.tensor(1e-3), atol=1e-6)
    assert torch.allclose(before["decoder.norm_out.weight"] - fresh, torch.tensor(1e-2), atol=1e-6)
    for name, parameter in model.named_parameters():
        if name not in ("vision_encoder.norm_in.weight", "decoder.norm_out.weight"):
            assert torch.equal(parameter, before[name]), name
        assert parameter.grad is None
