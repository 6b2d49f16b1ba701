"""Prompts on a picture, alone and together; numbers are compared in test_interactive_parity.py."""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch

from confident import picture
from masklet import ImagePredictor, InteractivePredictor, ObjectPrompt, ObjectResult, inference
from masklet.config import TEST
from masklet.errors import ImageError, InputError, PromptError
from masklet.inference import object_masks
from masklet.model.build import build_model
from masklet.model.detector import Detector
from masklet.ops.masks import encode_rle
from masklet.types import ImageFeatures, PointPrompts, TrackerFeatures
from predictor_cases import FIRST, SECOND

HEIGHT, WIDTH = FIRST.shape[:2]  # 60 x 90
SIDE = TEST.vision.image_size
LOW = 4 * TEST.vision.grid
SCHEMA = json.loads((Path(inference.__path__[0]) / "result.schema.json").read_text())

CLICK, OTHER, AWAY = (30, 20), (62.5, 41), (75, 50)
BOX = (10, 12, 50, 44)
MASK = np.zeros((HEIGHT, WIDTH), dtype=bool)
MASK[15:40, 20:45] = True
LOGITS = torch.randn(LOW, LOW, generator=torch.Generator().manual_seed(0)).numpy() * 4

PROMPTS: dict[str, dict[str, Any]] = {
    "a click": {"points": [CLICK]},
    "a click that is not on it": {"points": [CLICK], "labels": [0]},
    "two clicks": {"points": [CLICK, AWAY], "labels": [1, 0]},
    "two other clicks": {"points": [OTHER, CLICK], "labels": [1, 1]},
    "three clicks": {"points": [CLICK, OTHER, AWAY], "labels": [1, 1, 0]},
    "a box": {"box": BOX},
    "a box and a click": {"box": BOX, "points": [CLICK], "labels": [0]},
    "a mask": {"mask": MASK},
    "a mask and a click": {"mask": MASK, "points": [CLICK]},
    "logits": {"logits": LOGITS},
    "logits and a click": {"logits": LOGITS, "points": [AWAY], "labels": [0]},
    "logits, a box and two clicks": {"logits": LOGITS, "box": BOX, "points": [CLICK, AWAY], "labels": [1, 0]},
}
TOKENS = dict(zip(PROMPTS, [2, 2, 3, 3, 4, 3, 4, 0, 2, 0, 2, 5], strict=True))


@pytest.fixture(scope="module")
def model() -> Detector:
    return build_model("test", seed=0)


@pytest.fixture
def predictor(model: Detector) -> InteractivePredictor:
    return InteractivePredictor(model)


@pytest.fixture
def features(predictor: InteractivePredictor) -> ImageFeatures:
    return predictor.encode(FIRST)


@pytest.fixture
def seen(model: Detector) -> Iterator[list[tuple[int, int]]]:
    """(objects, tokens) of each pass of the mask decoder."""
    shapes: list[tuple[int, int]] = []
    assert model.tracker is not None
    hook = model.tracker.mask_decoder.register_forward_pre_hook(
        lambda module, arguments: shapes.append((arguments[3].shape[0], arguments[3].shape[1]))
    )
    yield shapes
    hook.remove()


def assert_alike(found: ObjectResult, expected: ObjectResult) -> None:
    """Equal up to the order of additions, which differs between batches: about 1e-7 of a value."""
    np.testing.assert_allclose(found.low_res_logits, expected.low_res_logits, atol=1e-5)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    assert found.presence == pytest.approx(expected.presence, abs=1e-5)
    assert np.mean(found.masks != expected.masks) < 1e-3  # a pixel on the edge may fall to either side


# --- prompts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROMPTS)
def test_tokens_and_shapes(
    predictor: InteractivePredictor, features: ImageFeatures, seen: list[tuple[int, int]], name: str
) -> None:
    """Spec/tracker.md 3.2, 10.2: P points are P + 1 tokens, a box two more, a mask none; without points none at all."""
    several = predictor.segment(features, **PROMPTS[name], candidates=True)
    one = predictor.segment(features, **PROMPTS[name], candidates=False)
    assert seen == [(1, TOKENS[name])] * 2
    for result, count in ((several, 3), (one, 1)):
        assert (result.masks.shape, result.masks.dtype) == ((count, HEIGHT, WIDTH), bool)
        assert (result.scores.shape, result.scores.dtype) == ((count,), np.float32)
        assert (result.low_res_logits.shape, result.low_res_logits.dtype) == ((count, LOW, LOW), np.float32)
        assert (result.boxes_xyxy.shape, result.boxes_xyxy.dtype) == ((count, 4), np.float32)
    assert (np.diff(several.scores) <= 0).all()
    automatic = predictor.segment(features, **PROMPTS[name])
    assert_alike(automatic, several if name.startswith("a click") else one)


