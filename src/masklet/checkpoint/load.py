"""Weights onto a model: every parameter exactly once, every entry used or known.

The model is built without memory, then takes the tensors of the file as they are mapped; only what must be fused or
cast is copied, and the pages that this touched are given back. Peak memory stays at the size of the weights.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from masklet.checkpoint.formats import Checkpoint, config_of, open_checkpoint
from masklet.checkpoint.hub import DEFAULT_MODEL, find_weights
from masklet.checkpoint.keymaps import name_list, owns
from masklet.checkpoint.rotary import rotary_table, table_block
from masklet.checkpoint.rows import CARRIED
from masklet.config import ModelConfig
from masklet.errors import CheckpointError, InputError
from masklet.model.build import build_detector
from masklet.model.compiled import compile_model
from masklet.model.detector import Detector
from masklet.model.int8 import to_int8
from masklet.runtime import resolve_device, resolve_dtype, resolve_numbers

_log = logging.getLogger(__name__)
_TABLE_TOLERANCE = (
    1e-5  # other ways to compute the tables differ by 1.2e-7, other sizes or frequencies by 1e-2 and more
)


def load_model(
    name_or_path: str | Path = DEFAULT_MODEL,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    image_size: int | None = None,
    download: bool = True,
    compile: bool = False,
) -> Detector:
    """A model with its weights, in evaluation mode.

    Args:
        name_or_path: "default" is the small model that comes with the package. A path is Meta's `sam3.pt`, a Hugging
            Face folder or a native file; nothing is looked up on the network for it. A name like "facebook/sam3" is
            looked for in the environment variable MASKLET_SAM3_CHECKPOINT (this name only), then in the local Hugging
            Face cache, then downloaded. Adapters follow it, each after a plus sign: "default+mine.safetensors".
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        dtype: "auto", "float32", "bfloat16" or "float16"; "auto" is bfloat16 where it is multiplied natively. "int8"
            is "auto" with a vision encoder that multiplies 8-bit integers: faster, a little less exact, and neither to
            be trained nor saved. For processors with VNNI or AMX.
        image_size: side of the square input in pixels, a multiple of 14; None is the size that the weights were made
            for. Another size changes the results: the position table is tiled anew and the rotary positions of
            global attention are rescaled, which the weights were not trained for. Smaller is faster and coarser,
            and small objects are lost first.
        download: allow fetching a named model that is not on this machine.
        compile: have the vision encoder compiled by PyTorch on its first picture, which takes minutes then; it needs a
            C++ compiler, or Triton on CUDA. Not for int8. Without gain where it was measured, on processors
            (docs/decisions/0024-compiled.md).

    Raises:
        CheckpointError: nothing found, or what was found is no checkpoint of this model.
        UnsafeFileError: a pickle that would run code; nothing was run.
        InputError: an unknown device, dtype or input size, or a dtype that the device or `compile` does not have.
    """
    target = resolve_device(device)
    number_format, int8 = resolve_numbers(dtype, target)
    if int8 and compile:
        raise InputError("compile=True is for float32, bfloat16 and float16, got dtype='int8'; leave one of them out")
    path = find_weights(name_or_path, download=download)
    model = load_detector(path, device=target, dtype=number_format, image_size=image_size)
    if int8:
        to_int8(model)
    if compile:
        compile_model(model)
    return model


def load_detector(
    path: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
    config: ModelConfig | None = None,
    image_size: int | None = None,
) -> Detector:
    """The detector of a checkpoint file or folder, in evaluation mode.

    On the CPU parameters in the file's own number format stay mapped to the file: replace such a file by renaming
    another over it (as everything here does), never by writing into it, while a model is in use.

    Args:
        path: any format of `formats.py`; adapters may follow, each after a plus sign.
        device: where the parameters shall lie; on the CPU they stay mapped to the file.
        dtype: number format of the parameters; None keeps the file's.
        config: sizes of a file that does not tell them (Meta's); the public model's when not given.
        image_size: another input side, see `load_model`.

    Raises:
        CheckpointError: entries are missing, extra or misshapen; the message has counts and first names.
        UnsafeFileError: a pickle that would run code; nothing was run.
        ConfigError: `config` or `image_size` does not fit.
    """
    checkpoint = open_checkpoint(path)
    for note in checkpoint.notes:
        _log.warning("%s: %s", checkpoint.path, note)
    sizes = config_of(checkpoint, config)
    model = build_blank(sizes if image_size is None else sizes.with_image_size(image_size))
    check_fit(checkpoint, sizes, model)
    check_tables(checkpoint, sizes)
    assign(checkpoint, model, resolve_device(device), None if dtype is None else resolve_dtype(dtype))
    return model.eval()


def check_fit(checkpoint: Checkpoint, config: ModelConfig, model: nn.Module) -> None:
    """Every parameter of `model` must be in the checkpoint with its shape, and every entry be used or known.

    Known but unused are carried entries (tracker, dead branches) and weights of parts that `config` leaves out.

    Raises:
        CheckpointError: with counts and the first ten names of each kind.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(blank.shape) for name, blank in checkpoint.blanks.items()}
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected and owns(config, name)]
    wrong = [
        f"{name} {found[name]} instead of {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    numbers = [name for name in expected if name in found and not checkpoint.blanks[name].dtype.is_floating_point]
    if missing or extra or wrong or numbers:
        raise CheckpointError(
            f"{checkpoint.path}: layout {checkpoint.layout.name}, {len(found)} entries, do not fit model "
            f"{config.name!r} with {len(expected)}: {name_list('missing', missing)}; {name_list('extra', extra)}; "
            f"{name_list('misshapen', wrong)}; {name_list('not floating point', numbers)}{_advice(checkpoint, config)}"
        )


def _advice(checkpoint: Checkpoint, config: ModelConfig) -> str:
    if not any(name.startswith("vision_encoder.") for name in checkpoint.blanks):
        return "; the detector is not in this file, use the whole model"
    if checkpoint.config is None and config.name == "sam3":
        return "; files of this layout do not tell their sizes: pass config= for another model than the public one"
    return ""


def check_tables(checkpoint: Checkpoint, config: ModelConfig) -> None:
    """Rotary tables in a file must be those that our modules compute.

    Raises:
        CheckpointError: the file was made for another input side, window or frequency.
    """
    for name, blank in checkpoint.blanks.items():
        block = table_block(name)
        if block is None or block >= config.vision.depth:
            continue
        expected = rotary_table(config.vision, block)
        if blank.shape != expected.shape:
            raise CheckpointError(
                f"{checkpoint.path}: {name.removeprefix(CARRIED)} has shape {tuple(blank.shape)} instead of "
                f"{tuple(expected.shape)}: made for another input side or window than {config.vision.image_size} and "
                f"{config.vision.window}; pass the configuration that it was made for"
            )
        difference = (checkpoint.read(name) - expected).abs().max().item()
        if not difference <= _TABLE_TOLERANCE:
            raise CheckpointError(
                f"{checkpoint.path}: {name.removeprefix(CARRIED)} differs by {difference:.2g} from the rotary table "
                f"of the configuration (theta {config.vision.rope_theta:g}, window {config.vision.window}): "
                "another network"
            )


@torch.no_grad()
def assign(checkpoint: Checkpoint, model: nn.Module, device: torch.device, dtype: torch.dtype | None) -> None:
    """Gives every parameter of `model`, built on the meta device, its tensor.

    Args:
        checkpoint: passed `check_fit`.
        model: gets new parameters in place.
        device: where they shall lie.
        dtype: their number format; None keeps the file's.
    """
    filled: set[str] = set()
    for prefix, module in model.named_modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            full = f"{prefix}.{name}" if prefix else name
            module.register_parameter(
                name, nn.Parameter(_tensor(checkpoint, full, device, dtype), parameter.requires_grad)
            )
            filled.add(full)
    rest = [name for name, tensor in model.state_dict().items() if tensor.is_meta or name not in filled]
    assert not rest, f"parameters that no module owns: {rest[:10]}"


def _tensor(checkpoint: Checkpoint, name: str, device: torch.device, dtype: torch.dtype | None) -> Tensor:
    tensor = checkpoint.read(name, dtype).to(device=device).contiguous()
    if checkpoint.copies(name) or tensor.device.type != "cpu" or tensor.dtype != checkpoint.blanks[name].dtype:
        checkpoint.release(name)
    return tensor


class _WithoutInitialisation(TorchFunctionMode):
    """Modules built within keep unset parameters.

    They have no memory, so nothing is lost; drawing normal numbers for them would import PyTorch's compiler, which
    takes longer than all the rest of loading.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if getattr(func, "__name__", "") in ("normal_", "uniform_"):  # methods, and functions of torch.nn.init
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def with_state(config: ModelConfig, state: Mapping[str, Tensor]) -> Detector:
    """A model in evaluation mode that has the tensors of `state` as its parameters, without a copy."""
    model = build_blank(config)
    model.load_state_dict(state, assign=True)
    return model.eval()


def build_blank(config: ModelConfig) -> Detector:
    """The modules of `config` without memory, to be filled by `assign`."""
    with torch.device("meta"), _WithoutInitialisation():
        return build_detector(config)
