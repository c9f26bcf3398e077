"""Tests as plain data: what the package reads of pytest's nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any


@dataclass(frozen=True)
class FakeMark:
    """A mark as pytest keeps it."""

    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


def make_mark(name: str, *args: Any, **kwargs: Any) -> FakeMark:
    return FakeMark(name, args, kwargs)


@dataclass
class FakeNode:
    """A test function.

    Attributes:
        own_markers: Those that stand on the function itself.
        markers_above: Those of its class and its module.
        llm_option: What the command line gives for --llm-model.
        hook_models: What each `pytest_llmops_models` hook knows, by conftest.
        llm_fixtures: The fixtures of the name `llm`, the plugin's own first.
    """

    root: Path = Path("/project")
    own_markers: Sequence[FakeMark] = ()
    markers_above: Sequence[FakeMark] = ()
    llm_option: Sequence[str] | None = None
    hook_models: Sequence[Mapping[str, object]] = ()
    llm_fixtures: Sequence[object] = ()
    folder: str = "tests"
    nodeid: str = "tests/test_a.py::test_a"

    @property
    def path(self) -> Path:
        return self.root / self.folder / "test_a.py"

    @property
    def config(self) -> Any:
        options = {"llm_model": self.llm_option}
        return SimpleNamespace(rootpath=self.root, getoption=options.get)

    @property
    def ihook(self) -> Any:
        return SimpleNamespace(pytest_llmops_models=lambda **_: list(self.hook_models))

    @property
    def _fixtureinfo(self) -> Any:
        return SimpleNamespace(name2fixturedefs={"llm": self.llm_fixtures} if self.llm_fixtures else {})

    def iter_markers(self, name: str) -> Iterator[FakeMark]:
        return (mark for mark in (*self.own_markers, *self.markers_above) if mark.name == name)

    def get_closest_marker(self, name: str) -> FakeMark | None:
        return next(self.iter_markers(name), None)
