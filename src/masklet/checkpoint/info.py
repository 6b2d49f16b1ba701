"""What a checkpoint holds, told without loading it: format, sizes, parameter counts, parts, number formats, hash."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from masklet.checkpoint.formats import Format, config_of, open_checkpoint
from masklet.checkpoint.rotary import table_block
from masklet.checkpoint.rows import CARRIED
from masklet.config import ModelConfig

_TRACKER_PARTS: Final = ("prompt_encoder", "mask_decoder", "memory_encoder", "memory_attention")


@dataclass(frozen=True)
class CheckpointInfo:
    """What `describe` found.

    Attributes:
        path: the file or folder.
        format: whose format it is.
        layout: which way of naming within the format.
        files: names of the files that hold weights.
        size_bytes: of these files together.
        sha256: of these files, one after the other, as hexadecimal digits; None when it was not asked for.
        config: sizes of the model.
        config_source: "file", or "public model" where the format tells none and the public sizes are assumed.
        entries: tensors in the files.
        parameters: numbers by part of the model, in its order; without computed tables. The tracker's four large
            parts are counted apart from it. Parts that no module owns begin with "carried".
        dtypes: entries by number format.
        carried: entries that no module owns, kept for conversion.
        filled: entries that were written as zeros because the format demands them.
        notes: what else a reader should know.
    """

    path: Path
    format: Format
    layout: str
    files: tuple[str, ...]
    size_bytes: int
    sha256: str | None
    config: ModelConfig
    config_source: str
    entries: int
    parameters: Mapping[str, int]
    dtypes: Mapping[str, int]
    carried: tuple[str, ...]
    filled: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def total_parameters(self) -> int:
        """Of all parts."""
        return sum(self.parameters.values())


def describe(path: str | Path, *, with_hash: bool = True) -> CheckpointInfo:
    """What the checkpoint at `path` holds; weights are read only for the hash.

    Args:
        path: file or folder of any format; adapters may follow, each after a plus sign.
        with_hash: also compute the SHA-256 of the files (seconds for the public model).

    Raises:
        CheckpointError: no checkpoint of this model.
        UnsafeFileError: a pickle that would run code; nothing was run.
    """
    checkpoint = open_checkpoint(path)
    parameters: Counter[str] = Counter()
    for name, blank in checkpoint.blanks.items():
        if table_block(name) is None:
            parameters[_part(name)] += blank.numel()
    dtypes = Counter(str(blank.dtype).removeprefix("torch.") for blank in checkpoint.blanks.values())
    return CheckpointInfo(
        path=checkpoint.path,
        format=checkpoint.format,
        layout=checkpoint.layout.name,
        files=tuple(file.name for file in checkpoint.files),
        size_bytes=sum(file.stat().st_size for file in checkpoint.files),
        sha256=_sha256(checkpoint.files) if with_hash else None,
        config=config_of(checkpoint),
        config_source="public model" if checkpoint.config is None else "file",
        entries=len(checkpoint.blanks),
        parameters=dict(sorted(parameters.items(), key=lambda item: item[0].startswith("carried"))),
        dtypes=dict(dtypes.most_common()),
        carried=checkpoint.carried,
        filled=tuple(sorted(checkpoint.filled)),
        notes=(*map(str, checkpoint.adapters), *checkpoint.notes),
    )


def _part(name: str) -> str:
    if name.startswith(CARRIED):
        return "carried: unused branches"
    part, _, rest = name.partition(".")
    inner = rest.partition(".")[0]
    return f"{part}.{inner}" if part == "tracker" and inner in _TRACKER_PARTS else part


def _sha256(files: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
