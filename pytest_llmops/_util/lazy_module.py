"""A module that is imported when it is first used."""

from importlib import import_module
from typing import Any


class LazyModule:
    """A module of another package that is imported when it is first used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(import_module(self._name), attribute)
        # Kept, so that the next use of it is an ordinary attribute.
        setattr(self, attribute, value)
        return value
