"""Labelled data of a user as batches of prompts with their answers; see `batches.PromptBatch`.

A batch follows from its step alone: pictures come in an order that is drawn anew for every round through the data
(those of a second data set, what shall not be forgotten, stand between them at even distances), and everything random
about a picture is drawn from the run's seed and the number of the picture in the run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from masklet.config import ModelConfig
from masklet.data.dataset import Dataset, LabelledPicture, Prompt
from masklet.data.decode import decode
from masklet.data.transforms import Augmentation, NetworkPicture, to_network
from masklet.errors import ConfigError, DataError
from masklet.losses.mask import downsample_masks
from masklet.model.tokenizer import Tokenizer
from masklet.training.batches import MASK_SCALE, PromptBatch
from masklet.training.drawn import PromptExemplars, drawn_box, exemplar_batch
from masklet.types import VISUAL, Targets

_EXEMPLAR_STD = 0.1  # of a drawn box's edges, as a share of its side (spec/training.md 2.1)
_EXEMPLAR_MOST = 20 / 1008  # greatest move of an edge, as a share of the input


@dataclass(frozen=True, kw_only=True)
class PromptSampling:
    """What is asked of each picture.

    Attributes:
        most: prompts of a picture; those with an answer are taken first, the rest are absent concepts.
        absent: of these, at most this many absent concepts; they teach the model to say no.
        shown: chance that a prompt with an answer is asked by an exemplar alone, its phrase dropped (the paper's 0.2).
        shown_too: chance that exemplars go with the phrase (the paper's 0.2).
        most_exemplars: boxes of a prompt that has any.
        rounds: corrections after the first answer: each shows one more box of what was missed or found wrongly, and
            the loss of every round is added up (the paper's last stage has 5). The picture is encoded once.
    """

    most: int = 16
    absent: int = 8
    shown: float = 0.2
    shown_too: float = 0.2
    most_exemplars: int = 3
    rounds: int = 0

    def __post_init__(self) -> None:
        for name, least in (("most", 1), ("absent", 0), ("most_exemplars", 1), ("rounds", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"prompts.{name} must be at least {least}, got {getattr(self, name)}")
        if not (self.shown >= 0 and self.shown_too >= 0 and self.shown + self.shown_too <= 1):
            raise ConfigError(
                f"prompts: shown and shown_too are chances that sum to 1 at most, got {self.shown} and {self.shown_too}"
            )


class LabelledBatches(torch.utils.data.Dataset[tuple[PromptBatch, ...]]):
    """The batches of every step of a run.

    Args:
        dataset: pictures to learn from; those without prompts are never taken.
        config: of the model that is trained.
        prompts: what is asked.
        augmentation: how pictures vary.
        images: pictures of a batch.
        batches: of a step, whose gradients are averaged.
        seed: of all that is random.
        rank: number of this process among those that share the pictures of every step.
        world_size: how many these are.
        replay: pictures of what the model knows; None takes those of `dataset` alone.
        replay_share: share of the pictures of the run that are of `replay`, 0..1.

    Raises:
        DataError: no picture of a data set has a prompt.
    """

    def __init__(
        self,
        dataset: Dataset,
        config: ModelConfig,
        *,
        prompts: PromptSampling,
        augmentation: Augmentation,
        images: int,
        batches: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        replay: Dataset | None = None,
        replay_share: float = 0.0,
    ) -> None:
        self.prompts, self.augmentation = prompts, augmentation
        self.images, self.batches, self.seed = images, batches, seed
        self.rank, self.world_size = rank, world_size
        self.queries = config.decoder.queries
        self.pictures = self._pictures_of(dataset)
        self.replayed = [] if replay is None else self._pictures_of(replay)
        self.replay_share = replay_share if self.replayed else 0.0
        self.size, self.grid = config.vision.image_size, config.vision.grid
        self.tokenizer = Tokenizer(config.text.context, config.text.merges)

    def __getitem__(self, step: int) -> tuple[PromptBatch, ...]:
        made = [self._batch(numbers) for numbers in self._numbers(step)]
        objects = sum(int(one.targets.counts.sum()) for one in made) / self.batches
        return tuple(replace(one, objects=objects) for one in made)

    def pictures_of(self, step: int) -> list[LabelledPicture]:
        """Those of all batches of a step of this process."""
        return [self.picture(number) for numbers in self._numbers(step) for number in numbers]

    def _numbers(self, step: int) -> list[range]:
        """Numbers in the run of the pictures of each batch of a step; processes take batches in turns."""
        places = [(step * self.batches + batch) * self.world_size + self.rank for batch in range(self.batches)]
        return [range(place * self.images, (place + 1) * self.images) for place in places]

    def picture(self, number: int) -> LabelledPicture:
        """Picture `number` of the run: every round through a data set has an order of its own."""
        before, replayed = (math.floor(each * self.replay_share) for each in (number, number + 1))
        if replayed > before:
            return self._in_turn(self.replayed, before, stream=3)
        return self._in_turn(self.pictures, number - before, stream=1)

    def _in_turn(self, pictures: list[LabelledPicture], number: int, *, stream: int) -> LabelledPicture:
        round_, place = divmod(number, len(pictures))
        order = np.random.default_rng([self.seed, stream, round_]).permutation(len(pictures))
        return pictures[order[place]]

    def _pictures_of(self, dataset: Dataset) -> list[LabelledPicture]:
        pictures = [picture for picture in dataset if any(map(len, self._askable(picture)))]
        if not pictures:
            raise DataError(
                f"{dataset.source}: expected pictures with prompts that can be asked, got none; label something, or "
                "see the limits in prompts"
            )
        return pictures

    def _batch(self, numbers: Sequence[int]) -> PromptBatch:
        samples = [self._sample(number) for number in numbers]
        asked = [(image, one) for image, (_, prompts) in enumerate(samples) for one in prompts]
        counts = torch.tensor([len(one.instances) for _, one in asked])
        boxes = [samples[image][0].boxes_cxcywh_norm[one.instances] for image, one in asked]
        masks = [samples[image][0].masks[one.instances] for image, one in asked]
        valid = [samples[image][0].masks_valid[one.instances] for image, one in asked]
        return PromptBatch(
            pixels=torch.stack([picture.pixels for picture, _ in samples]),
            image_idx=torch.tensor([image for image, _ in asked]),
            token_ids=self.tokenizer([one.phrase for _, one in asked]),
            exemplars=exemplar_batch([one.exemplars for _, one in asked]),
            targets=Targets(
                counts=counts,
                boxes_cxcywh_norm=torch.cat(boxes),
                masks=downsample_masks(torch.cat(masks), (MASK_SCALE * self.grid,) * 2),
                masks_valid=torch.cat(valid),
                exhaustive=torch.tensor([one.exhaustive for _, one in asked]),
            ),
            with_masks=torch.tensor([bool(one_valid.any()) for one_valid in valid]),
        )

    def _sample(self, number: int) -> tuple[NetworkPicture, list[_Asked]]:
        labelled = self.picture(number)
        rng = np.random.default_rng([self.seed, 2, number])
        chosen = self._chosen(labelled, rng)
        boxes = torch.tensor([one.box_xyxy for one in labelled.instances], dtype=torch.float32).view(-1, 4)
        phrases = [prompt.phrase for prompt in chosen]
        seen = to_network(decode(labelled), boxes, phrases, self.size, self.augmentation, rng)
        kept = seen.kept & ~torch.tensor([one.crowd for one in labelled.instances], dtype=torch.bool)
        return seen, [self._asked(prompt, seen, kept, rng) for prompt in chosen]

    def _chosen(self, labelled: LabelledPicture, rng: np.random.Generator) -> list[Prompt]:
        """Prompts of a picture: with an answer first, then absent ones; each at random, in the order of the labels."""
        answered, absent = self._askable(labelled)
        taken = rng.permutation(answered)[: self.prompts.most].tolist()
        taken += rng.permutation(absent)[: min(self.prompts.absent, self.prompts.most - len(taken))].tolist()
        return [labelled.prompts[int(place)] for place in sorted(taken)]

    def _askable(self, labelled: LabelledPicture) -> tuple[list[int], list[int]]:
        """Places of the prompts with an answer, and of those about absent concepts.

        Left out are answers of more instances than there are queries, and those of crowds alone: the concept is there,
        but no instance of it can be shown.
        """
        answered, absent = [], []
        for place, prompt in enumerate(labelled.prompts):
            count = sum(not labelled.instances[idx].crowd for idx in prompt.instance_idx)
            if not prompt.instance_idx:
                absent.append(place)
            elif 0 < count <= self.queries:
                answered.append(place)
        return answered, absent if self.prompts.absent else []

    def _asked(self, prompt: Prompt, seen: NetworkPicture, kept: Tensor, rng: np.random.Generator) -> _Asked:
        instances = [idx for idx in prompt.instance_idx if kept[idx]]
        positive = list(prompt.positive_idx)
        phrase, chance = prompt.phrase, rng.random()
        if not positive and instances and chance < self.prompts.shown + self.prompts.shown_too:
            count = int(rng.integers(1, min(self.prompts.most_exemplars, len(instances)) + 1))
            positive = rng.permutation(instances)[:count].tolist()
            phrase = VISUAL if chance < self.prompts.shown else phrase
        labelled = [(idx, 1) for idx in positive] + [(idx, 0) for idx in prompt.negative_idx]
        jitter = {"std": _EXEMPLAR_STD, "most_norm": _EXEMPLAR_MOST}
        boxes = [(drawn_box(seen.boxes_cxcywh_norm[idx], rng, **jitter), label) for idx, label in labelled]
        return _Asked(
            phrase=phrase,
            instances=instances,
            exhaustive=prompt.exhaustive,
            exemplars=PromptExemplars(boxes=boxes),
        )


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A prompt of a picture in a batch: places of its instances, and what is shown."""

    phrase: str
    instances: list[int]
    exhaustive: bool
    exemplars: PromptExemplars
