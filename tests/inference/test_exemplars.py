"""Exemplars in pixels to a padded batch of fractions; what is outside the picture."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from masklet.errors import PromptError
from masklet.inference.exemplars import batch_exemplars
from masklet.types import Exemplar

SIZE_HW = (50, 200)


def test_prompts_are_padded_to_the_longest() -> None:
    mask = np.zeros(SIZE_HW, dtype=bool)
    mask[10:20, 100:150] = True
    batch = batch_exemplars(
        [
            [Exemplar((20, 10, 60, 15)), Exemplar.point((50, 10), positive=False), Exemplar.mask(mask, positive=False)],
            [],
            [Exemplar((0, 0, 100, 100)), Exemplar.point((0, 0)), Exemplar.point((100, 100))],
        ],
        [SIZE_HW, SIZE_HW, (100, 100)],
    )
    expected = [[[0.2, 0.25, 0.2, 0.1], [0.625, 0.3, 0.25, 0.2]], [[0] * 4] * 2, [[0.5, 0.5, 1, 1], [0] * 4]]
    torch.testing.assert_close(batch.boxes_cxcywh_norm, torch.tensor(expected))
    assert batch.box_labels.tolist() == [[1, 0], [0, 0], [1, 0]]
    assert batch.box_valid.tolist() == [[True, True], [False, False], [True, False]]
    torch.testing.assert_close(
        batch.points_xy_norm, torch.tensor([[[0.25, 0.2], [0.0, 0.0]], [[0.0, 0.0]] * 2, [[0.0, 0.0], [1.0, 1.0]]])
    )
    assert batch.point_labels.tolist() == [[0, 0], [0, 0], [1, 1]]
    assert batch.point_valid.tolist() == [[True, False], [False, False], [True, True]]
    assert batch.boxes_cxcywh_norm.dtype == torch.float32
    assert batch.box_labels.dtype == torch.int64


@pytest.mark.parametrize("prompts", [0, 1, 3])
def test_without_exemplars(prompts: int) -> None:
    batch = batch_exemplars([[]] * prompts, [SIZE_HW] * prompts)
    assert batch.boxes_cxcywh_norm.shape == (prompts, 0, 4)
    assert batch.points_xy_norm.shape == (prompts, 0, 2)
    assert batch.box_valid.shape == batch.box_labels.shape == batch.point_valid.shape == (prompts, 0)
    assert batch.box_labels.dtype == torch.int64
    assert batch.box_valid.dtype == torch.bool


def test_a_box_beyond_the_edge_is_clipped_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        batch = batch_exemplars([[Exemplar((-20, 10, 60, 75))]], [SIZE_HW])
    torch.testing.assert_close(batch.boxes_cxcywh_norm[0, 0], torch.tensor([0.15, 0.6, 0.3, 0.8]))
    assert "(-20.0, 10.0, 60.0, 75.0)" in caplog.text
    assert "200 x 50" in caplog.text


def test_the_whole_picture_needs_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    batch = batch_exemplars([[Exemplar((0, 0, 200, 50)), Exemplar.point((200, 50))]], [SIZE_HW])
    assert batch.boxes_cxcywh_norm[0, 0].tolist() == [0.5, 0.5, 1.0, 1.0]
    assert not caplog.records


@pytest.mark.parametrize("box", [(200, 10, 300, 20), (-9, 10, 0, 20), (10, 50, 20, 60), (500, 500, 600, 600)])
def test_a_box_outside_is_repeated_in_the_error(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(PromptError, match=f"200 x 50.*{float(box[0])}"):
        batch_exemplars([[Exemplar(box)]], [SIZE_HW])


@pytest.mark.parametrize("point", [(-1, 5), (201, 5), (5, 51), (5, -0.5)])
def test_a_point_outside_is_repeated_in_the_error(point: tuple[float, float]) -> None:
    with pytest.raises(PromptError, match=f"200 x 50.*{float(point[0])}, {float(point[1])}"):
        batch_exemplars([[Exemplar.point(point)]], [SIZE_HW])


def test_a_mask_of_another_size() -> None:
    with pytest.raises(PromptError, match=r"\(50, 200\), got \(25, 100\)"):
        batch_exemplars([[Exemplar.mask(np.ones((25, 100)))]], [SIZE_HW])
