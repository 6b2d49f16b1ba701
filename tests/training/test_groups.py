"""Parameter groups beside the values of spec/training.md 7.2."""

from __future__ import annotations

import pytest
import torch

from masklet.config import preset
from masklet.model.build import build_detector, build_model
from masklet.training.groups import Rates, base_rate, parameter_groups, set_rates


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("vision_encoder.patch_embed.weight", 0.030903),
        ("vision_encoder.norm_in.bias", 0.030903),
        ("vision_encoder.blocks.0.attention.qkv.weight", 0.034337),
        ("vision_encoder.blocks.15.norm1.weight", 0.166772),
        ("vision_encoder.blocks.31.mlp.fc2.bias", 0.9),
        ("vision_encoder.position", 1.0),
        ("neck.levels.0.smooth.weight", 1.0),
        ("tracker_neck.levels.0.smooth.weight", 1.0),
    ],
)
def test_rates_of_the_vision_part(name: str, scale: float) -> None:
    assert base_rate(name, Rates(), vision_depth=32) == pytest.approx(2.5e-5 * scale, rel=2e-5)


def test_every_parameter_is_in_one_group() -> None:
    """At the full size, without memory: names of all parts are known."""
    with torch.device("meta"):
        model = build_detector(preset("sam3"))
    groups = parameter_groups(model, Rates(), vision_depth=32)
    names = [name for group in groups for name in group["names"]]
    assert sorted(names) == sorted(name for name, one in model.named_parameters() if one.requires_grad)
    by_name = {name: group for group in groups for name in group["names"]}
    assert by_name["text_encoder.token_embedding.weight"]["base_lr"] == 5e-6
    assert by_name["decoder.query_embedding.weight"]["base_lr"] == 8e-5
    # Biases and layer norms do not decay; group norms, embeddings and tables do.
    undecayed = {name for name, group in by_name.items() if group["weight_decay"] == 0}
    assert {"decoder.norm_out.weight", "decoder.norm_out.bias", "vision_encoder.blocks.3.norm1.weight"} <= undecayed
    decayed = {"mask_head.norms.0.weight", "vision_encoder.position", "geometry_encoder.label_embedding.weight"}
    assert not decayed & undecayed
    assert all("bias" in name or "norm" in name for name in undecayed)
    for group in groups:
        assert len(group["params"]) == len(group["names"])


def test_frozen_parameters_are_left_out_and_rates_are_set() -> None:
    model = build_model("test", seed=0)
    model.vision_encoder.requires_grad_(False)
    groups = parameter_groups(model, Rates(layer_decay=1.0), vision_depth=model.config.vision.depth)
    assert not any(name.startswith("vision_encoder.") for group in groups for name in group["names"])
    assert {group["base_lr"] for group in groups} == {2.5e-5, 5e-6, 8e-5}
    optimizer = torch.optim.AdamW(groups)
    set_rates(optimizer.param_groups, 0.5)
    assert {group["lr"] for group in optimizer.param_groups} == {1.25e-5, 2.5e-6, 4e-5}
    set_rates(optimizer.param_groups, 1.0)
    assert {group["lr"] for group in optimizer.param_groups} == {2.5e-5, 5e-6, 8e-5}


def test_order_does_not_depend_on_how_the_model_was_walked() -> None:
    first = parameter_groups(build_model("test", seed=0), Rates(), vision_depth=2)
    second = parameter_groups(build_model("test", seed=1), Rates(), vision_depth=2)
    assert [group["names"] for group in first] == [group["names"] for group in second]
