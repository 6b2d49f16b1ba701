"""What was made of the features that were asked last: click after click on one picture, it is made once."""

from __future__ import annotations

import weakref
from typing import Generic, TypeVar

from masklet.types import ImageFeatures

T = TypeVar("T")


class Latest(Generic[T]):
    """One value, for as long as the features that it was made of live. Threads may share it.

    Two threads that ask different features in turns make values anew, which costs time but changes nothing.
    """

    def __init__(self) -> None:
        # Replaced as a whole, hence never seen half.
        self._entry: tuple[weakref.ref[ImageFeatures], T] | None = None

    def get(self, features: ImageFeatures) -> T | None:
        """The value that was made of these very features, if they were the last ones."""
        entry = self._entry
        return entry[1] if entry is not None and entry[0]() is features else None

    def put(self, features: ImageFeatures, value: T) -> None:
        """Keeps `value`, which must not hold `features`, in the place of the last one."""
        self._entry = (weakref.ref(features, self._forget), value)

    def _forget(self, gone: weakref.ref[ImageFeatures]) -> None:
        entry = self._entry
        if entry is not None and entry[0] is gone:
            self._entry = None
