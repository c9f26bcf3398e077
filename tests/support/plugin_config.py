"""The configuration of a run as the plugin prepares it, and tests in it, without pytest."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmops.fixtures import CLOSER, HAS_INI_KEY, SETTINGS
from pytest_llmops.plugin import (
    OURS_KEY,
    PROBLEMS_KEY,
    SEEN_KEY,
    WATCH_KEY,
)
from pytest_llmops.settings import Settings
from support.items import item_of


class Plugins(dict[str, Any]):
    """pytest's plugins, by name."""

    def register(self, plugin: object, name: str) -> None:
        assert name not in self, f"{name} is registered twice"
        self[name] = plugin

    def has_plugin(self, name: str) -> bool:
        return name in self

    get_plugin = dict.get


class Closer:
    """What refuses calls outside of tests."""

    def __init__(self) -> None:
        self.folders: list[Path] = []
        self.guard: Any = None
        self.configured: tuple[Settings, bool] | None = None

    def close(self) -> Any:
        self.guard = self.guard or SimpleNamespace(refuse_in_test=None)
        return self.guard

    def close_when_configured(self, settings: Settings, *, is_set_up: bool) -> None:
        self.configured = settings, is_set_up

    def close_at_folder(self, path: Path) -> None:
        self.folders.append(path)


class Hooks:
    """The hooks of a run, none of which is implemented."""

    def __init__(self) -> None:
        self.pytest_llmops_call_formats = SimpleNamespace(get_hookimpls=list)


def config_of(folder: Path, settings: Settings | None = None, **options: Any) -> Any:
    """The configuration of a run, as the plugin has prepared it."""
    config = item_of(folder).config
    config.stash = {
        SETTINGS: settings or Settings(),
        HAS_INI_KEY: False,
        PROBLEMS_KEY: {},
        SEEN_KEY: {},
        CLOSER: Closer(),
        WATCH_KEY: SimpleNamespace(left_out=0),
    }
    config.pluginmanager = Plugins()
    config.option = SimpleNamespace(collectonly=False)
    config.getoption = lambda name, default=None: options.get(name, default)
    config.hook = Hooks()
    return config


def item_in(config: Any, *marks: pytest.Mark, ours: bool = True, **how: Any) -> Any:
    """A test of a run; ours, if the plugin has marked it so."""
    item = item_of(config.rootpath, *marks, **how)
    item.config = config
    item.originalname = item.name
    item.added = []
    item.add_marker = item.added.append
    if ours:
        item.stash[OURS_KEY] = True
    return item


def end_hook(hook: Generator[None, Any, Any], result: Any = None) -> Any:
    """Run a wrapper around a hook with a result; return its own."""
    next(hook)
    with pytest.raises(StopIteration) as caught:
        hook.send(result)
    return caught.value.value


class Hashed(SimpleNamespace):
    """A fixture that can be a key, as pytest's."""

    def __init__(self, fixture: Any) -> None:
        super().__init__(**vars(fixture))

    __hash__ = object.__hash__  # type: ignore[assignment]
