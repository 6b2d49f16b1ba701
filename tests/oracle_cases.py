"""What the oracle and masklet are asked: images and prompts of all situations."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from masklet.config import ModelConfig


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One concept asked of one image.

    Attributes:
        image_idx: which image of the case.
        token_ids: ids of the phrase with start and end, no padding.
        boxes_cxcywh_norm: exemplar boxes as fractions of the image.
        labels: 1 positive, 0 negative, one for each box.
    """

    image_idx: int
    token_ids: tuple[int, ...]
    boxes_cxcywh_norm: tuple[tuple[float, float, float, float], ...] = ()
    labels: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Case:
    """Some prompts on some images: pixels (B, 3, R, R) in -1..1."""

    pixels: Tensor
    prompts: tuple[Prompt, ...]

    def only(self, *prompts: int) -> Case:
        """The same images with some of the prompts."""
        return replace(self, prompts=tuple(self.prompts[p] for p in prompts))


def phrase(config: ModelConfig, words: int, seed: int) -> tuple[int, ...]:
    """Start, `words` random ids, end; none is 0, which masklet (like Meta) reads as padding."""
    generator = torch.Generator().manual_seed(1000 + seed)
    ids = torch.randint(1, config.text.vocabulary - 2, (words,), generator=generator).tolist()
    return (config.text.vocabulary - 2, *ids, config.text.vocabulary - 1)


def images(config: ModelConfig, count: int, seed: int = 0) -> Tensor:
    """(count, 3, R, R) in -1..1: noise over coarse blocks, so that images differ near and far."""
    generator = torch.Generator().manual_seed(seed)
    side = config.vision.image_size
    coarse = torch.rand(count, 3, 7, 7, generator=generator).mul(2).sub(1)
    fine = torch.rand(count, 3, side, side, generator=generator).mul(2).sub(1)
    return 0.6 * nn.functional.interpolate(coarse, (side, side), mode="nearest") + 0.4 * fine


def _edge_box(grid: int) -> tuple[float, float, float, float]:
    """A box 7 cells wide for which float32 and float64 give RoIAlign's 7 bins another number of samples.

    Its bins begin near the middle between two cells: elsewhere the map is linear across the samples of a bin, and one
    sample is worth as much as two.
    """
    width = torch.tensor(7 / grid)
    for centre in torch.linspace(0.35, 0.65, 1000):
        counts, start = [], 0.0
        for x, w in ((centre, width), (centre.double(), width.double())):
            left, right = (x - w / 2) * grid, (x + w / 2) * grid
            counts.append(int(((right - left) / 7).ceil()))
            start = float(left)
        if counts[0] != counts[1] and 0.4 < start % 1 < 0.6:
            return (float(centre), 0.5, float(width), 0.37)
    raise ValueError(f"no such box on a grid of {grid}")


def case(config: ModelConfig, seed: int = 0) -> Case:
    """All situations at once on three images, two of them asked several concepts.

    Boxes of both labels: inside, partly outside, smaller than a cell, on the edge of the number of samples, and the
    whole image.
    """
    cell = 1 / config.vision.grid
    inside, other = (0.4, 0.55, 0.3, 0.5), (0.62, 0.31, 0.21, 0.17)
    outside, tiny = (0.05, 0.9, 0.3, 0.4), (0.71, 0.33, 0.4 * cell, 0.7 * cell)
    seven, whole = _edge_box(config.vision.grid), (0.5, 0.5, 1.0, 1.0)
    visual = phrase(config, 1, seed + 99)  # the reserved word that stands where only exemplars are given
    prompts = (
        Prompt(image_idx=0, token_ids=phrase(config, 3, seed)),
        Prompt(
            image_idx=0,
            token_ids=phrase(config, 9, seed + 1),
            boxes_cxcywh_norm=(inside, outside, tiny, seven),
            labels=(1, 0, 1, 0),
        ),
        Prompt(image_idx=1, token_ids=visual, boxes_cxcywh_norm=(other, whole, outside), labels=(1, 1, 0)),
        Prompt(image_idx=2, token_ids=phrase(config, 30, seed + 2), boxes_cxcywh_norm=(seven, tiny), labels=(0, 1)),
        Prompt(image_idx=2, token_ids=phrase(config, 1, seed + 3)),
    )
    return Case(pixels=images(config, 3, seed), prompts=prompts)
