import numpy as np
import pytest

from masklet.errors import InputError
from masklet.synthetic import scenes
from masklet.synthetic.backgrounds import HELD_OUT_FAMILIES, TRAIN_FAMILIES, paint_background
from masklet.synthetic.scenes import Crowd, Scene, SceneSettings, render_scene
from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.symbols import is_held_out_colour

SIZE_HW = (96, 131)


def _scenes(sheet: SpriteSheet, count: int, settings: SceneSettings, size_hw: tuple[int, int] = SIZE_HW) -> list:
    return [render_scene(sheet, np.random.default_rng(seed), size_hw, settings) for seed in range(count)]


@pytest.fixture(scope="module")
def ordinary(sheet: SpriteSheet) -> list:
    return _scenes(sheet, 150, SceneSettings())


def test_shapes_types_and_the_agreement_of_map_boxes_and_areas(ordinary: list) -> None:
    for scene in ordinary:
        assert scene.image.shape == (*SIZE_HW, 3) and scene.image.dtype == np.uint8
        assert scene.label_map.shape == SIZE_HW == scene.size_hw and scene.label_map.dtype == np.uint8
        assert set(np.unique(scene.label_map)) - {0} == set(range(1, len(scene.instances) + 1))
        masks = scene.masks()
        assert masks.shape == (len(scene.instances), *SIZE_HW)
        for mask, instance in zip(masks, scene.instances, strict=True):
            rows, columns = np.nonzero(mask)
            box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert instance.box_xyxy == box
            assert instance.area_px == mask.sum() >= 24
            assert 0.25 <= instance.visible_fraction <= 1


def test_a_scene_without_sprites_has_empty_arrays_of_the_right_shape(ordinary: list) -> None:
    empty = [scene for scene in ordinary if not scene.instances]
    assert empty
    assert empty[0].masks().shape == (0, *SIZE_HW)
    assert empty[0].boxes_xyxy().shape == (0, 4)


def test_the_same_seed_gives_the_same_scene_and_another_one_another(sheet: SpriteSheet) -> None:
    first, second = _scenes(sheet, 1, SceneSettings())[0], _scenes(sheet, 1, SceneSettings())[0]
    other = render_scene(sheet, np.random.default_rng(77), SIZE_HW, SceneSettings())
    assert np.array_equal(first.image, second.image) and first.instances == second.instances
    assert not np.array_equal(first.image, other.image)


def test_ordinary_scenes_have_zero_to_eight_sprites_repeats_and_one_symbol_in_two_colours(ordinary: list) -> None:
    counts = [len(scene.instances) for scene in ordinary]
    assert min(counts) == 0 and 5 < max(counts) <= 8
    repeats = two_colours = 0
    for scene in ordinary:
        symbols = [instance.symbol_idx for instance in scene.instances]
        repeats += len(set(symbols)) < len(symbols)
        two_colours += len({(i.symbol_idx, i.colour) for i in scene.instances}) > len(set(symbols))
    assert repeats > len(ordinary) / 3
    assert two_colours > len(ordinary) / 12


def test_sprites_are_cut_by_the_border_and_hide_each_other(ordinary: list) -> None:
    instances = [instance for scene in ordinary for instance in scene.instances]
    at_border = [i for i in instances if i.box_xyxy[0] == 0 or i.box_xyxy[3] == SIZE_HW[0]]
    assert at_border
    assert sum(i.visible_fraction < 0.8 for i in instances) > len(instances) / 20
    assert sum(i.visible_fraction > 0.95 for i in instances) > len(instances) / 3


def test_pixels_of_a_mask_come_from_its_sprite_and_the_rest_from_the_background(
    sheet: SpriteSheet, monkeypatch
) -> None:
    """Draws over white and over black without degradation: inside a mask alpha >= 0.5, outside all below it."""
    monkeypatch.setattr(scenes, "_degraded", lambda rng, canvas: canvas)
    pictures = []
    for shade in (0, 255):
        monkeypatch.setattr(
            scenes, "paint_background", lambda rng, size_hw, families, s=shade: np.full((*size_hw, 3), s, np.uint8)
        )
        pictures.append(_scenes(sheet, 20, SceneSettings()))
    solid = []
    for black, white in zip(*pictures, strict=True):
        # What shines through: 255 x the product of (1 - alpha) of all sprites above the pixel.
        through = (white.image.astype(int) - black.image).max(-1)
        inside = through[white.label_map > 0]
        # 127.5 is alpha 0.5; 3 levels for the rounding of up to eight compositions.
        assert (inside <= 128 + 3).all()
        # Outside every mask each sprite's alpha is below 0.5; three such edges over each other are the worst case here.
        assert (through[white.label_map == 0] > 255 * 0.5**3).all()
        solid.extend(inside == 0)
    # Only edges are half transparent, but on sprites of 12 to 50 pixels a third of all pixels is edge.
    assert np.mean(solid) > 0.5


