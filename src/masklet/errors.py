"""The exceptions that masklet raises for what comes from outside.

    MaskletError
    ├── InputError            an argument has a wrong value, shape or range   (also a ValueError)
    │   ├── ImageError        a picture that cannot be read or is too large
    │   ├── VideoError        a film, folder of frames, pipe or camera that cannot be read, a frame it does not have
    │   ├── PromptError       an empty concept, a box of no area, an unknown label
    │   └── ConfigError       sizes that do not fit each other, an unknown preset
    ├── CheckpointError       a file that is no checkpoint of this model
    │   └── UnsafeFileError   a pickle that would run code; nothing of it was run
    ├── DataError             training or evaluation data that cannot be used
    ├── OutputError           a result that cannot be written
    └── MissingExtraError     an optional package is not installed            (also an ImportError)

A message has three parts: what was expected, what came, what to do. It names the argument as the caller wrote it.
"""

from __future__ import annotations


class MaskletError(Exception):
    """Base of everything that masklet raises on purpose; its text is one clear line for the user."""


class InputError(MaskletError, ValueError):
    """An argument has a wrong value, shape or range."""


class ImageError(InputError):
    """A picture that is missing, empty, truncated, no picture at all, or larger than the stated limit."""


class VideoError(InputError):
    """A film, folder of frames, pipe or camera that cannot be read, or a frame that it does not have."""


class PromptError(InputError):
    """A concept, box, point, mask or label that cannot be used as a prompt."""


class ConfigError(InputError):
    """A configuration whose sizes do not fit each other, or an unknown preset or option."""


class CheckpointError(MaskletError):
    """A file that is not a checkpoint of this model: wrong format, missing, extra or misshapen entries."""


class UnsafeFileError(CheckpointError):
    """A pickle that would execute code when loaded; it was refused and nothing was run."""


class DataError(MaskletError):
    """Training or evaluation data that is missing, contradictory or not in a known layout."""


class OutputError(MaskletError):
    """A result that could not be written: folder not writable, disk full."""


class MissingExtraError(MaskletError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"this needs the package {package!r}, which is not installed: pip install 'masklet[{extra}]'")


class TrainingError(MaskletError):
    """A training run cannot go on."""
