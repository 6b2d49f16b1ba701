"""Masklet computes what the public `transformers` implementation computes, stage by stage and in the end.

Small models with strong random weights (`oracle_models.py`); differences are relative to the largest value of each
tensor and the limits are those of spec/image-model.md 19.3. Where the two public implementations differ, the original's
behaviour is the expected one. That these tests can fail is shown by benchmarks/mutations.py (docs/parity-mutations.md).
"""

from dataclasses import replace

import pytest
import torch

from masklet.layers.attention import use_kernel
from masklet.layers.position import position_map
from oracle import excesses, oracle_answers, relative_differences, small_answers
from oracle_cases import Case, case
from oracle_models import RUNS, SMALL, small_model
from our_answers import our_answers, our_model

SITUATIONS = ("text", "text and exemplars", "exemplars", "longest text and exemplars", "shortest text")


def differing_stages(found, expected) -> dict[str, float]:
    return excesses(relative_differences(found, expected))


@pytest.mark.parametrize(("variant", "weights"), RUNS)
def test_every_stage_of_a_padded_batch(variant, weights):
    """Three images, five prompts of all situations, in one batch; the oracle answers each prompt alone."""
    found = our_answers(our_model(SMALL[variant], small_model(variant, weights)), case(SMALL[variant]))
    assert not differing_stages(found, small_answers(variant, weights))


@pytest.mark.parametrize("prompt", range(len(SITUATIONS)), ids=SITUATIONS)
@pytest.mark.parametrize("variant", SMALL)
def test_each_situation_alone(variant, prompt):
    config = SMALL[variant]
    found = our_answers(our_model(config, small_model(variant)), case(config).only(prompt))
    assert not differing_stages(found, small_answers(variant, "plain").only(prompt))


@pytest.mark.parametrize("variant", SMALL)
def test_attention_by_products(variant):
    model = our_model(SMALL[variant], small_model(variant))
    with use_kernel("products"):
        found = our_answers(model, case(SMALL[variant]))
    assert not differing_stages(found, small_answers(variant, "plain"))


@pytest.mark.parametrize("variant", SMALL)
def test_other_seed_of_the_questions(variant):
    config = SMALL[variant]
    other = case(config, seed=7)
    found = our_answers(our_model(config, small_model(variant)), other)
    assert not differing_stages(found, oracle_answers(small_model(variant), other))


def test_one_image_for_every_prompt():
    config = SMALL["tiled"]
    questions = case(config)
    prompts = tuple(replace(prompt, image_idx=1) for prompt in questions.prompts)
    same = Case(pixels=questions.pixels[:2], prompts=prompts)
    found = our_answers(our_model(config, small_model("tiled")), same)
    assert not differing_stages(found, oracle_answers(small_model("tiled"), same))


@pytest.mark.parametrize("weights", ["plain", "clamped"])
def test_switches_of_hugging_face(weights):
    """No summary token where there are no exemplars, and presence logits cut at 10 (spec/image-model.md 10.4)."""
    original = SMALL["tiled"]
    config = replace(
        original,
        geometry=replace(original.geometry, cls_without_exemplars=False),
        decoder=replace(original.decoder, presence_clamp=10.0),
    )
    hf = small_model("tiled", weights)
    # One prompt at a time: without the summary token a batch of prompts with and without boxes cannot be told apart.
    for prompt in range(len(SITUATIONS)):
        question = case(config).only(prompt)
        theirs = oracle_answers(hf, question, like_original=False)
        assert not differing_stages(our_answers(our_model(config, hf), question), theirs)


def test_the_switches_matter():
    """The two behaviours differ by far more than the limits, so the test above can fail."""
    question = case(SMALL["tiled"]).only(0)
    theirs = oracle_answers(small_model("tiled"), question, like_original=False)
    assert float((theirs.logits[0] - small_answers("tiled", "plain").logits[0]).abs().max()) > 0.1
    assert max(small_answers("tiled", "clamped").presence) > 11


@pytest.mark.parametrize("variant", SMALL)
def test_position_maps(variant):
    for theirs in small_answers(variant, "plain").positions:
        channels, height, width = theirs.shape
        ours = position_map(height=height, width=width, channels=channels, device=theirs.device, dtype=torch.float32)
        # Sine and cosine of equal float32 angles: nothing but the last bit of these two functions may differ.
        torch.testing.assert_close(ours.T.reshape_as(theirs), theirs, rtol=0, atol=2e-7)


def test_reduced_precision_stays_near():
    """In bfloat16 (8 bits) features and fused memory stay within a few roundings of float32."""
    config = SMALL["tiled"]
    found = our_answers(our_model(config, small_model("tiled")).bfloat16(), case(config))
    differences = relative_differences(found, small_answers("tiled", "plain"))
    assert {name: differences[name] for name in ("F2", "text", "memory") if differences[name] > 0.1} == {}