def test_dense_scenes_are_full_of_different_named_sprites_with_little_overlap(sheet: SpriteSheet) -> None:
    settings = SceneSettings(crowd=Crowd(), exemplar_only=False)
    made = _scenes(sheet, 30, settings, (128, 128))
    counts = [len(scene.instances) for scene in made]
    assert np.mean(counts) > 8 and max(counts) <= 16
    assert np.mean([(scene.label_map > 0).mean() for scene in made]) > 0.35
    assert np.mean([i.visible_fraction for scene in made for i in scene.instances]) > 0.85
    assert all(sheet.symbols[i.symbol_idx].named for scene in made for i in scene.instances)


def test_a_crowd_repeats_symbols_and_has_the_cells_it_is_asked_for(sheet: SpriteSheet) -> None:
    def of(crowd: Crowd) -> list[Scene]:
        return _scenes(sheet, 30, SceneSettings(crowd=crowd, exemplar_only=False), (160, 160))

    def repeats(scenes: list[Scene]) -> float:
        return 1 - np.mean([len({i.symbol_idx for i in s.instances}) / len(s.instances) for s in scenes])

    few, many = of(Crowd(cells=(2,))), of(Crowd(cells=(5,)))
    assert max(len(scene.instances) for scene in few) == 4
    assert 18 < np.mean([len(scene.instances) for scene in many]) <= 25
    # By chance alone, among 18 symbols, repeats come too.
    assert repeats(of(Crowd(cells=(3,), repeats=0.6))) > repeats(of(Crowd(cells=(3,)))) + 0.2


@pytest.mark.parametrize("size_hw", [(64, 150), (150, 64), (32, 400)])
@pytest.mark.parametrize("crowd", [None, Crowd(), Crowd(cells=(2, 5), repeats=0.5)])
def test_any_size_works_both_ways_round(sheet: SpriteSheet, size_hw: tuple[int, int], crowd: Crowd | None) -> None:
    for scene in _scenes(sheet, 6, SceneSettings(crowd=crowd), size_hw):
        assert scene.image.shape == (*size_hw, 3)
        assert len(scene.instances) <= 25


def test_a_picture_of_too_few_pixels_is_refused(sheet: SpriteSheet) -> None:
    with pytest.raises(InputError, match="at least 32"):
        render_scene(sheet, np.random.default_rng(0), (31, 64), SceneSettings())


def test_held_out_colours_appear_only_when_they_may(sheet: SpriteSheet, ordinary: list) -> None:
    def held_out(made: list) -> int:
        painted = [i for scene in made for i in scene.instances if i.colour is not None]
        assert len(painted) > 50
        return sum(is_held_out_colour(sheet.symbols[i.symbol_idx].name, i.colour) for i in painted)

    assert held_out(ordinary) == 0
    assert held_out(_scenes(sheet, 80, SceneSettings(held_out_colours=True))) > 5


@pytest.mark.parametrize("family", [*TRAIN_FAMILIES, *HELD_OUT_FAMILIES])
def test_every_background_family_fills_any_shape_and_differs_by_seed(family: str) -> None:
    first, second = (paint_background(np.random.default_rng(seed), (50, 1200), (family,)) for seed in (0, 1))
    assert first.shape == (50, 1200, 3) and first.dtype == np.uint8 and first.flags.writeable
    assert not np.array_equal(first, second)


def test_background_families_are_split() -> None:
    assert set(TRAIN_FAMILIES).isdisjoint(HELD_OUT_FAMILIES)
    assert len(TRAIN_FAMILIES) >= 8 and len(HELD_OUT_FAMILIES) >= 3
