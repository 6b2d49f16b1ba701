"""Classification and presence loss against spec/training.md 6.2, 6.3, 6.9 and a loop."""

import pytest
import torch

from loss_cases import (
    BOXES,
    LOGITS,
    PRESENCE,
    first_targets,
    layer,
    loop_classification,
    no_targets,
    random_case,
)
from masklet.losses.matcher import Match, match_one_to_many, match_one_to_one
from masklet.losses.score import (
    ScoreSettings,
    classification_loss,
    presence_loss,
    query_qualities,
    visible_prompts,
)
from masklet.types import Targets

UNPADDED = ScoreSettings(pad_n_queries=1)


def loss_of_the_specification(settings=None, targets=None):
    targets = targets or first_targets()
    (match,) = match_one_to_one([layer()], targets)
    return classification_loss(LOGITS, BOXES, targets, match, settings=settings).item()


def pairs(*triples):
    return Match(*torch.tensor(triples, dtype=torch.int64).reshape(-1, 3).T)


def test_numbers_of_the_specification():
    presence = presence_loss(PRESENCE, visible_prompts(first_targets())).item()
    padded, mean = loss_of_the_specification(), loss_of_the_specification(UNPADDED)
    assert abs(padded - 0.02621824) < 1e-7
    assert abs(mean - 1.3109119) < 1e-6
    assert abs(presence - 0.1688726) < 1e-6
    assert abs(20 * padded + 20 * presence - 3.9018161) < 1e-5
    assert abs(20 * mean + 20 * presence - 29.5956898) < 1e-5


def test_weak_loss_of_the_specification():
    targets = Targets(
        counts=first_targets().counts,
        boxes_cxcywh_norm=first_targets().boxes_cxcywh_norm,
        exhaustive=torch.tensor([False, True]),
    )
    settings = ScoreSettings(weak_loss=True, presence_gating=False)
    assert abs(loss_of_the_specification(settings, targets) - 1.9015094) < 1e-5


def test_weak_loss_of_exhaustive_prompts_is_the_mean():
    settings = ScoreSettings(weak_loss=True)
    assert abs(loss_of_the_specification(settings) - loss_of_the_specification(UNPADDED)) < 1e-5  # 1e-6 below: 8 rows


def test_gradient_of_the_specification():
    logits = torch.tensor([[2.0, 0.7]], requires_grad=True)
    boxes = torch.tensor([[(0.5, 0.5, 0.2, 0.2), (0.2, 0.2, 0.1, 0.1)]])
    targets = Targets(counts=torch.tensor([1]), boxes_cxcywh_norm=boxes[0, :1])
    loss = classification_loss(logits, boxes, targets, pairs((0, 0, 0)), settings=UNPADDED)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient, torch.tensor([[-0.4398, 0.3126]]), rtol=0, atol=6e-5)  # four decimals given


def test_a_query_of_several_targets_takes_the_largest_iou():
    """The example of 6.2: probability 0.5, IoUs 0.5 and 0.8, target 0.711312."""
    boxes = torch.tensor([[(0.5, 0.5, 0.4, 0.4)]])
    targets = Targets(
        counts=torch.tensor([2]), boxes_cxcywh_norm=torch.tensor([(0.5, 0.4, 0.4, 0.2), (0.5, 0.46, 0.4, 0.32)])
    )
    for order in ([(0, 0, 0), (0, 0, 1)], [(0, 0, 1), (0, 0, 0)]):
        quality, matched = query_qualities(torch.zeros(1, 1), boxes, targets, pairs(*order), ScoreSettings())
        assert matched.all()
        assert abs(quality.item() - 0.711312) < 1e-6


def test_the_power_of_the_iou_in_the_target():
    """The same with IoU^0.4: 0.5^0.25 * 0.8^(0.75 * 0.4)."""
    boxes = torch.tensor([[(0.5, 0.5, 0.4, 0.4)]])
    targets = Targets(counts=torch.tensor([1]), boxes_cxcywh_norm=torch.tensor([(0.5, 0.46, 0.4, 0.32)]))
    quality, _ = query_qualities(torch.zeros(1, 1), boxes, targets, pairs((0, 0, 0)), ScoreSettings(iou_power=0.4))
    assert abs(quality.item() - 0.786447) < 1e-6


def test_quality_has_a_lower_limit_only_where_matched():
    targets = Targets(counts=torch.tensor([1, 0]), boxes_cxcywh_norm=torch.tensor([(0.1, 0.9, 0.1, 0.1)]))
    quality, _ = query_qualities(LOGITS, BOXES, targets, pairs((0, 1, 0)), ScoreSettings())
    assert quality[0, 1].item() == pytest.approx(0.01)
    quality[0, 1] = 0
    assert not quality.any()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("matcher", [match_one_to_one, match_one_to_many])
@pytest.mark.parametrize("pad_n_queries", [3, 50])
def test_equals_a_loop(seed, matcher, pad_n_queries):
    (prediction,), targets = random_case(seed, dtype=torch.float64)
    (match,) = matcher([prediction], targets)
    found = classification_loss(
        prediction.class_logits,
        prediction.boxes_cxcywh_norm,
        targets,
        match,
        pos_weight=5,
        settings=ScoreSettings(pad_n_queries=pad_n_queries),
    )
    expected = loop_classification(prediction, targets, match, pos_weight=5, pad_n_queries=pad_n_queries)
    assert abs(found.item() - expected) < 1e-9


