"""Tests as pytest runs them, as far as the plugin reads them: with their marks, fixtures, hooks and configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmops.plugin import PROBLEMS_KEY


class ItemConfig(SimpleNamespace):
    """pytest's configuration; components are kept for each by weak references."""

    __hash__ = object.__hash__  # type: ignore[assignment]  # compared by identity, as pytest's


class Hook:
    """A hook with one implementation, which returns some values by name."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self.values = values

    def get_hookimpls(self) -> list[object]:
        return [self]

    def __call__(self, **_: object) -> list[Mapping[str, object]]:
        return [self.values]


def fixture_of(folder: Path, name: str, scope: str = "module") -> Any:
    """A fixture of a conftest in a folder, as pytest defines it."""
    space: dict[str, Any] = {}
    exec(compile("def made(): pass", str(folder / "conftest.py"), "exec"), space)
    return SimpleNamespace(func=space["made"], scope=scope, baseid="", argname=name)


def item_of(
    folder: Path, *marks: pytest.Mark, names: tuple[str, ...] = (), fixtures: tuple[Any, ...] = ()
) -> Any:
    """A test as pytest has it, with its marks and fixtures."""
    by_name = {mark.name: mark for mark in reversed(marks)}
    config = ItemConfig(
        rootpath=folder,
        pluginmanager=SimpleNamespace(get_plugin=lambda _name: None),
        invocation_params=SimpleNamespace(dir=folder),
        getoption=lambda _name, default=None: default,
        getini=lambda _name: None,
        stash={PROBLEMS_KEY: {}},
    )

    def hook(**_: object) -> list[object]:
        return []

    return SimpleNamespace(
        parent=type("Module", (), {"parent": None})(),
        nodeid="test_a.py::test_x",
        name="test_x",
        path=folder / "test_a.py",
        config=config,
        stash={},
        fixturenames=names,
        iter_markers=lambda name=None: (mark for mark in marks if name in (None, mark.name)),
        get_closest_marker=by_name.get,
        ihook=SimpleNamespace(pytest_llmops_redactors=hook, pytest_llmops_request_normalizers=hook),
        _fixtureinfo=SimpleNamespace(name2fixturedefs={fixture.argname: (fixture,) for fixture in fixtures}),
    )
