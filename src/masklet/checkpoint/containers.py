"""The two kinds of file that hold tensors, safetensors and PyTorch's zipped pickle, read without copying.

Tensors are views of mapped memory: nothing is read from the disk before it is used. Pickles are read by PyTorch's
restricted reader, which executes nothing; one that asks for more is refused (`UnsafeFileError`).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import mmap
import os
import pickle
import pickletools
import platform
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from masklet.errors import CheckpointError, UnsafeFileError

SAFETENSORS_DTYPES: Final[Mapping[str, torch.dtype]] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
}


class Container(Protocol):
    """Named tensors in one or several files."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What stands beside the tensors."""

    def names(self) -> tuple[str, ...]:
        """Names of all tensors, in the order of the file."""

    def blank(self, name: str) -> Tensor:
        """A tensor without memory that has the shape and dtype of `name`."""

    def read(self, name: str) -> Tensor:
        """The tensor, a view of mapped memory where possible."""

    def release(self, name: str) -> None:
        """Gives back the memory that reading `name` has filled; it is read again if it is used again."""


class SafetensorsContainer:
    """One or several safetensors files (shards)."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Opens and checks the files; no tensor is read.

        Raises:
            CheckpointError: a file is truncated or no safetensors file, or two files have the same entry.
        """
        from safetensors import SafetensorError, safe_open

        self.paths = tuple(paths)
        self.metadata: dict[str, Any] = {}
        self._files: dict[str, Any] = {}
        for path in self.paths:
            try:
                file: Any = safe_open(str(path), framework="pt")
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f"{path}: truncated or damaged safetensors file ({error})") from error
            self.metadata.update(file.metadata() or {})
            for name in file.keys():  # noqa: SIM118  # not a mapping
                if name in self._files:
                    raise CheckpointError(f"{path}: entry {name!r} is in another shard too")
                self._files[name] = file

    def names(self) -> tuple[str, ...]:
        """Names of all tensors."""
        return tuple(self._files)

    def blank(self, name: str) -> Tensor:
        """A tensor without memory that has the shape and dtype of `name`."""
        entry = self._files[name].get_slice(name)
        dtype = SAFETENSORS_DTYPES.get(entry.get_dtype())
        if dtype is None:
            raise CheckpointError(f"entry {name!r} has the unknown number format {entry.get_dtype()!r}")
        return torch.empty(entry.get_shape(), dtype=dtype, device="meta")

    def read(self, name: str) -> Tensor:
        """The tensor as a view of the mapped file."""
        tensor: Tensor = self._files[name].get_tensor(name)
        return tensor

    def release(self, name: str) -> None:
        """Gives back the pages of a tensor that was copied and is no longer used."""
        _release_pages(self.read(name))


class PickleContainer:
    """A file of `torch.save` that holds a dictionary of tensors, as it is or below the key "model"."""

    metadata_key: Final = "masklet"

    def __init__(self, path: Path) -> None:
        """Maps the file.

        Raises:
            UnsafeFileError: the pickle asks for anything but tensors and plain values.
            CheckpointError: the file is truncated, or what it holds is no dictionary of tensors.
        """
        self.paths = (path,)
        self._mapped = zipfile.is_zipfile(path)
        content = _load_pickle(path, mapped=self._mapped)
        if not isinstance(content, Mapping):
            raise CheckpointError(f"{path}: expected a dictionary of tensors, found a {type(content).__name__}")
        state = content["model"] if isinstance(content.get("model"), Mapping) else content
        others = [str(name) for name, value in state.items() if not isinstance(value, Tensor)]
        if others or not state:
            raise CheckpointError(
                f"{path}: expected a dictionary of tensors, at the top or below 'model'; found {len(state)} entries, "
                f"of which {len(others)} are no tensors ({', '.join(others[:10])}); save the model's state_dict alone"
            )
        self._state: dict[str, Tensor] = {str(name): value.detach() for name, value in state.items()}
        extra = content.get(self.metadata_key)
        self.metadata: dict[str, Any] = dict(extra) if state is not content and isinstance(extra, Mapping) else {}

    def names(self) -> tuple[str, ...]:
        """Names of all tensors."""
        return tuple(self._state)

    def blank(self, name: str) -> Tensor:
        """A tensor without memory that has the shape and dtype of `name`."""
        tensor = self._state[name]
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")

    def read(self, name: str) -> Tensor:
        """The tensor; a view of the mapped file unless the file is of PyTorch's old kind."""
        return self._state[name]

    def release(self, name: str) -> None:
        """Gives back the pages of a tensor that was copied and is no longer used."""
        if self._mapped:
            _release_pages(self._state[name])


def _load_pickle(path: Path, *, mapped: bool) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about pickle protocols: such files are refused below
            return torch.load(str(path), map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        asked = sorted(set(_globals_in_pickle(path)))
        if asked:
            raise UnsafeFileError(
                f"{path}: refused, nothing was executed: its pickle asks for {', '.join(asked[:10])}; expected tensors "
                "only; save the model's state_dict alone, or use safetensors"
            ) from error
        raise CheckpointError(f"{path}: damaged PyTorch file ({_first_line(error)})") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: truncated or damaged PyTorch file ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _globals_in_pickle(path: Path) -> Iterator[str]:
    """What a pickle would import beyond the tensors of PyTorch; found by reading its operations, not running them."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            inner = [name for name in archive.namelist() if name.endswith("data.pkl")]
            data = archive.read(inner[0]) if inner else b""
    else:
        data = path.read_bytes()
    strings: list[str] = []
    with contextlib.suppress(ValueError):  # the rest of a damaged pickle
        for operation, argument, _ in pickletools.genops(data):
            if operation.name in ("GLOBAL", "INST"):
                found = str(argument).replace(" ", ".")
            elif operation.name == "STACK_GLOBAL":
                found = ".".join(strings[-2:])
            else:
                if isinstance(argument, str):
                    strings.append(argument)
                continue
            if found != "collections.OrderedDict" and not found.startswith("torch."):
                yield found


@functools.cache
def _libc() -> ctypes.CDLL | None:
    """The C library, where its `madvise` drops pages as Linux does."""
    return ctypes.CDLL(None, use_errno=True) if platform.system() == "Linux" else None


def _release_pages(tensor: Tensor) -> None:
    """Drops the resident pages that lie wholly within a tensor of privately mapped, unchanged file memory.

    Peak memory then stays at what the model needs, although casting or fusing has touched the source as well.
    """
    libc = _libc()
    if libc is None or not tensor.is_contiguous():
        return
    page = mmap.PAGESIZE
    start = -(-tensor.data_ptr() // page) * page
    end = (tensor.data_ptr() + tensor.nbytes) // page * page
    if end > start:
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)


def open_container(path: Path) -> Container:
    """Opens a file by what its first bytes say.

    Raises:
        CheckpointError: the file is missing, empty or of neither kind.
        UnsafeFileError: a pickle that would run code.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file")
    try:
        size = os.path.getsize(path)
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    if not head:
        raise CheckpointError(f"{path}: the file is empty; expected a checkpoint")
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path}: a Git LFS pointer, not the weights; fetch them with `git lfs pull`")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return SafetensorsContainer([path])
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return PickleContainer(path)
    raise CheckpointError(
        f"{path}: expected a safetensors file or a file of torch.save, got {size} bytes beginning {head[:8]!r}"
    )
