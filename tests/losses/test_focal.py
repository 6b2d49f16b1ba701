"""Focal and dice loss of single numbers against their formulas."""

import math

import pytest
import torch

from masklet.losses.focal import at_least_float32, dice_loss, focal_loss


@pytest.mark.parametrize("logit", [-4.0, -0.3, 0.0, 2.5])
@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.6, 1.6), (0.5, 0.0)])
def test_focal_by_hand(logit, target, alpha, gamma):
    p = 1 / (1 + math.exp(-logit))
    cross_entropy = -(target * math.log(p) + (1 - target) * math.log(1 - p))
    p_t = p * target + (1 - p) * (1 - target)
    balance = alpha * target + (1 - alpha) * (1 - target)
    expected = balance * (1 - p_t) ** gamma * cross_entropy
    found = focal_loss(*torch.tensor([[logit], [target]], dtype=torch.float64), alpha=alpha, gamma=gamma)
    assert abs(found.item() - expected) < 1e-12


def test_dice_by_hand():
    probability = torch.tensor([[0.5, 0.25, 0.5], [0.5, 0.5, 0.5]], dtype=torch.float64)
    found = dice_loss(probability.logit(), torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]], dtype=torch.float64))
    expected = torch.tensor([1 - 3 / 4.25, 1 - 1 / 2.5], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert dice_loss(torch.full((1, 3), -1e4), torch.zeros(1, 3)).item() == 0
    assert dice_loss(torch.zeros(0, 3), torch.zeros(0, 3)).shape == (0,)


@pytest.mark.parametrize("gamma", [2.0, 1.6])
def test_extreme_logits_stay_finite(gamma):
    logits = torch.tensor([1e4, -1e4, 1e4, -1e4], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([1.0, 1.0, 0.0, 0.0]), alpha=0.25, gamma=gamma).sum()
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.isfinite()
    assert gradient.isfinite().all()


def test_gradient():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, dtype=torch.float64, generator=generator).requires_grad_()
    targets = torch.rand(2, 5, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(lambda x: focal_loss(x, targets, alpha=0.25, gamma=2.0), logits)
    assert torch.autograd.gradcheck(lambda x: dice_loss(x, targets), logits)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float32])
def test_precision_is_raised(dtype):
    assert at_least_float32(torch.ones(2).to(dtype)).dtype == torch.float32
    assert at_least_float32(torch.ones(2, dtype=torch.float64)).dtype == torch.float64
