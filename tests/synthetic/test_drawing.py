import numpy as np
import pytest

from masklet.synthetic.cast import Actor
from masklet.synthetic.drawing import Placement, draw_sprite
from masklet.synthetic.sprites import SpriteSheet


@pytest.mark.parametrize("mirrored", [False, True])
def test_an_unscaled_sprite_lands_on_the_pixel_grid_exactly(sheet: SpriteSheet, mirrored: bool) -> None:
    for idx in range(len(sheet)):
        width, height = sheet.content_wh(idx)
        placement = Placement(
            actor=Actor(symbol_idx=idx, colour=None),
            centre_xy=(20 + width / 2, 30 + height / 2),
            side_px=max(width, height),
            angle=0.0,
            mirrored=mirrored,
        )
        patch = draw_sprite(sheet, placement, (100, 120))
        drawn = np.zeros((100, 120), dtype=np.uint8)
        drawn[patch.rows, patch.columns] = patch.alpha
        alpha = sheet.sprite(idx)[..., 3]
        expected = np.zeros_like(drawn)
        expected[30 : 30 + height, 20 : 20 + width] = alpha[:, ::-1] if mirrored else alpha
        assert np.array_equal(drawn, expected), sheet.symbols[idx].name


def test_a_quarter_turn_turns_the_sprite_the_same_way_as_its_mask(sheet: SpriteSheet) -> None:
    width, height = sheet.content_wh(0)
    placement = Placement(
        actor=Actor(symbol_idx=0, colour=None),
        centre_xy=(50 + height / 2, 40 + width / 2),
        side_px=max(width, height),
        angle=np.pi / 2,
        mirrored=False,
    )
    patch = draw_sprite(sheet, placement, (120, 130))
    drawn = np.zeros((120, 130), dtype=int)
    drawn[patch.rows, patch.columns] = patch.alpha
    turned = np.rot90(sheet.sprite(0)[..., 3], -1)  # clockwise: y points down
    # cos(pi/2) is 6e-17, not 0: interpolation moves a level.
    assert np.abs(drawn[40 : 40 + width, 50 : 50 + height] - turned.astype(int)).max() <= 1


def test_a_sprite_outside_the_picture_is_not_drawn(sheet: SpriteSheet) -> None:
    placement = Placement(
        actor=Actor(symbol_idx=0, colour=None), centre_xy=(-60.0, 20.0), side_px=30.0, angle=0.3, mirrored=False
    )
    assert draw_sprite(sheet, placement, (40, 50)) is None
