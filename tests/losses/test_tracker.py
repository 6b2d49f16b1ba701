"""The tracker's loss beside hand-made numbers and gradients."""

from __future__ import annotations

import math

import pytest
import torch

from masklet.errors import InputError
from masklet.losses.tracker import TrackerWeights, tracker_loss


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def by_hand(logits: list[float], target: list[int]) -> tuple[float, float]:
    """Focal and dice loss of one mask, pixel by pixel."""
    focal, shared, sums = 0.0, 0.0, 0.0
    for logit, truth in zip(logits, target, strict=True):
        p = sigmoid(logit)
        right = p if truth else 1 - p
        focal += (0.25 if truth else 0.75) * (1 - right) ** 2 * -math.log(right)
        shared, sums = shared + p * truth, sums + p + truth
    return focal / len(logits), 1 - (2 * shared + 1) / (sums + 1)


GOOD, BAD, TARGET = [3.0, 2.0, -2.0, -3.0], [-1.0, 2.0, 2.0, -3.0], [1, 1, 0, 0]


def one_object(visible: bool = True) -> tuple[torch.Tensor, ...]:
    logits = torch.tensor([[BAD, GOOD]]).unflatten(2, (2, 2)).requires_grad_()
    quality = torch.tensor([[0.9, 0.6]], requires_grad=True)
    sight = torch.tensor([0.5], requires_grad=True)
    return logits, quality, sight, torch.tensor([TARGET]).bool().unflatten(1, (2, 2)), torch.tensor([visible])


def test_the_best_candidate_is_trained_and_the_quality_of_all() -> None:
    logits, quality, sight, target, visible = one_object()
    loss = tracker_loss(logits, quality, sight, target, visible)
    focal, dice = by_hand(GOOD, TARGET)
    # Overlaps: one of three pixels, and all.
    expected = {
        "mask_focal": focal,
        "mask_dice": dice,
        "quality": (abs(0.9 - 1 / 3) + abs(0.6 - 1)) / 2,
        "sight": -math.log(sigmoid(0.5)),
    }
    assert {name: float(term) for name, term in loss.terms.items()} == pytest.approx(expected, rel=1e-5)
    total = 20 * focal + dice + expected["quality"] + expected["sight"]
    assert float(loss.total.detach()) == pytest.approx(total, rel=1e-5)
    assert loss.best_idx.tolist() == [1]
    loss.total.backward()
    assert not logits.grad[0, 0].any() and logits.grad[0, 1].all()  # type: ignore[index]
    assert quality.grad.tolist() == [[0.5, -0.5]]  # type: ignore[union-attr]


def test_the_others_have_their_share() -> None:
    logits, quality, sight, target, visible = one_object()
    weights = TrackerWeights(mask_dice=0.0, quality=0.0, sight=0.0, spread=0.3)
    loss = tracker_loss(logits, quality, sight, target, visible, weights)
    expected = 0.7 * by_hand(GOOD, TARGET)[0] + 0.3 * by_hand(BAD, TARGET)[0]
    assert float(loss.total.detach()) == pytest.approx(20 * expected, rel=1e-5)
    assert loss.best_idx.tolist() == [1]
    loss.total.backward()
    assert logits.grad.all()  # type: ignore[union-attr]


def test_one_candidate_has_all_of_the_loss() -> None:
    logits, quality, sight, target, visible = one_object()
    alone = (logits[:, :1], quality[:, :1], sight, target, visible)
    shared, whole = (tracker_loss(*alone, TrackerWeights(spread=spread)) for spread in (0.3, 0.0))
    assert torch.equal(shared.total, whole.total)


def test_an_object_out_of_sight_trains_sight_only() -> None:
    logits, quality, sight, target, hidden = one_object(visible=False)
    loss = tracker_loss(logits, quality, sight, target, hidden)
    assert float(loss.total.detach()) == pytest.approx(-math.log(1 - sigmoid(0.5)), rel=1e-5)
    loss.total.backward()
    assert not logits.grad.any() and not quality.grad.any()  # type: ignore[union-attr]
    assert float(sight.grad) > 0  # type: ignore[arg-type]


def test_objects_are_averaged() -> None:
    parts = [one_object(), one_object(visible=False)]
    both = tracker_loss(*(torch.cat(pair) for pair in zip(*parts, strict=True)))  # type: ignore[arg-type]
    alone = [tracker_loss(*part) for part in parts]  # type: ignore[arg-type]
    assert float(both.total.detach()) == pytest.approx(sum(float(one.total.detach()) for one in alone) / 2, rel=1e-5)


def test_masks_are_compared_at_the_size_of_the_truth() -> None:
    logits = torch.full((1, 1, 2, 2), 8.0)
    target = torch.ones(1, 5, 7, dtype=torch.bool)
    loss = tracker_loss(logits, torch.ones(1, 1), torch.full((1,), 9.0), target, torch.tensor([True]))
    assert float(loss.total.detach()) < 0.05


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    sight = torch.randn(2, generator=generator, dtype=torch.float64, requires_grad=True)
    quality = torch.rand(2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.rand(2, 3, 4, generator=generator) > 0.5
    visible = torch.tensor([True, False])
    assert torch.autograd.gradcheck(
        lambda *inputs: tracker_loss(*inputs, target, visible, TrackerWeights(quality=0.5)).total,
        (logits, quality, sight),
    )


def test_no_object_and_misfits() -> None:
    logits = torch.zeros(0, 3, 4, 4, requires_grad=True)
    loss = tracker_loss(logits, torch.zeros(0, 3), torch.zeros(0), torch.zeros(0, 8, 8).bool(), torch.zeros(0).bool())
    loss.total.backward()
    assert (float(loss.total.detach()), len(loss.best_idx)) == (0, 0)
    logits, quality, sight, target, visible = one_object()
    with pytest.raises(InputError, match=r"quality must be \(1, 2\) beside mask_logits"):
        tracker_loss(logits, quality[:, :1], sight, target, visible)
