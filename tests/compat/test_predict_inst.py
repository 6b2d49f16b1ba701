"""Clicks in the original's form: shapes, types, and that the numbers are those of `InteractivePredictor`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from masklet import InteractivePredictor
from masklet.compat.sam3.model.sam1_task_predictor import SAM3InteractiveImagePredictor
from masklet.compat.sam3.model.sam3_image import Sam3Image
from masklet.compat.sam3.model.sam3_image_processor import Sam3Processor
from masklet.compat.sam3.model_builder import build_sam3_image_model
from masklet.errors import ImageError, InputError, PromptError

HEIGHT, WIDTH, LOW = 60, 75, 24
POINTS, LABELS, BOX = np.array([[30.0, 20.0], [61.5, 41.0]]), np.array([1, 0]), np.array([10.0, 12.0, 50.0, 44.0])
FURTHER = np.array([5.0, 6.0, 70.0, 50.0])
LOGITS = torch.randn(1, LOW, LOW, generator=torch.Generator().manual_seed(0)).numpy() * 4

State = dict[str, Any]


@pytest.fixture(scope="module")
def model(sam3_pt: Path) -> Sam3Image:
    return build_sam3_image_model(checkpoint_path=sam3_pt, device="cpu", enable_inst_interactivity=True)


@pytest.fixture(scope="module")
def state(model: Sam3Image, picture: Image.Image) -> State:
    return Sam3Processor(model).set_image(picture)


@pytest.fixture
def tokens(model: Sam3Image) -> Iterator[list[tuple[int, int]]]:
    """(objects, prompt tokens) of each pass of the mask decoder."""
    seen: list[tuple[int, int]] = []
    assert model.detector.tracker is not None
    hook = model.detector.tracker.mask_decoder.register_forward_pre_hook(
        lambda module, arguments: seen.append(tuple(arguments[3].shape[:2]))
    )
    yield seen
    hook.remove()


def test_the_state_holds_what_clicks_need(model: Sam3Image, state: State) -> None:
    known = state["backbone_out"]["sam2_backbone_out"]
    # conv_s0 and conv_s1 are applied already (spec/tracker.md 10.1): an eighth and a quarter of the channels.
    assert [tuple(level.shape) for level in known["backbone_fpn"]] == [(1, 2, 24, 24), (1, 4, 12, 12), (1, 16, 6, 6)]
    assert known["vision_features"] is known["backbone_fpn"][-1]
    assert set(state) == {"original_height", "original_width", "backbone_out"}


# Objects and tokens of spec/tracker.md 10.2.
COMBINATIONS: dict[str, tuple[dict[str, Any], int, int]] = {
    "points": ({"point_coords": POINTS, "point_labels": LABELS}, 1, 3),
    "one point": ({"point_coords": POINTS[:1], "point_labels": LABELS[:1]}, 1, 2),
    "points of one object": ({"point_coords": POINTS[None], "point_labels": LABELS[None]}, 1, 3),
    "points of two objects": ({"point_coords": POINTS[:, None], "point_labels": LABELS[:, None]}, 2, 2),
    "box": ({"box": BOX}, 1, 3),
    "box in a list": ({"box": BOX[None]}, 1, 3),
    "two boxes": ({"box": np.stack([BOX, FURTHER])}, 2, 3),
    "box and points": ({"box": BOX, "point_coords": POINTS, "point_labels": LABELS}, 1, 5),
    "boxes and points": (
        {"box": np.stack([BOX, FURTHER]), "point_coords": POINTS[:, None], "point_labels": LABELS[:, None]},
        2,
        4,
    ),
    "mask": ({"mask_input": LOGITS}, 1, 0),
    "mask and points": ({"mask_input": LOGITS, "point_coords": POINTS, "point_labels": LABELS}, 1, 3),
    "two masks": ({"mask_input": np.stack([LOGITS, -LOGITS])}, 2, 0),
    "one mask for two boxes": ({"mask_input": LOGITS, "box": np.stack([BOX, FURTHER])}, 2, 3),
    "two masks for two boxes": ({"mask_input": np.stack([LOGITS, -LOGITS]), "box": np.stack([BOX, FURTHER])}, 2, 3),
    "nothing": ({}, 1, 0),
}


@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize("name", COMBINATIONS)
def test_combinations(model: Sam3Image, state: State, tokens: list[tuple[int, int]], name: str, several: bool) -> None:
    prompt, objects, count = COMBINATIONS[name]
    masks, scores, logits = model.predict_inst(state, **prompt, multimask_output=several)
    assert tokens == [(max(objects, 1) if count else objects, count)]
    axes = (objects, 3 if several else 1) if objects > 1 else (3 if several else 1,)
    assert (masks.shape, scores.shape, logits.shape) == ((*axes, HEIGHT, WIDTH), axes, (*axes, LOW, LOW))
    for array in (masks, scores, logits):
        assert isinstance(array, np.ndarray)
        assert array.dtype == np.float32
    assert set(np.unique(masks)) <= {0.0, 1.0}
    assert 0 <= scores.min() <= scores.max() <= 1


@pytest.mark.parametrize("name", ["two boxes", "boxes and points", "two masks for two boxes", "one mask for two boxes"])
def test_objects_are_each_as_if_alone(model: Sam3Image, state: State, name: str) -> None:
    prompt, _, _ = COMBINATIONS[name]
    together = model.predict_inst(state, **prompt)
    for row in range(2):
        alone = {key: value if value is LOGITS else value[row] for key, value in prompt.items()}
        for mine, theirs in zip(together[1:], model.predict_inst(state, **alone)[1:], strict=True):
            np.testing.assert_allclose(mine[row], theirs, atol=1e-5)


def test_numbers_are_those_of_the_predictor(model: Sam3Image, state: State, picture: Image.Image) -> None:
    """Which sorts its candidates. Pixels of the picture are resized as bytes in both."""
    masks, scores, logits = model.predict_inst(state, point_coords=POINTS[:1], point_labels=LABELS[:1], box=BOX)
    expected = InteractivePredictor(model.detector).segment(picture, points=POINTS[:1], box=BOX, candidates=True)
    order = np.argsort(scores)[::-1]  # as the original's notebooks do it
    np.testing.assert_allclose(scores[order], expected.scores, atol=1e-6)
    np.testing.assert_allclose(logits[order], expected.low_res_logits, atol=1e-5)
    assert np.mean(masks[order].astype(bool) != expected.masks) < 1e-3  # pixels on the edge
    one, score, low = model.predict_inst(state, box=BOX, multimask_output=False)
    single = InteractivePredictor(model.detector).segment(picture, box=BOX)
    assert np.mean(one.squeeze(0).astype(bool) != single.masks[0]) < 1e-3
    np.testing.assert_allclose(score, single.scores, atol=1e-6)
    refined = model.predict_inst(state, box=BOX, mask_input=low, multimask_output=False)[2]
    again = InteractivePredictor(model.detector).segment(picture, box=BOX, logits=single.low_res_logits[0])
    np.testing.assert_allclose(refined, again.low_res_logits, atol=1e-5)


def test_logits_and_fractions(model: Sam3Image, state: State) -> None:
    masks, _, low = model.predict_inst(state, POINTS, LABELS)
    logits, _, _ = model.predict_inst(state, POINTS, LABELS, return_logits=True)
    assert (logits.dtype, logits.shape) == (np.float32, masks.shape)
    assert np.array_equal(logits > 0, masks > 0)
    stretched = torch.nn.functional.interpolate(torch.from_numpy(low)[None], (HEIGHT, WIDTH), mode="bilinear")[0]
    filled = logits > stretched.numpy() + 1e-5  # holes were given a logit of 10; the others are at most 1
    np.testing.assert_allclose(logits[~filled], stretched.numpy()[~filled], atol=1e-6)
    assert 0 < filled.mean() < 0.05
    fractions = model.predict_inst(state, POINTS / [WIDTH, HEIGHT], LABELS, normalize_coords=False)
    np.testing.assert_allclose(fractions[2], low, atol=1e-5)
    boxed = model.predict_inst(state, box=BOX / [WIDTH, HEIGHT, WIDTH, HEIGHT], normalize_coords=False)
    np.testing.assert_allclose(boxed[2], model.predict_inst(state, box=BOX)[2], atol=1e-5)


def test_tensors_and_lists(model: Sam3Image, state: State) -> None:
    expected = model.predict_inst(state, POINTS, LABELS, BOX, LOGITS)[2]
    for kind in (torch.from_numpy, np.ndarray.tolist):
        found = model.predict_inst(state, kind(POINTS), kind(LABELS), kind(BOX), kind(LOGITS))[2]
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_clamped_logits_and_filled_holes(sam3_pt: Path, picture: Image.Image) -> None:
    """Spec/tracker.md 10.3: holes go from the masks only; areas are those of a 288 x 288 mask."""
    model = build_sam3_image_model(checkpoint_path=sam3_pt, device="cpu", enable_inst_interactivity=True)
    assert model.detector.tracker is not None
    with torch.no_grad():
        for head in model.detector.tracker.mask_decoder.mask_heads:
            head.layers[-1].weight.mul_(1000)  # type: ignore[union-attr,index,operator]
            head.layers[-1].bias.mul_(1000)  # type: ignore[union-attr,index,operator]
    state = Sam3Processor(model).set_image(picture)
    masks, _, low = model.predict_inst(state, POINTS, LABELS)
    assert low.min() == -32
    assert low.max() == 32
    everything = SAM3InteractiveImagePredictor(model.detector, max_hole_area=288**2)
    everything.set_image(picture)
    filled, _, same = everything.predict(POINTS, LABELS)
    assert filled.min() == 1
    assert same.min() == -32
    assert masks.min() == 0


def test_several_pictures(model: Sam3Image, picture: Image.Image) -> None:
    pictures = [picture, picture.resize((90, 40))]
    processor = Sam3Processor(model)
    state = processor.set_image_batch(pictures)
    points = [POINTS[:, None], POINTS[None, :, :] / 2]
    labels = [LABELS[:, None], LABELS[None]]
    masks, scores, logits = model.predict_inst_batch(state, points, labels, box_batch=None, multimask_output=True)
    assert all(isinstance(part, list) and len(part) == 2 for part in (masks, scores, logits))
    assert [mask.shape for mask in masks] == [(2, 3, 60, 75), (3, 40, 90)]
    for index, one in enumerate(pictures):
        alone = model.predict_inst(processor.set_image(one), points[index], labels[index])
        np.testing.assert_allclose(scores[index], alone[1], atol=1e-5)
        np.testing.assert_allclose(logits[index], alone[2], atol=1e-5)
    boxes = model.predict_inst_batch(state, None, None, box_batch=[np.stack([BOX, FURTHER]), BOX / 2])
    assert [mask.shape for mask in boxes[0]] == [(2, 3, 60, 75), (3, 40, 90)]
    with pytest.raises(PromptError, match="an entry for each of 2 pictures, got 1"):
        model.predict_inst_batch(state, [POINTS], [LABELS])


# --- the predictor that holds a picture -------------------------------------------------------------------------------


def test_set_image_and_predict(model: Sam3Image, state: State, picture: Image.Image) -> None:
    predictor = model.inst_interactive_predictor
    assert predictor is not None
    for image in (picture, np.asarray(picture)):
        predictor.set_image(image)
        masks, scores, logits = predictor.predict(
            point_coords=POINTS,
            point_labels=LABELS,
            box=BOX,
            mask_input=LOGITS,
            multimask_output=True,
            return_logits=False,
            normalize_coords=True,
        )
        assert (masks.shape, scores.shape, logits.shape) == ((3, HEIGHT, WIDTH), (3,), (3, LOW, LOW))
        other = model.predict_inst(state, POINTS, LABELS, BOX, LOGITS)
        # Pixels resized as floats and as bytes: near, and not the same (spec/tracker.md 10.1).
        difference = np.abs(logits - other[2]).max()
        assert 0 < difference < 0.05 * np.abs(other[2]).max()
    pictures = [picture, picture.resize((90, 40))]
    predictor.set_image_batch(pictures)
    batch = predictor.predict_batch([POINTS, POINTS / 2], [LABELS, LABELS], multimask_output=False)
    assert [mask.shape for mask in batch[0]] == [(1, 60, 75), (1, 40, 90)]
    for index, one in enumerate(pictures):
        predictor.set_image(one)
        alone = predictor.predict(POINTS / (1 + index), LABELS, multimask_output=False)
        np.testing.assert_allclose(batch[2][index], alone[2], atol=1e-5)


def test_pixels_are_resized_as_floats(model: Sam3Image, picture: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    original = model.detector.encode_image

    def encode(pixels: torch.Tensor, *rest: Any, **options: Any) -> Any:
        seen.append(pixels)
        return original(pixels, *rest, **options)

    monkeypatch.setattr(model.detector, "encode_image", encode)
    large = picture.resize((200, 150))  # smoothed where it shrinks
    SAM3InteractiveImagePredictor(model.detector).set_image(large)
    levels = torch.from_numpy(np.array(large)).permute(2, 0, 1)[None] / 255
    expected = torch.nn.functional.interpolate(levels, (84, 84), mode="bilinear", antialias=True) * 2 - 1
    torch.testing.assert_close(seen[0], expected, atol=1e-6, rtol=0)


# --- bad input --------------------------------------------------------------------------------------------------------


def test_without_a_picture(model: Sam3Image) -> None:
    predictor = SAM3InteractiveImagePredictor(model.detector)
    with pytest.raises(RuntimeError, match=r"An image must be set with \.set_image\(\.\.\.\) before mask prediction\."):
        predictor.predict(POINTS, LABELS)
    with pytest.raises(RuntimeError, match="set_image_batch"):
        predictor.predict_batch([POINTS], [LABELS])
    with pytest.raises(ImageError):
        predictor.set_image("nothing.jpg")
    for images in ([], Image.new("RGB", (3, 3))):
        with pytest.raises(InputError, match="a list of at least one picture"):
            predictor.set_image_batch(images)  # type: ignore[arg-type]


def test_states_that_do_not_fit(model: Sam3Image, state: State, picture: Image.Image) -> None:
    processor = Sam3Processor(model)
    several = processor.set_image_batch([picture, picture])
    with pytest.raises(ValueError, match="call set_image first"):
        model.predict_inst({}, POINTS, LABELS)
    with pytest.raises(ValueError, match="call set_image first"):
        model.predict_inst(several, POINTS, LABELS)
    with pytest.raises(ValueError, match="call set_image_batch first"):
        model.predict_inst_batch(state, [POINTS], [LABELS])
    plain = Sam3Image(model.detector)
    with pytest.raises(ValueError, match="enable_inst_interactivity=True"):
        plain.predict_inst(state, POINTS, LABELS)
    without = Sam3Processor(plain).set_image(picture)
    assert without["backbone_out"]["sam2_backbone_out"] is None
    with pytest.raises(ValueError, match="by a model without clicks"):
        model.predict_inst(without, POINTS, LABELS)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "points alone": ({"point_coords": POINTS}, "go together"),
    "labels alone": ({"point_labels": LABELS}, "go together"),
    "labels of another number": ({"point_coords": POINTS, "point_labels": [1]}, "one for each point, got (1, 1)"),
    "label": ({"point_coords": POINTS, "point_labels": [1, 7]}, "got [7.0]"),
    "half a label": ({"point_coords": POINTS, "point_labels": [1, 0.5]}, "got [0.5]"),
    "a point of three": ({"point_coords": np.ones((2, 3)), "point_labels": LABELS}, "point_coords must be (P, 2)"),
    "no points": ({"point_coords": np.ones((0, 2)), "point_labels": []}, "point_coords must be (P, 2)"),
    "nan": ({"point_coords": POINTS * np.nan, "point_labels": LABELS}, "point_coords must be finite"),
    "box of three": ({"box": [1, 2, 3]}, "box must be (4,) or (N, 4), got shape (3,)"),
    "ragged": ({"box": [[1, 2, 3, 4], [1]]}, "box must be numbers"),
    "box infinite": ({"box": [1, 2, 3, np.inf]}, "box must be finite"),
    "size of the mask": ({"mask_input": np.zeros((1, 25, 24))}, "(1, 24, 24) or (N, 1, 24, 24), got shape (1, 25, 24)"),
    "three masks": ({"mask_input": np.zeros((3, 24, 24))}, "got shape (3, 24, 24)"),
    "masks and a box": ({"mask_input": np.zeros((3, 1, 24, 24)), "box": BOX}, "one for each of 1 objects, got 3"),
    "boxes and points of one": (
        {"box": np.stack([BOX, FURTHER]), "point_coords": POINTS, "point_labels": LABELS},
        "equally many objects, got [2, 1]",
    ),
}


@pytest.mark.parametrize(("prompt", "message"), BAD.values(), ids=BAD.keys())
def test_prompts_that_cannot_be_used(model: Sam3Image, state: State, prompt: dict[str, Any], message: str) -> None:
    with pytest.raises(PromptError) as caught:
        model.predict_inst(state, **prompt)
    assert message in str(caught.value)


def test_places_beside_the_picture_are_taken(model: Sam3Image, state: State) -> None:
    """As the original takes them."""
    model.predict_inst(state, point_coords=[[-5, 200]], point_labels=[1], box=[-10, -10, 500, 500])
