"""The feed-forward block on many tokens, which go through in pieces, beside the two products written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from masklet.layers.mlp import Mlp, gelu, relu


@pytest.mark.parametrize("shape", [(0, 5), (3, 7), (2, 900), (9, 576), (1, 1729)], ids=str)
@pytest.mark.parametrize("activation", [gelu, relu])
def test_pieces_are_the_whole(shape, activation):
    generator = torch.Generator().manual_seed(0)
    mlp = Mlp(width=6, hidden=10, activation=activation)
    x = torch.randn((*shape, 6), generator=generator)
    before = x.clone()

    plain = {gelu: F.gelu, relu: F.relu}[activation]
    expected = plain(x @ mlp.fc1.weight.T + mlp.fc1.bias) @ mlp.fc2.weight.T + mlp.fc2.bias
    with torch.no_grad():
        result = mlp(x)

    assert result.shape == x.shape
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=1e-5)  # rounding of ten products
    assert torch.equal(x, before)
    torch.testing.assert_close(mlp(x), expected, atol=1e-6, rtol=1e-5)  # with gradients: in one piece


def test_a_view_with_gaps_is_taken():
    mlp = Mlp(width=6, hidden=10)
    x = torch.randn(2, 6, 2000).transpose(1, 2)

    with torch.no_grad():
        torch.testing.assert_close(mlp(x), mlp(x.contiguous()))
