"""Patches of modules that are imported later."""

from __future__ import annotations

import copy
import http.client
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pytest_llmops.cassettes.http.request_checks import request_patches
from pytest_llmops.cassettes.late_patches import LatePatches
from pytest_llmops.cassettes.patch import Patch

NAME = "module_that_is_imported_late"


@pytest.fixture
def late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LatePatches]:
    """Patches of a module that is not imported yet: its `answer` becomes that with 1 added."""
    (tmp_path / f"{NAME}.py").write_text("answer = 41\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)

    def patch(module: ModuleType) -> list[Patch]:
        return [Patch(module, "answer", lambda number: number + 1)]

    late = LatePatches({NAME: patch})
    late.apply()
    yield late
    late.restore_attribute()
    sys.modules.pop(NAME, None)


def test_a_module_is_patched_right_after_its_import(late: LatePatches) -> None:
    spec = importlib.util.find_spec(NAME)
    assert spec is not None  # to search it is not to import it
    assert NAME not in sys.modules
    module = importlib.import_module(NAME)
    assert module.answer == 42
    assert type(module.__loader__).__name__ == "SourceFileLoader"
    late.restore_attribute()
    assert module.answer == 41


def test_a_module_that_is_imported_already_is_patched_at_once(late: LatePatches) -> None:
    late.restore_attribute()
    module = importlib.import_module(NAME)
    assert module.answer == 41
    late.apply()
    assert module.answer == 42


def test_a_module_that_is_imported_again_or_reloaded_is_patched_again(late: LatePatches) -> None:
    first = importlib.import_module(NAME)
    assert importlib.reload(first).answer == 42
    del sys.modules[NAME]
    second = importlib.import_module(NAME)
    assert second is not first
    assert (first.answer, second.answer) == (42, 42)
    late.restore_attribute()
    assert (first.answer, second.answer) == (41, 41)
    late.apply()
    assert (first.answer, second.answer) == (42, 42)


def test_nothing_stays_of_patches_that_found_no_module(late: LatePatches) -> None:
    before = len(sys.meta_path)
    late.restore_attribute()
    assert len(sys.meta_path) == before - 1
    assert importlib.import_module(NAME).answer == 41


def test_a_module_that_is_not_there_is_not_found(late: LatePatches) -> None:
    nothing = LatePatches({"module_that_is_nowhere": lambda _: []})
    nothing.apply()
    with pytest.raises(ModuleNotFoundError, match="module_that_is_nowhere"):
        importlib.import_module("module_that_is_nowhere")
    nothing.restore_attribute()


def test_a_searched_module_has_all_that_its_own_loader_gives(late: LatePatches) -> None:
    spec = importlib.util.find_spec(NAME)
    assert spec is not None
    loader: Any = spec.loader
    assert loader.get_source(NAME) == "answer = 41\n"
    assert loader.get_data(spec.origin) == b"answer = 41\n"
    assert loader.get_code(NAME).co_filename == spec.origin
    assert not loader.is_package(NAME)
    assert copy.copy(loader).get_filename(NAME) == spec.origin


def test_a_request_without_a_path_goes_to_the_root() -> None:
    urls: list[str] = []
    patches = request_patches(lambda _method, url, _read_body: urls.append(url))
    patches.apply()
    try:
        untyped: Any = http.client.HTTPConnection("h.example", 80)
        untyped.putrequest("GET", None)
    finally:
        patches.restore_attribute()
    assert urls == ["http://h.example:80/"]
