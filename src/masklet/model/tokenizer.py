"""Phrases to token ids: CLIP's byte-pair encoding, exactly as the public model was trained with it.

Source: spec/image-model.md 4.1. The merging is done by the `tokenizers` library over the table in `merges.txt.gz`
(CLIP's, MIT licence, see NOTICE); the cleaning before it belongs to the result and is written here. Two traps:

- Id 0 is the byte symbol `!` and at the same time the padding. A phrase in which `!` stands directly before another
  punctuation mark that does not merge with it (`!。`) has a token that the model takes for padding, as the original.
- The original turns the words `<start_of_text>` and `<end_of_text>` inside a phrase into its control tokens. Here
  they are spelled out as ordinary characters: what a user types cannot forge a control token.
"""

from __future__ import annotations

import functools
import gzip
import html
import importlib.resources
import itertools
import logging
from collections.abc import Sequence

import ftfy
import torch
from tokenizers import Regex, models, pre_tokenizers
from tokenizers import Tokenizer as Engine
from torch import Tensor

from masklet.errors import ConfigError

PADDING_ID = 0
MERGES_AVAILABLE = 48894

_WORD_END = "</w>"
_BYTE_SYMBOLS = 256
# A contraction's ending, one word, one digit, or a run of punctuation; what lies between is dropped. The original
# ignores case, which in lower-case text shows in two places only: the long s (U+017F) counts as an "s" behind an
# apostrophe, and the combining iota (U+0345) is dropped. Both are spelled out, since the caseless mode of the engine
# here takes U+0345 for a letter.
_PIECES = r"'[s\x{017F}]|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}\x{0345}]+"


_log = logging.getLogger(__name__)


class Tokenizer:
    """Phrases to token ids.

    Ids: 256 byte symbols, the same at the end of a word, `merges` merges by rank, start, end. Safe to share between
    threads.

    Attributes:
        context: ids per phrase in a batch, start and end included.
        start_id: first id of every phrase.
        end_id: last id of every phrase; the greatest id there is.
    """

    def __init__(self, context: int, merges: int = MERGES_AVAILABLE) -> None:
        """Reads the first `merges` lines of the table.

        Raises:
            ConfigError: `context` leaves no place between start and end, or there are not that many merges.
        """
        if context < 3:
            raise ConfigError(f"context must be at least 3 (start, one token, end), got {context}")
        if not 0 <= merges <= MERGES_AVAILABLE:
            raise ConfigError(f"merges must be 0 to {MERGES_AVAILABLE}, got {merges}")
        self.context = context
        self.start_id = 2 * _BYTE_SYMBOLS + merges
        self.end_id = self.start_id + 1
        self._engine = _engine(merges)

    def encode(self, phrase: str) -> list[int]:
        """Ids of a phrase, without start and end, not cut; [] for a phrase of nothing but blanks."""
        ids: list[int] = self._engine.encode(clean(phrase), add_special_tokens=False).ids
        return ids

    def fits(self, phrase: str) -> bool:
        """Whether the whole phrase is used, nothing of it cut off."""
        return len(self.encode(phrase)) <= self.context - 2

    def __call__(self, phrases: Sequence[str]) -> Tensor:
        """(P, context) int64: start, ids, end, padding 0; a phrase too long is cut before the end, with a warning."""
        rows = torch.full((len(phrases), self.context), PADDING_ID, dtype=torch.int64)
        for row, phrase in zip(rows, phrases, strict=True):
            ids = self.encode(phrase)
            room = self.context - 2
            if len(ids) > room:
                _log.warning(
                    "concept %s has %d tokens, the model reads %d: the rest is ignored; use fewer words",
                    _shortened(phrase),
                    len(ids),
                    room,
                )
            ids = [self.start_id, *ids[:room], self.end_id]
            row[: len(ids)] = torch.tensor(ids)
        return rows


def whole_words(merges: int = MERGES_AVAILABLE) -> tuple[str, ...]:
    """Words of plain letters that are one token with so many merges, the most frequent first."""
    merged = (left + right for left, right in itertools.islice(_merges(), merges))
    words = (token.removesuffix(_WORD_END) for token in merged if token.endswith(_WORD_END))
    return tuple(word for word in words if word.isascii() and word.isalpha())


def clean(phrase: str) -> str:
    """A phrase as the model sees it: encoding faults and entities repaired, single blanks, lower case."""
    text = html.unescape(html.unescape(ftfy.fix_text(phrase)))
    return " ".join(text.split()).lower()


def _shortened(phrase: str) -> str:
    return repr(phrase if len(phrase) <= 40 else f"{phrase[:37]}...")


@functools.cache
def _merges() -> tuple[tuple[str, str], ...]:
    packed = importlib.resources.files("masklet.model").joinpath("merges.txt.gz").read_bytes()
    lines = gzip.decompress(packed).decode("utf-8").split("\n")
    return tuple((left, right) for left, _, right in (line.partition(" ") for line in lines))


@functools.lru_cache(maxsize=4)
def _engine(merges: int) -> Engine:
    symbols = _byte_symbols()
    pairs = list(itertools.islice(_merges(), merges))
    words = [*symbols, *(symbol + _WORD_END for symbol in symbols), *(left + right for left, right in pairs)]
    vocabulary = {word: index for index, word in enumerate(words)}
    engine = Engine(models.BPE(vocab=vocabulary, merges=pairs, end_of_word_suffix=_WORD_END))
    engine.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return engine


def _byte_symbols() -> list[str]:
    """The characters that stand for the 256 bytes, in the order of their ids.

    Printable bytes stand for themselves and come first; the others follow as U+0100, U+0101, ... in rising order.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = _BYTE_SYMBOLS - len(printable)
    return [chr(byte) for byte in printable] + [chr(_BYTE_SYMBOLS + index) for index in range(others)]
