"""Writes the colour column of symbols.tsv anew from the font: `python tools/refresh_symbol_colours.py`."""

from pathlib import Path

from masklet.synthetic.sprites import default_sheet, natural_colour

TABLE = Path(__file__).parents[1] / "src" / "masklet" / "synthetic" / "symbols.tsv"


def main() -> None:
    """Rewrites the table in place; every other column stays as it is."""
    sheet = default_sheet()
    words = {symbol.codepoints: natural_colour(sheet.sprite(idx)) or "-" for idx, symbol in enumerate(sheet.symbols)}
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        fields = line.split("\t")
        if fields[0] in words:
            fields[4] = words[fields[0]]
            lines[number] = "\t".join(fields)
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
