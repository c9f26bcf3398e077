"""What each run of pytest reads anew and what never changes in these tests, read once in a process: installed packages, plugins.

A run within a test reads the entry points and files of all packages, and looks through all names of all plugins for fixtures.
That takes half as long as a small run.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from importlib import metadata
from types import ModuleType
from typing import Any

import pytest
from _pytest.fixtures import FixtureFunctionDefinition, FixtureManager

LASTING = ("_pytest", "pluggy", "pytest_llmops", "xdist")
"""Packages whose modules are loaded once: a plugin of theirs has the same fixtures in each run."""


def read_once(patch: pytest.MonkeyPatch) -> None:
    """Keep what the first run reads."""
    _keep_packages(patch)
    _keep_plugins_without_fixtures(patch)


def _keep_packages(patch: pytest.MonkeyPatch) -> None:
    """Keep what is installed, with the metadata of each package. What a test puts on the path is read anew."""
    installed = list(metadata.distributions())
    patch.setattr(metadata, "distributions", lambda **_: iter(installed))
    places = {_find_place(distribution) for distribution in installed}
    for name in ("entry_points", "metadata", "files"):
        read = getattr(metadata.Distribution, name).fget
        patch.setattr(metadata.Distribution, name, property(_keep_by_place(read, places)))


def _find_place(distribution: metadata.Distribution) -> str:
    return str(getattr(distribution, "_path", ""))


def _keep_by_place(read: Callable[[Any], Any], places: Iterable[str]) -> Callable[[Any], Any]:
    """Return a function that reads each package in one of the places once."""
    kept: dict[str, Any] = {}
    lasting = frozenset(places) - {""}

    @functools.wraps(read)
    def keep(distribution: metadata.Distribution) -> Any:
        place = _find_place(distribution)
        if place not in lasting:
            return read(distribution)
        if place not in kept:
            kept[place] = read(distribution)
        return kept[place]

    return keep


def _keep_plugins_without_fixtures(patch: pytest.MonkeyPatch) -> None:
    """Look for fixtures in each lasting plugin once, and no more if it has none."""
    parse = FixtureManager.parsefactories
    found: dict[ModuleType | type, bool] = {}

    def parse_unless_empty(manager: FixtureManager, *args: Any, **kwargs: Any) -> None:
        holder = kwargs.get("holder", args[0] if args else None)
        kind = holder if isinstance(holder, ModuleType | type) else type(holder)
        # A node of pytest can stand for the module or class of a test.
        if isinstance(holder, pytest.Item | pytest.Collector) or not _is_lasting(kind):
            parse(manager, *args, **kwargs)
            return
        if kind not in found:
            found[kind] = has_fixtures(kind)
        if found[kind]:
            parse(manager, *args, **kwargs)

    patch.setattr(FixtureManager, "parsefactories", parse_unless_empty)


def _is_lasting(kind: ModuleType | type) -> bool:
    name = kind.__name__ if isinstance(kind, ModuleType) else kind.__module__
    is_local = "<locals>" in getattr(kind, "__qualname__", "")
    return name.partition(".")[0] in LASTING and not is_local


def has_fixtures(kind: ModuleType | type) -> bool:
    """Return whether a module or a class holds a fixture."""
    spaces = [vars(base) for base in inspect.getmro(kind)] if isinstance(kind, type) else [vars(kind)]
    return any(type(value) is FixtureFunctionDefinition for space in spaces for value in space.values())
