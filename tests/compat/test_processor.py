"""The processor's state, and that its numbers are those of `ImagePredictor` on the same weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from masklet import Exemplar
from masklet.compat.sam3.model.sam3_image import Sam3Image
from masklet.compat.sam3.model.sam3_image_processor import Sam3Processor
from masklet.errors import ImageError, InputError, PromptError
from masklet.inference.image_predictor import ImagePredictor
from masklet.model.tokenizer import Tokenizer

RESULTS = {"masks", "masks_logits", "boxes", "scores"}
BOX = [0.4, 0.45, 0.5, 0.3]
BOX_PX = (11.25, 18.0, 48.75, 36.0)  # the same on 75 x 60 pixels
OTHER = [0.7, 0.6, 0.2, 0.4]
OTHER_PX = (45.0, 24.0, 60.0, 48.0)


def middle(scores: torch.Tensor) -> float:
    """A threshold that keeps some of all scores and drops others."""
    ranked = scores.sort().values
    return float(ranked[len(ranked) // 2 - 1 : len(ranked) // 2 + 1].mean())


@pytest.fixture
def processor(model: Sam3Image) -> Sam3Processor:
    return Sam3Processor(model, confidence_threshold=0.0)


def assert_same(state: dict[str, Any], model: Sam3Image, image: Image.Image, **question: Any) -> None:
    """The state holds what `ImagePredictor` answers, in the order of queries and with boxes not clipped."""
    expected = ImagePredictor(model.detector).segment(image, nms_iou=None, **question)
    order = state["scores"].argsort(descending=True, stable=True)
    assert len(order) == len(expected)
    np.testing.assert_array_equal(state["scores"][order].numpy(), expected.scores)
    limits = torch.tensor([image.width, image.height] * 2)
    clipped = state["boxes"][order].clamp(min=0).minimum(limits)
    np.testing.assert_allclose(clipped.numpy(), expected.boxes_xyxy, atol=1e-4)
    clear = (state["masks_logits"][order, 0] - 0.5).abs() > 1e-5  # beyond rounding in float32
    assert clear.float().mean() > 0.99
    masks = torch.from_numpy(expected.masks)
    assert torch.equal(state["masks"][order, 0][clear], masks[clear])
    assert len(masks) == 0 or 0 < masks.float().mean() < 1


def test_set_image(processor: Sam3Processor, picture: Image.Image) -> None:
    state = processor.set_image(picture)
    assert set(state) == {"original_height", "original_width", "backbone_out"}
    assert (state["original_height"], state["original_width"]) == (60, 75)
    known = state["backbone_out"]
    assert [tuple(level.shape) for level in known["backbone_fpn"]] == [(1, 16, 24, 24), (1, 16, 12, 12), (1, 16, 6, 6)]
    assert known["vision_features"] is known["backbone_fpn"][-1]
    assert known["sam2_backbone_out"] is None


def test_a_text(processor: Sam3Processor, model: Sam3Image, picture: Image.Image) -> None:
    given = processor.set_image(picture)
    state = processor.set_text_prompt(state=given, prompt="shoe")
    assert state is given
    assert set(state) == {"original_height", "original_width", "backbone_out", *RESULTS}
    count = len(state["scores"])
    assert count == model.detector.config.decoder.queries  # the threshold is 0
    assert (state["masks"].shape, state["masks"].dtype) == ((count, 1, 60, 75), torch.bool)
    assert (state["masks_logits"].shape, state["masks_logits"].dtype) == ((count, 1, 60, 75), torch.float32)
    assert 0 <= state["masks_logits"].min() < state["masks_logits"].max() <= 1
    assert torch.equal(state["masks"], state["masks_logits"] > 0.5)
    assert (state["boxes"].shape, state["boxes"].dtype) == ((count, 4), torch.float32)
    assert (state["scores"].shape, state["scores"].dtype) == ((count,), torch.float32)
    assert not torch.equal(state["scores"], state["scores"].sort(descending=True).values)  # the order of queries
    text = state["backbone_out"]["language_features"]
    assert text.shape == (12, 1, 16)
    padding = Tokenizer(12, model.detector.config.text.merges)(["shoe"]) == 0
    assert torch.equal(state["backbone_out"]["language_mask"], padding)
    assert_same(state, model, picture, concept="shoe", threshold=0.0)


def test_both_orders_of_arguments(processor: Sam3Processor, picture: Image.Image) -> None:
    state = processor.set_image(picture)
    first = processor.set_text_prompt("shoe", state)["scores"]
    assert torch.equal(processor.set_text_prompt(prompt="shoe", state=state)["scores"], first)
    assert not torch.equal(processor.set_text_prompt(state=state, prompt="child")["scores"], first)


def test_boxes_of_both_labels(processor: Sam3Processor, model: Sam3Image, picture: Image.Image) -> None:
    state = processor.add_geometric_prompt(BOX, True, processor.set_image(picture))
    assert "geometric_prompt" in state
    assert_same(state, model, picture, exemplars=[Exemplar(BOX_PX)], threshold=0.0)
    one = state["scores"]

    # Lists, tuples and tensors; arguments by name.
    state = processor.add_geometric_prompt(state=state, box=torch.tensor(OTHER), label=False)
    both = [Exemplar(BOX_PX), Exemplar(OTHER_PX, positive=False)]
    assert_same(state, model, picture, exemplars=both, threshold=0.0)
    assert not torch.equal(state["scores"], one)

    # A text afterwards takes the place of "visual" and keeps the boxes.
    state = processor.set_text_prompt("shoe", state)
    assert_same(state, model, picture, concept="shoe", exemplars=both, threshold=0.0)


def test_a_box_keeps_the_text(processor: Sam3Processor, model: Sam3Image, picture: Image.Image) -> None:
    state = processor.set_text_prompt("shoe", processor.set_image(picture))
    state = processor.add_geometric_prompt(BOX, False, state)
    assert_same(state, model, picture, concept="shoe", exemplars=[Exemplar(BOX_PX, positive=False)], threshold=0.0)


def test_reset_keeps_the_picture(processor: Sam3Processor, picture: Image.Image) -> None:
    state = processor.set_image(picture)
    processor.set_text_prompt("shoe", state)
    before = state["scores"]
    processor.add_geometric_prompt(BOX, True, state)
    assert processor.reset_all_prompts(state) is None
    assert set(state) == {"original_height", "original_width", "backbone_out"}
    assert not any(key.startswith("language") for key in state["backbone_out"])
    assert torch.equal(processor.set_text_prompt("shoe", state)["scores"], before)


def test_the_threshold_is_strict_and_runs_again(
    processor: Sam3Processor, model: Sam3Image, picture: Image.Image
) -> None:
    state = processor.set_image(picture)
    assert processor.set_confidence_threshold(0.0, state) is state
    assert "boxes" not in state
    everything = processor.set_text_prompt("shoe", state)["scores"]
    threshold = middle(everything)
    assert processor.set_confidence_threshold(threshold, state) is state
    kept = everything > threshold
    assert 0 < kept.sum() < len(kept)
    assert torch.equal(state["scores"], everything[kept])
    assert_same(state, model, picture, concept="shoe", threshold=threshold)

    edge = float(everything.max())
    processor.set_confidence_threshold(edge, state=state)
    assert len(state["scores"]) == 0
    processor.set_confidence_threshold(0.0)
    assert processor.confidence_threshold == 0.0
    assert len(state["scores"]) == 0  # without a state nothing is made anew


def test_nothing_found(model: Sam3Image, picture: Image.Image) -> None:
    processor = Sam3Processor(model, confidence_threshold=1.0)
    state = processor.set_text_prompt("shoe", processor.set_image(picture))
    shapes = {key: tuple(state[key].shape) for key in RESULTS}
    assert shapes == {"masks": (0, 1, 60, 75), "masks_logits": (0, 1, 60, 75), "boxes": (0, 4), "scores": (0,)}
    assert state["masks"].dtype == torch.bool


def test_a_new_picture_forgets_the_old_one(processor: Sam3Processor, picture: Image.Image) -> None:
    state = processor.add_geometric_prompt(BOX, True, processor.set_image(picture))
    wide = picture.resize((90, 40))
    assert processor.set_image(wide, state) is state
    assert set(state) == {"original_height", "original_width", "backbone_out"}
    fresh = processor.set_text_prompt("shoe", processor.set_image(wide))
    assert torch.equal(processor.set_text_prompt("shoe", state)["boxes"], fresh["boxes"])
    assert state["masks"].shape[2:] == (40, 90)


def test_several_pictures(processor: Sam3Processor, picture: Image.Image) -> None:
    pictures = [picture, picture.resize((90, 40)), picture.rotate(90, expand=True)]
    state = processor.set_image_batch(pictures, state=processor.set_image(picture))
    assert set(state) == {"original_heights", "original_widths", "backbone_out"}
    assert (state["original_heights"], state["original_widths"]) == ([60, 40, 75], [75, 90, 60])
    for index, one in enumerate(pictures):
        alone = processor.set_image(one)["backbone_out"]["vision_features"]
        batch = state["backbone_out"]["vision_features"][index : index + 1]
        torch.testing.assert_close(batch, alone, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="call set_image for each"):
        processor.set_text_prompt("shoe", state)


@pytest.mark.parametrize("images", [[], "photo.jpg", Image.new("RGB", (3, 3))])
def test_a_batch_is_a_list(processor: Sam3Processor, images: Any) -> None:
    with pytest.raises(ValueError, match="a list of at least one picture"):
        processor.set_image_batch(images)


def test_kinds_of_pictures(processor: Sam3Processor, picture: Image.Image) -> None:
    array = np.asarray(picture)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    expected = processor.set_image(picture)
    # (level + 0.5) / 255.999 is read as the level again: floor(x * 255.999).
    for same in (tensor, (tensor + 0.5) / 255.999, array, (array + 0.5) / 255.999):
        state = processor.set_image(same)
        assert (state["original_height"], state["original_width"]) == (60, 75)
        assert torch.equal(state["backbone_out"]["vision_features"], expected["backbone_out"]["vision_features"])
    grey = processor.set_image(tensor[:1])
    repeated = processor.set_image(tensor[:1].expand(3, -1, -1))
    assert torch.equal(grey["backbone_out"]["vision_features"], repeated["backbone_out"]["vision_features"])


@pytest.mark.parametrize("image", [torch.zeros(60, 75, 3), torch.zeros(1, 3, 60, 75), torch.full((3, 6, 7), 255.0), 7])
def test_no_pictures(processor: Sam3Processor, image: Any) -> None:
    with pytest.raises(ImageError):
        processor.set_image(image)


def test_calls_before_a_picture(processor: Sam3Processor) -> None:
    with pytest.raises(ValueError, match="call set_image first"):
        processor.set_text_prompt("shoe", {})
    with pytest.raises(ValueError, match="call set_image first"):
        processor.add_geometric_prompt(BOX, True, {})
    with pytest.raises(ValueError, match="call set_image first"):
        processor.reset_all_prompts({})


@pytest.mark.parametrize(
    ("box", "label"),
    [
        ([10.0, 20.0, 30.0, 40.0], True),  # pixels
        ([0.5, 0.5, 0.0, 0.2], True),
        ([0.5, float("nan"), 0.1, 0.1], True),
        ([0.5, 0.5, 0.1], True),
        ([1.2, 0.5, 0.3, 0.2], True),  # beside the picture
        (BOX, 2),
        (BOX, None),
    ],
)
def test_bad_boxes_change_nothing(processor: Sam3Processor, picture: Image.Image, box: list[float], label: Any) -> None:
    state = processor.set_image(picture)
    keys = set(state), set(state["backbone_out"])
    with pytest.raises(PromptError, match=r"box must be|label must be"):
        processor.add_geometric_prompt(box, label, state)
    assert (set(state), set(state["backbone_out"])) == keys


def test_resolution(model: Sam3Image, picture: Image.Image) -> None:
    # 1008, the public model's side, stands for the side of the model at hand.
    assert Sam3Processor(model).resolution == Sam3Processor(model, resolution=1008).resolution == 84
    processor = Sam3Processor(model, resolution=56, confidence_threshold=0.0)
    state = processor.set_text_prompt("shoe", processor.set_image(picture))
    assert state["backbone_out"]["vision_features"].shape == (1, 16, 4, 4)
    assert_same(state, model, picture, concept="shoe", threshold=0.0, image_size=56)


def test_the_device_is_the_models(model: Sam3Image) -> None:
    for device in ("cuda", "cpu", torch.device("cpu")):
        assert Sam3Processor(model, device=device).device == model.device
    with pytest.raises(InputError, match="move the model"):
        Sam3Processor(model, device="meta")


def test_autocast_gives_the_same_types(processor: Sam3Processor, picture: Image.Image) -> None:
    exact = processor.set_text_prompt("shoe", processor.set_image(picture))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        state = processor.add_geometric_prompt(BOX, True, processor.set_image(picture))
        processor.reset_all_prompts(state)
        state = processor.set_text_prompt("shoe", state)
    assert {key: state[key].dtype for key in RESULTS} == {key: exact[key].dtype for key in RESULTS}
    # 8 bits of a number in 0..1, through a dozen layers.
    torch.testing.assert_close(state["scores"], exact["scores"], atol=0.05, rtol=0)


def test_without_segmentation(model: Sam3Image, picture: Image.Image) -> None:
    processor = Sam3Processor(Sam3Image(model.detector, segmentation=False), confidence_threshold=0.0)
    state = processor.set_text_prompt("shoe", processor.set_image(picture))
    assert set(state) == {"original_height", "original_width", "backbone_out", "boxes", "scores"}
    full = Sam3Processor(model, confidence_threshold=0.0)
    expected = full.set_text_prompt("shoe", full.set_image(picture))
    assert torch.equal(state["boxes"], expected["boxes"])
