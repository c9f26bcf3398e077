from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pluggy
import pytest

from pytest_llmops.errors import UnknownName
from pytest_llmops.harness import components
from pytest_llmops.settings import Settings

spec, impl = pluggy.HookspecMarker("p"), pluggy.HookimplMarker("p")


class Config:
    """Of a run; nothing of it is asked."""


class Specs:
    @spec
    def pytest_llmops_models(self, config: Config) -> Mapping[str, Callable[[], object]]:
        raise NotImplementedError


class Conftest:
    """A hook that makes its factories anew at each call, as a lambda in it does."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.called = 0
        self.made: list[object] = []

    @impl
    def pytest_llmops_models(self) -> Mapping[str, Callable[[], object]]:
        self.called += 1

        def factory() -> object:
            self.made.append(object())
            return self.made[-1]

        return dict.fromkeys(self.names, factory)


def run(*conftests: Conftest) -> tuple[pluggy.PluginManager, Config]:
    plugins = pluggy.PluginManager("p")
    plugins.add_hookspecs(Specs)
    for conftest in conftests:
        plugins.register(conftest)
    return plugins, Config()


def item(plugins: pluggy.PluginManager, config: Config, hidden: tuple[Conftest, ...] = ()) -> Any:
    """A test that does not see some of the conftest files."""
    hook = plugins.subset_hook_caller("pytest_llmops_models", list(hidden))
    return SimpleNamespace(config=config, ihook=SimpleNamespace(pytest_llmops_models=hook))


def get(test: Any, name: str) -> object:
    return components.build_component(
        test, "model", name, components.hook_factories(test, "model").get(name), Settings()
    )


def test_a_factory_that_is_made_in_the_hook_is_called_once_for_all_tests() -> None:
    conftest = Conftest("heavy", "never")
    plugins, config = run(conftest)
    built = {id(get(item(plugins, config), "heavy")) for _ in range(20)}
    assert (len(built), len(conftest.made), conftest.called) == (1, 1, 1)
    get(item(plugins, Config()), "heavy")  # of another run
    assert len(conftest.made) == 2


def test_the_nearest_conftest_has_its_say_in_its_folder_alone() -> None:
    root, first, second = Conftest("m", "root"), Conftest("m"), Conftest("m")
    plugins, config = run(root, first, second)
    in_one, in_two = item(plugins, config, (second,)), item(plugins, config, (first,))
    assert [get(in_one, "m"), get(in_two, "m"), get(in_one, "m")] == [
        first.made[0],
        second.made[0],
        first.made[0],
    ]
    assert get(in_one, "root") is root.made[0]
    assert [len(conftest.made) for conftest in (first, second)] == [1, 1]


def test_a_plugin_that_comes_later_is_heard() -> None:
    plugins, config = run(Conftest("m"))
    assert set(components.hook_factories(item(plugins, config), "model")) == {"m"}
    plugins.register(Conftest("late"))
    assert set(components.hook_factories(item(plugins, config), "model")) == {"m", "late"}


def test_without_a_factory_it_is_what_is_built_in() -> None:
    plugins, config = run()
    test = item(plugins, config)
    assert components.build_component(
        test, "embedder", "tfidf", None, Settings()
    ) is components.build_component(test, "embedder", "tfidf", None, Settings())
    assert components.build_component(
        test, "embedder", "tfidf", None, Settings()
    ) is not components.build_component(test, "embedder", "tfidf", None, Settings(model="another"))
    with pytest.raises(UnknownName, match="tfidf"):
        components.build_component(test, "embedder", "tfidff", None, Settings())
