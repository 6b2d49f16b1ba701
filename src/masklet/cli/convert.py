"""`masklet convert`: from one checkpoint format to another, bit by bit."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from masklet.checkpoint import ConvertReport


class FormatName(StrEnum):
    """Whose format is written."""

    NATIVE = "native"
    META = "meta"
    HUGGINGFACE = "huggingface"


class DtypeName(StrEnum):
    """Number format of the weights."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


def convert(
    source: Annotated[
        str, typer.Argument(help="File or folder of any format, or 'default'; +ADAPTER adds one.", metavar="SOURCE")
    ],
    target: Annotated[Path, typer.Argument(help="File, or folder for huggingface, to make.", metavar="TARGET")],
    target_format: Annotated[
        FormatName | None,
        typer.Option("--to", help="Format to write. If left out: .safetensors native, .pt meta, else huggingface."),
    ] = None,
    dtype: Annotated[
        DtypeName | None, typer.Option("--dtype", help="Change the numbers; else every bit stays.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Convert a checkpoint to another format.

    Formats: Meta's (.pt), Hugging Face's (a folder) and the native one (.safetensors); any to any, bit by bit.
    """
    # The verb has the name of the function that does the work.
    from masklet.checkpoint import convert as convert_checkpoint
    from masklet.checkpoint.hub import find_weights

    wanted = target_format or format_for(target)
    report = convert_checkpoint(
        find_weights(source, download=False),
        target,
        wanted.value,
        dtype=None if dtype is None else dtype.value,
        overwrite=overwrite,
    )
    sys.stderr.write("\n".join(_lines(report, target)) + "\n")


def format_for(target: Path) -> FormatName:
    """The format that the ending of a path stands for."""
    if target.suffix == ".safetensors":
        return FormatName.NATIVE
    return FormatName.META if target.suffix in (".pt", ".pth") else FormatName.HUGGINGFACE


def _lines(report: ConvertReport, target: Path) -> list[str]:
    lines = [f"{report.source} -> {report.target}: {report.entries} entries in {target} ({', '.join(report.files)})"]
    for names, meaning in (
        (report.carried, "entries that no part of the model uses went along"),
        (report.beside, "entries have no name in the target format and lie beside it"),
        (report.filled, "entries that the target demands were filled with zeros"),
        (report.computed, "rotary tables equal the formula: computed, not stored"),
    ):
        if names:
            lines.append(f"{len(names)} {meaning}")
    return [*lines, *report.notes]
