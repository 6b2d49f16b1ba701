"""Phrases to prompt tokens, each phrase encoded once: a bounded cache that threads may share."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from masklet.errors import PromptError
from masklet.model.detector import Detector
from masklet.model.tokenizer import Tokenizer
from masklet.types import PromptTokens

# Phrases encoded in one pass of the text encoder: enough to fill a processor, little enough to stay small.
_AT_ONCE = 64


class TextCache:
    """Text features by phrase.

    One entry of the public model is 32 kB in float32. The least recently used entries go first.
    """

    def __init__(self, model: Detector, capacity: int = 4096) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self._model = model
        self._tokenizer = Tokenizer(model.config.text.context, model.config.text.merges)
        self._capacity = capacity
        self._entries: OrderedDict[str, tuple[Tensor, Tensor]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def tokens(self, concepts: Sequence[str]) -> PromptTokens:
        """Prompt tokens of P >= 1 concepts, (P, T, C), in their order; only new phrases are encoded.

        Raises:
            PromptError: a concept is not text, or has nothing that can be read.
        """
        for concept in concepts:
            self._check(concept)
        found = {}
        with self._lock:
            for concept in concepts:
                if concept in self._entries:
                    self._entries.move_to_end(concept)
                    found[concept] = self._entries[concept]
        missing = [concept for concept in dict.fromkeys(concepts) if concept not in found]
        # Encoded outside the lock: two threads may do the same phrase at once, which costs time but changes nothing.
        for start in range(0, len(missing), _AT_ONCE):
            found |= self._encode(missing[start : start + _AT_ONCE])
        if missing:
            self._remember({concept: found[concept] for concept in missing})
        tokens = torch.stack([found[concept][0] for concept in concepts])
        valid = torch.stack([found[concept][1] for concept in concepts])
        device = self._model.device  # the model may have been moved since
        return PromptTokens(tokens=tokens.to(device=device, dtype=self._model.dtype), valid=valid.to(device))

    def _check(self, concept: object) -> None:
        if not isinstance(concept, str):
            raise PromptError(f"concept must be text, got {type(concept).__name__}: {concept!r}")
        if not self._tokenizer.encode(concept):
            raise PromptError(f"concept must have at least one visible character, got {concept!r}; name what to find")

    def _encode(self, concepts: list[str]) -> dict[str, tuple[Tensor, Tensor]]:
        with torch.no_grad():
            prompt = self._model.encode_text(self._tokenizer(concepts))
        # Clones, so that an entry does not keep its whole batch alive.
        return {c: (prompt.tokens[i].clone(), prompt.valid[i].clone()) for i, c in enumerate(concepts)}

    def _remember(self, entries: dict[str, tuple[Tensor, Tensor]]) -> None:
        with self._lock:
            for concept, entry in entries.items():
                self._entries[concept] = entry
                self._entries.move_to_end(concept)
            while len(self._entries) > self._capacity:
                self._entries.popitem(last=False)
