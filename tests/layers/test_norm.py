"""The norm of pixels beside its formula."""

import pytest
import torch

from masklet.layers.norm import PixelNorm


@pytest.mark.parametrize("channels", [4, 24])  # by planes, and by pixels
def test_each_pixel_by_itself(channels):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, channels, 3, 5, generator=generator) * 1e-3  # small, so that epsilon counts
    norm = PixelNorm(channels)
    with torch.no_grad():
        norm.weight.normal_(generator=generator)
        norm.bias.normal_(generator=generator)
        mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
        expected = (x - mean) / (variance + 1e-6).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
        torch.testing.assert_close(norm(x), expected, rtol=1e-5, atol=1e-5)
