"""A tiny tracker and a film for the tests of its session."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from masklet.config import TEST, TrackerConfig
from masklet.inference.tracker_policy import TrackerPolicy
from masklet.inference.tracker_session import TrackerSession
from masklet.model.build import build_tracker
from masklet.model.memory_bank import BankRules
from masklet.model.tracker import Tracker
from masklet.types import Memory, TrackerFeatures

GRID, WIDTH = TEST.vision.grid, TEST.width
SIDE = TEST.vision.image_size
LOW = 4 * GRID
SIZE_HW = (60, 90)  # of the film
FRAMES = 12


STEADY, BLINKING = 30.0, -0.5
"""Added to the logit of sight: objects are always in sight, or now and then."""


def tracker(sight: float = STEADY) -> Tracker:
    """With strong random weights, so that memory shows: objects differ, and stay different. One for each `sight`."""
    return _tracker(sight)


@functools.cache
@torch.no_grad()
def _tracker(sight: float) -> Tracker:
    found = build_tracker(TEST.tracker or TrackerConfig(), WIDTH, TEST.vision.patch_size)
    generator = torch.Generator().manual_seed(3)
    for path, module in found.named_modules():
        for name, tensor in module.named_parameters(recurse=False):
            tensor.normal_(generator=generator)
            if name == "bias":
                tensor.mul_(0.3)
            elif name == "scale":
                tensor.mul_(0.3).add_(0.5)
            elif isinstance(module, nn.ConvTranspose2d):
                tensor.div_(tensor.shape[0] ** 0.5)
            elif isinstance(module, nn.Linear | nn.Conv2d):
                tensor.mul_(3 if path.endswith((".q", ".k")) else 1.5).div_(tensor[0].numel() ** 0.5)
            elif tensor.ndim == 1:
                tensor.mul_(0.3).add_(1)
    found.mask_decoder.sight_head.layers[-1].bias.add_(sight)  # type: ignore[operator, union-attr]
    return found.eval().requires_grad_(False)


class Film:
    """Frames of smooth noise; counts how often each is looked at."""

    def __init__(self, network: Tracker) -> None:
        self.network = network
        self.seen: Counter[int] = Counter()

    def __call__(self, frame_idx: int) -> TrackerFeatures:
        self.seen[frame_idx] += 1
        generator = torch.Generator().manual_seed(1000 + frame_idx)
        still = torch.Generator().manual_seed(7)
        levels = []
        for scale in (4, 2, 1):
            shape = (1, WIDTH, scale * GRID, scale * GRID)
            levels.append(torch.randn(shape, generator=still) + 0.5 * torch.randn(shape, generator=generator))
        return self.network.features(tuple(levels))


def policy(*, select: bool = False, **rules: Any) -> TrackerPolicy:
    return TrackerPolicy(bank=BankRules(select=select), **{"map_dtype": torch.float32, **rules})


def session(
    rules: TrackerPolicy | None = None, *, frames: int | None = FRAMES, sight: float = STEADY, film: Film | None = None
) -> TrackerSession:
    network = tracker(sight)
    return TrackerSession(
        network, film or Film(network), size_hw=SIZE_HW, frames=frames, policy=policy() if rules is None else rules
    )


def square(x0: int, y0: int, x1: int, y1: int) -> Tensor:
    """(H, W) bool of the film's size."""
    mask = torch.zeros(SIZE_HW, dtype=torch.bool)
    mask[y0:y1, x0:x1] = True
    return mask


@dataclass
class Calls:
    """What went through the network."""

    prompts: list[dict[str, Any]]
    memories: list[Memory]
    encoded: list[dict[str, Any]]


@contextmanager
def watched(network: Tracker) -> Iterator[Calls]:
    """Notes what the tracker is asked within."""
    calls = Calls([], [], [])
    prompt, track, encode = network.prompt, network.track, network.encode_memory

    def noted_prompt(features: TrackerFeatures, points: Any, **rest: Any) -> Any:
        calls.prompts.append({"points": points, "mask_logits": None, "memory": None, **rest})
        return prompt(features, points, **rest)

    def noted_track(features: TrackerFeatures, memory: Memory) -> Any:
        calls.memories.append(memory)
        return track(features, memory)

    def noted_encode(features: TrackerFeatures, masks: Tensor, sight: Tensor, *, binary: bool) -> Tensor:
        calls.encoded.append({"masks": masks, "sight": sight, "binary": binary})
        return encode(features, masks, sight, binary=binary)

    network.prompt, network.track, network.encode_memory = noted_prompt, noted_track, noted_encode  # type: ignore
    try:
        yield calls
    finally:
        del network.prompt, network.track, network.encode_memory


def changed(rules: TrackerPolicy, **bank: Any) -> TrackerPolicy:
    """With other rules of the bank."""
    return replace(rules, bank=replace(rules.bank, **bank))


# One object beside others, alone, or in another batch: the same sums in another order, differences that grow to 1e-4 of
# the largest logit in ten frames. Another memory changes masks by 1e-2 and more.
SAME = 1e-3


def clicked(rules=None, **rest):
    """Objects 1 and 2 clicked on frame 0, object 3 given as a mask."""
    found = session(rules, **rest)
    found.click(0, 1, [(20, 30)], [1])
    found.click(0, 2, [(60, 40), (5, 5)], [1, 0])
    found.give_mask(0, 3, square(40, 10, 70, 40))
    return found


def masks(frame, object_id):
    return frame.masks.mask_logits[frame.object_ids.index(object_id)]


def difference(found, expected):
    """Of masks, relative to the largest logit."""
    return float((found - expected).abs().max() / expected.abs().max())


def assert_same(found, expected):
    assert difference(found, expected) <= SAME


def assert_other(found, expected):
    assert difference(found, expected) > 5 * SAME
