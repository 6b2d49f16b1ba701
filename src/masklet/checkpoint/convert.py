"""From one checkpoint format to another, file to file, without changing a bit.

    source ─ open_checkpoint ─▶ entries under our names ─ encode by the target's table ─▶ files, written aside, renamed

What a format has no place for travels beside it (`formats.py` tells where); what a format demands and the source does
not have is written as zeros or computed, and marked, so that the way back gives the source again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import torch
from torch import Tensor

from masklet.checkpoint.formats import (
    CONFIG_FILE,
    INDEX_FILE,
    SIDE_FILE,
    WEIGHTS_FILE,
    Checkpoint,
    Format,
    config_of,
    open_checkpoint,
)
from masklet.checkpoint.hf_config import config_to_hf
from masklet.checkpoint.keymaps import (
    HF_IMAGE_LAYOUT,
    HF_VIDEO_LAYOUT,
    META_CLASS_ROW,
    META_LAYOUT,
    TEXT_PROJECTION,
    name_list,
    owns,
)
from masklet.checkpoint.load import build_blank, check_fit
from masklet.checkpoint.rotary import rotary_table, table_block, table_name
from masklet.checkpoint.rows import CARRIED
from masklet.checkpoint.rules import same_bits
from masklet.checkpoint.save import (
    Item,
    encode_items,
    items_of,
    native_items,
    own_metadata,
    write_native,
    write_safetensors,
    written_aside,
)
from masklet.config import ModelConfig
from masklet.errors import CheckpointError, InputError
from masklet.runtime import resolve_dtype

PROJECTION_WIDTH: Final = 512  # of the dead text projection in the public model
META_NORM_EPS: Final = 1e-5  # Meta's format has no field for it
SHARD_BYTES: Final = 5_000_000_000


@dataclass(frozen=True)
class ConvertReport:
    """What `convert` did.

    Attributes:
        source: format and layout read.
        target: format and layout written.
        files: written, relative to the target when that is a folder.
        entries: tensors written.
        carried: entries that no module of ours owns and that went along.
        filled: entries that the target demands and the source does not have: zeros.
        computed: rotary tables written from the formula, or left out because they equal it.
        beside: entries that the target's names have no place for, kept beside them.
        notes: what else a user should know.
    """

    source: str
    target: str
    files: tuple[str, ...]
    entries: int
    carried: tuple[str, ...]
    filled: tuple[str, ...]
    computed: tuple[str, ...]
    beside: tuple[str, ...]
    notes: tuple[str, ...]


def convert(
    src: str | Path,
    dst: str | Path,
    target_format: Format,
    *,
    dtype: str | torch.dtype | None = None,
    config: ModelConfig | None = None,
    overwrite: bool = False,
    shard_bytes: int = SHARD_BYTES,
) -> ConvertReport:
    """Converts a checkpoint.

    Args:
        src: file or folder of any format; adapters may follow, each after a plus sign, and are added.
        dst: file ("native", "meta") or folder ("huggingface") to be made.
        target_format: "native", "meta" or "huggingface".
        dtype: number format of the floating-point entries; None keeps every bit.
        config: sizes of a source that does not tell them, see `load_detector`.
        overwrite: replace an existing file; a folder that is not empty is never replaced.
        shard_bytes: Hugging Face files beyond this size are split.

    Raises:
        CheckpointError: the source is no whole checkpoint, or the target format cannot hold it.
        InputError: an unknown format, or `dst` exists.
        OutputError: `dst` cannot be written.
    """
    src, dst = Path(src).expanduser(), Path(dst).expanduser()
    _check_target(src, dst, target_format, overwrite)
    if dtype == "auto":
        raise InputError("dtype must name a number format, such as bfloat16, or be left out; got 'auto'")
    number_format = None if dtype is None else resolve_dtype(dtype)
    checkpoint = open_checkpoint(src)
    sizes = config_of(checkpoint, config)
    check_fit(checkpoint, sizes, build_blank(sizes))
    tables = [name for name in checkpoint.blanks if _is_computed(checkpoint, sizes, name)]
    names = [name for name in checkpoint.blanks if name not in set(tables)]
    job = _Job(checkpoint, sizes, number_format, items_of(checkpoint, names, number_format), tuple(tables))
    if target_format == "native":
        return job.to_native(dst)
    return job.to_meta(dst) if target_format == "meta" else job.to_hf(dst, shard_bytes)


def _check_target(src: Path, dst: Path, target_format: str, overwrite: bool) -> None:
    if target_format not in get_args(Format):
        raise InputError(f"target_format must be one of {', '.join(get_args(Format))}, got {target_format!r}")
    if src.exists() and dst.exists() and src.resolve() == dst.resolve():
        raise InputError(f"dst must differ from src, got {dst} for both")
    if dst.is_dir() and (target_format != "huggingface" or any(dst.iterdir())):
        raise InputError(f"dst must be a new or empty folder or a file to be made, {dst} is a folder with content")
    if dst.is_file() and (target_format == "huggingface" or not overwrite):
        raise InputError(f"dst must not exist, found {dst}; remove it, or allow overwriting a file")


def _is_computed(checkpoint: Checkpoint, config: ModelConfig, name: str) -> bool:
    """Whether an entry is a rotary table that equals the formula to the last bit."""
    block = table_block(name)
    if block is None or block >= config.vision.depth:
        return False
    return same_bits(checkpoint.read(name), rotary_table(config.vision, block))


def demanded(config: ModelConfig, target_format: Format) -> dict[str, tuple[int, ...]]:
    """Entries that a public format always has and that our modules may not own: our names and shapes."""
    width, trunk = config.width, config.vision.width
    detector = f"{CARRIED}detector."
    shapes: dict[str, tuple[int, ...]] = {TEXT_PROJECTION: (config.text.width, PROJECTION_WIDTH)}
    for neck in ("convs", "sam2_convs") if config.tracker_neck else ("convs",):
        prefix = f"{detector}backbone.vision_backbone.{neck}.3."
        shapes |= {f"{prefix}conv_1x1.weight": (width, trunk, 1, 1), f"{prefix}conv_3x3.weight": (width, width, 3, 3)}
        shapes |= {f"{prefix}conv_1x1.bias": (width,), f"{prefix}conv_3x3.bias": (width,)}
    if config.tracker is not None:
        shapes[f"{CARRIED}tracker.no_mem_pos_enc"] = (1, 1, width)
    prefix = f"{detector}segmentation_head.pixel_decoder."
    shapes[f"{prefix}conv_layers.2.weight"] = (width, width, 3, 3)
    shapes |= {f"{prefix}{name}": (width,) for name in ("conv_layers.2.bias", "norms.2.weight", "norms.2.bias")}
    if target_format == "meta":
        shapes[META_CLASS_ROW] = (1, trunk)
        for part, columns in (("direct", 2), ("pool", width), ("position", width)):
            shapes[f"geometry_encoder.point_{part}.weight"] = (width, columns)
            shapes[f"geometry_encoder.point_{part}.bias"] = (width,)
    return shapes


@dataclass(frozen=True)
class _Job:
    """One conversion: what there is, under our names, and how each format is written."""

    checkpoint: Checkpoint
    config: ModelConfig
    dtype: torch.dtype | None
    items: list[Item]
    tables: tuple[str, ...]

    def to_native(self, dst: Path) -> ConvertReport:
        items = native_items(self.items, self.config)
        with written_aside(dst) as aside:
            write_native(aside, items, self.config)
        return self._report("native", [dst.name], len(items))

    def to_meta(self, dst: Path) -> ConvertReport:
        """The whole file is one pickle, so its tensors are gathered first; those that need no work stay mapped."""
        blocks = range(self.config.vision.depth)
        present = {item.name for item in self.items}
        computed = [block for block in blocks if table_name(block) not in present]
        fills = self._fills("meta")
        items = [*self.items, *fills, *(_table_item(self.config, block) for block in computed)]
        encoded, beside = encode_items(items, META_LAYOUT)
        if beside:
            raise CheckpointError(
                f"{self.checkpoint.path}: {name_list('entries', beside)} have no name in Meta's format"
            )
        state = {item.name: _own_storage(item.read()) for item in encoded}
        metadata = own_metadata(self.config, [item.name for item in fills])
        with written_aside(dst) as aside:
            _save_pickle(aside, {"model": state, "masklet": metadata})
        notes = []
        if self.config.vision.norm_eps != META_NORM_EPS:
            notes.append(
                f"the vision norms' epsilon is {self.config.vision.norm_eps:g} here; Meta's own code always takes "
                f"{META_NORM_EPS:g} (masklet reads the right one from the file)"
            )
        return self._report(
            META_LAYOUT.name,
            [dst.name],
            len(encoded),
            filled=fills,
            computed=[table_name(block) for block in computed],
            notes=notes,
        )

    def to_hf(self, dst: Path, shard_bytes: int) -> ConvertReport:
        video = any(item.name.startswith(("tracker.", f"{CARRIED}tracker.")) for item in self.items)
        layout = HF_VIDEO_LAYOUT if video else HF_IMAGE_LAYOUT
        fills = self._fills("huggingface")
        items = {item.name: item for item in [*self.items, *fills]}
        values = config_to_hf(self.config, projection_width=items[TEXT_PROJECTION].blank.shape[1], video=video)
        encoded, beside = encode_items(list(items.values()), layout)
        values["dtype"] = str(encoded[0].blank.dtype).removeprefix("torch.")
        with written_aside(dst) as aside:
            aside.mkdir()
            files = _write_shards(aside, encoded, shard_bytes)
            (aside / CONFIG_FILE).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
            side = {"format": "masklet-carried", **own_metadata(self.config, [item.name for item in fills])}
            write_safetensors(aside / SIDE_FILE, [items[name] for name in beside], side)
        notes = ["tokenizer and processor files are not part of the weights and were not written"]
        if video and self.config.tracker is None:
            notes.append("tracker_config has only transformers' defaults")
        return self._report(
            layout.name, [CONFIG_FILE, *files, SIDE_FILE], len(encoded), filled=fills, beside=beside, notes=notes
        )

    def _fills(self, target_format: Format) -> list[Item]:
        """Zeros for what the target demands and the source does not have."""
        present = {item.name for item in self.items}
        dtype = self.items[0].blank.dtype
        return [
            Item(name, torch.empty(shape, dtype=dtype, device="meta"), _zeros(shape, dtype))
            for name, shape in demanded(self.config, target_format).items()
            if name not in present
        ]

    def _report(
        self,
        target: str,
        files: Sequence[str],
        entries: int,
        *,
        filled: Sequence[Item] = (),
        computed: Sequence[str] = (),
        beside: Sequence[str] = (),
        notes: Sequence[str] = (),
    ) -> ConvertReport:
        return ConvertReport(
            source=f"{self.checkpoint.format} ({self.checkpoint.layout.name})",
            target=target,
            files=tuple(files),
            entries=entries,
            carried=tuple(item.name for item in self.items if not owns(self.config, item.name)),
            filled=tuple(item.name for item in filled),
            computed=tuple(computed) or self.tables,
            beside=tuple(beside),
            notes=(*map("added the {}".format, self.checkpoint.adapters), *self.checkpoint.notes, *notes),
        )


def _zeros(shape: tuple[int, ...], dtype: torch.dtype) -> Callable[[], Tensor]:
    return lambda: torch.zeros(shape, dtype=dtype)


def _table_item(config: ModelConfig, block: int) -> Item:
    table = rotary_table(config.vision, block)
    return Item(table_name(block), table.to("meta"), lambda: table)


def _save_pickle(path: Path, content: dict[str, Any]) -> None:
    with path.open("wb") as file:  # given a path, PyTorch would write the temporary name into the archive
        try:
            torch.save(content, file)
        except RuntimeError as error:  # what PyTorch makes of a full disk
            raise OSError(str(error).splitlines()[0]) from error


def _own_storage(tensor: Tensor) -> Tensor:
    """A tensor that `torch.save` writes alone: views would drag what they look into along."""
    if tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes:
        return tensor
    return tensor.contiguous().clone()


def _write_shards(folder: Path, items: Sequence[Item], shard_bytes: int) -> list[str]:
    """Weights in one file, or in several with an index, as transformers names them; the names of the files."""
    shards: list[list[Item]] = [[]]
    size = 0
    for item in items:
        if shards[-1] and size + item.blank.nbytes > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(item)
        size += item.blank.nbytes
    if len(shards) == 1:
        write_safetensors(folder / WEIGHTS_FILE, items, {"format": "pt"})
        return [WEIGHTS_FILE]
    names = [f"model-{k:05d}-of-{len(shards):05d}.safetensors" for k in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        write_safetensors(folder / name, shard, {"format": "pt"})
    weight_map = {item.name: name for name, shard in zip(names, shards, strict=True) for item in shard}
    total = sum(item.blank.nbytes for item in items)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return [*names, INDEX_FILE]
