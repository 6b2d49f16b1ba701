"""Exemplars are checked at birth; detections keep their rows together."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from masklet.errors import PromptError
from masklet.types import Detections, Exemplar


def test_a_box_and_its_label() -> None:
    exemplar = Exemplar((10, 20, 90, 80), positive=False)
    assert exemplar.box_xyxy == (10.0, 20.0, 90.0, 80.0)
    assert exemplar.positive is False
    assert exemplar.point_xy is None
    assert Exemplar((0, 0, 1, 1)).positive is True


def test_a_point() -> None:
    exemplar = Exemplar.point((3, 4.5), positive=False)
    assert exemplar.point_xy == (3.0, 4.5)
    assert exemplar.box_xyxy is None
    assert exemplar.positive is False


def test_a_mask_acts_through_its_tight_box_with_the_far_edge_exclusive() -> None:
    mask = np.zeros((7, 11), dtype=bool)
    mask[2, 3] = mask[4, 8] = True
    exemplar = Exemplar.mask(mask, positive=False)
    assert exemplar.box_xyxy == (3.0, 2.0, 9.0, 5.0)
    assert exemplar.mask_size_hw == (7, 11)
    assert exemplar.positive is False


@pytest.mark.parametrize(
    "mask", [torch.eye(5), torch.eye(5).bool(), np.eye(5, dtype=np.uint8) * 255, np.eye(5).tolist()]
)
def test_masks_of_any_kind(mask: Any) -> None:
    assert Exemplar.mask(mask).box_xyxy == (0.0, 0.0, 5.0, 5.0)


def test_labels_as_numbers() -> None:
    assert Exemplar((0, 0, 1, 1), positive=1).positive is True  # type: ignore[arg-type]
    assert Exemplar((0, 0, 1, 1), positive=0).positive is False  # type: ignore[arg-type]


def test_numpy_boxes_become_plain_numbers() -> None:
    assert Exemplar(np.array([1, 2, 3, 4], dtype=np.float32)).box_xyxy == (1.0, 2.0, 3.0, 4.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("box", "value"),
    [
        ((90, 20, 10, 80), "(90.0, 20.0, 10.0, 80.0)"),
        ((10, 80, 90, 20), "(10.0, 80.0, 90.0, 20.0)"),
        ((10, 20, 10, 80), "(10.0, 20.0, 10.0, 80.0)"),
        ((10, 20, 90, 20), "(10.0, 20.0, 90.0, 20.0)"),
        ((10, float("nan"), 90, 80), "nan"),
        ((10, 20, float("inf"), 80), "inf"),
        ((10, 20, 90), "(10, 20, 90)"),
        ((1, 2, 3, 4, 5), "(1, 2, 3, 4, 5)"),
        (("left", 20, 90, 80), "left"),
        (7, "7"),
    ],
)
def test_a_box_that_is_none_is_repeated_in_the_error(box: Any, value: str) -> None:
    with pytest.raises(PromptError, match=re.escape(value)):
        Exemplar(box)


@pytest.mark.parametrize("point", [(1,), (1, 2, 3), (float("nan"), 2), (1, float("-inf")), "ab", None])
def test_a_point_that_is_none_is_repeated_in_the_error(point: Any) -> None:
    with pytest.raises(PromptError, match=r"point|either"):
        Exemplar.point(point)


@pytest.mark.parametrize("label", [2, -1, "1", None, float("nan")])
def test_an_unknown_label_is_repeated_in_the_error(label: Any) -> None:
    with pytest.raises(PromptError, match=re.escape(repr(label))):
        Exemplar((0, 0, 1, 1), positive=label)


def test_a_box_or_a_point_but_not_both_nor_neither() -> None:
    with pytest.raises(PromptError, match="either a box or a point"):
        Exemplar(None)
    with pytest.raises(PromptError, match="either a box or a point"):
        Exemplar((0, 0, 1, 1), point_xy=(0, 0))


@pytest.mark.parametrize("mask", [np.zeros((4, 5)), np.zeros((0, 5)), np.ones((2, 3, 4)), np.ones(3)])
def test_a_mask_that_is_none(mask: Any) -> None:
    with pytest.raises(PromptError, match="exemplar mask"):
        Exemplar.mask(mask)


def test_exemplars_are_frozen_values() -> None:
    assert Exemplar((0, 0, 2, 1)) == Exemplar((0.0, 0.0, 2.0, 1.0))
    assert len({Exemplar((0, 0, 2, 1)), Exemplar((0, 0, 2, 1)), Exemplar.point((0, 0))}) == 2
    with pytest.raises(AttributeError):
        Exemplar((0, 0, 2, 1)).positive = False  # type: ignore[misc]


@pytest.mark.parametrize("chosen", [torch.tensor([2, 0]), torch.tensor([True, False, True]), torch.zeros(0).long()])
def test_selecting_detections_keeps_the_rows_together(chosen: torch.Tensor) -> None:
    numbers = torch.arange(3)
    detections = Detections(
        query_idx=numbers,
        scores=numbers / 10,
        boxes_cxcywh_norm=numbers[:, None].expand(3, 4) / 10,
        mask_logits=numbers[:, None, None].expand(3, 2, 5),
    )
    selected = detections.select(chosen)
    expected = numbers[chosen]
    assert len(selected) == len(expected)
    assert torch.equal(selected.query_idx, expected)
    assert torch.equal(selected.scores, expected / 10)
    assert torch.equal(selected.boxes_cxcywh_norm[:, 3], expected / 10)
    assert torch.equal(selected.mask_logits[:, 1, 4], expected)
