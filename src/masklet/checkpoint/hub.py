"""Where the weights of a name lie: in the package, at a path, in the local Hugging Face cache, or on the network.

A path never causes a network call. The public model is looked for in this order: the path given, the environment
variable MASKLET_SAM3_CHECKPOINT, the local Hugging Face cache, a download by `huggingface_hub` if that package is
installed and the caller allows it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Final

from masklet.checkpoint.adapter import split_adapters
from masklet.checkpoint.formats import CONFIG_FILE, INDEX_FILE, WEIGHTS_FILE
from masklet.errors import CheckpointError

DEFAULT_MODEL: Final = "default"
PUBLIC_MODEL: Final = "facebook/sam3"
ENVIRONMENT_VARIABLE: Final = "MASKLET_SAM3_CHECKPOINT"
META_FILE: Final = "sam3.pt"
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILES: Final = (CONFIG_FILE, WEIGHTS_FILE, INDEX_FILE, "model-*.safetensors")


def find_weights(name_or_path: str | Path, *, download: bool = True) -> Path:
    """The file or folder that holds the weights of a model.

    Args:
        name_or_path: "default", a path, or a repository name such as "facebook/sam3". A name
            other than "default" that exists as a path is one. Adapters may follow, each after a plus sign, and follow
            in the result.
        download: allow a download when the name is found nowhere on this machine.

    Raises:
        CheckpointError: found nowhere; the message says where it was looked for.
    """
    if name_or_path == DEFAULT_MODEL:
        return _packaged()
    base, adapters = split_adapters(name_or_path)
    if adapters:
        return Path("+".join(map(str, (find_weights(base, download=download), *adapters))))
    path = Path(name_or_path).expanduser()
    if path.exists():
        return path
    name = str(name_or_path)
    if isinstance(name_or_path, Path) or not _REPOSITORY.fullmatch(name) or path.suffix in (".pt", ".safetensors"):
        raise CheckpointError(
            f"{name}: there is no such file or folder; expected a checkpoint, {DEFAULT_MODEL!r} or {PUBLIC_MODEL!r}"
        )
    return _named(name, download=download)


def _packaged() -> Path:
    path = Path(str(resources.files("masklet"))) / "weights" / "default.safetensors"
    if not path.is_file():
        raise CheckpointError(
            f"the default model's weights are not in this installation (expected {path.name} in the package's folder "
            "'weights'); reinstall masklet, make them with 'masklet train default', or give the path of a checkpoint"
        )
    return path


def _named(name: str, *, download: bool) -> Path:
    if name == PUBLIC_MODEL and (given := os.environ.get(ENVIRONMENT_VARIABLE)):
        path = Path(given).expanduser()
        if not path.exists():
            raise CheckpointError(f"{ENVIRONMENT_VARIABLE} is {given!r}: there is no such file or folder")
        return path
    for folder in _snapshots(name):
        found = _complete(folder)
        if found is not None:
            return found
    return _download(name, allowed=download)


def cache_folder() -> Path:
    """The local Hugging Face cache, by the environment variables that its own tools read."""
    if given := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(given).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "huggingface" / "hub"


def _snapshots(name: str) -> Iterator[Path]:
    """Snapshots of a repository in the cache: the one called main first, then the newest."""
    repository = cache_folder() / ("models--" + name.replace("/", "--"))
    main = repository / "refs" / "main"
    if main.is_file():
        yield repository / "snapshots" / main.read_text(encoding="utf-8").strip()
    if (repository / "snapshots").is_dir():
        folders = [path for path in (repository / "snapshots").iterdir() if path.is_dir()]
        yield from sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)


def _complete(folder: Path) -> Path | None:
    """The folder itself if it holds configuration and weights, else Meta's file in it, else None."""
    if (folder / CONFIG_FILE).is_file() and ((folder / WEIGHTS_FILE).is_file() or (folder / INDEX_FILE).is_file()):
        return folder
    return folder / META_FILE if (folder / META_FILE).is_file() else None


def _download(name: str, *, allowed: bool) -> Path:
    if not allowed:
        raise _not_found(name, "downloading was not allowed (download=False)")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise _not_found(name, "HF_HUB_OFFLINE forbids downloading")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise _not_found(name, "the package huggingface_hub is not installed") from None
    try:
        return Path(snapshot_download(name, allow_patterns=list(_FILES)))
    except Exception as error:  # any kind of network, account or disk trouble; the text says which
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise _not_found(name, f"the download failed ({reason})") from error


def _not_found(name: str, reason: str) -> CheckpointError:
    variable = f"set {ENVIRONMENT_VARIABLE} to a path, " if name == PUBLIC_MODEL else ""
    return CheckpointError(
        f"the weights of {name!r} were not found: {reason}. Do one of these: give the path of the file or folder, "
        f"{variable}put the repository into the Hugging Face cache ({cache_folder()}), or install huggingface_hub, "
        "accept the licence on the model's page and log in, so that they can be downloaded"
    )
