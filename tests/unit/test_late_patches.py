"""Patches of modules that are imported later."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from pytest_llmops.cassettes.http.late_patches import LatePatches
from pytest_llmops.cassettes.http.patching import Patch

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
