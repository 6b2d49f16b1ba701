"""Mask and semantic losses against spec/training.md 6.4, 6.5, 6.9, loops, and each other."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from loss_cases import Dense
from masklet.errors import ConfigError
from masklet.losses.mask import MaskSettings, downsample_masks, mask_losses, semantic_losses
from masklet.losses.matcher import Match

DENSE = MaskSettings()
SAMPLED = MaskSettings(points=64)


def prediction_of_the_specification():
    logits = torch.zeros(4, 4)
    logits[:2, :2] = 3
    logits[2:] = -3
    return logits


def target_of_the_specification():
    target = torch.zeros(8, 8, dtype=torch.bool)
    target[:4, :4] = True
    return target


def pairs(*triples):
    return Match(*torch.tensor(triples, dtype=torch.int64).reshape(-1, 3).T)


def random_masks(seed, *, dtype=torch.float32):
    """Logits of 2 prompts x 3 queries, 5 x 7, and 4 targets of 9 x 12 (blobs, so that edges are few)."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, 3, 5, 7, generator=generator).to(dtype)
    smooth = F.interpolate(torch.randn(4, 1, 3, 3, generator=generator), (9, 12), mode="bilinear")[:, 0]
    return logits, smooth > 0


MATCH = pairs((0, 2, 0), (0, 0, 1), (1, 1, 2), (1, 1, 3))  # one query serves two targets


def loop_mask_losses(logits, masks, match, normalizer):
    """The formulas of 6.4, pair after pair."""
    focal = dice = 0.0
    for prompt, query, target in zip(match.prompt_idx, match.query_idx, match.target_idx, strict=True):
        size = masks.shape[-2:]
        x = F.interpolate(logits[prompt, query][None, None], size, mode="bilinear", align_corners=False)[0, 0]
        p, t = x.sigmoid(), masks[target].to(x)
        cross_entropy = -(t * p.log() + (1 - t) * (1 - p).log())
        p_t = p * t + (1 - p) * (1 - t)
        focal += ((0.25 * t + 0.75 * (1 - t)) * (1 - p_t) ** 2 * cross_entropy).mean().item()
        dice += (1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)).item()
    return focal / normalizer, dice / normalizer


def test_masks_of_the_specification():
    logits = prediction_of_the_specification()[None, None]
    focal, dice = mask_losses(Dense(logits), target_of_the_specification()[None], pairs((0, 0, 0)), 1)
    assert abs(focal.item() - 0.0401265) < 1e-6
    assert abs(dice.item() - 0.2817448) < 1e-6
    assert abs(200 * focal.item() + 10 * dice.item() - 10.8427572) < 1e-5


def test_semantic_map_of_the_specification():
    logits = torch.stack((prediction_of_the_specification(), torch.zeros(4, 4)))[:, None]
    focal, dice = semantic_losses(Dense(logits[:, 0]), target_of_the_specification()[None], [1, 0])
    assert abs(focal.item() - 0.0217653) < 1e-6
    assert abs(dice.item() - 0.2817445) < 1e-6
    assert abs(20 * focal.item() + 30 * dice.item() - 8.8876419) < 1e-5


@pytest.mark.parametrize("seed", range(4))
def test_dense_equals_a_loop(seed):
    logits, masks = random_masks(seed, dtype=torch.float64)
    found = mask_losses(Dense(logits), masks, MATCH, 3)
    expected = loop_mask_losses(logits, masks, MATCH, 3)
    assert abs(found[0].item() - expected[0]) < 1e-10
    assert abs(found[1].item() - expected[1]) < 1e-10


