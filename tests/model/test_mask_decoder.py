import pytest
import torch

from masklet.config import TEST
from masklet.layers.attention import ProjectedAttention
from masklet.model.build import build_model
from masklet.model.mask_decoder import FewKeys
from masklet.types import PointPrompts


@pytest.mark.parametrize(("objects", "images", "queries", "keys"), [(3, 3, 10, 5), (3, 1, 10, 1), (0, 1, 7, 4)])
def test_few_keys_are_read_as_many_are(objects, images, queries, keys):
    torch.manual_seed(0)
    plain = ProjectedAttention(width=12, inner_width=8, heads=2).double()
    few = FewKeys(width=12, inner_width=8, heads=2).double()
    few.load_state_dict(plain.state_dict())
    query = torch.randn(images, queries, 12, dtype=torch.float64)
    key, value = torch.randn(2, objects, keys, 12, dtype=torch.float64)
    torch.testing.assert_close(few(query, key, value), plain(query, key, value))


@torch.no_grad()
@pytest.mark.parametrize("ambiguous", [False, True])
def test_masks_need_not_be_made(ambiguous):
    tracker = build_model("test", seed=3).tracker
    decoder, (height, width) = tracker.mask_decoder, (5, 4)
    levels = tuple(torch.randn(1, TEST.width, scale * height, scale * width) for scale in (4, 2, 1))
    features = tracker.features(levels)
    prompt = tracker.prompt_encoder.points(PointPrompts.none(3), (height, width))
    position = tracker.prompt_encoder.position((height, width))
    with_masks, without = (
        decoder(features, features.coarse, position, prompt, ambiguous=ambiguous, masks=masks)
        for masks in (True, False)
    )
    assert without.mask_logits.shape == (*with_masks.mask_logits.shape[:2], 0, 0)
    assert torch.equal(without.tokens, with_masks.tokens)
    assert torch.equal(without.sight_logits, with_masks.sight_logits)
    assert without.quality.shape == with_masks.quality.shape
    assert not ambiguous or torch.equal(without.quality, with_masks.quality)
