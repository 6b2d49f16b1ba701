"""What training reads agrees with what users get, and costs only what is asked for."""

import pytest
import torch

from masklet.model.build import build_model
from masklet.model.detector import Detector, concat_prompts
from masklet.types import ExemplarBatch, ImageFeatures, PromptTokens


@pytest.fixture(scope="module")
def model() -> Detector:
    return build_model("test", seed=3)


@pytest.fixture(scope="module")
def asked(model: Detector) -> tuple[ImageFeatures, torch.Tensor, PromptTokens]:
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        features = model.encode_image(torch.randn(2, 3, 84, 84, generator=generator))
        image_idx = torch.tensor([0, 0, 1])
        ids = torch.tensor([[576, 5, 577, 0], [576, 9, 11, 577], [576, 5, 577, 0]])
        prompt = concat_prompts(
            model.encode_text(ids), model.encode_exemplars(features, image_idx, ExemplarBatch.empty(3))
        )
    return features, image_idx, prompt


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
        (outputs.semantic_logits, model.decode_semantic(*asked, raw)),
        (last.mask_logits, torch.stack(model.decode_masks(*asked, raw, torch.ones(3, 12, dtype=torch.bool)))),
    ):
        assert torch.allclose(got, expected, atol=1e-5)


@torch.inference_mode()
def test_masks_of_chosen_prompts_only(model, asked) -> None:
    everything = model.forward_training(*asked)
    chosen = model.forward_training(*asked, masks=torch.tensor([True, False, True]))
    for part in ("one_to_one", "one_to_many"):
        full, some = getattr(everything, part)[-1].mask_logits, getattr(chosen, part)[-1].mask_logits
        assert torch.allclose(some[[0, 2]], full[[0, 2]], atol=1e-5)
        assert not some[1].any() and full[1].any()
    assert torch.allclose(chosen.semantic_logits[[0, 2]], everything.semantic_logits[[0, 2]], atol=1e-5)
    without = model.forward_training(*asked, masks=False)
    assert without.semantic_logits is None and without.one_to_one[-1].mask_logits is None


@torch.inference_mode()
def test_one_to_many_queries_change_nothing_for_the_others(model, asked) -> None:
    both, alone = model.forward_training(*asked), model.forward_training(*asked, one_to_many=False)
    assert alone.one_to_many == ()
    for with_copies, without in zip(both.one_to_one, alone.one_to_one, strict=True):
        assert torch.allclose(with_copies.class_logits, without.class_logits, atol=1e-5)
        assert torch.allclose(with_copies.boxes_cxcywh_norm, without.boxes_cxcywh_norm, atol=1e-6)
