from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pluggy
import pytest
from support.messages import check_message

from pytest_llmops.errors import UnknownName, UsageError
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


def test_a_judge_file_is_another_judge_in_another_folder() -> None:
    made: list[object] = []

    def factory() -> object:
        made.append(object())
        return made[-1]

    config = Config()

    def build(folder: str, name: str) -> object:
        test: Any = SimpleNamespace(config=config, path=Path(folder) / "test_a.py")
        return components.build_component(test, "judge", name, factory, Settings())

    here, there = build("/p/here", "tone.md"), build("/p/there", "tone.md")
    assert here is not there
    assert build("/p/here", "tone.md") is here
    assert build("/p/here", "tone") is build("/p/there", "tone")
    assert len(made) == 3


# Under which name a model is loaded.


@pytest.mark.parametrize(
    ("name", "settings", "candidate", "chosen"),
    [
        ("app", Settings(), "", "app"),
        ("app", Settings(model="mine"), "", "mine"),
        ("app", Settings(model="gpt-5"), "", "app"),
        ("app", Settings(model=("mine", "gpt-5")), "", "app"),
        ("app", Settings(model=("mine", "gpt-5")), "mine", "mine"),
        ("app", Settings(model="mine"), "gpt-5", "app:gpt-5"),
        ("judge", Settings(), "", "judge"),
        ("judge", Settings(judge_model="mine"), "", "mine"),
        ("judge", Settings(judge_model="gpt-5"), "", "judge"),
        ("judge", Settings(judge_model="gpt-5", model="mine"), "", "judge"),
        ("judge", Settings(model="gpt-5"), "", "judge"),
        ("other", Settings(model="mine", judge_model="mine"), "mine", "other"),
    ],
)
def test_the_models_of_the_application_and_the_judges_are_the_configured_ones(
    name: str, settings: Settings, candidate: str, chosen: str
) -> None:
    assert components.choose_model_name(name, {"mine", "own"}, settings, candidate) == chosen


def test_a_hook_may_have_a_model_of_the_name_judge() -> None:
    settings = Settings(judge_model="mine", model="mine")
    assert components.choose_model_name("judge", {"mine", "judge"}, settings) == "judge"


def test_the_judges_do_not_get_the_hooks_model_under_test() -> None:
    with pytest.raises(UsageError, match=r"t\.py::test_a.*'mine'", check=check_message):
        components.choose_model_name("judge", {"mine"}, Settings(model="mine"), where="t.py::test_a")
