import torch

from masklet.training.clicks import click_inside, click_on_error

CELL_PX = 3.5


def _cells(points) -> tuple[torch.Tensor, torch.Tensor]:
    """Column and row of the cell that each point (O, 1) lies in."""
    place = (points.xy_px[:, 0] + 0.5) / CELL_PX
    assert torch.equal(place % 1, torch.full_like(place, 0.5)), "the middle of a cell"
    return place[:, 0].long(), place[:, 1].long()


def _masks(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(count, 8, 6, generator=generator) > 0.7


def test_clicks_lie_on_their_objects_and_everywhere_on_them() -> None:
    torch.manual_seed(0)
    masks = _masks(2)
    seen = torch.zeros_like(masks)
    for _ in range(400):
        points = click_inside(masks, CELL_PX)
        columns, rows = _cells(points)
        assert points.labels.tolist() == [[1], [1]]
        seen[torch.arange(2), rows, columns] = True
    assert torch.equal(seen, masks)


def test_clicks_lie_rather_in_the_middle() -> None:
    """A line of 40 cells is a quarter of the object beside a square of 121, and is hardly ever clicked."""
    torch.manual_seed(0)
    masks = torch.zeros(1, 60, 60, dtype=torch.bool)
    masks[0, 5:16, 5:16] = masks[0, 40, 10:50] = True
    _, rows = _cells(click_inside(masks.expand(1000, -1, -1), CELL_PX))
    assert 0 < int((rows == 40).sum()) < 50  # 250 if every cell were as likely


def test_an_object_without_a_cell_gets_no_point() -> None:
    masks = torch.zeros(2, 8, 6, dtype=torch.bool)
    masks[1, 4, 2] = True
    points = click_inside(masks, CELL_PX)
    assert points.labels.tolist() == [[-1], [1]] and [int(value[1]) for value in _cells(points)] == [2, 4]


def test_corrections_lie_on_mistakes_and_say_which() -> None:
    torch.manual_seed(0)
    masks, found = _masks(3), _masks(3).flip(1)
    found[2] = masks[2]
    labels = set()
    for _ in range(300):
        points = click_on_error(found, masks, CELL_PX)
        columns, rows = _cells(points)
        for idx, (row, column) in enumerate(zip(rows, columns, strict=True)):
            assert points.labels[idx, 0] == masks[idx, row, column]
            assert idx == 2 or found[idx, row, column] != masks[idx, row, column]
        labels.add(tuple(points.labels[:2, 0].tolist()))
    assert points.labels[2, 0] == 1, "nothing is wrong: one more click on the object"
    assert labels == {(0, 0), (0, 1), (1, 0), (1, 1)}