def test_absent_concepts_are_not_trained_unless_gating_is_off():
    (match,) = match_one_to_one([layer()], first_targets())
    for gating in (True, False):
        logits = LOGITS.clone().requires_grad_()
        settings = ScoreSettings(presence_gating=gating)
        loss = classification_loss(logits, BOXES, first_targets(), match, settings=settings)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert (gradient[0] != 0).all()
        assert (gradient[1] != 0).all() == (not gating)


def test_positive_factor_acts_only_below_the_padding():
    plain, doubled = ScoreSettings(pad_n_queries=5), ScoreSettings(pad_n_queries=5, pad_scale_pos=2)
    (match,) = match_one_to_one([layer()], first_targets())
    none = loss_of_the_specification(ScoreSettings(pad_n_queries=5, pad_scale_pos=0))
    positive = loss_of_the_specification(plain) - none
    assert positive > 0
    assert abs(loss_of_the_specification(doubled) - none - 2 * positive) < 1e-6
    full = ScoreSettings(pad_n_queries=4, pad_scale_pos=2)
    assert loss_of_the_specification(full) == loss_of_the_specification(ScoreSettings(pad_n_queries=4))
    assert len(match) == 2


def test_focal_positives_by_hand():
    logits = torch.tensor([[0.4]])
    boxes = torch.tensor([[(0.5, 0.5, 0.4, 0.4)]])
    targets = Targets(counts=torch.tensor([1]), boxes_cxcywh_norm=torch.tensor([(0.5, 0.4, 0.4, 0.2)]))  # IoU 0.5
    settings = ScoreSettings(pos_focal=True, pad_n_queries=1)
    p = torch.tensor(0.4).sigmoid()
    t = p**0.25 * 0.5**0.75
    p_t = p * t + (1 - p) * (1 - t)
    expected = 10 * 0.5 * (1 - p_t) ** 2 * -(t * p.log() + (1 - t) * (1 - p).log())
    found = classification_loss(logits, boxes, targets, pairs((0, 0, 0)), settings=settings)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


def test_no_target_in_the_whole_batch():
    (match,) = match_one_to_one([layer()], no_targets())
    logits = LOGITS.clone().requires_grad_()
    for settings in (None, ScoreSettings(weak_loss=True)):
        loss = classification_loss(logits, BOXES, no_targets(), match, settings=settings)
        assert loss.item() == 0
        assert not torch.autograd.grad(loss, logits)[0].any()
    presence = presence_loss(torch.zeros(2), visible_prompts(no_targets()))
    assert abs(presence.item() - 0.3466) < 5e-5  # ln 2 / 2


def test_nothing_kept_by_weak_loss_is_zero():
    targets = Targets(
        counts=torch.tensor([0, 0]), boxes_cxcywh_norm=torch.zeros(0, 4), exhaustive=torch.tensor([False, False])
    )
    assert loss_of_the_specification(ScoreSettings(weak_loss=True, presence_gating=False), targets) == 0


def test_no_prompts_and_no_queries():
    for shape in ((0, 4), (2, 0)):
        boxes = torch.zeros(*shape, 4)
        loss = classification_loss(torch.zeros(shape), boxes, no_targets(shape[0]), pairs())
        assert loss.item() == 0
    assert presence_loss(torch.zeros(0), torch.zeros(0, dtype=torch.bool)).item() == 0


def test_boxes_without_area_are_not_visible():
    boxes = torch.tensor([(0.5, 0.5, 0.0, 0.2), (0.5, 0.5, 0.2, 0.2), (0.5, 0.5, 0.2, 0.0)])
    targets = Targets(counts=torch.tensor([1, 0, 2]), boxes_cxcywh_norm=boxes)
    assert visible_prompts(targets).tolist() == [False, False, True]
    targets = Targets(counts=torch.tensor([1, 1, 1]), boxes_cxcywh_norm=boxes)
    assert visible_prompts(targets).tolist() == [False, True, False]


def test_extreme_logits_stay_finite():
    logits = torch.tensor([[500.0, -500.0], [-500.0, 500.0]], requires_grad=True)
    settings = ScoreSettings(gamma=0.5)  # below 1 the power rule alone would divide by zero
    boxes = BOXES[:, :2]
    targets = Targets(counts=torch.tensor([1, 1]), boxes_cxcywh_norm=boxes[:, 0])
    loss = classification_loss(logits, boxes, targets, pairs((0, 0, 0), (1, 0, 1)), settings=settings)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.isfinite()
    assert gradient.isfinite().all()


def test_gradient():
    """Away from matched rows, whose target depends on the logit without gradient."""
    (prediction,), targets = random_case(1, counts=(2, 1), queries=4, dtype=torch.float64)
    boxes = prediction.boxes_cxcywh_norm

    def loss(logits):
        return classification_loss(logits, boxes, targets, pairs(), settings=UNPADDED)

    assert torch.autograd.gradcheck(loss, prediction.class_logits.clone().requires_grad_())


def test_presence_gradient():
    logits = torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    visible = torch.tensor([True, False, True, True])
    assert torch.autograd.gradcheck(lambda x: presence_loss(x, visible), logits)
