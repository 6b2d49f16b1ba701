"""The sum of all losses against spec/training.md 6.7, 6.9, with every part in its place."""

import math
from dataclasses import fields, replace

import pytest
import torch
import torch.distributed as dist

from loss_cases import (
    BOXES,
    LOGITS,
    PRESENCE,
    Dense,
    first_outputs,
    first_targets,
    layer,
    no_targets,
    random_case,
    second_outputs,
    second_targets,
)
from masklet.errors import InputError
from masklet.losses.mask import MaskSettings
from masklet.losses.matcher import MatchSettings
from masklet.losses.total import LossSettings, LossWeights, detection_loss, object_normalizer
from masklet.types import TrainingOutputs

TOP_2 = LossSettings(matching=MatchSettings(topk=2))
UNSCALED = replace(TOP_2, scale_by_prompts=False)
EXACT = 1e-5


def with_masks(outputs, targets, *, size_hw=(16, 24)):
    """The same with random masks on the last layers, a semantic map, and target masks."""
    generator = torch.Generator().manual_seed(0)
    prompts, queries = outputs.one_to_one[-1].class_logits.shape

    def masked(layers):
        logits = torch.randn(prompts, queries, 4, 6, generator=generator, requires_grad=True)
        return (*layers[:-1], replace(layers[-1], masks=Dense(logits))) if layers else ()

    semantic = torch.randn(prompts, 4, 6, generator=generator, requires_grad=True)
    outputs = TrainingOutputs(
        one_to_one=masked(outputs.one_to_one),
        one_to_many=masked(outputs.one_to_many),
        semantic=Dense(semantic),
        mask_size_hw=(4, 6),
    )
    objects = targets.boxes_cxcywh_norm.shape[0]
    return outputs, replace(targets, masks=torch.rand(objects, *size_hw, generator=generator) > 0.5)


def test_first_case_of_the_specification():
    loss = detection_loss(first_outputs(), first_targets(), LossWeights(), UNSCALED)
    assert abs(loss.total.item() - 8.2162743) < EXACT
    scaled = detection_loss(first_outputs(), first_targets(), LossWeights(), TOP_2)
    assert abs(scaled.total.item() - 11.6195667) < 2 * EXACT
    assert abs(2 * loss.terms["l1_one_to_many"].item() - 0.1299999) < EXACT
    assert abs(2 * loss.terms["giou_one_to_many"].item() - 0.5588551) < EXACT
    assert abs(2 * loss.terms["classification_one_to_many"].item() - 0.0993912) < EXACT


SECOND_CASE = {  # suffix: (factor, l1, giou, classification, presence, weighted sum)
    "": (1, 0.0333333, 0.1835301, 0.0573728, 0.2938726, 7.558634),
    "_one_to_many": (2, 0.1066666, 0.4836812, 0.1377730, None, 4.256155),
    "_aux_0": (1, 0.0333333, 0.1835301, 0.0542438, 0.2370385, 6.359374),
    "_aux_0_one_to_many": (2, 0.0866666, 0.3648531, 0.1041771, None, 3.246581),
}


def test_second_case_of_the_specification():
    loss = detection_loss(second_outputs(), second_targets(), LossWeights(), TOP_2)
    names = ("l1", "giou", "classification", "presence")
    expected_names = set()
    for suffix, (factor, *parts, weighted) in SECOND_CASE.items():
        total = 0.0
        for name, value, weight in zip(names, parts, (5, 2, 20, 20), strict=True):
            if value is None:
                continue
            expected_names.add(name + suffix)
            term = factor * loss.terms[name + suffix].item()
            assert abs(term - value) < EXACT
            total += weight * term
        assert abs(total - weighted) < EXACT
    assert loss.terms.keys() == expected_names
    assert abs(loss.total.item() - 30.293507) < 3 * EXACT  # six decimals of a float32 near 30
    unscaled = detection_loss(second_outputs(), second_targets(), LossWeights(), UNSCALED)
    assert abs(unscaled.total.item() - 21.420744) < 2 * EXACT


def test_total_is_the_weighted_sum_of_all_terms():
    outputs, targets = with_masks(second_outputs(), second_targets())
    weights = LossWeights(**{field.name: 1.5 + i for i, field in enumerate(fields(LossWeights))})
    loss = detection_loss(outputs, targets, weights, UNSCALED)
    expected = 0.0
    for name, term in loss.terms.items():
        base = name.replace("_one_to_many", "").split("_aux_")[0]
        expected += getattr(weights, base) * term * (weights.one_to_many if "one_to_many" in name else 1)
        assert not term.requires_grad
    torch.testing.assert_close(loss.total, expected)
    masks = {"mask_focal", "mask_dice", "mask_focal_one_to_many", "mask_dice_one_to_many"}
    assert {name for name in loss.terms if "mask" in name or "semantic" in name} == {
        *masks,
        "semantic_focal",
        "semantic_dice",
    }


