"""All that an open video remembers, as a value, and as a file that another process goes on from.

A file holds tensors, numbers, text and lists of them; it is read with PyTorch's safe loader, and only the dataclasses
named here are made of it: nothing in a file is executed. Every field of theirs is written, so that what a class learns
to remember later is not forgotten here.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from masklet.checkpoint.save import written_aside
from masklet.errors import DataError, OutputError
from masklet.inference.bucket import Answer, Bucket, FrameRecord, Way
from masklet.inference.concept_finder import VideoConcept
from masklet.inference.frame_masklets import FrameMasklets
from masklet.inference.hold_back import HeldBack, HeldFrame
from masklet.inference.lifecycle import Masklets
from masklet.inference.object_prompts import Prompt
from masklet.inference.video_pass import Leg, PassedPicture, VideoPass
from masklet.types import Exemplar, MaskletMasks, PointPrompts

_FORMAT = "masklet-video-state 1"


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoState:
    """All that an open video remembers between two results; pixels are read again.

    Attributes:
        belongs_to: model, video and rules, in words; a state fits no other ones.
        concepts: that are looked for.
        buckets: of the tracker's session.
        object_ids: of the tracker's session.
        masklets: of the loop.
        passing: the pass under way.
    """

    belongs_to: Mapping[str, str]
    concepts: tuple[VideoConcept, ...]
    buckets: tuple[Bucket, ...]
    object_ids: tuple[int, ...]
    masklets: Masklets
    passing: VideoPass


_KINDS = {
    kind.__name__: kind
    for kind in (
        *(VideoState, VideoConcept, Exemplar, Masklets),
        *(VideoPass, Leg, HeldBack, HeldFrame, PassedPicture, FrameMasklets),
        *(Bucket, FrameRecord, Answer, Prompt, Way, MaskletMasks, PointPrompts),
    )
}
_PLAIN = (type(None), bool, int, float, str)


def write_state(state: VideoState, path: Path, note: Mapping[str, Any]) -> None:
    """Writes a state; an existing file is replaced when the new one is whole.

    Args:
        state: of a video.
        path: of the file.
        note: to be found beside it; text and numbers.

    Raises:
        OutputError: it cannot be written.
    """
    with written_aside(path) as aside:
        try:
            torch.save({"format": _FORMAT, "note": dict(note), "state": _packed(state)}, aside)
        except RuntimeError as error:  # what it makes of a full disk
            raise OutputError(f"{path}: the state of the video cannot be written ({error})") from error


def read_state(path: Path, device: torch.device) -> tuple[VideoState, dict[str, Any]]:
    """A state that `write_state` wrote, and the note beside it.

    Args:
        path: of the file.
        device: for its tensors.

    Raises:
        DataError: it cannot be read, or another version wrote it.
    """
    wrong = f"{path}: expected the state of a video, it cannot be read"
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        if content["format"] != _FORMAT:
            raise DataError(f"{wrong} (it is {content['format']!r}, not {_FORMAT!r}); begin anew")
        state = _unpacked(content["state"])
        note = {str(name): value for name, value in content["note"].items()}
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{wrong} ({type(error).__name__}); begin anew") from error
    if not isinstance(state, VideoState):
        raise DataError(f"{wrong}; begin anew")
    return state, note


def _packed(value: Any) -> Any:
    """A value as the safe loader reads it: tensors and plain values as they are, all else as (kind, content)."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Tensor):
        return value.detach().clone()  # a view would take the whole tensor along that it is a part of
    if isinstance(value, np.ndarray):
        return ("array", torch.from_numpy(value.copy()))
    if isinstance(value, Mapping):
        return ("mapping", [[_packed(key), _packed(one)] for key, one in value.items()])
    if isinstance(value, range):
        return ("range", [value.start, value.stop, value.step])
    if isinstance(value, frozenset):
        return ("set", [_packed(one) for one in sorted(value)])
    if isinstance(value, tuple | list):
        return (type(value).__name__, [_packed(one) for one in value])
    assert is_dataclass(value) and type(value).__name__ in _KINDS, f"a state holds no {type(value).__name__}"
    return (type(value).__name__, [[field.name, _packed(getattr(value, field.name))] for field in fields(value)])


def _unpacked(value: Any) -> Any:
    if not isinstance(value, tuple):
        return value
    kind, content = value
    if kind == "array":
        return content.cpu().numpy()
    if kind == "range":
        return range(*content)
    if kind in ("mapping", *_KINDS):
        pairs = {_unpacked(key): _unpacked(one) for key, one in content}
        return pairs if kind == "mapping" else _KINDS[kind](**pairs)
    return {"set": frozenset, "tuple": tuple, "list": list}[kind](map(_unpacked, content))
