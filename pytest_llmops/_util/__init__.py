"""Helpers that know nothing of pytest and models: text files, JSON paths, hosts, option values."""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

# Functions that return the folders from the running test, or from the module that is collected, up to the rootdir;
# the last one is called
test_folders: list[Callable[[], Sequence[Path]]] = []


class LazyModule:
    """A module of another package that is imported when it is first used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(import_module(self._name), attribute)
        # Kept, so that the next use of it is an ordinary attribute.
        setattr(self, attribute, value)
        return value