@pytest.mark.parametrize("name", [f.name for f in fields(LossWeights) if f.name not in ("pos_weight", "one_to_many")])
def test_each_weight_moves_the_total_by_its_own_terms(name):
    outputs, targets = with_masks(second_outputs(), second_targets())
    with_it = detection_loss(outputs, targets, LossWeights(), UNSCALED)
    without = detection_loss(outputs, targets, replace(LossWeights(), **{name: 0.0}), UNSCALED)
    own = sum(term * (2 if "one_to_many" in key else 1) for key, term in with_it.terms.items() if key.startswith(name))
    difference = with_it.total - without.total
    assert difference > 0
    # a small part of a float32 total near 800
    torch.testing.assert_close(difference, getattr(LossWeights(), name) * own, rtol=1e-3, atol=5e-4)


def test_one_to_many_weight_zero_equals_no_one_to_many():
    outputs = second_outputs()
    off = detection_loss(outputs, second_targets(), LossWeights(one_to_many=0.0))
    absent = detection_loss(replace(outputs, one_to_many=()), second_targets())
    assert off == absent


def test_pos_weight_reaches_the_classification():
    a, b = (detection_loss(first_outputs(), first_targets(), LossWeights(pos_weight=w)).terms for w in (5, 10))
    assert a["classification"] < b["classification"]
    assert a["l1"] == b["l1"]


def test_score_settings_reach_the_classification():
    settings = replace(TOP_2, score=replace(TOP_2.score, pad_n_queries=1))
    loss = detection_loss(first_outputs(), first_targets(), LossWeights(), settings)
    assert abs(loss.terms["classification"].item() - 1.3109119) < EXACT


def test_one_to_many_matching_on_earlier_layers_is_a_choice():
    settings = LossSettings(matching=MatchSettings(topk=2, one_to_many_on_aux=True))
    other = detection_loss(second_outputs(), second_targets(), LossWeights(), settings).terms
    released = detection_loss(second_outputs(), second_targets(), LossWeights(), TOP_2).terms
    changed = {name for name in released if released[name] != other[name]}
    assert changed == {"l1_aux_0_one_to_many", "giou_aux_0_one_to_many", "classification_aux_0_one_to_many"}


@pytest.mark.parametrize("masks", [MaskSettings(), MaskSettings(resolution="prediction"), MaskSettings(points=9)])
def test_no_target_in_the_whole_batch(masks):
    logits = LOGITS.clone().requires_grad_()
    boxes = BOXES.clone().requires_grad_()
    outputs, targets = with_masks(
        TrainingOutputs(
            one_to_one=(layer(logits, torch.zeros(2), boxes), layer(logits, torch.zeros(2), boxes)),
            one_to_many=(layer(logits, None, boxes), layer(logits, None, boxes)),
        ),
        no_targets(),
    )
    loss = detection_loss(outputs, targets, LossWeights(), LossSettings(masks=masks))
    for name, term in loss.terms.items():
        assert abs(term.item() - (math.log(2) / 2 if "presence" in name else 0)) < 1e-6, name
    assert abs(loss.terms["presence"].item() - 0.3466) < 5e-5
    assert abs(loss.total.item() - 2 * 20 * math.log(2) / 2 * math.sqrt(2)) < 1e-4
    leaves = (logits, boxes, outputs.one_to_one[-1].masks.logits, outputs.semantic.logits)
    assert not any(gradient.any() for gradient in torch.autograd.grad(loss.total, leaves))


def test_no_prompts():
    empty = layer(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, 4, 4))
    many = layer(torch.zeros(0, 4), None, torch.zeros(0, 4, 4))
    outputs, targets = with_masks(TrainingOutputs(one_to_one=(empty,), one_to_many=(many,)), no_targets(0))
    assert detection_loss(outputs, targets).total.item() == 0


def test_nothing_wanted_is_a_zero_that_can_be_differentiated():
    logits = LOGITS.clone().requires_grad_()
    outputs = TrainingOutputs(one_to_one=(layer(logits),), one_to_many=())
    loss = detection_loss(outputs, first_targets(), LossWeights(l1=0.0, giou=0.0, classification=0.0))
    assert loss.total.item() == 0
    assert loss.terms == {}
    loss.total.backward()
    assert not logits.grad.any()


