"""Who plays in a picture or clip: symbols, and the colours in which they are painted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from masklet.synthetic.sprites import SpriteSheet
from masklet.synthetic.symbols import COLOURS, Symbol, is_held_out_colour

_REPEAT_WEIGHTS = (0.48, 0.27, 0.16, 0.09)  # chance that a symbol comes 1, 2, 3, 4 times


@dataclass(frozen=True, kw_only=True)
class Actor:
    """A symbol in a colour.

    Attributes:
        symbol_idx: row of the sheet's table.
        colour: the colour word that it was painted in, None for its natural colours.
    """

    symbol_idx: int
    colour: str | None


class Shown(Protocol):
    """Anything that shows actors and can be asked about."""

    @property
    def instances(self) -> Sequence[Actor]:
        """All that is shown."""


@dataclass(frozen=True, kw_only=True)
class CastSettings:
    """Who may play.

    Attributes:
        held_out_colours: may symbols be painted in the colours that training never shows.
        exemplar_only: may symbols appear that are never asked by name.
    """

    held_out_colours: bool = False
    exemplar_only: bool = True


def draw_cast(sheet: SpriteSheet, rng: np.random.Generator, count: int, settings: CastSettings) -> list[Actor]:
    """`count` actors: repeats, siblings of one category, and one symbol in several colours."""
    pool = symbol_pool(sheet, settings)
    cast: list[Actor] = []
    while len(cast) < count:
        symbol_idx = pool[int(rng.integers(len(pool)))]
        if cast and rng.random() < 0.35:
            kin = set(sheet.symbols[cast[-1].symbol_idx].categories)
            siblings = [idx for idx in pool if kin & set(sheet.symbols[idx].categories)]
            if siblings:
                symbol_idx = siblings[int(rng.integers(len(siblings)))]
        symbol = sheet.symbols[symbol_idx]
        repeats = min(weighted_choice(rng, _REPEAT_WEIGHTS) + 1, count - len(cast))
        mode = rng.random()
        shared = draw_colour(rng, symbol, settings) if 0.45 <= mode < 0.7 else None
        for _ in range(repeats):
            mixed = mode >= 0.7 and rng.random() < 0.75
            colour = draw_colour(rng, symbol, settings) if mixed else shared
            cast.append(Actor(symbol_idx=symbol_idx, colour=colour))
    order = rng.permutation(count)
    return [cast[idx] for idx in order]


def symbol_pool(sheet: SpriteSheet, settings: CastSettings) -> list[int]:
    """Rows of the symbols that may appear."""
    return [idx for idx, symbol in enumerate(sheet.symbols) if symbol.named or settings.exemplar_only]


def draw_colour(rng: np.random.Generator, symbol: Symbol, settings: CastSettings) -> str:
    """A colour to paint the symbol in; evaluation often takes one that training never shows."""
    held_out = [colour for colour in COLOURS if is_held_out_colour(symbol.name, colour)]
    if settings.held_out_colours and held_out and rng.random() < 0.5:
        return held_out[int(rng.integers(len(held_out)))]
    known = [colour for colour in COLOURS if colour not in held_out]
    return known[int(rng.integers(len(known)))]


def weighted_choice(rng: np.random.Generator, weights: tuple[float, ...]) -> int:
    """A place in `weights`, each as likely as its weight says."""
    return min(int(np.searchsorted(np.cumsum(weights), rng.random() * sum(weights), side="right")), len(weights) - 1)