@pytest.mark.parametrize("pixels_at_once", [1, 9 * 12, 3 * 9 * 12])
def test_chunks_change_neither_loss_nor_gradient(pixels_at_once):
    logits, masks = random_masks(0, dtype=torch.float64)
    results = []
    for settings in (DENSE, MaskSettings(pixels_at_once=pixels_at_once)):
        leaf = logits.clone().requires_grad_()
        focal, dice = mask_losses(Dense(leaf), masks, MATCH, 3, settings=settings)
        results.append((focal, dice, *torch.autograd.grad(focal + dice, leaf)))
    for whole, chunked in zip(*results, strict=True):
        torch.testing.assert_close(chunked, whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("settings", [DENSE, SAMPLED])
def test_instances_without_mask_are_left_out(settings):
    logits, masks = random_masks(1)
    valid = torch.tensor([True, False, True, False])
    generator = torch.Generator()
    found = mask_losses(
        Dense(logits), masks, MATCH, 3, masks_valid=valid, settings=settings, generator=generator.manual_seed(0)
    )
    kept = pairs((0, 2, 0), (1, 1, 2))
    assert found == mask_losses(Dense(logits), masks, kept, 3, settings=settings, generator=generator.manual_seed(0))


@pytest.mark.parametrize("settings", [DENSE, MaskSettings(pixels_at_once=1), SAMPLED])
def test_no_pairs_is_zero_with_a_gradient_of_zero(settings):
    logits, masks = random_masks(2)
    for target_masks, match, valid in (
        (masks[:0], pairs(), None),
        (masks, pairs(), None),
        (masks, MATCH, torch.zeros(4, dtype=torch.bool)),
    ):
        leaf = logits.clone().requires_grad_()
        focal, dice = mask_losses(Dense(leaf), target_masks, match, 1, masks_valid=valid, settings=settings)
        assert focal.item() == dice.item() == 0
        assert not torch.autograd.grad(focal + dice, leaf)[0].any()


def test_gradient_of_dense_and_sampled():
    logits, masks = random_masks(3, dtype=torch.float64)
    for settings in (DENSE, MaskSettings(points=12)):

        def losses(x, settings=settings):
            generator = torch.Generator().manual_seed(7)  # the same points each time
            return mask_losses(Dense(x), masks, MATCH, 3, settings=settings, generator=generator)

        assert torch.autograd.gradcheck(losses, logits.clone().requires_grad_())


def test_only_what_can_be_compared_is_asked_for():
    """Pairs whose target has a mask; semantic maps of prompts with instances, all of known mask."""
    logits, masks = random_masks(7)
    pairs_asked, prompts_asked = [], []

    def of_pairs(prompt_idx, query_idx):
        pairs_asked.extend(zip(prompt_idx.tolist(), query_idx.tolist(), strict=True))
        return logits[prompt_idx, query_idx]

    def of_prompts(prompt_idx):
        prompts_asked.extend(prompt_idx.tolist())
        return logits[prompt_idx, 0]

    valid = torch.tensor([True, False, True, True])
    mask_losses(of_pairs, masks, MATCH, 3, masks_valid=valid)
    semantic_losses(of_prompts, masks, [2, 2], masks_valid=valid)
    assert pairs_asked == [(0, 2), (1, 1), (1, 1)]
    assert prompts_asked == [1]


def test_downsampling_averages_blocks():
    masks = torch.rand(3, 8, 6, generator=torch.Generator().manual_seed(0)) > 0.5
    expected = masks.float().unflatten(1, (4, 2)).unflatten(3, (2, 3)).mean((2, 4))
    torch.testing.assert_close(downsample_masks(masks, (4, 2)), expected)
    assert torch.equal(downsample_masks(masks, (8, 6)), masks.float())
    assert downsample_masks(masks[:0], (4, 2)).shape == (0, 4, 2)


def test_soft_targets_at_the_prediction_are_close_to_upsampling_for_a_smooth_mask():
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    masks = ((rows - 50) ** 2 + (columns - 60) ** 2 < 30**2)[None]
    distance = (30 - ((rows - 52) ** 2 + (columns - 63) ** 2).sqrt()) / 4
    distance = F.interpolate(distance[None, None], (24, 32), mode="area")
    match = pairs((0, 0, 0))
    at_target = torch.stack(mask_losses(Dense(distance), masks, match, 1))
    at_prediction = torch.stack(mask_losses(Dense(distance), downsample_masks(masks, (24, 32)), match, 1))
    torch.testing.assert_close(at_prediction, at_target, rtol=0.1, atol=0.0)


def test_many_uniform_points_approach_the_dense_loss():
    logits, masks = random_masks(4)
    # the dense comparison happens at the pixels of the targets, points lie between them: same up to the edges
    uniform = MaskSettings(points=40_000, importance_ratio=0.0, oversample_ratio=1.0)
    sampled = torch.stack(mask_losses(Dense(logits), masks, MATCH, 3, settings=uniform, generator=torch.Generator()))
    dense = torch.stack(mask_losses(Dense(logits), masks, MATCH, 3))
    torch.testing.assert_close(sampled, dense, rtol=0.1, atol=0.0)


def test_points_read_masks_as_grid_sample_does():
    """A prediction that is met at every point has next to no loss; the targets are read by another routine."""
    masks = torch.rand(2, 6, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    logits = masks[None].clone()

    def loss_at(alpha):
        settings = MaskSettings(points=500, focal_alpha=alpha, focal_gamma=0.0, importance_ratio=0.0)
        match = pairs((0, 0, 0), (0, 1, 1))
        generator = torch.Generator().manual_seed(2)
        return mask_losses(Dense(logits), masks, match, 1, settings=settings, generator=generator)[0].item()

    generator = torch.Generator().manual_seed(2)
    torch.rand((2, 1500, 2), generator=generator, dtype=torch.float64)  # the candidates, of which none are kept
    grid = 2 * torch.rand((2, 500, 2), generator=generator, dtype=torch.float64)[:, :, None] - 1
    x = F.grid_sample(masks[:, None], grid, align_corners=False, padding_mode="border")[:, 0, :, 0]
    positive, negative = -(x * F.logsigmoid(x)).mean(1).sum(), -((1 - x) * F.logsigmoid(-x)).mean(1).sum()
    softened = 0.5 * (positive + negative).item()
    assert abs(loss_at(0.5) - softened) < 1e-9


def test_important_points_lie_where_the_prediction_is_unsure():
    """Only points near the edge of a very sure prediction can have a gradient."""
    logits = torch.full((1, 1, 16, 16), -20.0)
    logits[..., :8] = 20.0
    masks = torch.zeros(1, 16, 16, dtype=torch.bool)

    def seen(importance_ratio):
        leaf = logits.clone().requires_grad_()
        settings = MaskSettings(points=200, importance_ratio=importance_ratio, oversample_ratio=32.0)
        loss, _ = mask_losses(
            Dense(leaf), masks, pairs((0, 0, 0)), 1, settings=settings, generator=torch.Generator().manual_seed(0)
        )
        gradient = torch.autograd.grad(loss, leaf)[0][0, 0].abs()
        return gradient[:, 6:10].sum() / gradient.sum()

    assert seen(1.0) > 0.95
    assert seen(0.0) < 0.6


def test_sampled_losses_follow_their_generator():
    logits, masks = random_masks(5)

    def sampled(seed):
        generator = torch.Generator().manual_seed(seed)
        return mask_losses(Dense(logits), masks, MATCH, 3, settings=SAMPLED, generator=generator)

    assert sampled(1) == sampled(1)
    assert sampled(1) != sampled(2)


def test_semantic_union_equals_a_loop():
    generator = torch.Generator().manual_seed(6)
    logits = torch.randn(4, 1, 5, 7, generator=generator, dtype=torch.float64)
    masks = torch.rand(5, 9, 12, generator=generator) > 0.7
    masks[3] = False  # a prompt whose only mask is empty is not averaged over
    counts = [2, 0, 1, 2]
    masks = masks[[0, 1, 3, 2, 4]]
    expected = torch.zeros(2, dtype=torch.float64)
    for prompt, union in ((0, masks[0] | masks[1]), (3, masks[3] | masks[4])):
        x = F.interpolate(logits[prompt][None], (9, 12), mode="bilinear", align_corners=False)[0, 0]
        p, t = x.sigmoid(), union.double()
        cross_entropy = -(t * p.log() + (1 - t) * (1 - p).log())
        miss = 1 - (p * t + (1 - p) * (1 - t))
        expected[0] += ((0.6 * t + 0.4 * (1 - t)) * miss**2 * cross_entropy).mean()
        expected[1] += 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
    found = torch.stack(semantic_losses(Dense(logits[:, 0]), masks, counts))
    torch.testing.assert_close(found, expected / (2 + 1e-6), rtol=1e-10, atol=0)

    valid = torch.tensor([True, True, True, False, True])  # the union of the last prompt is unknown
    without_last = torch.stack(semantic_losses(Dense(logits[:, 0]), masks, counts, masks_valid=valid))
    only_first = torch.stack(semantic_losses(Dense(logits[:1, 0]), masks[:2], [2]))
    torch.testing.assert_close(without_last, only_first, rtol=1e-10, atol=0)


def test_semantic_map_without_anything():
    logits = torch.randn(2, 1, 4, 4, requires_grad=True)
    for masks, counts, valid in (
        (torch.zeros(0, 8, 8, dtype=torch.bool), [0, 0], None),
        (torch.zeros(1, 8, 8, dtype=torch.bool), [0, 1], None),
        (torch.ones(1, 8, 8, dtype=torch.bool), [0, 1], torch.tensor([False])),
    ):
        focal, dice = semantic_losses(Dense(logits[:, 0]), masks, counts, masks_valid=valid)
        assert focal.item() == dice.item() == 0
        assert not torch.autograd.grad(focal + dice, logits)[0].any()
    none = semantic_losses(Dense(torch.zeros(0, 4, 4)), torch.zeros(0, 8, 8), [])
    assert none[0].item() == none[1].item() == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": "half"}, "resolution must be 'target' or 'prediction', got 'half'"),
        ({"points": 0}, "points must be at least 1"),
        ({"pixels_at_once": 0}, "pixels_at_once must be at least 1"),
        ({"oversample_ratio": 0.5}, "oversample_ratio must be >= 1"),
        ({"importance_ratio": 1.5}, "importance_ratio in 0..1"),
    ],
)
def test_settings_that_make_no_sense(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(DENSE, **change)
