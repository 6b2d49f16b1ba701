"""Recognises a checkpoint by its content and reads it under our names, whatever it calls them.

    path ─ container (safetensors or pickle) ─ layout (whose names) ─ links ─▶ Checkpoint

The format is recognised, never guessed: by the metadata of a native file, else by the first parts of the names.

| format | what it is |
|---|---|
| native | safetensors with metadata `format: masklet`, `version`, `config` (JSON), `filled` (JSON list) |
| huggingface | folder: `config.json`, `model.safetensors` or shards with index, maybe `masklet_carried.safetensors` |
| meta | a file of `torch.save`, flat or below "model"; perhaps with our configuration below "masklet" |

`masklet_carried.safetensors` holds what Hugging Face's names have no place for (exemplar point weights, the class
row of the position table); transformers does not look at it. `filled` lists the entries that a format demands but the
source did not have: they were written as zeros and are left out when the file is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import torch
from torch import Tensor

from masklet.checkpoint.adapter import Adapter, fingerprint, is_adapter, read_adapter, split_adapters
from masklet.checkpoint.containers import Container, PickleContainer, SafetensorsContainer, open_container
from masklet.checkpoint.hf_config import config_from_hf, with_known_name
from masklet.checkpoint.keymaps import (
    HF_IMAGE_LAYOUT,
    HF_TRACKER_LAYOUT,
    HF_VIDEO_LAYOUT,
    META,
    META_BARE_LAYOUT,
    META_LAYOUT,
    Layout,
    check_links,
    name_list,
)
from masklet.checkpoint.rotary import grid_of_tables, table_block
from masklet.checkpoint.rows import CARRIED
from masklet.checkpoint.rules import SAME, KeyMap, Link
from masklet.config import SAM3, ModelConfig
from masklet.errors import CheckpointError, ConfigError

Format = Literal["native", "meta", "huggingface"]
NATIVE_FORMAT: Final = "masklet"
NATIVE_VERSION: Final = "1"
SIDE_FILE: Final = "masklet_carried.safetensors"
INDEX_FILE: Final = "model.safetensors.index.json"
WEIGHTS_FILE: Final = "model.safetensors"
CONFIG_FILE: Final = "config.json"
NATIVE_LAYOUT: Final = Layout("masklet", KeyMap(()), (("", ""),))

# A name that begins so tells the format; the order matters only for messages.
_MARKS: Final[tuple[tuple[str, Format, Layout], ...]] = (
    ("detector.", "meta", META_LAYOUT),
    ("tracker.", "meta", META_LAYOUT),
    ("detector_model.", "huggingface", HF_VIDEO_LAYOUT),
    ("tracker_model.", "huggingface", HF_VIDEO_LAYOUT),
    ("detr_decoder.", "huggingface", HF_IMAGE_LAYOUT),
    ("detr_encoder.", "huggingface", HF_IMAGE_LAYOUT),
    ("memory_attention.", "huggingface", HF_TRACKER_LAYOUT),
    ("backbone.vision_backbone.", "meta", META_BARE_LAYOUT),
    ("dot_prod_scoring.", "meta", META_BARE_LAYOUT),
)


def cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Floating-point tensors in `dtype`, others (and all when it is None) as they are."""
    return tensor.to(dtype) if dtype is not None and tensor.dtype.is_floating_point else tensor


@dataclass(frozen=True, eq=False)
class _Source:
    """A link and the container that its foreign names are in."""

    link: Link
    container: Container
    stored: tuple[str, ...]  # the foreign names as they stand in the file


