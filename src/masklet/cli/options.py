"""Options that several verbs have, word for word; what one verb alone has stands in its own file.

Which value holds when an option is left out is said by each verb.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[str, typer.Option("--model", metavar="M", help="Checkpoint file or folder, or a name.")]

ImageSize = Annotated[
    int | None,
    typer.Option("--image-size", metavar="PX", help="Side of the model's input, a multiple of 14. [the model's]"),
]

Device = Annotated[str, typer.Option("--device", metavar="D", help="auto, cpu, cuda, cuda:N or mps.")]

Dtype = Annotated[str, typer.Option("--dtype", metavar="T", help="auto, float32, bfloat16, float16 or int8.")]

Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Folder for the results. [out; with --json nothing is written]"),
]