def test_masks_at_the_resolution_of_the_prediction():
    outputs, targets = with_masks(second_outputs(), second_targets())
    settings = LossSettings(masks=MaskSettings(resolution="prediction"))
    loss = detection_loss(outputs, targets, LossWeights(), settings).terms
    blocks = targets.masks.float().unflatten(1, (4, 4)).unflatten(3, (6, 4)).mean((2, 4))
    same = detection_loss(outputs, replace(targets, masks=blocks)).terms
    assert loss.keys() == same.keys()
    for name, term in loss.items():
        torch.testing.assert_close(term, same[name])
    assert loss["mask_focal"] != detection_loss(outputs, targets).terms["mask_focal"]
    semantic_only = replace(outputs, one_to_one=second_outputs().one_to_one, one_to_many=())
    assert (
        detection_loss(semantic_only, targets, LossWeights(), settings).terms["semantic_dice"] == loss["semantic_dice"]
    )
    neither = replace(semantic_only, semantic=None, mask_size_hw=None)
    assert not any("mask" in name for name in detection_loss(neither, targets, LossWeights(), settings).terms)


def test_targets_without_masks_leave_the_mask_parts_out():
    outputs, targets = with_masks(second_outputs(), second_targets())
    terms = detection_loss(outputs, replace(targets, masks=None)).terms
    assert terms == detection_loss(second_outputs(), second_targets()).terms


@pytest.mark.parametrize("seed", range(3))
def test_gradient_reaches_every_prediction(seed):
    layers, targets = random_case(seed, layers=4)
    leaves = [
        replace(
            each,
            class_logits=each.class_logits.requires_grad_(),
            boxes_cxcywh_norm=each.boxes_cxcywh_norm.requires_grad_(),
            presence_logits=each.presence_logits.requires_grad_(),
        )
        for each in layers
    ]
    outputs = TrainingOutputs(
        one_to_one=tuple(leaves[:2]),
        one_to_many=tuple(replace(each, presence_logits=None) for each in leaves[2:]),
    )
    outputs, targets = with_masks(outputs, targets)
    detection_loss(outputs, targets).total.backward()
    for index, each in enumerate(leaves):
        assert each.class_logits.grad[targets.counts > 0].all()
        assert each.boxes_cxcywh_norm.grad.any()
        assert each.boxes_cxcywh_norm.grad.isfinite().all()
        assert (each.presence_logits.grad is not None) == (index < 2)
    for sides in (outputs.one_to_one, outputs.one_to_many):
        assert sides[-1].masks.logits.grad.any()
    assert outputs.semantic.logits.grad.any()


def test_half_precision_outputs_and_autocast_lose_nothing_but_their_rounding():
    outputs, targets = second_outputs(), second_targets()

    def rounded(dtype):
        return [
            [
                replace(
                    each,
                    class_logits=each.class_logits.bfloat16().to(dtype),
                    boxes_cxcywh_norm=each.boxes_cxcywh_norm.bfloat16().to(dtype),
                    presence_logits=None if each.presence_logits is None else PRESENCE.bfloat16().to(dtype),
                )
                for each in layers
            ]
            for layers in (outputs.one_to_one, outputs.one_to_many)
        ]

    def loss(dtype):
        one, many = rounded(dtype)
        return detection_loss(TrainingOutputs(one_to_one=tuple(one), one_to_many=tuple(many)), targets)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = loss(torch.bfloat16)
    assert half == loss(torch.float32)


def test_normalizer_counts_objects_and_is_at_least_one():
    assert object_normalizer(torch.tensor([2, 0, 3])).item() == 5
    assert object_normalizer(torch.zeros(2, dtype=torch.int64)).item() == 1
    assert object_normalizer(torch.zeros(0, dtype=torch.int64)).item() == 1


def test_normalizer_is_averaged_over_processes(monkeypatch):
    group = object()

    def add_another_process(number, group):
        number += {id(group): 7.0}[id(the_group)]

    the_group = group
    monkeypatch.setattr(dist, "all_reduce", add_another_process)
    monkeypatch.setattr(dist, "get_world_size", lambda asked: {id(group): 2}[id(asked)])
    assert object_normalizer(torch.tensor([2, 1]), group).item() == 5
    alone, together = (
        detection_loss(first_outputs(), first_targets(), process_group=each).terms["l1"] for each in (None, group)
    )
    torch.testing.assert_close(alone * 2 / 4.5, together)


def test_layers_that_do_not_fit_are_named():
    outputs = second_outputs()
    with pytest.raises(InputError, match="got 2 and 1"):
        detection_loss(replace(outputs, one_to_many=outputs.one_to_many[:1]), second_targets())
    with pytest.raises(InputError, match="got 0 and 0"):
        detection_loss(TrainingOutputs(one_to_one=(), one_to_many=()), second_targets())
