"""Box losses against spec/training.md 6.9 and a loop."""

import pytest
import torch

from loss_cases import BOXES, first_targets, layer, overlap, pairs_of, random_case
from masklet.losses.box import box_losses
from masklet.losses.matcher import Match, match_one_to_many, match_one_to_one


def pairs(*triples):
    return Match(*torch.tensor(triples, dtype=torch.int64).reshape(-1, 3).T)


def test_numbers_of_the_specification():
    (match,) = match_one_to_one([layer()], first_targets())
    l1, giou = box_losses(BOXES, first_targets().boxes_cxcywh_norm, match, 2)
    assert abs(l1.item() - 0.0350000) < 1e-6
    assert abs(giou.item() - 0.1919619) < 1e-6
    assert abs(5 * l1.item() + 2 * giou.item() - 0.5589) < 5e-5  # four decimals are printed


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("matcher", [match_one_to_one, match_one_to_many])
def test_equals_a_loop(seed, matcher):
    (prediction,), targets = random_case(seed, dtype=torch.float64)
    (match,) = matcher([prediction], targets)
    l1 = giou = 0.0
    for prompt, query, target in pairs_of(match):
        box, target_box = prediction.boxes_cxcywh_norm[prompt, query], targets.boxes_cxcywh_norm[target]
        l1 += (box - target_box).abs().sum().item() / 13
        giou += (1 - overlap(box, target_box)[1]) / 13
    found = box_losses(prediction.boxes_cxcywh_norm, targets.boxes_cxcywh_norm, match, 13)
    assert len(match) > 3
    assert abs(found[0].item() - l1) < 1e-12
    assert abs(found[1].item() - giou) < 1e-12


def test_no_pairs_is_zero_with_a_gradient_of_zero():
    boxes = BOXES.clone().requires_grad_()
    l1, giou = box_losses(boxes, torch.zeros(0, 4), pairs(), torch.tensor(1.0))
    assert l1.item() == giou.item() == 0
    (gradient,) = torch.autograd.grad(l1 + giou, boxes)
    assert not gradient.any()


def test_boxes_without_area_have_a_loss_and_a_gradient():
    boxes = torch.zeros(1, 2, 4)
    boxes[..., :2] = 0.5
    boxes.requires_grad_()
    targets = torch.tensor([(0.5, 0.5, 0.0, 0.0), (0.2, 0.3, 0.1, 0.2)])
    l1, giou = box_losses(boxes, targets, pairs((0, 0, 0), (0, 1, 1)), 1)
    (gradient,) = torch.autograd.grad(l1 + giou, boxes)
    assert abs(l1.item() - 0.8) < 1e-6
    assert 1 <= giou.item() <= 3  # 1 for two equal points, 1..2 for a point outside its target
    assert gradient.isfinite().all()
    assert (gradient[0, 1] != 0).any()


def test_half_precision_is_computed_in_float32():
    (match,) = match_one_to_one([layer()], first_targets())
    exact = box_losses(BOXES.bfloat16().float(), first_targets().boxes_cxcywh_norm, match, 2)
    found = box_losses(BOXES.bfloat16(), first_targets().boxes_cxcywh_norm, match, 2)
    assert found == exact


def test_gradient():
    (prediction,), targets = random_case(5, counts=(2, 0, 1), queries=3, dtype=torch.float64)
    (match,) = match_one_to_one([prediction], targets)

    def loss(boxes):
        return box_losses(boxes, targets.boxes_cxcywh_norm, match, 3)

    assert torch.autograd.gradcheck(loss, prediction.boxes_cxcywh_norm.clone().requires_grad_())
