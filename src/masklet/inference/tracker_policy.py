"""The rules of following objects that are no numbers of the network: prompts, buckets, what is kept.

The defaults are the original's (spec/tracker.md 9), except that frames out of reach are forgotten. Where Hugging Face's
implementation differs (9.7) there is a field; `TrackerPolicy.as_transformers` sets them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch

from masklet.config import TrackerConfig
from masklet.errors import ConfigError
from masklet.model.memory_bank import BankRules


@dataclass(frozen=True, kw_only=True)
class TrackerPolicy:
    """The rules.

    Attributes:
        bank: which remembered frames are read.
        shared_buckets: objects that are given before following begins form one bucket, and so do those that begin
            together later; else each is a bucket of its own.
        most_points: of more points on an object and frame than this the first and the last halves are kept; None keeps
            all. Even.
        feed_back: a click refines the mask that the object has on the frame, if it has one.
        refine_with_memory: a click on a frame that was passed reads memory.
        refined_is_prompted: a click on a tracked frame makes it a prompted one; else it stays a tracked one, which
            reads memory and which the next pass gives as it is.
        masks_apart: objects of a bucket do not overlap in what is remembered of a prompted frame.
        masks_at_input_size: a given mask is brought to the size of the network's input without being made binary, its
            logits are -10 to 10, and its pointer comes of the best candidate; else it is made binary at the video's
            size, its logits are -1024 and 1024, and its pointer comes of the mask for clear prompts.
        resized_before_binary: masks are brought to the memory encoder's size before they are made binary or
            probabilities, not after.
        binary_beside_prompts: masks of tracked objects are remembered as binary, too, on a frame where another object
            has just been prompted; also where it begins by a detection: then the tracker's own masks and logits of
            sight replace those that `TrackerSession.remember` was given.
        forget: frames are forgotten that the pass under way cannot read any more. Prompts of users stay, and are
            encoded again when a pass comes by. False: all frames are kept for ever, as in the original.
        both_ways: frames are kept, too, that a pass the other way from where this one began would read; False halves
            the memory, for what is seen once, as of a camera. Without `forget` it does not matter.
        map_dtype: number format of the memory maps that are kept.

    Raises:
        ConfigError: `most_points` is odd or below 2, or `map_dtype` is no floating point format.
    """

    bank: BankRules
    shared_buckets: bool = True
    most_points: int | None = 16
    feed_back: bool = True
    refine_with_memory: bool = False
    refined_is_prompted: bool = True
    masks_apart: bool = True
    masks_at_input_size: bool = False
    resized_before_binary: bool = False
    binary_beside_prompts: bool = False
    forget: bool = True
    both_ways: bool = True
    map_dtype: torch.dtype = torch.bfloat16

    def __post_init__(self) -> None:
        if self.most_points is not None and (self.most_points < 2 or self.most_points % 2):
            raise ConfigError(f"most_points must be even and at least 2, or None, got {self.most_points}")
        if not self.map_dtype.is_floating_point:
            raise ConfigError(f"map_dtype must be a floating point format, got {self.map_dtype}")

    @classmethod
    def as_transformers(cls, config: TrackerConfig) -> Self:
        """The rules of Hugging Face's implementation, for comparisons with it; nothing is forgotten."""
        return cls(
            bank=BankRules(
                select=False,
                maps=config.maps,
                pointers=config.pointers,
                conditioning_maps=config.conditioning_maps,
                huggingface=True,
            ),
            shared_buckets=False,
            most_points=None,
            feed_back=False,
            refine_with_memory=True,
            refined_is_prompted=False,
            masks_apart=False,
            masks_at_input_size=True,
            resized_before_binary=True,
            binary_beside_prompts=True,
            forget=False,
        )
