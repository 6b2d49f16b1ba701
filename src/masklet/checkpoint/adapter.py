"""Adapters: small files that change a model's matrices, W + scale * B A (LoRA, arXiv 2106.09685).

An adapter goes by its base's name, a plus sign and its file: "default+mine.safetensors". It is added while the base is
read, so that a model with adapters is as fast as one without.

    metadata   format "masklet-adapter", version, config (of the base), base (its name), fingerprint (of its numbers),
               scale
    tensors    NAME.lora_A (r, in) and NAME.lora_B (out, r) for each matrix NAME
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from masklet.checkpoint.containers import SafetensorsContainer
from masklet.config import ModelConfig
from masklet.errors import CheckpointError, ConfigError

ADAPTER_FORMAT: Final = "masklet-adapter"
ADAPTER_VERSION: Final = "1"
_DOWN, _UP = ".lora_A", ".lora_B"
_SAMPLES: Final = 16  # numbers of each tensor that a fingerprint looks at


@dataclass(frozen=True, eq=False)
class Adapter:
    """What an adapter's file holds.

    Attributes:
        config: sizes of the base.
        base: what the base was called; for messages.
        fingerprint: of the base's numbers, see `fingerprint`.
        scale: factor of the products.
        pairs: (A, B) by the name of the matrix, A (r, in) and B (out, r).
        file: its file's name; "" before it has one.
    """

    config: ModelConfig
    base: str
    fingerprint: str
    scale: float
    pairs: Mapping[str, tuple[Tensor, Tensor]] = field(repr=False)
    file: str = ""

    @property
    def rank(self) -> int:
        """Largest r of all pairs; 0 without any."""
        return max((len(down) for down, _ in self.pairs.values()), default=0)

    @property
    def parameters(self) -> int:
        """How many numbers it has."""
        return sum(down.numel() + up.numel() for down, up in self.pairs.values())

    def __str__(self) -> str:
        return f"adapter {self.file}: rank {self.rank} on {len(self.pairs)} matrices, made for {self.base}"

    def change(self, name: str) -> Tensor:
        """(out, in) float32, what is added to the matrix `name`."""
        down, up = self.pairs[name]
        return (up.float() @ down.float()) * self.scale


def split_adapters(name_or_path: str | Path) -> tuple[str | Path, tuple[Path, ...]]:
    """The base, and the adapters that are named behind it, each after a plus sign.

    Plus signs in paths that exist are part of them.
    """
    pieces = str(name_or_path).split("+")
    names = []
    while pieces:
        existing = [end for end in range(len(pieces), 0, -1) if Path("+".join(pieces[:end])).expanduser().exists()]
        end = existing[0] if existing else 1
        names.append("+".join(pieces[:end]))
        pieces = pieces[end:]
    base, *adapters = names
    return (base, tuple(Path(each).expanduser() for each in adapters)) if adapters else (name_or_path, ())


def is_adapter(metadata: Mapping[str, object]) -> bool:
    """Whether a file with these metadata is an adapter."""
    return metadata.get("format") == ADAPTER_FORMAT


def read_adapter(path: Path) -> Adapter:
    """An adapter's file.

    Raises:
        CheckpointError: there is none, or the file is no adapter.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: expected the file of an adapter, there is none")
    container = SafetensorsContainer([path])
    metadata = container.metadata
    if not is_adapter(metadata) or metadata.get("version") != ADAPTER_VERSION:
        raise CheckpointError(
            f"{path}: expected an adapter as `masklet train` writes it (version {ADAPTER_VERSION}), found another "
            "file; a plus sign in a model's name stands before an adapter"
        )
    names = set(container.names())
    matrices = sorted(name.removesuffix(_DOWN) for name in names if name.endswith(_DOWN))
    try:
        config = ModelConfig.from_dict(json.loads(metadata["config"]))
        scale = float(metadata["scale"])
        pairs = {name: (container.read(name + _DOWN), container.read(name + _UP)) for name in matrices}
        whole = names == {name + end for name in matrices for end in (_DOWN, _UP)} and all(
            down.dim() == up.dim() == 2 and len(down) == up.shape[1] for down, up in pairs.values()
        )
    except (KeyError, ValueError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{path}: a damaged adapter ({error})") from error
    if not whole:
        raise CheckpointError(f"{path}: a damaged adapter: its matrices do not come in pairs that fit")
    return Adapter(config, metadata.get("base", ""), metadata.get("fingerprint", ""), scale, pairs, path.name)


def adapter_tensors(adapter: Adapter) -> dict[str, Tensor]:
    """The tensors of its file."""
    return {
        name + end: part for name, pair in adapter.pairs.items() for end, part in zip((_DOWN, _UP), pair, strict=True)
    }


def adapter_metadata(adapter: Adapter) -> dict[str, str]:
    """The metadata of its file."""
    return {
        "format": ADAPTER_FORMAT,
        "version": ADAPTER_VERSION,
        "config": json.dumps(adapter.config.to_dict(), separators=(",", ":")),
        "base": adapter.base,
        "fingerprint": adapter.fingerprint,
        "scale": repr(adapter.scale),
    }


def fingerprint(names: Iterable[str], read: Callable[[str], Tensor]) -> str:
    """Hexadecimal digits that tell the numbers of models apart, whatever format they are stored in.

    Sixteen numbers of every tensor are looked at, so that a large file need not be read whole.

    Args:
        names: of all parameters.
        read: gives the tensor of a name.
    """
    digest = hashlib.sha256()
    for name in sorted(names):
        flat = read(name).detach().reshape(-1)
        places = torch.linspace(0, len(flat) - 1, min(_SAMPLES, len(flat)), dtype=torch.float64).long()
        digest.update(name.encode() + flat[places.to(flat.device)].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:_SAMPLES]
