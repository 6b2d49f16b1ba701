"""Reads fields of a `config.json` and says which one is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from masklet.errors import CheckpointError


class Reader:
    """Looks up fields by path and says which file and field is wrong."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values = values
        self.where = where

    def get(self, path: str, default: Any = None) -> Any:
        """The value at a path of names joined by dots."""
        value: Any = self.values
        for part in path.split("."):
            if not isinstance(value, Mapping) or part not in value:
                return default
            value = value[part]
        return value

    def integer(self, path: str, default: int | None = None) -> int:
        """A whole number."""
        value = self.get(path, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise CheckpointError(f"{self.where}: expected a whole number at {path}, found {value!r}")
        return value

    def integers(self, path: str) -> tuple[int, ...]:
        """A list of whole numbers."""
        value = self.get(path)
        if not isinstance(value, list) or not all(type(item) is int for item in value):
            raise CheckpointError(f"{self.where}: expected whole numbers at {path}, found {value!r}")
        return tuple(value)

    def number(self, path: str, default: float) -> float:
        """A number."""
        value = self.get(path, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise CheckpointError(f"{self.where}: expected a number at {path}, found {value!r}")
        return float(value)

    def check(self, fixed: Iterable[tuple[str, Any]]) -> None:
        """Refuses fields that are there with another value than the only one that this network has."""
        for path, expected in fixed:
            found = self.get(path, expected)
            if found != expected:
                raise CheckpointError(f"{self.where}: {path} must be {expected!r}, found {found!r}: another network")
