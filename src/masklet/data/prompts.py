"""Phrases of a picture to its prompts, the same way for every format."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

from masklet.data.dataset import Prompt

Negatives = Literal["all", "listed", "none"]
"""Which concepts are known to be absent from a picture: every phrase of the vocabulary that is not there, those that
the source lists for the picture, or none."""


class PromptMaker:
    """Makes the prompts of one picture after the other.

    Args:
        vocabulary: phrases in the order in which they are asked; one that comes twice counts once.
        negatives: which prompts without instances are made.
    """

    def __init__(self, vocabulary: Sequence[str], negatives: Negatives) -> None:
        self.negatives = negatives
        # A prompt that is absent is the same object in all pictures: a large set has millions of them.
        self._absent = {phrase: Prompt(phrase=phrase) for phrase in vocabulary}

    def prompts(
        self,
        found: Mapping[str, Sequence[int]],
        *,
        absent: Iterable[str] = (),
        partial: Collection[str] = (),
    ) -> tuple[Prompt, ...]:
        """Prompts in the order of the vocabulary, then other phrases in the order in which they come.

        Args:
            found: phrases to positions of their instances.
            absent: phrases that the source lists as not there; one that is in `found` all the same is left out.
            partial: phrases of which not every instance is labelled: never made into a negative.
        """
        listed: dict[str, None] = {} if self.negatives == "none" else dict.fromkeys(absent)
        whole_vocabulary = self.negatives == "all"
        prompts = []
        for phrase, prompt in self._absent.items():
            if phrase in found:
                prompts.append(_positive(phrase, found[phrase], partial))
            elif (whole_vocabulary or phrase in listed) and phrase not in partial:
                prompts.append(prompt)
        prompts += [_positive(phrase, idx, partial) for phrase, idx in found.items() if phrase not in self._absent]
        prompts += [
            Prompt(phrase=phrase)
            for phrase in listed
            if phrase not in self._absent and phrase not in found and phrase not in partial
        ]
        return tuple(prompts)


def _positive(phrase: str, instance_idx: Sequence[int], partial: Collection[str]) -> Prompt:
    return Prompt(phrase=phrase, instance_idx=tuple(instance_idx), exhaustive=phrase not in partial)
