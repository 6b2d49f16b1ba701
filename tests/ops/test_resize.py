"""Resizing of maps beside values worked out by hand."""

import torch

from masklet.ops.resize import resized


def test_growing_is_bilinear_and_shrinking_is_smoothed():
    row = torch.tensor([[[0.0, 4.0]]])
    torch.testing.assert_close(resized(row, (1, 4)), torch.tensor([[[0.0, 1.0, 3.0, 4.0]]]))
    spikes = torch.tensor([[[0.0, 8.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]])
    # A triangle of 4 pixels to each side of 2 and of 6: the spike at 1.5 weighs 7/8 of 3.5 in the first.
    torch.testing.assert_close(resized(spikes, (1, 2)), torch.tensor([[[2.0, 0.0]]]))


def test_shapes_formats_and_nothing():
    maps = torch.rand(3, 5, 7).bfloat16()
    same = resized(maps, (5, 7))
    assert same.dtype == torch.float32 and torch.equal(same, maps.float())
    assert resized(maps, (10, 21)).shape == (3, 10, 21)
    assert resized(maps[:0], (4, 4)).shape == (0, 4, 4) and resized(maps[:0], (4, 4)).dtype == torch.float32