@dataclass(eq=False)
class Checkpoint:
    """An opened checkpoint under our names; tensors are read when asked for.

    Attributes:
        path: the file or folder.
        files: the files that hold weights.
        format: whose format it is.
        layout: which way of naming within the format.
        config: the configuration that came with the file; None where the format has none (Meta's).
        blanks: tensors without memory, by our name: shape and dtype of everything the file holds.
        filled: entries that were written as zeros because the format demands them, and are left out here.
        notes: what a reader should know, one sentence each.
        adapters: what is added to matrices when they are read, in this order.
    """

    path: Path
    files: tuple[Path, ...]
    format: Format
    layout: Layout
    config: ModelConfig | None
    blanks: Mapping[str, Tensor] = field(repr=False)
    filled: frozenset[str]
    notes: tuple[str, ...]
    _sources: Mapping[str, _Source] = field(repr=False)
    adapters: tuple[Adapter, ...] = ()

    _last: tuple[_Source, torch.dtype | None, list[Tensor]] | None = field(default=None, init=False, repr=False)

    def read(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """The tensor with our name `name`; a view of mapped memory where format and number format allow.

        Args:
            name: one of `blanks`.
            dtype: number format to cast floating-point numbers to; None keeps the file's.
        """
        if self._is_changed(name):
            changed = self._stored(name, None).float()
            for adapter in self.adapters:
                if name in adapter.pairs:
                    changed = changed + adapter.change(name)
            return changed.to(self.blanks[name].dtype if dtype is None else dtype)
        return self._stored(name, dtype)

    def _is_changed(self, name: str) -> bool:
        return any(name in adapter.pairs for adapter in self.adapters)

    def _stored(self, name: str, dtype: torch.dtype | None) -> Tensor:
        source = self._sources[name]
        if self._last is None or self._last[:2] != (source, dtype):  # the tensors of a link are asked for in a row
            stored = [cast(source.container.read(part), dtype) for part in source.stored]
            self._last = source, dtype, source.link.operation.decode(stored)
        return self._last[2][source.link.ours.index(name)]

    def copies(self, name: str) -> bool:
        """Whether `read` makes new memory."""
        return self._sources[name].link.operation.copies or self._is_changed(name)

    def release(self, name: str) -> None:
        """Gives back the memory of the file's pages behind `name`, after it was copied."""
        source = self._sources[name]
        for stored in source.stored:
            source.container.release(stored)

    @property
    def carried(self) -> tuple[str, ...]:
        """Entries that no module of ours owns."""
        return tuple(name for name in self.blanks if name.startswith(CARRIED))


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Recognises a file or folder and links every entry to our names; no weights are read.

    Args:
        path: file or folder; adapters may follow, each after a plus sign.

    Raises:
        CheckpointError: no checkpoint of this model: missing, truncated, of another model, unknown entries; or an
            adapter that does not fit.
        UnsafeFileError: a pickle that would run code; nothing was run.
    """
    base, adapters = split_adapters(path)
    checkpoint = _open(Path(base).expanduser())
    for adapter in adapters:
        checkpoint = _adapted(checkpoint, adapter)
    return checkpoint


def _adapted(checkpoint: Checkpoint, path: Path) -> Checkpoint:
    """The checkpoint with one adapter more."""
    adapter = read_adapter(path)
    wrong = [
        name
        for name, (down, up) in adapter.pairs.items()
        if name not in checkpoint.blanks or checkpoint.blanks[name].shape != (len(up), down.shape[1])
    ]
    if wrong:
        raise CheckpointError(
            f"{path}: made for a model with the sizes of {adapter.config.name!r}, it does not fit "
            f"{checkpoint.path.name}: {name_list('matrices of other sizes', wrong)}; name the base that it was made for"
        )

    def read(name: str) -> Tensor:
        return checkpoint.read(name, torch.float32 if checkpoint._is_changed(name) else None)

    notes = list(checkpoint.notes)
    if fingerprint(adapter.pairs, read) != adapter.fingerprint:
        notes.append(
            f"the adapter {path.name} was made for other weights ({adapter.base}): what it learned may be worth nothing"
        )
    return replace(checkpoint, adapters=(*checkpoint.adapters, adapter), notes=tuple(notes))


def _open(path: Path) -> Checkpoint:
    if path.is_dir():
        return _open_folder(path)
    container = open_container(path)
    names = container.names()
    if is_adapter(container.metadata):
        raise CheckpointError(f"{path}: an adapter, which is no model of its own; name its base first: BASE+{path}")
    if container.metadata.get("format") == NATIVE_FORMAT:
        return _open_native(path, container)
    kind, layout = _recognise(path, names)
    if kind == "huggingface":
        return _open_hf(path, container, layout, path.parent)
    embedded = _embedded(path, container.metadata)
    return _with_old_tracker(_assemble(path, kind, layout, [container], embedded), embedded)


def _recognise(path: Path, names: Iterable[str]) -> tuple[Format, Layout]:
    names = list(names)
    if any(name.startswith("tracker.model.") for name in names):
        raise CheckpointError(
            f"{path}: a SAM 3.1 (multiplex) checkpoint; this version reads SAM 3 only: use sam3.pt or facebook/sam3"
        )
    ours = any(name.startswith(("fusion_encoder.", "mask_head.")) for name in names)
    for mark, kind, layout in () if ours else _MARKS:
        if any(name.startswith(mark) for name in names):
            return kind, layout
    hint = " It looks like masklet's own file whose metadata were lost: write it again with `masklet convert`."
    raise CheckpointError(
        f"{path}: expected the weights of SAM 3 in masklet's, Meta's or Hugging Face's names; "
        f"found {name_list('entries', names)}: another model.{hint if ours else ''}"
    )


def _open_native(path: Path, container: Container) -> Checkpoint:
    version = container.metadata.get("version")
    if version != NATIVE_VERSION:
        raise CheckpointError(f"{path}: expected version {NATIVE_VERSION} of masklet's format, found {version!r}")
    embedded = _embedded(path, container.metadata)
    if embedded.config is None:
        raise CheckpointError(f"{path}: masklet's format, but without a configuration in its metadata; damaged")
    return _with_old_tracker(_assemble(path, "native", NATIVE_LAYOUT, [container], embedded), embedded)


def _with_old_tracker(checkpoint: Checkpoint, embedded: _Embedded) -> Checkpoint:
    """A file of the public model written when masklet had no tracker has one if the entries are there."""
    config = checkpoint.config
    if config is None or not (embedded.before_trackers and config.name == SAM3.name and _has_tracker(checkpoint)):
        return checkpoint
    return replace(checkpoint, config=replace(config, tracker=SAM3.tracker))


def _has_tracker(checkpoint: Checkpoint) -> bool:
    return all(any(name.startswith(part) for name in checkpoint.blanks) for part in ("tracker_neck.", "tracker."))


def _open_folder(path: Path) -> Checkpoint:
    index, weights = path / INDEX_FILE, path / WEIGHTS_FILE
    if index.is_file():
        container = SafetensorsContainer(_shards(index))
        _check_index(index, container)
    elif weights.is_file():
        container = SafetensorsContainer([weights])
    else:
        inside = sorted(item.name for item in path.iterdir())[:10]
        raise CheckpointError(
            f"{path}: expected a Hugging Face folder with {CONFIG_FILE} and {WEIGHTS_FILE} (or {INDEX_FILE}), found "
            f"{', '.join(inside) or 'nothing'}; for another format name the file itself"
        )
    kind, layout = _recognise(path, container.names())
    if kind != "huggingface":
        raise CheckpointError(f"{path}: expected Hugging Face's names in this folder, found those of {layout.name}")
    return _open_hf(path, container, layout, path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: needed beside the weights, cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: expected JSON ({error})") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found a {type(values).__name__}")
    return values


def _weight_map(index: Path) -> dict[str, str]:
    weight_map = _read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: expected file names by entry at weight_map")
    outside = [name for name in weight_map.values() if not isinstance(name, str) or Path(name).name != name]
    if outside:
        raise CheckpointError(f"{index}: shards must lie in the same folder, found {outside[0]!r}")
    return weight_map


def _shards(index: Path) -> list[Path]:
    paths = [index.parent / name for name in sorted(set(_weight_map(index).values()))]
    absent = [path.name for path in paths if not path.is_file()]
    if absent:
        raise CheckpointError(f"{index}: {name_list('shards are missing', absent)} of {len(paths)}")
    return paths


def _check_index(index: Path, container: Container) -> None:
    listed, found = set(_weight_map(index)), set(container.names())
    if listed != found:
        raise CheckpointError(
            f"{index}: the index and the shards disagree: {name_list('only in the index', listed - found)}; "
            f"{name_list('only in the shards', found - listed)}"
        )


def _open_hf(path: Path, container: Container, layout: Layout, folder: Path) -> Checkpoint:
    """Weights in Hugging Face's names, with the configuration and the side file that lie in `folder`."""
    if layout is HF_TRACKER_LAYOUT:
        raise CheckpointError(
            f"{path}: holds Hugging Face's tracker alone (Sam3TrackerModel), without the detector; "
            "use the whole model (facebook/sam3)"
        )
    config_path = folder / CONFIG_FILE
    parts = {name.partition(".")[0] for name in container.names()}
    config = config_from_hf(
        _read_json(config_path),
        str(config_path),
        tracker_neck="tracker_neck" in parts,
        tracker={"tracker_neck", "tracker_model"} <= parts,
    )
    config = with_known_name(config, folder.resolve().name)
    containers = [container]
    embedded = _Embedded(config, frozenset(), False)
    if (folder / SIDE_FILE).is_file():
        side = SafetensorsContainer([folder / SIDE_FILE])
        embedded = _embedded(folder / SIDE_FILE, side.metadata)
        embedded = embedded._replace(config=_agreed(config, embedded, folder))
        containers.append(side)
    return _assemble(path, "huggingface", layout, containers, embedded)


def _agreed(config: ModelConfig, side: _Embedded, folder: Path) -> ModelConfig:
    """Our own configuration of the side file, after a check that `config.json` says the same."""
    if side.config is None:
        return config
    embedded = replace(side.config, tracker=config.tracker) if side.before_trackers else side.config
    own = ("name", "tracker_neck", "video_image_size", "selection")  # what config.json cannot say
    told = config.tracker is not None and embedded.tracker is not None
    expected = replace(
        embedded,
        tracker=embedded.tracker if told else config.tracker,
        **{name: getattr(config, name) for name in own},
        geometry=replace(
            embedded.geometry,
            points=config.geometry.points,
            cls_without_exemplars=config.geometry.cls_without_exemplars,
        ),
        decoder=replace(embedded.decoder, presence_clamp=config.decoder.presence_clamp),
    )
    if expected != config:
        raise CheckpointError(
            f"{folder}: {CONFIG_FILE} and {SIDE_FILE} describe different models; "
            f"remove {SIDE_FILE} if {CONFIG_FILE} was changed on purpose"
        )
    return embedded


class _Embedded(NamedTuple):
    """What our writer put into metadata.

    Attributes:
        config: None where there is none.
        filled: entries that were written as zeros.
        before_trackers: written when masklet had no tracker: its configuration does not say whether there is one.
    """

    config: ModelConfig | None
    filled: frozenset[str]
    before_trackers: bool


def _embedded(path: Path, metadata: Mapping[str, Any]) -> _Embedded:
    try:
        values = json.loads(metadata.get("config", "null"))
        filled = frozenset(json.loads(metadata.get("filled", "[]")))
        config = None if values is None else ModelConfig.from_dict(values)
        return _Embedded(config, filled, values is not None and "tracker" not in values)
    except (ValueError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{path}: the configuration in the metadata cannot be used ({error})") from error


def _native_links(names: Iterable[str]) -> list[Link]:
    """Names of a native file: ours; carried ones that a module could own go by the module's names."""
    names = list(names)
    carried = [name.removeprefix(CARRIED) for name in names if name.startswith(CARRIED)]
    links = [
        Link(link.ours, tuple(CARRIED + name for name in link.foreign), link.operation)
        for link in META.decode(carried).complete
        if not any(name.startswith(CARRIED) for name in link.ours)
    ]
    linked = {name for link in links for name in link.foreign}
    return links + [Link((name,), (name,), SAME) for name in names if name not in linked]


def _assemble(
    path: Path,
    kind: Format,
    layout: Layout,
    containers: list[Container],
    embedded: _Embedded,
) -> Checkpoint:
    sources: list[_Source] = []
    for container in containers:
        if kind == "native" or container is not containers[0]:  # the side file uses our names too
            sources += [_Source(link, container, link.foreign) for link in _native_links(container.names())]
            continue
        stored = {layout.to_table(name): name for name in container.names()}
        links = layout.keymap.decode(stored)
        try:
            check_links(links, layout)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
        sources += [_Source(link, container, tuple(stored[name] for name in link.foreign)) for link in links.complete]
    by_name: dict[str, _Source] = {}
    blanks: dict[str, Tensor] = {}
    for source in sources:
        for name, blank in zip(source.link.ours, _blanks(path, source), strict=True):
            if name in by_name:
                raise CheckpointError(f"{path}: {name} is there twice")
            if name not in embedded.filled:
                by_name[name] = source
                blanks[name] = blank
    return Checkpoint(
        path=path,
        files=tuple(file for container in containers for file in container.paths),
        format=kind,
        layout=layout,
        config=embedded.config,
        blanks=blanks,
        filled=embedded.filled,
        notes=_notes(layout, containers[0]),
        _sources=by_name,
    )


def _blanks(path: Path, source: _Source) -> list[Tensor]:
    """Shapes and dtypes of a link on our side."""
    stored = [source.container.blank(name) for name in source.stored]
    try:
        decoded = source.link.operation.decode(stored)
        if len(decoded) != len(source.link.ours):
            raise CheckpointError(f"{len(decoded)} parts")
        if len({blank.dtype for blank in stored}) > 1:
            raise CheckpointError("several number formats")
    except (RuntimeError, IndexError, CheckpointError) as error:
        shapes = ", ".join(f"{name} {tuple(blank.shape)}" for name, blank in zip(source.stored, stored, strict=True))
        raise CheckpointError(
            f"{path}: entries that must fit each other ({source.link.operation.name}) do not: {shapes}"
        ) from error
    return decoded


def _notes(layout: Layout, container: Container) -> tuple[str, ...]:
    notes = []
    if layout is META_BARE_LAYOUT:
        notes.append("every name lacks the prefix 'detector.', as after fine-tuning; they were read as if it was there")
    if layout is META_LAYOUT and isinstance(container, SafetensorsContainer):
        notes.append("Meta's names in a safetensors file")
    if layout.keymap is not META and isinstance(container, PickleContainer):
        notes.append("Hugging Face's names in a PyTorch file")
    return tuple(notes)


def config_of(checkpoint: Checkpoint, config: ModelConfig | None = None) -> ModelConfig:
    """The configuration to build the model with.

    Meta's files hold none and attention heads cannot be told from shapes. Without `config` they are taken for the
    public sizes, except what the entries show: the input side (from the rotary tables), whether there are weights for
    exemplar points, whether there is a second neck, whether there is a tracker.

    Args:
        checkpoint: an opened file.
        config: only for files without a configuration of their own.

    Raises:
        ConfigError: `config` contradicts the one in the file.
    """
    if checkpoint.config is not None:
        if config is not None and config != checkpoint.config:
            raise ConfigError(
                f"config must be left out: {checkpoint.path} has its own (model {checkpoint.config.name!r}), which "
                f"differs from the one given ({config.name!r})"
            )
        return checkpoint.config
    if config is not None:
        return config
    names = checkpoint.blanks
    tables = {block: blank for name, blank in names.items() if (block := table_block(name)) is not None}
    side = grid_of_tables(tables) or SAM3.vision.grid
    return replace(
        SAM3.with_image_size(side * SAM3.vision.patch_size),
        tracker_neck=any(name.startswith("tracker_neck.") for name in names),
        tracker=SAM3.tracker if _has_tracker(checkpoint) else None,
        geometry=replace(SAM3.geometry, points=any(name.startswith("geometry_encoder.point_") for name in names)),
    )
