import copy

import pytest
import torch
import torch.nn.functional as F

from masklet.layers.mlp import gelu
from masklet.model.neck import Neck

IN_WIDTH = 24


def neck(width):
    """Where the levels have so many channels, all, one or none of them are made in one step."""
    torch.manual_seed(0)
    return Neck(in_width=IN_WIDTH, width=width).double()


def plain(level, x, narrow):
    """As it is written down: one layer after the other."""
    if level.upsample1 is not None:
        x = level.upsample1(x)
    if level.upsample2 is not None:
        x = level.upsample2(gelu(x))
    x = level.smooth(level.project(x))
    return x if narrow is None else narrow(x)


def narrow_of(width):
    torch.manual_seed(1)
    return torch.nn.Conv2d(width, 3, 1).double(), torch.nn.Conv2d(width, 5, 1).double(), None


@pytest.mark.parametrize("width", [2, 6, 20])
@pytest.mark.parametrize("size_hw", [(5, 7), (1, 1), (2, 1)])
@pytest.mark.parametrize("through", [None, narrow_of])
def test_one_step_is_as_good_as_several(width, size_hw, through):
    module = neck(width)
    narrow = (None, None, None) if through is None else through(width)
    x = torch.randn(2, IN_WIDTH, *size_hw, dtype=torch.float64)
    expected = [plain(level, x, each) for level, each in zip(module.levels, narrow, strict=True)]
    with torch.no_grad():
        for _ in range(2):  # made, then kept
            for found, right in zip(module(x, narrow), expected, strict=True):
                torch.testing.assert_close(found, right, rtol=1e-6, atol=1e-6)  # weights are multiplied in float32


@pytest.mark.parametrize("width", [2, 20])
def test_gradients(width):
    module, other = neck(width), neck(width)
    x = torch.randn(1, IN_WIDTH, 3, 4, dtype=torch.float64)
    sum(level.square().sum() for level in module(x)).backward()
    sum(plain(level, x, None).square().sum() for level in other.levels).backward()
    for found, right in zip(module.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(found.grad, right.grad, rtol=1e-5, atol=1e-4)


@torch.no_grad()
def test_what_is_kept_follows_the_weights():
    module, x = neck(20), torch.randn(1, IN_WIDTH, 3, 4, dtype=torch.float64)
    before = module(x)
    weights = neck(20).state_dict()
    for change in (lambda: module.levels[0].smooth.weight.mul_(2), lambda: module.load_state_dict(weights)):
        change()
        expected = [plain(level, x, None) for level in module.levels]
        for found, right in zip(module(x), expected, strict=True):
            torch.testing.assert_close(found, right, rtol=1e-6, atol=1e-6)
    assert all(torch.equal(one, other) for one, other in zip(before, module(x), strict=True))
    assert all(torch.equal(one, other) for one, other in zip(before, copy.deepcopy(module)(x), strict=True))
    rounded = module.to(torch.bfloat16)(x.to(torch.bfloat16))
    assert F.mse_loss(rounded[0].double(), before[0]) < 1e-4
