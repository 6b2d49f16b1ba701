"""Overlays: pixels inside a mask change and no others, outlines lie on its edge, labels can be read."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw

from masklet.errors import InputError
from masklet.inference.frame_result import draw_results
from masklet.ops.masks import encode_rle
from masklet.render import overlay
from masklet.render.overlay import Drawn, colour_of, draw_overlay
from result_cases import MASKS, empty_result, make_result, picture, rectangle

SIZE_HW = (320, 430)
NOWHERE = (0.0, 0.0, 0.0, 0.0)


def disc(x0: float, y0: float, radius: float, size_hw: tuple[int, int] = SIZE_HW) -> npt.NDArray[np.bool_]:
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    return np.hypot(x - x0, y - y0) < radius


def drawn_mask(mask: npt.NDArray[np.bool_], name: str = "cat") -> Drawn:
    return Drawn(rle=encode_rle(mask), box_xyxy=NOWHERE, name=name, score=0.5)


@pytest.fixture
def no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves boxes and labels out, so that masks alone are looked at."""
    monkeypatch.setattr(overlay, "_draw_labels", lambda *_, **__: None)
    monkeypatch.setattr(ImageDraw.ImageDraw, "rectangle", lambda *_, **__: None)


@pytest.mark.usefixtures("no_text")
def test_only_pixels_of_the_mask_change_and_its_edge_has_the_full_colour() -> None:
    image, mask = picture(SIZE_HW), disc(200, 150, 80.3) & ~disc(190, 140, 20)
    original = image.copy()
    after = np.array(draw_overlay(image, [drawn_mask(mask)]))
    assert np.array_equal(image, original)
    assert np.array_equal((after != image).any(2), mask)
    # With lines of one pixel the outline is: pixels inside with a neighbour outside, corners included.
    padded = np.pad(mask, 1)
    shifts = [padded[dy : dy + SIZE_HW[0], dx : dx + SIZE_HW[1]] for dy in range(3) for dx in range(3)]
    edge = mask & ~np.logical_and.reduce(shifts)
    assert np.array_equal((after == colour_of(0)).all(2), edge)
    inner = mask & ~edge
    expected = image[inner] + (np.array(colour_of(0)) - image[inner]) * (105 / 255)
    assert np.abs(after[inner] - expected).max() <= 1  # Pillow rounds to whole levels


@pytest.mark.usefixtures("no_text")
def test_a_mask_that_ends_at_the_edge_of_the_picture_is_closed_there() -> None:
    after = np.array(draw_overlay(picture(SIZE_HW), [drawn_mask(np.ones(SIZE_HW, dtype=bool))]))
    edge = ~rectangle(1, 1, SIZE_HW[1] - 1, SIZE_HW[0] - 1, SIZE_HW)
    assert np.array_equal((after == colour_of(0)).all(2), edge)


@pytest.mark.usefixtures("no_text")
def test_small_masks_lie_on_large_ones() -> None:
    small, large = disc(100, 100, 20), disc(110, 110, 90)
    for masks in ([small, large], [large, small]):
        after = np.array(draw_overlay(picture(SIZE_HW), [drawn_mask(mask) for mask in masks]))
        on_top = next(index for index, mask in enumerate(masks) if mask is small)
        assert (after[100, 119] == colour_of(on_top)).all()


@pytest.mark.usefixtures("no_text")
@pytest.mark.parametrize("side", [1500, 4000])
def test_lines_grow_with_the_picture(side: int) -> None:
    square = rectangle(100, 100, side - 100, side - 100, (side, side))
    after = np.array(draw_overlay(np.zeros((side, side, 3), dtype=np.uint8), [drawn_mask(square)]))
    row = (after[side // 2] == colour_of(0)).all(1)
    width = side // 500
    assert np.flatnonzero(row).tolist() == [*range(100, 100 + width), *range(side - 100 - width, side - 100)]


def test_nothing_found_leaves_the_picture() -> None:
    image = picture(SIZE_HW)
    assert np.array_equal(np.array(draw_overlay(image, [])), image)


def test_a_box_is_drawn_on_its_outermost_pixels() -> None:
    one = Drawn(rle=encode_rle(np.zeros(SIZE_HW, dtype=bool)), box_xyxy=(50, 100, 300, 220), name="", score=0.5)
    after = np.array(draw_overlay(np.zeros((*SIZE_HW, 3), dtype=np.uint8), [one]))
    coloured = (after == colour_of(0)).all(2)
    assert np.flatnonzero(coloured[:, 200]).tolist() == [100, 219]
    assert np.flatnonzero(coloured[210]).tolist() == [50, 299]


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 20_000), (3000, 2), (30, 41)])
def test_pictures_of_odd_sizes(size_hw: tuple[int, int]) -> None:
    mask = np.ones((1, *size_hw), dtype=bool)
    image = make_result(mask, source=picture(size_hw)).overlay()
    zoom = image.width // size_hw[1]
    assert image.size == (size_hw[1] * zoom, size_hw[0] * zoom)
    assert max(image.size) >= 256
    assert not np.array_equal(np.array(image)[::zoom, ::zoom], picture(size_hw))


