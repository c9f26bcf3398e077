"""Which functions of a project call `assert_semantic`, by the names in their code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_llmops import assert_contains, assert_semantic
from pytest_llmops.harness import setup_needs
from pytest_llmops.harness.setup_needs import find_needs
from pytest_llmops.settings import Settings

ROOT = Path(__file__).parent


def directly() -> None:
    assert_semantic("a", "a")


def inside() -> Callable[[], None]:
    def check() -> None:
        assert_semantic("a", "a")

    return check


def by_a_helper() -> None:
    directly()


def in_circles(n: int) -> None:
    if n:
        around(n - 1)
    directly()


def around(n: int) -> None:
    in_circles(n)


def imported() -> None:
    from pytest_llmops import assert_semantic

    assert_semantic("a", "a")


class Suite:
    def method(self) -> None:
        directly()


def with_another() -> None:
    assert_semantic("a", "a", embedder="tfidf")


def expecting() -> None:
    with pytest.raises(AssertionError):
        assert_semantic("a", "b")


def other() -> None:
    assert_contains("a", "a")


def own_name() -> None:
    exec("assert_semantic", {})


def needs_embedder(function: Any, root: Path = ROOT) -> bool:
    return setup_needs._AssertionCalls(root).are_in(function)


@pytest.mark.parametrize(
    "function", [directly, inside, by_a_helper, in_circles, around, imported, Suite().method]
)
def test_a_call_is_found(function: Any) -> None:
    assert needs_embedder(function)


@pytest.mark.parametrize("function", [with_another, expecting, other, own_name, len, print])
def test_what_may_be_something_else_is_left_out(function: Any) -> None:
    assert not needs_embedder(function)


def test_helpers_of_other_projects_are_not_looked_into(tmp_path: Path) -> None:
    assert not needs_embedder(by_a_helper, tmp_path)
    assert needs_embedder(directly, tmp_path)


def test_another_function_of_that_name_is_not_meant() -> None:
    names: dict[str, Any] = {}
    exec("def assert_semantic(*_): pass\ndef test():\n    assert_semantic('a')\n", names)
    assert not needs_embedder(names["test"])


def test_a_hook_that_raises_is_left_to_the_test() -> None:
    class Item:
        nodeid = "t"
        function = staticmethod(directly)

        def get_closest_marker(self, _: str) -> None:
            return None

        @property
        def ihook(self) -> Any:
            raise RuntimeError("a hook of the project")

    needs = find_needs([Item()], Settings(), ROOT)
    assert (needs.embedders, needs.models, needs.judges) == ({}, {}, [])
