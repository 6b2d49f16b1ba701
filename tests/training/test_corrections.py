"""Corrective boxes on hand-made predictions of two queries."""

from __future__ import annotations

import pytest
import torch

from masklet.training.corrections import corrected
from masklet.types import ExemplarBatch, LayerOutputs, Targets

HERE, NEAR, THERE = (0.2, 0.2, 0.2, 0.2), (0.21, 0.2, 0.2, 0.2), (0.8, 0.8, 0.2, 0.2)
NOTHING = (0.5, 0.5, 0.0, 0.1)


def shown(prompts: int, most: int = 0) -> ExemplarBatch:
    return ExemplarBatch(
        boxes_cxcywh_norm=torch.full((prompts, most, 4), 0.5),
        box_labels=torch.ones(prompts, most, dtype=torch.int64),
        box_valid=torch.ones(prompts, most, dtype=torch.bool),
        points_xy_norm=torch.zeros(prompts, 0, 2),
        point_labels=torch.zeros(prompts, 0, dtype=torch.int64),
        point_valid=torch.zeros(prompts, 0, dtype=torch.bool),
    )


def correct(boxes, sure, targets, *, presence: float = 9.0, most: int = 0) -> ExemplarBatch:  # type: ignore[no-untyped-def]
    """One prompt: two predicted boxes, whether each is shown, and the true boxes."""
    outputs = LayerOutputs(
        class_logits=torch.tensor([[9.0 if one else -9.0 for one in sure]]),
        boxes_cxcywh_norm=torch.tensor([boxes]),
        presence_logits=torch.tensor([presence]),
    )
    true = torch.tensor(targets, dtype=torch.float32).view(-1, 4)
    return corrected(shown(1, most), outputs, Targets(counts=torch.tensor([len(true)]), boxes_cxcywh_norm=true))


@pytest.mark.parametrize(
    ("boxes", "sure", "targets", "box", "label"),
    [
        ((HERE, THERE), (True, False), [NEAR, THERE], THERE, 1),  # one is missed
        ((HERE, THERE), (True, True), [NEAR], THERE, 0),  # one is wrong
        ((HERE, THERE), (False, True), [], THERE, 0),  # nothing is there
        ((HERE, THERE), (False, False), [HERE], HERE, 1),  # nothing is shown
        ((HERE, THERE), (True, True), [NEAR, THERE], None, None),  # all is right
        ((HERE, THERE), (False, False), [], None, None),
        ((HERE, NOTHING), (False, True), [], None, None),  # a box of no area cannot be shown
    ],
)
def test_what_is_corrected(boxes, sure, targets, box, label) -> None:  # type: ignore[no-untyped-def]
    after = correct(boxes, sure, targets)
    assert after.box_valid.tolist() == [[box is not None]]
    if box is not None:
        assert after.box_labels.tolist() == [[label]]
        assert after.boxes_cxcywh_norm[0, 0].tolist() == pytest.approx(box)


def test_presence_hides_what_classes_are_sure_of() -> None:
    after = correct((HERE, THERE), (True, True), [], presence=-9.0)
    assert not after.box_valid.any()


def test_what_may_be_unlabelled_is_not_called_wrong() -> None:
    outputs = LayerOutputs(
        class_logits=torch.tensor([[9.0], [9.0]]),
        boxes_cxcywh_norm=torch.tensor([[THERE], [THERE]]),
        presence_logits=torch.tensor([9.0, 9.0]),
    )
    exhaustive = torch.tensor([False, True])
    targets = Targets(counts=torch.tensor([0, 0]), boxes_cxcywh_norm=torch.zeros(0, 4), exhaustive=exhaustive)
    assert corrected(shown(2), outputs, targets).box_valid.tolist() == [[False], [True]]


def test_a_coin_decides_between_both() -> None:
    torch.manual_seed(0)
    labels = [int(correct((HERE, HERE), (True, True), [THERE]).box_labels[0, 0]) for _ in range(200)]
    assert 70 < sum(labels) < 130


def test_boxes_gather() -> None:
    after = correct((HERE, THERE), (True, True), [NEAR], most=2)
    assert after.boxes_cxcywh_norm.shape == (1, 3, 4)
    assert after.box_labels.tolist() == [[1, 1, 0]]
    assert after.box_valid.all()


def test_prompts_do_not_mix() -> None:
    outputs = LayerOutputs(
        class_logits=torch.tensor([[9.0], [9.0], [-9.0]]),
        boxes_cxcywh_norm=torch.tensor([[HERE], [THERE], [HERE]]),
        presence_logits=torch.tensor([9.0, 9.0, 9.0]),
    )
    targets = Targets(counts=torch.tensor([1, 0, 1]), boxes_cxcywh_norm=torch.tensor([HERE, THERE]))
    after = corrected(shown(3), outputs, targets)
    assert after.box_valid.tolist() == [[False], [True], [True]]
    assert after.box_labels[1:].tolist() == [[0], [1]]
    torch.testing.assert_close(after.boxes_cxcywh_norm[1:, 0], torch.tensor([THERE, THERE]))