# --- labels -----------------------------------------------------------------------------------------------------------


def label_areas(detections: list[Drawn], monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, ...]]:
    """Where labels are drawn: the rectangles that are filled."""
    areas = []
    rectangle = ImageDraw.ImageDraw.rectangle

    def noted(self: ImageDraw.ImageDraw, xy: tuple[float, ...], fill: object = None, **rest: object) -> None:
        if fill is not None:
            areas.append(tuple(xy))
        rectangle(self, xy, fill=fill, **rest)

    monkeypatch.setattr(ImageDraw.ImageDraw, "rectangle", noted)
    draw_overlay(picture(SIZE_HW), detections)
    return areas


def test_labels_of_one_place_do_not_cover_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = [(100, 100, 180, 190), (102, 101, 181, 190), (100, 99, 180, 192), (0, 0, 50, 40), (380, 290, 430, 320)]
    nothing = encode_rle(np.zeros(SIZE_HW, dtype=bool))
    detections = [Drawn(rle=nothing, box_xyxy=box, name="dog", score=0.5) for box in boxes]
    areas = label_areas(detections, monkeypatch)
    assert len(areas) == len(boxes)
    for first, second in itertools.combinations(areas, 2):
        assert first[2] < second[0] or second[2] < first[0] or first[3] < second[1] or second[3] < first[1]
    for x0, y0, x1, y1 in areas:
        assert 0 <= x0 < x1 < SIZE_HW[1]
        assert 0 <= y0 < y1 < SIZE_HW[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dog", "dog 0.50"),
        ("école", "ecole 0.50"),
        ("", "0.50"),
        ("🚌", "0.50"),
        ("\ud83d", "0.50"),
        ("word " * 20, "word " * 7 + "word… 0.50"),
        ("two\nlines\0", "two lines 0.50"),
    ],
)
def test_what_labels_say_when_no_font_is_installed(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "_USUAL_FONTS", ())
    assert written_labels(name, monkeypatch) == [text]


def test_an_installed_font_writes_other_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "_USUAL_FONTS", ("no such font.ttf", findfont("DejaVu Sans")))
    assert written_labels("школьный автобус", monkeypatch) == ["школьный автобус 0.50"]


def written_labels(name: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    written: list[str] = []
    overlay._fonts.cache_clear()
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda _, __, text, **___: written.append(text))
    draw_overlay(picture((600, 800)), [drawn_mask(disc(300, 300, 50, (600, 800)), name)])
    overlay._fonts.cache_clear()
    return written


def luminance(colour: tuple[int, ...]) -> float:
    """Relative luminance as WCAG 2 defines it, 0..1."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (level / 255 for level in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_an_object_keeps_its_colour_and_its_label_says_which_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    plain = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "text",
        lambda self, place, text, **how: said.append(text) or plain(self, place, text, **how),
    )
    mask = encode_rle(disc(200, 150, 60))
    one = Drawn(rle=mask, box_xyxy=NOWHERE, name="cat", score=0.5, object_id=17)
    other = Drawn(rle=encode_rle(disc(60, 60, 40)), box_xyxy=NOWHERE, name="dog", score=0.5, object_id=3)
    for detections in ([one], [other, one], [one, other]):
        after = np.array(draw_overlay(picture(SIZE_HW), detections))
        assert tuple(after[150, 141]) == colour_of(17)  # on the left edge of its mask
    assert said == ["cat 17", "dog 3", "cat 17", "cat 17", "dog 3"]


def test_ink_stands_out_and_colours_differ() -> None:
    colours = [colour_of(index) for index in range(200)]
    for colour in colours:
        light, dark = sorted((luminance(colour), luminance(overlay._ink(colour))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2 for text
    assert len(set(colours)) == 200
    for first, second in itertools.combinations(np.array(colours[:12]), 2):
        assert np.abs(first - second).sum() >= 60


# --- several concepts -------------------------------------------------------------------------------------------------


def test_several_concepts_on_one_picture() -> None:
    results = [make_result(MASKS[:1]), empty_result(concept="dog"), make_result(MASKS[1:2], concept="cat")]
    image = draw_results(results, picture())
    changed = np.array(image) != np.array(draw_results(results[:1], picture()))
    assert changed.any()
    assert np.array_equal(np.array(draw_results(results[:2], picture())), np.array(results[0].overlay(picture())))


def test_the_picture_is_read_again_from_its_file(tmp_path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(picture()).save(path)
    result = make_result(source=path)
    assert np.array_equal(np.array(result.overlay()), np.array(result.overlay(picture())))


def test_pictures_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="pass it as image="):
        make_result().overlay()
    with pytest.raises(InputError, match=r"\(30, 41\).*\(41, 30\)"):
        make_result().overlay(picture((41, 30)))
    with pytest.raises(InputError, match=r"\(30, 41\).*\(60, 82\)"):
        make_result(source=picture((60, 82))).overlay()
    with pytest.raises(InputError, match="expected results"):
        draw_results([])
