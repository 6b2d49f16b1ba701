"""The path of the gradient through the boxes, and the ends of the inverse sigmoid; values are in test_parity.py."""

import math

import pytest
import torch
from torch import nn

from masklet.model.decoder import Decoder, inverse_sigmoid
from masklet.types import PromptTokens

DEPTH, QUERIES, WIDTH = 4, 5, 16


class GivenSteps(nn.Module):
    """A box head that returns a leaf of its own at each call, so that each layer's share of a gradient is seen."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        steps = torch.randn(DEPTH, 1, QUERIES, 4, generator=generator)
        self.steps = [step.requires_grad_() for step in steps.unbind()]
        self.calls = iter(self.steps)

    def forward(self, _states: torch.Tensor) -> torch.Tensor:
        return next(self.calls)


def decoded(decoder: Decoder):
    generator = torch.Generator().manual_seed(1)
    prompt = PromptTokens(
        tokens=torch.randn(1, 3, WIDTH, generator=generator), valid=torch.ones(1, 3, dtype=torch.bool)
    )
    memory = torch.randn(1, 12, WIDTH, generator=generator)
    return decoder(memory, torch.randn(12, WIDTH, generator=generator), prompt, grid_hw=(3, 4))


@pytest.fixture
def decoder() -> Decoder:
    torch.manual_seed(2)
    return Decoder(width=WIDTH, depth=DEPTH, heads=2, mlp_width=24, queries=QUERIES, presence_clamp=None)


@pytest.mark.parametrize("layer", range(DEPTH))
def test_boxes_of_a_layer_train_its_step_and_the_one_before(decoder, layer):
    """Look forward twice (spec/training.md section 4): references are detached, the refined copy is not."""
    decoder.box_head = head = GivenSteps()
    boxes = decoded(decoder).boxes_cxcywh_norm[layer]
    gradients = torch.autograd.grad(boxes.sum(), head.steps, allow_unused=True)
    reached = [index for index, gradient in enumerate(gradients) if gradient is not None and gradient.any()]
    assert reached == [index for index in (layer - 1, layer) if index >= 0]


def test_boxes_are_sums_of_steps_in_logit_space(decoder):
    """As long as no coordinate comes near 0 or 1, where the inverse sigmoid ends."""
    decoder.box_head = head = GivenSteps()
    steps = torch.stack([step.detach() for step in head.steps])
    expected = decoder.reference_boxes.weight + steps.cumsum(0)
    near_the_ends = (expected.abs() > 6.8).any()
    assert not near_the_ends
    torch.testing.assert_close(decoded(decoder).boxes_cxcywh_norm, expected.sigmoid(), rtol=0, atol=2e-6)


def test_first_reference_boxes_are_trained_by_their_own_place(decoder):
    """The learned boxes enter the first layer with their gradient; later references do not."""
    outputs = decoded(decoder)
    gradient = torch.autograd.grad(outputs.queries[0, ..., 0].sum(), decoder.reference_boxes.weight, retain_graph=True)[
        0
    ]
    assert gradient.abs().max() > 0
    third = torch.autograd.grad(outputs.boxes_cxcywh_norm[2].sum(), decoder.reference_boxes.weight)[0]
    assert third.abs().max() > 0  # through the states of the first layer only


def test_inverse_sigmoid_ends_at_one_in_a_thousand():
    x = torch.tensor([-1.0, 0.0, 1e-4, 0.25, 0.5, 1.0, 2.0])
    low, high = math.log(1e-3), -math.log(1e-3)
    expected = torch.tensor([low, low, math.log(1e-3 / 0.9999), math.log(1 / 3), 0.0, high, high])
    torch.testing.assert_close(inverse_sigmoid(x), expected)


def test_bias_lies_in_memory_as_the_scores_do(decoder):
    """A sum of tensors in different orders of axes takes several times as long."""
    for prompts in (1, 2):
        bias = decoder._image_bias(torch.rand(prompts, QUERIES, 4), (3, 5))
        assert bias.shape == (prompts, 2, 1 + QUERIES, 15)
        assert bias.is_contiguous()
