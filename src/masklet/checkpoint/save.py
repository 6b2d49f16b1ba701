"""Writes tensors to files: one at a time, aside, and renamed when whole, so that no reader ever meets half a file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from masklet.checkpoint.adapter import Adapter, adapter_metadata, adapter_tensors
from masklet.checkpoint.containers import SAFETENSORS_DTYPES
from masklet.checkpoint.formats import NATIVE_FORMAT, NATIVE_VERSION, Checkpoint, cast, open_checkpoint
from masklet.checkpoint.keymaps import META_LAYOUT, Layout, name_list, owns
from masklet.checkpoint.rows import CARRIED
from masklet.checkpoint.rules import Link
from masklet.config import ModelConfig
from masklet.errors import CheckpointError, OutputError
from masklet.model.detector import Detector

_DTYPE_NAMES: Final = {dtype: name for name, dtype in SAFETENSORS_DTYPES.items()}
_ALIGNMENT: Final = 64  # bytes; the first tensor starts at a multiple, so that mapped weights lie well in memory


@dataclass(frozen=True)
class Item:
    """A tensor that is made when its turn comes.

    Attributes:
        name: in the file to be written.
        blank: a tensor without memory that has its shape and dtype.
        read: makes the tensor.
        done: called when it is written, to give back memory.
    """

    name: str
    blank: Tensor
    read: Callable[[], Tensor]
    done: Callable[[], None] = lambda: None


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A path beside `path` to write a file or folder to; renamed to `path` when the block ends well, else removed.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield aside
            if path.is_dir():
                path.rmdir()  # an empty folder; anything else was refused before
            aside.replace(path)
        finally:
            if aside.is_dir():
                shutil.rmtree(aside, ignore_errors=True)
            else:
                aside.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); nothing was left there") from error


def write_safetensors(path: Path, items: Iterable[Item], metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file, holding one tensor at a time in memory.

    Entries are ordered by the width of their numbers, widest first, which keeps every tensor aligned; else the order
    given is kept.
    """
    ordered = sorted(items, key=lambda item: -item.blank.element_size())
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    offset = 0
    for item in ordered:
        end = offset + item.blank.nbytes
        header[item.name] = {
            "dtype": _DTYPE_NAMES[item.blank.dtype],
            "shape": list(item.blank.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for item in ordered:
            tensor = item.read().detach().cpu().contiguous()
            assert (tensor.shape, tensor.dtype) == (item.blank.shape, item.blank.dtype), item.name
            file.write(tensor.reshape(-1).view(torch.uint8).numpy().data)
            del tensor
            item.done()


def own_metadata(config: ModelConfig, filled: Sequence[str] = ()) -> dict[str, str]:
    """What masklet writes beside the tensors of any format: the configuration, and which entries are mere zeros."""
    return {
        "config": json.dumps(config.to_dict(), separators=(",", ":")),
        "filled": json.dumps(list(filled), separators=(",", ":")),
    }


def write_native(path: Path, items: Iterable[Item], config: ModelConfig) -> None:
    """Writes a native file; its bytes depend on names, tensors and configuration only, not on where they came from."""
    metadata = {"format": NATIVE_FORMAT, "version": NATIVE_VERSION, **own_metadata(config)}
    write_safetensors(path, sorted(items, key=lambda item: item.name), metadata)


def encode_items(items: Sequence[Item], layout: Layout) -> tuple[list[Item], list[str]]:
    """Items under the names of a public layout, and the names of those that have no place in it.

    Raises:
        CheckpointError: some but not all parts of an entry of the target are there.
    """
    by_name = {item.name: item for item in items}
    links = layout.keymap.encode(by_name)
    if links.partial:
        absent = [name for _, names in links.partial for name in names]
        raise CheckpointError(f"the target format joins entries of which {name_list('are missing', absent)}")
    encoded, beside = [], list(links.unknown)
    for link in links.complete:
        stored = [layout.from_table(name) for name in link.foreign]
        if any(name is None for name in stored):
            beside += link.ours
            continue
        encoded += _encode_link(link, [by_name[name] for name in link.ours], [name for name in stored if name])
    return encoded, beside


def _encode_link(link: Link, parts: list[Item], names: list[str]) -> list[Item]:
    def read(index: int) -> Callable[[], Tensor]:
        return lambda: link.operation.encode([part.read() for part in parts])[index]

    def done() -> None:
        for part in parts:
            part.done()

    blanks = link.operation.encode([part.blank for part in parts])
    return [Item(name, blank, read(index), done) for index, (name, blank) in enumerate(zip(names, blanks, strict=True))]


def native_items(items: Sequence[Item], config: ModelConfig) -> list[Item]:
    """Items under the names of a native file: what the model of `config` does not own goes by `carried.` and Meta's."""
    kept = [item for item in items if owns(config, item.name) or item.name.startswith(CARRIED)]
    others, beside = encode_items([item for item in items if item not in kept], META_LAYOUT)
    assert not beside, "Meta's format has a name for all that our modules could own"
    return [*kept, *(replace(item, name=CARRIED + item.name) for item in others)]


def items_of(checkpoint: Checkpoint, names: Sequence[str], dtype: torch.dtype | None) -> list[Item]:
    """Entries of an opened checkpoint under our names, cast to `dtype`."""

    def item(name: str) -> Item:
        return Item(
            name=name,
            blank=cast(checkpoint.blanks[name], dtype),
            read=lambda: checkpoint.read(name, dtype),
            done=lambda: checkpoint.release(name),
        )

    return [item(name) for name in names]


def save_adapter(adapter: Adapter, path: str | Path) -> None:
    """Writes an adapter's file; an existing file is replaced when the new one is whole.

    Raises:
        OutputError: the file cannot be written.
    """

    def item(name: str, tensor: Tensor) -> Item:
        return Item(name=name, blank=tensor.to("meta"), read=lambda: tensor)

    items = [item(name, tensor) for name, tensor in sorted(adapter_tensors(adapter).items())]
    with written_aside(Path(path)) as aside:
        write_safetensors(aside, items, adapter_metadata(adapter))


def save_native(
    model: Detector,
    path: str | Path,
    dtype: torch.dtype | None = None,
    *,
    carried_from: str | Path | None = None,
) -> None:
    """Writes a model to a native file; an existing file is replaced when the new one is whole.

    Args:
        model: its configuration goes into the file.
        path: usually ends with `.safetensors`.
        dtype: number format in the file; None keeps the model's.
        carried_from: a checkpoint whose entries that the model does not own (dead branches, parts that were left out)
            go along, so that the file can be converted to a public format without loss.

    Raises:
        OutputError: the file cannot be written.
        CheckpointError: the model has a number format that files cannot hold, or `carried_from` is no checkpoint.
    """
    state = model.state_dict()
    unknown = sorted({str(tensor.dtype) for tensor in state.values()} - {str(known) for known in _DTYPE_NAMES})
    if unknown:
        raise CheckpointError(f"tensors of {', '.join(unknown)} cannot be saved; convert the model to float32 first")

    def item(name: str, tensor: Tensor) -> Item:
        return Item(name=name, blank=cast(tensor.to("meta"), dtype), read=lambda: cast(tensor, dtype))

    items = [item(name, tensor) for name, tensor in state.items()]
    if carried_from is not None:
        checkpoint = open_checkpoint(carried_from)
        names = [name for name in checkpoint.blanks if not owns(model.config, name)]
        items += native_items(items_of(checkpoint, names, dtype), model.config)
    with written_aside(Path(path)) as aside:
        write_native(aside, items, model.config)
