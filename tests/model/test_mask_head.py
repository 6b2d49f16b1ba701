"""The projection folded into the queries, masks of some queries only, and no prompts or queries at all."""

import pytest
import torch

from masklet.model.mask_head import MaskHead
from masklet.types import PromptTokens


@pytest.fixture
def head():
    torch.manual_seed(0)
    return MaskHead(width=16, heads=2)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize(("prompts", "queries"), [(1, 1), (3, 5), (2, 20), (0, 5), (2, 0), (0, 0)])
def test_masks_are_products_with_the_projected_pixels(head, prompts, queries, memory_format):
    """Width 16 and 20 queries: more queries than channels, a picture that is no square."""
    states = torch.randn(prompts, queries, 16)
    pixels = torch.randn(prompts, 16, 6, 9).to(memory_format=memory_format)
    weight, bias = head.instance_project.weight[:, :, 0, 0], head.instance_project.bias
    projected = torch.einsum("ic,pchw->pihw", weight, pixels) + bias[:, None, None]
    expected = torch.einsum("pqi,pihw->pqhw", head.mask_embedding(states), projected)
    # float32 sums of 16 and 256 terms of size 1, in another order
    torch.testing.assert_close(head.masks(states, pixels), expected, rtol=1e-4, atol=1e-5)


def test_gradients_reach_everything(head):
    states, pixels = torch.randn(2, 3, 16, requires_grad=True), torch.randn(2, 16, 4, 4, requires_grad=True)
    head.masks(states, pixels).square().sum().backward()
    parts = (states, pixels, head.instance_project.weight, head.instance_project.bias)
    assert all(part.grad is not None and bool(part.grad.abs().sum() > 0) for part in parts)


def test_packed_is_a_part_of_all(head):
    """Prompts with several queries, none and one; a semantic map twice."""
    states, pixels = torch.randn(3, 4, 16), torch.randn(3, 16, 6, 9)
    maps, dense = pixels.permute(0, 2, 3, 1).unbind(), head.masks(states, pixels)
    prompt_idx, query_idx = torch.tensor([0, 0, 0, 2]), torch.tensor([3, 1, 3, 0])
    packed = head.packed_masks(states[prompt_idx, query_idx], maps, [3, 0, 1])
    torch.testing.assert_close(packed, dense[prompt_idx, query_idx], rtol=1e-5, atol=1e-6)
    semantic = head.packed_semantic(maps, [1, 0, 2])
    torch.testing.assert_close(semantic, head.semantic(pixels)[[0, 2, 2], 0], rtol=1e-5, atol=1e-6)
    assert head.packed_masks(states[0, :0], maps, [0, 0, 0]).shape == (0, 6, 9)
    assert head.packed_semantic(maps, [0, 0, 0]).shape == (0, 6, 9)


@pytest.mark.parametrize("height_width", [(6, 6), (3, 5)])
def test_what_concepts_have_in_common_changes_nothing(head, height_width):
    height, width = height_width
    draw = torch.Generator().manual_seed(3)
    levels = tuple(torch.randn(2, 16, scale * height, scale * width, generator=draw) for scale in (4, 2, 1))
    memory = torch.randn(3, height * width, 16, generator=draw)
    prompt = PromptTokens(tokens=torch.randn(3, 4, 16, generator=draw), valid=torch.ones(3, 4, dtype=torch.bool))
    image_idx = torch.tensor([1, 0, 1])
    with torch.no_grad():
        expected = head.pixel_features(memory, prompt, levels, image_idx)
        shared = head.laterals(levels)
        found = head.pixel_features(memory, prompt, levels, image_idx, shared)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)  # sums in another order
