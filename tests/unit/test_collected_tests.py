"""Which cassettes belong to tests that no longer exist: what was collected decides, then the source of the module."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmops.cassettes import safe_file_name
from pytest_llmops.cassettes.naming import cassette_path
from pytest_llmops.errors import UsageError
from pytest_llmops.harness import tapes
from pytest_llmops.harness.run_checks import CollectedTests

SOURCE = """
def test_known(): pass

async  def test_waits(): pass

class TestA:
    def test_inside(self): pass

@pytest.fixture(scope="module")
def index(): pass
"""


class Node:
    """A module or class of pytest."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path


def item_of(path: Path, name: str, *, folder: Path | None = None, fixture: Path | None = None) -> Any:
    """A test of pytest: it can be run. A folder that is given holds a cassette of the user's choice."""
    return SimpleNamespace(runtest=None, name=name, path=path, cassette=folder, fixture=fixture)


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "test_a.py"
    path.write_text(SOURCE)
    return path


@pytest.fixture(autouse=True)
def _plain_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cassettes of items are those that they name."""

    def find_path(item: Any) -> tuple[Path, bool]:
        if item.cassette is None:
            raise UsageError("wrong arguments")
        return item.cassette, False

    def find_fixtures(item: Any) -> list[tuple[object, Path]]:
        return [] if item.fixture is None else [(object(), item.fixture)]

    monkeypatch.setattr(tapes, "item_cassette_path", find_path)
    monkeypatch.setattr(tapes, "recorded_fixtures", find_fixtures)


def collected(root: Path, *children: tuple[Any, Sequence[Any]]) -> CollectedTests:
    return CollectedTests(root, children)


def cassette(module: Path, *names: str) -> Path:
    """The cassette of a test in classes."""
    return cassette_path(module, names)


@pytest.mark.parametrize("names", [("test_known",), ("test_waits",), ("TestA", "test_inside")])
def test_a_test_that_the_source_defines_is_there_although_nothing_was_collected(
    module: Path, names: tuple[str, ...]
) -> None:
    assert not collected(module.parent).is_abandoned(cassette(module, *names))


@pytest.mark.parametrize("names", [("test_gone",), ("TestA", "test_gone"), ("known",)])
def test_a_test_that_the_source_does_not_define_is_gone(module: Path, names: tuple[str, ...]) -> None:
    assert collected(module.parent).is_abandoned(cassette(module, *names))


def test_the_cassettes_of_a_module_that_is_gone_are_abandoned(tmp_path: Path) -> None:
    assert collected(tmp_path).is_abandoned(cassette(tmp_path / "test_gone.py", "test_known"))


@pytest.mark.parametrize("name", ["own/place.json", "cassettes/shared.json", "tests/cassettes/shared.json"])
def test_a_cassette_that_names_no_test_is_never_abandoned(tmp_path: Path, name: str) -> None:
    assert not collected(tmp_path).is_abandoned(tmp_path / name)


def test_a_case_of_a_test_is_there_while_the_test_is(module: Path) -> None:
    path = cassette_path(module, ("test_known",), "a case")
    assert not collected(module.parent).is_abandoned(path)
    assert collected(module.parent).is_abandoned(cassette_path(module, ("test_gone",), "a case"))


def test_the_cassette_of_a_collected_test_is_there_whatever_the_source_says(module: Path) -> None:
    path = cassette(module, "test_made_by_a_loop")
    tests = collected(module.parent, (Node("test_a.py", module), [item_of(module, "x", folder=path)]))
    assert not tests.is_abandoned(path)


def test_the_cassettes_of_the_fixtures_of_a_collected_test_are_there(module: Path) -> None:
    path = module.parent / "cassettes" / "conftest" / "fixture.gone.json"
    item = item_of(module, "x", fixture=path)
    assert not collected(module.parent, (Node("test_a.py", module), [item])).is_abandoned(path)
    assert collected(module.parent).is_abandoned(path)


def test_a_test_with_wrong_arguments_hides_no_other_test(module: Path) -> None:
    path = cassette(module, "test_made_by_a_loop")
    items = [item_of(module, "wrong"), item_of(module, "x", folder=path)]
    assert not collected(module.parent, (Node("test_a.py", module), items)).is_abandoned(path)


def test_of_a_module_that_was_collected_as_a_whole_a_test_that_was_not_collected_is_gone(
    module: Path,
) -> None:
    tests = collected(module.parent, (Node("test_a.py", module), []))
    assert tests.is_abandoned(cassette(module, "test_known"))
    other = collected(module.parent, (Node("test_b.py", module.with_name("test_b.py")), []))
    assert not other.is_abandoned(cassette(module, "test_known"))


def test_a_class_whose_tests_were_not_collected_is_judged_by_the_source(module: Path) -> None:
    node, group = Node("test_a.py", module), Node("TestA", module)
    path = cassette(module, "TestA", "test_inside")
    assert not collected(module.parent, (node, [group])).is_abandoned(path)
    assert collected(module.parent, (node, [group]), (group, [])).is_abandoned(path)
    assert collected(module.parent, (node, [group])).is_abandoned(cassette(module, "TestA", "test_gone"))


def test_the_class_of_a_cassette_is_found_by_its_name_as_a_file(module: Path) -> None:
    odd = "Test_" + "x" * 90
    module.write_text(SOURCE + f"\nclass {odd}:\n    def test_odd(self): pass\n")
    node, group = Node("test_a.py", module), Node(odd, module)
    path = module.parent / "cassettes" / "test_a" / safe_file_name(odd) / "test_odd.json"
    assert not collected(module.parent, (node, [group])).is_abandoned(path)


@pytest.mark.parametrize(("name", "gone"), [("index", False), ("other", True)])
def test_a_fixture_is_judged_by_the_source_of_its_module(module: Path, name: str, *, gone: bool) -> None:
    tests = collected(module.parent, (Node("test_a.py", module), []))
    path = module.parent / "cassettes" / "test_a" / f"fixture.{name}.json"
    assert tests.is_abandoned(path) is gone


def test_the_index_of_recordings_asks_which_cassettes_are_abandoned(tmp_path: Path) -> None:
    tests = collected(tmp_path)
    index = tests.index
    assert index is tests.index
    assert index.is_abandoned == tests.is_abandoned
