"""The original's box functions against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from masklet.compat.sam3.model import box_ops

# One box: from (2, 4) to (8, 7), that is 6 wide and 3 high around (5, 5.5).
FORMS = {"xyxy": [2.0, 4.0, 8.0, 7.0], "xywh": [2.0, 4.0, 6.0, 3.0], "cxcywh": [5.0, 5.5, 6.0, 3.0]}


@pytest.mark.parametrize("leading", [(), (3,), (2, 5), (0,)])
@pytest.mark.parametrize("source", FORMS)
@pytest.mark.parametrize("target", FORMS)
def test_conversions(source: str, target: str, leading: tuple[int, ...]) -> None:
    if source == target:
        assert not hasattr(box_ops, f"box_{source}_to_{target}")
        return
    boxes = torch.tensor(FORMS[source]).expand(*leading, 4)
    found = getattr(box_ops, f"box_{source}_to_{target}")(boxes)
    assert torch.equal(found, torch.tensor(FORMS[target]).expand(*leading, 4))


def boxes(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


FIRST = boxes([0, 0, 4, 2], [10, 10, 12, 15])
SECOND = boxes([2, 0, 6, 2], [2, 1, 3, 2], [20, 20, 21, 21])


def test_areas() -> None:
    assert box_ops.box_area(FIRST).tolist() == [8, 10]
    assert box_ops.box_area(boxes()).shape == (0,)


def test_overlaps() -> None:
    iou, union = box_ops.box_iou(FIRST, SECOND)
    # 8 + 8 - 4; the small box lies inside; nothing shared.
    torch.testing.assert_close(union, torch.tensor([[12.0, 8, 9], [18, 11, 11]]))
    torch.testing.assert_close(iou, torch.tensor([[4 / 12, 1 / 8, 0], [0, 0, 0]]))
    iou, union = box_ops.box_iou(boxes(), SECOND)
    assert iou.shape == union.shape == (0, 3)


def test_generalised_overlaps() -> None:
    found = box_ops.generalized_box_iou(FIRST, SECOND)
    # The hulls: 6 x 2, 4 x 2, 21 x 21; 10 x 15, 10 x 14, 11 x 11.
    expected = [[4 / 12, 1 / 8, -(441 - 9) / 441], [-(150 - 18) / 150, -(140 - 11) / 140, -(121 - 11) / 121]]
    torch.testing.assert_close(found, torch.tensor(expected))


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.float32])
def test_boxes_of_masks(kind: torch.dtype) -> None:
    masks = torch.zeros(3, 5, 8)
    masks[0, 1, 2] = masks[0, 3, 6] = 1
    masks[2] = 1
    found = box_ops.masks_to_boxes(masks.to(kind))
    assert found.tolist() == [[2, 1, 7, 4], [0, 0, 0, 0], [0, 0, 8, 5]]
    assert box_ops.masks_to_boxes(masks[:0].to(kind)).shape == (0, 4)
