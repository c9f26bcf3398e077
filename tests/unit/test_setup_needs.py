"""Which tests certainly call `assert_semantic` with the embedder of the settings."""

from __future__ import annotations

import functools
import unittest
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import pytest_llmops
from pytest_llmops import assert_contains, assert_semantic
from pytest_llmops.harness.setup_needs import calls_assertion, find_needs
from pytest_llmops.settings import Settings

ROOT = Path(__file__).parent
OPTIONS: Any = {"embedder": "tfidf"}
HAS_MODEL = False


def directly() -> None:
    """Compare two texts."""
    answer = "a"
    assert_semantic(answer, "a")


def after_a_dot() -> None:
    measurement = pytest_llmops.assert_semantic("a", "a")
    assert measurement.value


class Suite:
    def method(self) -> None:
        assert_semantic("a", "a")


def by_a_helper() -> None:
    directly()


def after_a_helper() -> None:
    directly()
    assert_semantic("a", "a")


def inside() -> Callable[[], None]:
    def check() -> None:
        assert_semantic("a", "a")

    return check


def with_another() -> None:
    assert_semantic("a", "a", embedder="tfidf")


def with_options() -> None:
    assert_semantic("a", "a", **OPTIONS)


def expecting() -> None:
    with pytest.raises(AssertionError):
        assert_semantic("a", "b")


def returning() -> None:
    if not HAS_MODEL:
        return
    assert_semantic("a", "a")


def trying() -> None:
    try:  # noqa: SIM105 -- as a user writes it
        assert_semantic("a", "a")
    except pytest_llmops.errors.LLMOpsError:
        pass


def skipping() -> None:
    _ = HAS_MODEL or pytest.skip("no model")
    assert_semantic("a", "a")


async def waiting() -> None:
    assert_semantic("a", "a")


@functools.wraps(directly)
def wrapping() -> None:
    assert_semantic("a", "a")


def handing_on() -> None:
    print(assert_semantic)


def other() -> None:
    assert_contains("a", "a")


@pytest.mark.parametrize("function", [directly, after_a_dot, Suite().method])
def test_a_call_before_any_branch_is_certain(function: Any) -> None:
    assert calls_assertion(function)


@pytest.mark.parametrize(
    "function",
    [
        by_a_helper, after_a_helper, inside, with_another, with_options, expecting, returning, trying, skipping, waiting, wrapping,
        handing_on, other, len, None, unittest.skip("no")(directly),
    ],
)  # fmt: skip
def test_what_may_be_something_else_is_left_out(function: Any) -> None:
    assert not calls_assertion(function)


def test_another_function_of_that_name_or_one_without_source_is_not_certain() -> None:
    names: dict[str, Any] = {}
    exec("def assert_semantic(*_): pass\ndef test():\n    assert_semantic('a')\n", names)
    assert not calls_assertion(names["test"])
    names = {"assert_semantic": assert_semantic}
    exec("def test():\n    assert_semantic('a', 'a')\n", names)
    assert not calls_assertion(names["test"])


class Hooks:
    """Hooks of a project: none but one, which fails."""

    def __getattr__(self, name: str) -> Any:
        return self

    def get_hookimpls(self) -> list[object]:
        return []

    def __call__(self, **_: object) -> object:
        raise RuntimeError("a hook of the project")


def test_a_hook_that_raises_is_left_to_the_test() -> None:
    item = SimpleNamespace(
        nodeid="t",
        function=directly,
        get_closest_marker=lambda _: None,
        ihook=Hooks(),
        config=_Config(),
    )
    needs = find_needs([item], Settings(record="new"), ROOT)
    assert (needs.embedders, needs.judges) == ({}, [])


class _Config:
    """pytest's config, which the hooks get."""
