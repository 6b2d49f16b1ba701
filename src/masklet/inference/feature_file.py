"""Image features on disk: encode today, ask tomorrow, on another machine, without the picture.

A safetensors file with the pyramid levels, the sizes of the pictures, and a fingerprint of the part of the model that
made them, so that features of one model are never read by another.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from masklet.checkpoint.save import written_aside
from masklet.errors import DataError, OutputError
from masklet.model.detector import Detector
from masklet.types import ImageFeatures

FORMAT = "masklet-features"
VERSION = "1"

# Numbers of each parameter that go into the fingerprint: enough to tell trained models apart, and quick at any size.
_SAMPLES = 64


def fingerprint(model: Detector) -> str:
    """What identifies the vision encoder and necks of a model: 32 hexadecimal digits.

    Made from the sizes and from some numbers of every parameter, rounded to bfloat16: the same weights in float32 and
    in bfloat16 have the same fingerprint.
    """
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(model.config.vision), sort_keys=True).encode())
    parts = [("vision_encoder", model.vision_encoder), ("neck", model.neck), ("tracker_neck", model.tracker_neck)]
    named = itertools.chain.from_iterable(part.named_parameters(prefix) for prefix, part in parts if part is not None)
    for name, parameter in named:
        numbers = parameter.detach().flatten()
        chosen = numbers[:: max(1, len(numbers) // _SAMPLES)].to("cpu", torch.bfloat16).contiguous()
        digest.update(f"{name} {tuple(parameter.shape)}".encode())
        digest.update(chosen.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:32]


def save_features(features: ImageFeatures, path: str | Path, model: Detector) -> None:
    """Writes features to a file; an existing file is replaced when the new one is whole.

    Args:
        features: of any number of pictures, made by `model`.
        path: usually ends with `.safetensors`.
        model: only this one (or its equal) will be able to use the file.

    Raises:
        OutputError: the file cannot be written.
    """
    target = Path(path)
    tensors = {f"levels.{n}": _plain(level) for n, level in enumerate(features.levels)}
    tensors |= {f"tracker_levels.{n}": _plain(level) for n, level in enumerate(features.tracker_levels or ())}
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "fingerprint": fingerprint(model),
        "image_sizes_hw": json.dumps(features.image_sizes_hw),
        "names": json.dumps(features.names),
    }
    with written_aside(target) as aside:
        try:
            safetensors.torch.save_file(tensors, aside, metadata)
        except safetensors.SafetensorError as error:  # what it makes of a full disk
            raise OutputError(f"{target}: image features cannot be written ({error})") from error


def load_features(path: str | Path, model: Detector) -> ImageFeatures:
    """Features that `save_features` wrote, on the device and in the number format of `model`.

    Raises:
        DataError: there is no such file, it is no file of features, or another model made it.
    """
    source = Path(path)
    if not source.is_file():
        raise DataError(f"{source}: expected a file of image features, there is no such file")
    try:
        with safetensors.safe_open(source, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dictionary
    except (OSError, safetensors.SafetensorError) as error:
        raise DataError(f"{source}: expected a file of image features, it cannot be read ({error})") from error
    if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
        raise DataError(
            f"{source}: expected a file of image features ({FORMAT} {VERSION}), got format "
            f"{metadata.get('format', 'unknown')} {metadata.get('version', '')}; save them again"
        )
    expected = fingerprint(model)
    if metadata["fingerprint"] != expected:
        raise DataError(
            f"{source}: these image features were made by another model (fingerprint {metadata['fingerprint']}, "
            f"this model {model.config.name!r} has {expected}); encode the picture again"
        )
    sizes = tuple((int(height), int(width)) for height, width in json.loads(metadata["image_sizes_hw"]))
    tracker = _levels(tensors, "tracker_levels")
    features = ImageFeatures(
        levels=_levels(tensors, "levels"),
        tracker_levels=tracker or None,
        image_sizes_hw=sizes,
        names=tuple(json.loads(metadata["names"])),
    )
    return features.to(device=model.device, dtype=model.dtype)


def _plain(tensor: Tensor) -> Tensor:
    # A copy: views share memory, which the file format refuses.
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _levels(tensors: dict[str, Tensor], prefix: str) -> tuple[Tensor, ...]:
    count = sum(name.startswith(f"{prefix}.") for name in tensors)
    return tuple(tensors[f"{prefix}.{n}"] for n in range(count))
