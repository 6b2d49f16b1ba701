"""What is refused: exceptions of masklet that are also of the kind that the original raises (spec/video.md 11.3)."""

from __future__ import annotations

from masklet.errors import InputError


class RequestError(InputError, RuntimeError):
    """A request of an unknown type, to an unknown session, after the end, or with nothing to follow."""


class UnsupportedError(RequestError, NotImplementedError):
    """What neither the original nor masklet does."""


class MissingKeyError(InputError, KeyError):
    """A request lacks what its type needs."""

    def __str__(self) -> str:
        return str(self.args[0])  # a KeyError shows it quoted


class RefusedError(InputError, AssertionError):
    """A frame, prompt or object that cannot be; nothing was changed."""
