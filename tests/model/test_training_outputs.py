"""What training reads agrees with what users get, and costs only what is asked for."""

from dataclasses import replace

import pytest
import torch

from loss_cases import Dense
from masklet.errors import InputError
from masklet.losses.mask import MaskSettings
from masklet.losses.total import LossSettings, detection_loss
from masklet.model.build import build_model
from masklet.model.detector import Detector, concat_prompts
from masklet.types import ExemplarBatch, ImageFeatures, PromptTokens, Targets

IMAGE_IDX = torch.tensor([0, 0, 1])
QUERIES = 12


@pytest.fixture(scope="module")
def model() -> Detector:
    return build_model("test", seed=3)


def asked_of(model: Detector) -> tuple[ImageFeatures, torch.Tensor, PromptTokens]:
    """Three prompts on two images."""
    features = model.encode_image(torch.randn(2, 3, 84, 84, generator=torch.Generator().manual_seed(0)))
    ids = torch.tensor([[576, 5, 577, 0], [576, 9, 11, 577], [576, 5, 577, 0]])
    exemplars = model.encode_exemplars(features, IMAGE_IDX, ExemplarBatch.empty(3))
    return features, IMAGE_IDX, concat_prompts(model.encode_text(ids), exemplars)


@pytest.fixture(scope="module")
def asked(model: Detector) -> tuple[ImageFeatures, torch.Tensor, PromptTokens]:
    with torch.inference_mode():
        return asked_of(model)


def pairs(*prompts: int) -> tuple[torch.Tensor, torch.Tensor]:
    """All queries of some prompts."""
    prompt_idx = torch.tensor(prompts, dtype=torch.int64).repeat_interleave(QUERIES)
    return prompt_idx, torch.arange(QUERIES).repeat(len(prompts))


@torch.inference_mode()
def test_last_layer_is_what_detection_gives(model, asked) -> None:
    outputs, raw = model.forward_training(*asked), model.detect(*asked)
    last = outputs.one_to_one[-1]
    assert len(outputs.one_to_one) == len(outputs.one_to_many) == model.config.decoder.depth
    for got, expected in (
        (last.class_logits, raw.class_logits),
        (last.boxes_cxcywh_norm, raw.boxes_cxcywh_norm),
        (last.presence_logits, raw.presence_logits),
        (outputs.memory, raw.memory),
        (outputs.semantic(torch.arange(3)), model.decode_semantic(*asked, raw)[:, 0]),
        (
            last.masks(*pairs(0, 1, 2)),
            torch.cat(model.decode_masks(*asked, raw, torch.ones(3, QUERIES, dtype=torch.bool))),
        ),
    ):
        assert got.shape == expected.shape
        assert torch.allclose(got, expected, atol=1e-5)
    assert outputs.mask_size_hw == last.masks(*pairs(0)).shape[1:] == outputs.semantic(torch.arange(1)).shape[1:]


@torch.inference_mode()
def test_masks_of_some_prompts_only(model, asked) -> None:
    everything = model.forward_training(*asked)
    some = model.forward_training(*asked, masks=torch.tensor([True, False, True]))
    for part in ("one_to_one", "one_to_many"):
        assert all(layer.masks is None for layer in getattr(some, part)[:-1])
        full, masks = getattr(everything, part)[-1].masks, getattr(some, part)[-1].masks
        assert torch.allclose(masks(*pairs(0, 2)), full(*pairs(0, 2)), atol=1e-5)
        few = torch.tensor([2, 2, 2]), torch.tensor([7, 1, 7])  # one prompt, a query twice
        assert torch.allclose(masks(*few), full(*few), atol=1e-5)
        assert masks(*pairs()).shape == (0, *some.mask_size_hw)
        with pytest.raises(InputError, match=r"masks were asked of prompts \[0, 1\], but can be of \[0, 2\] only"):
            masks(*pairs(0, 1))
    assert torch.allclose(some.semantic(torch.tensor([2])), everything.semantic(torch.tensor([2])), atol=1e-5)
    assert some.semantic(torch.arange(0)).shape == (0, *some.mask_size_hw)
    with pytest.raises(InputError, match="masks_valid"):
        some.semantic(torch.arange(3))


@pytest.mark.parametrize("masks", [False, torch.zeros(3, dtype=torch.bool)])
@torch.inference_mode()
def test_no_masks(model, asked, masks) -> None:
    without = model.forward_training(*asked, masks=masks)
    assert without.semantic is without.mask_size_hw is without.one_to_one[-1].masks is None


def test_masks_on_demand_train_as_all_masks_do(model) -> None:
    """Loss and gradient of every parameter, against masks of all queries by the formula of the mask head."""
    states = []
    handle = model.decoder.register_forward_hook(lambda module, inputs, decoded: states.append(decoded.queries[-1]))
    features, image_idx, prompt = asked_of(model)
    outputs = model.forward_training(features, image_idx, prompt, masks=torch.tensor([True, False, True]))
    handle.remove()

    # Targets are boxes of one-to-many queries, so that these find a match.
    boxes = outputs.one_to_many[-1].boxes_cxcywh_norm[[0, 0, 1, 2, 2], [3, 8, 0, 5, 6]].detach()
    targets = Targets(
        counts=torch.tensor([2, 1, 2]),
        boxes_cxcywh_norm=boxes,
        masks=torch.rand(5, 24, 24, generator=torch.Generator().manual_seed(1)) > 0.5,
        masks_valid=torch.tensor([True, True, False, True, False]),
    )

    head = model.mask_head
    pixels = head.pixel_features(outputs.memory, prompt, features.levels, image_idx)
    every = torch.einsum("pqc,pchw->pqhw", head.mask_embedding(states[0]), head.instance_project(pixels))
    dense = replace(
        outputs,
        one_to_one=(*outputs.one_to_one[:-1], replace(outputs.one_to_one[-1], masks=Dense(every[:, :QUERIES]))),
        one_to_many=(*outputs.one_to_many[:-1], replace(outputs.one_to_many[-1], masks=Dense(every[:, QUERIES:]))),
        semantic=Dense(head.semantic(pixels)[:, 0]),
    )
    found, expected = (
        detection_loss(each, targets, settings=LossSettings(masks=MaskSettings(resolution="prediction")))
        for each in (outputs, dense)
    )
    assert {"mask_focal", "mask_focal_one_to_many", "semantic_focal"} <= {
        name for name, term in found.terms.items() if term
    }
    # Both are float32 sums of the same numbers in another order. Gradients of single elements may cancel, so the scale
    # is that of their parameter; that of a bias which a softmax takes out again is all rounding, hence 2e-6.
    torch.testing.assert_close(found.total, expected.total, rtol=1e-5, atol=0)
    learning = [one for name, one in model.named_parameters() if not name.startswith("tracker")]
    gradients = (
        torch.autograd.grad(loss.total, learning, retain_graph=True, materialize_grads=True)
        for loss in (found, expected)
    )
    for got, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=2e-6 + 1e-5 * float(wanted.abs().max()))


@torch.inference_mode()
def test_one_to_many_queries_change_nothing_for_the_others(model, asked) -> None:
    both, alone = model.forward_training(*asked), model.forward_training(*asked, one_to_many=False)
    assert alone.one_to_many == ()
    for with_copies, without in zip(both.one_to_one, alone.one_to_one, strict=True):
        assert torch.allclose(with_copies.class_logits, without.class_logits, atol=1e-5)
        assert torch.allclose(with_copies.boxes_cxcywh_norm, without.boxes_cxcywh_norm, atol=1e-6)
