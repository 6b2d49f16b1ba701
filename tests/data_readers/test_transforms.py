"""Pictures as the network takes them: pixels, boxes and masks stay together, whatever varies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from masklet.data.decode import DecodedPicture
from masklet.data.transforms import PLAIN, Augmentation, to_network
from masklet.errors import ConfigError
from masklet.media.images import to_pixels
from masklet.ops.boxes import cxcywh_to_xyxy
from masklet.ops.masks import masks_to_boxes

HEIGHT, WIDTH, SIZE = 60, 90, 84
BOXES = [(12, 9, 33, 30), (60, 30, 90, 60)]


def picture() -> DecodedPicture:
    image = np.full((HEIGHT, WIDTH, 3), 40, dtype=np.uint8)
    masks = np.zeros((2, HEIGHT, WIDTH), dtype=np.bool_)
    for mask, colour, (x0, y0, x1, y1) in zip(masks, ((250, 0, 0), (0, 250, 0)), BOXES, strict=True):
        mask[y0:y1, x0:x1] = True
        image[mask] = colour
    return DecodedPicture(image=image, masks=masks, masks_valid=np.array([True, False]))


def network(augmentation: Augmentation, seed: int = 0, phrases: tuple[str, ...] = ("dog",), boxes=BOXES):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    return to_network(picture(), torch.tensor(boxes, dtype=torch.float32), phrases, SIZE, augmentation, rng)


def test_nothing_varies() -> None:
    seen = network(PLAIN)
    assert torch.equal(seen.pixels, to_pixels(picture().image, SIZE)[0])
    expected = torch.tensor(BOXES) / torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])
    torch.testing.assert_close(cxcywh_to_xyxy(seen.boxes_cxcywh_norm), expected)
    assert seen.masks.shape == (2, SIZE, SIZE)
    assert seen.masks_valid.tolist() == [True, False]
    assert seen.kept.all()


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("mirror", [0.0, 1.0])
def test_pixels_boxes_and_masks_agree(seed: int, mirror: float) -> None:
    """The red and green rectangles lie where their boxes and masks say, within a pixel of blur."""
    seen = network(Augmentation(mirror=mirror), seed)
    boxes = cxcywh_to_xyxy(seen.boxes_cxcywh_norm) * SIZE
    torch.testing.assert_close(masks_to_boxes(seen.masks), boxes, atol=1.0, rtol=0)
    for channel, mask in enumerate(seen.masks):
        bright = seen.pixels[channel] > 0.2
        assert (bright & mask).sum() / (bright | mask).sum() > 0.85
    first, second = boxes[:, 0].tolist()
    assert (first > second) == bool(mirror)


def test_sides_and_places_are_those_released() -> None:
    sides, places = set(), set()
    for seed in range(200):
        boxes = network(Augmentation(), seed).boxes_cxcywh_norm
        # The second box ends where the picture does.
        x1, y1 = (boxes[1, :2] + boxes[1, 2:] / 2).tolist()
        side = round(float(boxes[1, 2]) * WIDTH / 30 * SIZE, 3)
        sides.add(side)
        places.add((round(x1 * SIZE - side), round(y1 * SIZE - side)))
    assert sides == {round(SIZE * (480 + 32 * step) / 1008) for step in range(17)}
    assert len(places) > 100
    assert min(min(place) for place in places) == 0
    assert network(Augmentation(), 0).pixels.min() == -1


def test_released_sides_at_the_full_size() -> None:
    rng = np.random.default_rng(0)
    empty = DecodedPicture(
        image=np.zeros((2, 2, 3), np.uint8) + 255, masks=np.zeros((0, 2, 2), bool), masks_valid=np.zeros(0, bool)
    )
    found = set()
    for _ in range(100):
        seen = to_network(empty, torch.zeros(0, 4), (), 1008, Augmentation(), rng)
        found.add(int((seen.pixels[0] > 0).any(0).sum()))
        assert seen.masks.shape == (0, 1008, 1008)
    assert found <= set(range(480, 993, 32))
    assert len(found) > 10


@pytest.mark.parametrize(
    ("phrase", "mirrored"), [("the dog on the left", False), ("RIGHT shoe", False), ("bright dog", True)]
)
def test_left_and_right_are_not_swapped(phrase: str, mirrored: bool) -> None:
    seen = network(replace(PLAIN, mirror=1.0), phrases=("dog", phrase))
    assert torch.equal(seen.pixels.flip(-1), to_pixels(picture().image, SIZE)[0]) == mirrored


def test_boxes_outside_are_cut_and_small_ones_left_out() -> None:
    seen = network(PLAIN, boxes=[(-30, -10, 45, 30), (50, 50, 50.05, 50.1)])
    assert cxcywh_to_xyxy(seen.boxes_cxcywh_norm)[0].tolist() == pytest.approx([0, 0, 0.5, 0.5])
    assert seen.kept.tolist() == [True, False]


def test_light_varies_and_stays_in_range() -> None:
    plain = network(PLAIN).pixels
    levels = [network(replace(PLAIN, brightness=0.5, contrast=0.5), seed).pixels for seed in range(20)]
    assert all(one.min() >= -1 and one.max() <= 1 for one in levels)
    means = torch.stack(levels).mean((1, 2, 3))
    assert means.min() < plain.mean() - 0.1 < plain.mean() + 0.1 < means.max()


@pytest.mark.parametrize(
    "wrong", [{"smallest": 0.0}, {"smallest": 0.9, "largest": 0.5}, {"largest": 1.2}, {"steps": 0}, {"mirror": 1.5}]
)
def test_impossible_settings(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="augment"):
        Augmentation(**wrong)  # type: ignore[arg-type]
