"""`masklet info`: what a checkpoint holds, without loading it."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from masklet.checkpoint import CheckpointInfo
    from masklet.config import ModelConfig


def info(
    checkpoint: Annotated[
        str, typer.Argument(help="File or folder of any format, or 'default'; +ADAPTER may follow.", metavar="FILE")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    with_hash: Annotated[
        bool, typer.Option("--hash/--no-hash", help="Also compute the SHA-256 of the files (reads them whole).")
    ] = True,
) -> None:
    """Tell what a checkpoint holds.

    Format, sizes, parameter counts, which parts; the weights are not loaded.
    """
    from masklet.checkpoint import describe
    from masklet.checkpoint.hub import find_weights

    found = describe(find_weights(checkpoint, download=False), with_hash=with_hash)
    if as_json:
        document = dataclasses.asdict(found) | {"total_parameters": found.total_parameters}
        sys.stdout.write(json.dumps(document, default=str) + "\n")
    else:
        _print(found)


def _input(config: ModelConfig) -> str:
    frames = "" if config.video_image_size is None else f" ({config.video_image_size} px of films)"
    return f"{config.vision.image_size} px{frames}"


def _print(found: CheckpointInfo) -> None:
    from rich.console import Console
    from rich.table import Table

    config = found.config
    facts = {
        "checkpoint": str(found.path),
        "format": f"{found.format} ({found.layout})",
        "files": f"{len(found.files)}: {', '.join(found.files[:4])}{', ...' if len(found.files) > 4 else ''}",
        "size": f"{found.size_bytes / 1e6:,.1f} MB in {found.entries} entries",
        "number formats": ", ".join(f"{name} x {count}" for name, count in found.dtypes.items()),
        "sha256": found.sha256 or "not computed",
        "model": f"{config.name}, input {_input(config)}, {config.decoder.queries} queries",
        "sizes from": found.config_source,
        "carried": f"{len(found.carried)} entries that no part uses yet; kept when converted",
        "filled": f"{len(found.filled)} entries of zeros, demanded by the format",
    }
    lines = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        lines.add_row(name, value)
    for note in found.notes:
        lines.add_row("note", note)
    parts = Table("part", "parameters")
    parts.columns[1].justify = "right"
    for name, count in found.parameters.items():
        parts.add_row(name, f"{count:,}")
    parts.add_row("total", f"{found.total_parameters:,}")
    console = Console(markup=False, highlight=False)
    console.print(lines)
    console.print(parts)
