"""The table of symbols: which glyphs the world is made of, and what they are called.

The table is the packaged file `symbols.tsv`, picked by hand: glyphs that look alike (clocks, faces, signs, flags) are
left out, and synonyms are only those that a person would use for the picture. A symbol's index is its row.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from masklet.errors import DataError

# Words for the colours that sprites are painted in; also the words for natural colours.
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "gray")

_HEADER = ("codepoints", "name", "synonyms", "categories", "colour", "split")
_SPLITS = ("named", "exemplar_only")
_HELD_OUT_ONE_IN = 10  # share of symbol x colour pairs that training never paints


@dataclass(frozen=True, kw_only=True)
class Symbol:
    """One picture symbol and its words.

    Attributes:
        codepoints: hexadecimal code points separated by one space, e.g. "2708 FE0F".
        name: short name, singular where the picture shows one thing.
        synonyms: other names for the same thing.
        categories: words for what it is a kind of.
        natural_colour: the word for its unpainted colour, or None when no single hue holds most of it.
        named: False for symbols that are never asked by name, only by exemplar (or by category).
    """

    codepoints: str
    name: str
    synonyms: tuple[str, ...]
    categories: tuple[str, ...]
    natural_colour: str | None
    named: bool

    @property
    def text(self) -> str:
        """The character itself."""
        return "".join(chr(int(code, 16)) for code in self.codepoints.split())

    @property
    def file_stem(self) -> str:
        """Name of its sprite file without the ending, e.g. "2708-fe0f"."""
        return self.codepoints.lower().replace(" ", "-")


def parse_symbols(text: str, source: str) -> tuple[Symbol, ...]:
    """The symbols of a table in the layout of `symbols.tsv`.

    Args:
        text: tab-separated lines; lines that start with "#" are comments, the first other line is the header.
        source: where the text came from, for messages.

    Raises:
        DataError: a wrong header, field count, colour or split word, or the same name or glyph twice.
    """
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line and not line.startswith("#")]
    if not lines or tuple(lines[0][1].split("\t")) != _HEADER:
        raise DataError(f"{source}: expected the header {_HEADER}, got {lines[0][1] if lines else 'an empty table'!r}")
    symbols: list[Symbol] = []
    seen: set[str] = set()
    for number, line in lines[1:]:
        fields = line.split("\t")
        if len(fields) != len(_HEADER):
            raise DataError(f"{source}:{number}: expected {len(_HEADER)} tab-separated fields, got {len(fields)}")
        codepoints, name, synonyms, categories, colour, split = fields
        if colour not in (*COLOURS, "-") or split not in _SPLITS:
            raise DataError(
                f"{source}:{number}: expected a colour of {COLOURS} or '-' and a split of {_SPLITS}, "
                f"got {colour!r} and {split!r}"
            )
        if name in seen or codepoints in seen:
            raise DataError(f"{source}:{number}: {name!r} ({codepoints}) is there twice; remove one of the rows")
        seen |= {name, codepoints}
        symbols.append(
            Symbol(
                codepoints=codepoints,
                name=name,
                synonyms=_words(synonyms),
                categories=_words(categories),
                natural_colour=None if colour == "-" else colour,
                named=split == "named",
            )
        )
    return tuple(symbols)


def _words(field: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in field.split(";") if word.strip())


@cache
def load_symbols() -> tuple[Symbol, ...]:
    """The packaged table, read once."""
    text = resources.files(__package__).joinpath("symbols.tsv").read_text(encoding="utf-8")
    return parse_symbols(text, "symbols.tsv")


@cache
def is_held_out_colour(name: str, colour: str) -> bool:
    """Is this symbol never painted in this colour in training? True for about one pair in ten, fixed for ever.

    The choice hangs on the words alone, so adding a symbol to the table moves no other pair.
    """
    return zlib.crc32(f"{name}|{colour}".encode()) % _HELD_OUT_ONE_IN == 0
