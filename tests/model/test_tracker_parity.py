"""Masklet's tracker computes what the public `transformers` implementation computes, on pictures and frame by frame.

Small models with strong random weights (`tracker_models.py`), scenarios and limits of spec/tracker.md 15. On every
frame ours has the memory that the oracle had. That these tests can fail is shown by benchmarks/tracker_mutations.py.
"""

from dataclasses import replace

import pytest
import torch

import tracker_answers
from masklet.layers.attention import use_kernel
from masklet.types import PointPrompts
from oracle import outputs_of
from tracker_answers import (
    compared_film,
    image_answer,
    like_hugging_face,
    memory_of,
    our_levels,
    our_tracker,
    tracker_of,
)
from tracker_models import TRACKERS, image_model, video_model
from tracker_oracle import (
    IMAGE_LIMITS,
    SCENARIOS,
    VIDEO_LIMITS,
    Film,
    Prompt,
    beyond,
    disc,
    film,
    film_levels,
    image_answers,
    image_differences,
    image_questions,
    level_difference,
    moving_blocks,
    worst,
)

IMAGE_RUNS = (("small", "plain"), ("wide", "plain"), ("small", "faint"), ("wide", "blinking"))


def video_tracker(name):
    scenario = SCENARIOS[name]
    return our_tracker(TRACKERS[scenario.variant], video_model(scenario.variant, scenario.draw))


def film_differences(name):
    played, model = film(name), video_tracker(name)
    found = compared_film(tracker_of(model), our_levels(model, played.pixels), played.steps)
    return worst(found)


@pytest.mark.parametrize(("variant", "draw"), IMAGE_RUNS)
def test_prompts_on_a_picture(variant, draw):
    config = TRACKERS[variant]
    model = our_tracker(config, image_model(variant, draw))
    tracker = like_hugging_face(tracker_of(model))
    side = config.vision.image_size
    features = tracker.features(our_levels(model, moving_blocks(1, side, seed=5)))
    for name, question in image_questions(side).items():
        found = image_answer(tracker, features, question)
        assert not beyond(image_differences(found, image_answers(variant, draw)[name]), IMAGE_LIMITS), name


@pytest.mark.parametrize("name", SCENARIOS)
def test_pyramid_of_every_frame(name):
    found = our_levels(video_tracker(name), film(name).pixels)
    assert level_difference(found, film_levels(name)) <= VIDEO_LIMITS["levels"]


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_object_on_every_frame(name):
    assert not beyond(film_differences(name), VIDEO_LIMITS)


@pytest.mark.parametrize("rule", [{"huggingface": False}, {"select": True}], ids=["pointers", "selection"])
def test_each_rule_of_the_bank_alone(monkeypatch, rule):
    """Spec/tracker.md 7.3, 7.4: by the oracle's rules the numbers are its, as above; by one of the original's not."""
    monkeypatch.setattr(tracker_answers, "RULES", replace(tracker_answers.RULES, **rule))
    assert beyond(film_differences("V2"), VIDEO_LIMITS)


def test_attention_by_products():
    with use_kernel("products"):
        assert not beyond(film_differences("V1 wide"), VIDEO_LIMITS)


def test_scenarios_hold_what_they_are_for():
    """Objects in and out of sight, far and near prompts, single masks that are stable and such that are not."""
    sight = [float(step.expected.sight) for step in film("V2").steps]
    assert min(sight) < 0 < max(sight)
    present = [step for step in film("V3").steps if step.prompt is None or step.prompt.mask is None]
    assert all(step.expected.sight > 0 for step in present)
    assert any(len(step.prompted) == 6 for step in film("V3").steps)
    assert any(set(step.prompted) & set(step.tracked) == set() and len(step.tracked) > 6 for step in film("V2").steps)
    assert {step.initial for step in film("V1").steps if step.prompt} == {True, False}


@pytest.mark.parametrize("variant", TRACKERS)
def test_each_module(variant):
    """What leaves prompt encoder, mask decoder, memory encoder and memory attention on two frames."""
    config, hf = TRACKERS[variant], video_model(variant)
    side, grid = config.vision.image_size, (config.vision.grid,) * 2
    played = Film(hf, moving_blocks(2, side))
    click = Prompt(points_px=((0.3 * side, 0.6 * side), (0.7 * side, 0.2 * side)), labels=(1, 0))
    played.prompt(0, 0, click)
    names = ("prompt_encoder", "mask_decoder", "memory_encoder", "memory_attention", "shared_image_embedding")
    with outputs_of({name: getattr(hf, name) for name in names}) as seen:
        played.run([0])
        clicked, dense = seen["prompt_encoder"]
        played.run([1])
    model = our_tracker(config, hf)
    tracker, levels = tracker_of(model), our_levels(model, played.pixels)
    features = tracker.features(tuple(level[1:] for level in levels))
    step = played.steps[1]
    points = PointPrompts(xy_px=torch.tensor([click.points_px]), labels=torch.tensor([click.labels]))
    with torch.no_grad():
        encoder = tracker.prompt_encoder
        assert level_difference([encoder.points(points, (side, side))], [clicked[0]]) <= 1e-6
        assert level_difference([encoder.without_mask().expand_as(dense)], [dense]) == 0
        assert level_difference([encoder.position(grid)], [seen["shared_image_embedding"].flatten(0, 1)]) <= 1e-6
        image = tracker.memory_attention(features.coarse, memory_of(step, 2))
        assert level_difference([image.flatten(2).transpose(1, 2)], [seen["memory_attention"][0]]) <= 1e-5
        tokens = encoder.points(PointPrompts.none(1), (side, side))
        dense = encoder.without_mask()
        found = tracker.mask_decoder(features, image + dense, encoder.position(grid), tokens, ambiguous=True)
        masks, quality, states, sight = (part[0] for part in seen["mask_decoder"])
        assert level_difference([found.mask_logits, found.tokens], [masks, states]) <= 1e-5
        assert level_difference([found.quality, found.sight_logits[:, None]], [quality, sight]) <= 1e-5
        zeros = torch.zeros(1, *(16 * size for size in grid))
        kept = tracker.encode_memory(features, zeros + 0.5, step.expected.sight[None], binary=False)
        other = tracker.encode_memory(features, zeros - 0.5, step.expected.sight[None], binary=False)
        assert level_difference([kept], [other]) > 0.01  # the map shows the mask; its values are in the other tests


def test_mask_prompts():
    """A mask goes through its own branch; of the size of the pyramid's finest level it is not resized."""
    config, hf = TRACKERS["small"], image_model("small")
    tracker = tracker_of(our_tracker(config, hf))
    side = config.vision.image_size
    for masks in (disc(4 * config.vision.grid, 0.4, 0.6, 0.3) * 12 - 6, disc(side, 0.4, 0.6, 0.3) * 12 - 6):
        with outputs_of({"prompts": hf.prompt_encoder}) as seen, torch.no_grad():
            hf(pixel_values=moving_blocks(1, side), input_masks=masks[None, None])
            found = tracker.prompt_encoder.mask(masks[None], (config.vision.grid,) * 2)
        assert level_difference([found], [seen["prompts"][1]]) <= 1e-6