def test_all_prompts_differ(predictor: InteractivePredictor, features: ImageFeatures) -> None:
    found = [predictor.segment(features, **prompt, candidates=False).low_res_logits for prompt in PROMPTS.values()]
    for k, mine in enumerate(found):
        for theirs in found[k + 1 :]:
            assert np.abs(mine - theirs).max() > 1e-4


def test_corners_of_the_box_come_first(
    predictor: InteractivePredictor, features: ImageFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pixels of the square, not yet moved by half a pixel: x / W of its side, y / H."""
    given: list[PointPrompts] = []
    tracker = predictor.model.tracker
    assert tracker is not None
    original = tracker.candidates

    def candidates(features: Any, points: Any, **options: Any) -> Any:
        given.append(points)
        return original(features, points, **options)

    monkeypatch.setattr(tracker, "candidates", candidates)
    predictor.segment(features, points=[CLICK, AWAY], labels=[1, 0], box=BOX)
    expected = np.array([BOX[:2], BOX[2:], CLICK, AWAY]) * [SIDE / WIDTH, SIDE / HEIGHT]
    np.testing.assert_allclose(given[0].xy_px[0].numpy(), expected, rtol=1e-6)
    assert given[0].labels.tolist() == [[2, 3, 1, 0]]


def test_a_click_on_a_pixel(predictor: InteractivePredictor, features: ImageFeatures) -> None:
    """Places are fractions of the picture: the same value with sizes and clicks scaled gives the same answer."""
    expected = predictor.segment(features, points=[CLICK, AWAY], labels=[1, 0], box=BOX)
    twice = replace(features, image_sizes_hw=((3 * HEIGHT, 2 * WIDTH),))
    scaled = predictor.segment(
        twice,
        points=np.array([CLICK, AWAY]) * [2, 3],
        labels=np.array([1, 0]),
        box=torch.tensor(BOX) * torch.tensor([2, 3, 2, 3]),
    )
    np.testing.assert_allclose(scaled.low_res_logits, expected.low_res_logits, atol=1e-6)
    assert scaled.masks.shape == (1, 3 * HEIGHT, 2 * WIDTH)
    moved = predictor.segment(features, points=[AWAY, CLICK], labels=[1, 0], box=BOX)
    assert np.abs(moved.low_res_logits - expected.low_res_logits).max() > 1e-4


def test_labels_are_1_where_nothing_is_said(predictor: InteractivePredictor, features: ImageFeatures) -> None:
    found = predictor.segment(features, points=[CLICK, AWAY])
    assert_alike(found, predictor.segment(features, points=[CLICK, AWAY], labels=[1, 1]))


def test_a_mask_is_what_its_logits_are(predictor: InteractivePredictor, features: ImageFeatures) -> None:
    """Inside 10, outside -10, brought to the size of the network's masks (spec/tracker.md 4.6)."""
    mask = np.zeros((2 * LOW, 3 * LOW), dtype=bool)
    mask[12:31, 15:35] = True
    size = replace(features, image_sizes_hw=(mask.shape,))
    smooth = torch.nn.functional.interpolate(
        torch.from_numpy(mask).float()[None, None], (LOW, LOW), mode="bilinear", antialias=True
    )
    assert_alike(predictor.segment(size, mask=mask), predictor.segment(size, logits=(20 * smooth - 10)[0]))


def test_an_answer_is_refined(predictor: InteractivePredictor, features: ImageFeatures) -> None:
    first = predictor.segment(features, points=[CLICK])
    clicks = {"points": [CLICK, AWAY], "labels": [1, 0]}
    refined = predictor.segment(features, **clicks, logits=first.low_res_logits[0])
    assert_alike(refined, predictor.segment(features, **clicks, logits=first.best.low_res_logits))  # (1, h, w)
    assert np.abs(refined.low_res_logits - predictor.segment(features, **clicks).low_res_logits).max() > 1e-4


# --- many objects -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("candidates", [True, False, "auto"])
def test_many_objects_are_each_as_if_alone(
    predictor: InteractivePredictor, features: ImageFeatures, seen: list[tuple[int, int]], candidates: Any
) -> None:
    objects = [ObjectPrompt(**prompt, name=name) for name, prompt in PROMPTS.items()]
    results = predictor.segment_objects(features, objects, candidates=candidates)
    # One pass for each kind: points are never padded.
    assert sorted(seen) == [(1, 5), (2, 0), (2, 2), (2, 2), (2, 4), (3, 3)]
    assert [result.concept for result in results] == list(PROMPTS)
    for result, prompt in zip(results, PROMPTS.values(), strict=True):
        assert_alike(result, predictor.segment(features, **prompt, candidates=candidates))


def test_padding_would_change_the_answer(model: Detector, features: ImageFeatures) -> None:
    """Why objects are grouped: a point that is none is read like any other."""
    tracker = model.tracker
    assert tracker is not None
    assert features.tracker_levels is not None
    with torch.no_grad():
        of_picture = tracker.features(features.tracker_levels)
        click = PointPrompts(xy_px=torch.tensor([[[30.0, 20.0]]]), labels=torch.tensor([[1]]))
        alone = tracker.candidates(of_picture, click, ambiguous=True).mask_logits
        padded = tracker.candidates(of_picture, click.followed_by(PointPrompts.none(1)), ambiguous=True).mask_logits
    assert (padded - alone).abs().max() > 1e-4


def test_parts_of_bounded_memory(
    predictor: InteractivePredictor,
    features: ImageFeatures,
    seen: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    objects = [ObjectPrompt(points=[(x, 20)]) for x in range(5, 75, 10)]
    expected = predictor.segment_objects(features, objects)
    monkeypatch.setattr(object_masks, "objects_at_once", lambda device, grid_hw: 3)
    found = predictor.segment_objects(features, objects)
    assert seen == [(7, 2), (3, 2), (3, 2), (1, 2)]
    for mine, theirs in zip(found, expected, strict=True):
        assert_alike(mine, theirs)


def test_no_objects(predictor: InteractivePredictor) -> None:
    assert predictor.segment_objects(FIRST, []) == []


# --- pictures and features --------------------------------------------------------------------------------------------


def test_one_encoding_serves_both_predictors(model: Detector, predictor: InteractivePredictor) -> None:
    finder = ImagePredictor(model)
    mine, theirs = predictor.encode(FIRST), finder.encode(FIRST)
    assert mine.image_sizes_hw == theirs.image_sizes_hw
    assert mine.tracker_levels is not None
    assert theirs.tracker_levels is not None
    for a, b in zip(mine.levels + mine.tracker_levels, theirs.levels + theirs.tracker_levels, strict=True):
        assert torch.equal(a, b)
    assert_alike(predictor.segment(theirs, box=BOX), predictor.segment(FIRST, box=BOX))
    found, expected = finder.segment(mine, "dog", threshold=0.0), finder.segment(FIRST, "dog", threshold=0.0)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)


def test_a_picture_that_is_only_clicked_costs_no_pyramid_of_the_detector(
    model: Detector, predictor: InteractivePredictor, features: ImageFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = predictor.segment(features, points=[CLICK], candidates=False)

    def made(*args: object) -> None:
        raise AssertionError("the detector's pyramid was made")

    monkeypatch.setattr(model.neck, "forward", made)
    alone = predictor.segment(FIRST, points=[CLICK], candidates=False)
    # Two sums of products in another order.
    np.testing.assert_allclose(alone.low_res_logits, shared.low_res_logits, rtol=0, atol=1e-4)
    assert predictor.everything(FIRST, points_per_side=2).image_size_hw == (HEIGHT, WIDTH)


def test_features_without_what_clicks_need(model: Detector, predictor: InteractivePredictor) -> None:
    finder = ImagePredictor(model)
    half = finder.encode(FIRST, tracker=False)
    assert half.tracker_levels is None
    finder.segment(half, "dog")
    for ask in (lambda: predictor.segment(half, box=BOX), lambda: predictor.everything(half)):
        with pytest.raises(InputError, match="must hold the tracker's pyramid"):
            ask()


def test_a_batch_of_features(predictor: InteractivePredictor) -> None:
    both = predictor.encode([FIRST, SECOND])
    first, second = (predictor.segment(each, points=[CLICK]) for each in both)
    assert_alike(second, predictor.segment(SECOND, points=[CLICK]))
    assert first.image_size_hw != second.image_size_hw
    with pytest.raises(InputError, match="must be of one, got 2"):
        predictor.segment(both, points=[CLICK])


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 3000), (3000, 1), (2, 3)])
def test_odd_pictures(predictor: InteractivePredictor, size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    features = predictor.encode(picture(height, width))
    result = predictor.segment(features, points=[(width, 0)], box=(0, 0, width, height), mask=np.ones(size_hw))
    assert result.masks.shape == (1, height, width)
    assert result.boxes_xyxy.max() <= max(size_hw)
    every = predictor.everything(features, points_per_side=2, min_quality=0.0, min_stability=0.0)
    assert every.masks.shape == (len(every), height, width)


def test_other_sizes_and_formats(predictor: InteractivePredictor) -> None:
    small = predictor.segment(FIRST, points=[CLICK], image_size=56)
    assert small.low_res_logits.shape == (3, 16, 16)
    assert small.masks.shape == (3, HEIGHT, WIDTH)
    low = InteractivePredictor(build_model("test", seed=0).bfloat16())
    rough, exact = low.segment(FIRST, points=[CLICK]), predictor.segment(FIRST, points=[CLICK])
    assert rough.low_res_logits.dtype == np.float32
    np.testing.assert_allclose(rough.scores, exact.scores, atol=0.02)  # bfloat16 has 8 bits


def test_click_after_click_reads_the_picture_once(
    predictor: InteractivePredictor, features: ImageFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = predictor.model.tracker
    assert tracker is not None
    original, made = tracker.features, []

    def counted(levels: tuple[torch.Tensor, ...]) -> TrackerFeatures:
        made.append(weakref.ref(found := original(levels)))
        return found

    monkeypatch.setattr(tracker, "features", counted)
    first = predictor.segment(features, points=[CLICK])
    assert_alike(predictor.segment(features, points=[CLICK]), first)
    predictor.segment(features, box=BOX)
    assert len(made) == 1
    other = replace(features, names=("other",))  # equal numbers, another value
    assert predictor.segment(other, box=BOX).image == "other"
    assert predictor.segment(features, box=BOX).image == "image"
    assert len(made) == 3
    with pytest.raises(InputError, match="image_size is for pictures"):
        predictor.segment(features, points=[CLICK], image_size=84)
    last = predictor.encode(FIRST)
    predictor.segment(last, points=[CLICK])
    assert made[-1]() is not None
    del last
    assert made[-1]() is None  # nothing is kept of features that are gone


def test_a_model_that_was_moved_reads_the_picture_again(features: ImageFeatures) -> None:
    predictor = InteractivePredictor(build_model("test", seed=0))
    exact = predictor.segment(features, points=[CLICK])
    predictor.model.bfloat16()
    np.testing.assert_allclose(predictor.segment(features, points=[CLICK]).scores, exact.scores, atol=0.02)


def test_threads_share_a_predictor(predictor: InteractivePredictor) -> None:
    places = [(x, y) for x in (10, 45, 80) for y in (10, 50)]
    encoded = {False: predictor.encode(FIRST), True: predictor.encode(SECOND)}
    asked = [(place, place[0] < SECOND.shape[1] and other) for place in places for other in (False, True)]
    expected = [predictor.segment(encoded[other], points=[place]) for place, other in asked]
    found: dict[int, ObjectResult] = {}

    def work(index: int) -> None:
        place, other = asked[index]
        found[index] = predictor.segment(encoded[other], points=[place])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, result in enumerate(expected):
        assert_alike(found[index], result)


# --- results ----------------------------------------------------------------------------------------------------------


def test_a_result_is_a_frame_result(predictor: InteractivePredictor, tmp_path: Path) -> None:
    result = predictor.segment(FIRST, points=[CLICK], name="red block")
    jsonschema.validate(result.to_dict(), SCHEMA)
    assert json.loads(result.to_json())["concept"] == "red block"
    assert [each["score"] for each in result.to_coco()["annotations"]] == pytest.approx(result.scores.tolist())
    folder = result.save(tmp_path)
    assert folder == tmp_path / "image/red-block"
    assert len(list((folder / "masks").iterdir())) == 3
    assert (folder / "overlay.png").exists()
    assert repr(result).startswith("<ObjectResult 'image' 90 x 60, 'red block': 3 candidates, best 0.")
    best = result.best
    assert isinstance(best, ObjectResult)
    assert len(best) == 1
    assert np.array_equal(best.masks, result.masks[:1])
    assert np.array_equal(best.low_res_logits, result.low_res_logits[:1])
    for box, mask in zip(result.boxes_xyxy, result.masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert box.tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert [one["counts"] for one in result.rle()] == [encode_rle(mask)["counts"] for mask in result.masks]


def test_holes_are_filled_in_masks_only(predictor: InteractivePredictor, features: ImageFeatures) -> None:
    """Areas are shares of the picture: of a mask of 288 x 288 pixels, whatever size this model's masks have."""
    plain = predictor.segment(features, points=[CLICK], hole_area=0)
    unit = 288**2 // LOW**2  # a pixel of this model's masks
    inside = plain.low_res_logits[0] > 0
    holes = int((~inside).sum())
    assert 0 < holes < LOW**2
    whole = predictor.segment(features, points=[CLICK], hole_area=unit * LOW**2)
    assert whole.masks.all()
    none = predictor.segment(features, points=[CLICK], hole_area=0, sprinkle_area=unit * LOW**2)
    assert not none.masks.any()
    assert none.boxes_xyxy.tolist() == [[0, 0, 0, 0]] * 3
    for result in (whole, none):
        assert np.array_equal(result.low_res_logits, plain.low_res_logits)
        assert np.array_equal(result.scores, plain.scores)


def test_logits_are_handed_out_clamped() -> None:
    model = build_model("test", seed=0)
    predictor = InteractivePredictor(model)
    plain = predictor.segment(FIRST, points=[CLICK])
    assert model.tracker is not None
    with torch.no_grad():
        for head in model.tracker.mask_decoder.mask_heads:
            head.layers[-1].weight.mul_(1000)  # type: ignore[union-attr,index,operator]
            head.layers[-1].bias.mul_(1000)  # type: ignore[union-attr,index,operator]
    large = predictor.segment(FIRST, points=[CLICK])
    np.testing.assert_allclose(large.low_res_logits, (plain.low_res_logits * 1000).clip(-32, 32), atol=0.05)
    assert large.low_res_logits.max() == 32
    assert large.low_res_logits.min() == -32


def test_numbers_that_are_not_finite_are_refused() -> None:
    model = build_model("test", seed=0)
    assert model.tracker is not None
    with torch.no_grad():
        model.tracker.mask_decoder.quality_token.weight.fill_(float("nan"))
    with pytest.raises(InputError, match="not finite"):
        InteractivePredictor(model).segment(FIRST, points=[CLICK])


# --- bad input --------------------------------------------------------------------------------------------------------

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "got none of them; show the object"),
    "empty points": ({"points": [], "labels": []}, "got none of them"),
    "labels alone": ({"labels": [1]}, "one for each point, got 1 for 0 points"),
    "too few labels": ({"points": [CLICK, AWAY], "labels": [1]}, "one for each point, got 1 for 2 points"),
    "one number for labels": ({"points": [CLICK, AWAY], "labels": 1}, "got 1 for 2 points"),
    "unknown label": ({"points": [CLICK], "labels": [2]}, "a label must be 1 (on the object) or 0 (not on it), got 2"),
    "padding label": ({"points": [CLICK], "labels": [-1]}, "got -1"),
    "a bare point": ({"points": CLICK}, "must be a list of (x, y) in pixels, got (30, 20); put a single one in a list"),
    "no points": ({"points": 7}, "must be a list of (x, y) in pixels, got 7"),
    "three numbers": ({"points": [(1, 2, 3)]}, "a point must be 2 finite numbers x, y in pixels, got (1, 2, 3)"),
    "words": ({"points": [("a", "b")]}, "a point must be 2 numbers x, y in pixels"),
    "point nan": ({"points": [(float("nan"), 2)]}, "a point must be 2 finite numbers x, y in pixels, got (nan, 2)"),
    "point outside": (
        {"points": [CLICK, (90.5, 3)]},
        "a point must lie in the picture of 90 x 60 pixels, got (90.5, 3.0)",
    ),
    "point above": ({"points": [(3, -1)]}, "got (3.0, -1.0)"),
    "box reversed": ({"box": (9, 9, 1, 1)}, "a box must be x0, y0, x1, y1 with x0 < x1 and y0 < y1, got reversed"),
    "box without area": ({"box": (9, 9, 9, 12)}, "a box must have an area, got (9.0, 9.0, 9.0, 12.0); use points"),
    "box of three": ({"box": (1, 2, 3)}, "a box must be 4 finite numbers x0, y0, x1, y1 in pixels, got (1, 2, 3)"),
    "box infinite": ({"box": (1, 2, 3, float("inf"))}, "a box must be 4 finite numbers"),
    "two boxes": ({"box": [(1, 2, 3, 4), (1, 2, 5, 6)]}, "a box must be 4 numbers"),
    "box outside": ({"box": (90, 0, 95, 5)}, "a box must overlap the picture of 90 x 60 pixels, got (90.0"),
    "mask of another size": ({"mask": np.ones((60, 91))}, "the picture's size (H, W) = (60, 90), got (60, 91)"),
    "mask turned": ({"mask": MASK.T}, "(H, W) = (60, 90), got (90, 60)"),
    "mask of three axes": ({"mask": MASK[None]}, "a mask must be (H, W) of the picture's size, got shape (1, 60, 90)"),
    "empty mask": ({"mask": np.zeros((60, 90))}, "a mask must have a pixel set"),
    "logits of all candidates": ({"logits": np.zeros((3, LOW, LOW))}, "logits must be (h, w)"),
    "logits nan": ({"logits": np.full((LOW, LOW), np.nan)}, "logits must be finite"),
    "mask and logits": ({"mask": MASK, "logits": LOGITS}, "got both"),
    "no name": ({"points": [CLICK], "name": " "}, "the name of an object must be text"),
}


@pytest.mark.parametrize(("prompt", "message"), BAD.values(), ids=BAD.keys())
def test_prompts_that_cannot_be_used(
    predictor: InteractivePredictor, features: ImageFeatures, prompt: dict[str, Any], message: str
) -> None:
    with pytest.raises(PromptError) as caught:
        predictor.segment(features, **prompt)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_places_on_the_edge_are_inside(predictor: InteractivePredictor, features: ImageFeatures) -> None:
    predictor.segment(features, points=[(0, 0), (WIDTH, HEIGHT)], box=(0, 0, WIDTH, HEIGHT))


def test_a_box_beyond_the_picture_is_clipped(
    predictor: InteractivePredictor, features: ImageFeatures, caplog: pytest.LogCaptureFixture
) -> None:
    clipped = predictor.segment(features, box=(60, 20, WIDTH, HEIGHT))
    assert not caplog.records
    assert_alike(predictor.segment(features, box=(60, 20, 500, 61.5)), clipped)
    assert "a box (60.0, 20.0, 500.0, 61.5) reaches beyond the picture of 90 x 60 pixels" in caplog.text


def test_other_arguments(predictor: InteractivePredictor, features: ImageFeatures) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"candidates": "three"}, "candidates must be True, False or 'auto', got 'three'"),
        ({"hole_area": -1}, "hole_area must be a number of pixels, at least 0, got -1"),
        ({"sprinkle_area": float("nan")}, "sprinkle_area must be"),
        ({"image_size": 84}, "image_size is for pictures"),
    ]
    for options, message in wrong:
        with pytest.raises(InputError) as caught:
            predictor.segment(features, points=[CLICK], **options)
        assert message in str(caught.value)
    with pytest.raises(InputError, match="must be a list of ObjectPrompt"):
        predictor.segment_objects(features, [{"points": [CLICK]}])  # type: ignore[list-item]
    with pytest.raises(ImageError, match="there is no such file"):
        predictor.segment("nothing.jpg", points=[CLICK])
    with pytest.raises(InputError, match="at least one picture"):
        predictor.encode([])


def test_models_without_a_tracker() -> None:
    with pytest.raises(InputError, match="clicks need a model with a tracker, which model 'test' has not"):
        InteractivePredictor(build_model(replace(TEST, tracker=None), seed=0))
    with pytest.raises(InputError, match="takes a model, got str"):
        InteractivePredictor("sam3.pt")  # type: ignore[arg-type]
