"""Runs of a ledger: options of the project that would change them, and the tests that they leave out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmops._util.file_override import LEFT_OUT_VARIABLE, FileOverride
from pytest_llmops.harness.ledger_tests import pytest_collection_modifyitems, pytest_configure


def begin_run(folder: Path, monkeypatch: pytest.MonkeyPatch, *tests: str) -> None:
    """Begin a run of a ledger with the given tests."""
    folder.joinpath("mark").touch()
    override = FileOverride(
        file=str(folder / "rules.md"),
        other="",
        root=str(folder),
        cassettes="",
        mark=str(folder / "mark"),
        tests=tests,
    )
    override.write(folder / "override.json")
    monkeypatch.setenv(LEFT_OUT_VARIABLE, str(folder / "override.json"))


def options() -> Any:
    return SimpleNamespace(
        llm_lint=True,
        llm_faults="all",
        llm_again=True,
        llm_accept="x",
        xmlpath="a.xml",
        htmlpath="",
        verbose=1,
    )


def test_options_for_other_runs_and_reports_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_run(tmp_path, monkeypatch)
    given = options()
    run_file = str(tmp_path / "run.json")
    given.llm_report = ["html:a.html", f"json:{run_file}", "json:other/run.json"]
    pytest_configure(SimpleNamespace(option=given))
    assert vars(given) == {
        **dict.fromkeys(("llm_lint", "llm_faults", "llm_again", "llm_accept", "xmlpath")),
        "htmlpath": "", "verbose": 1, "llm_report": [f"json:{run_file}"],
    }  # fmt: skip
    for without in (SimpleNamespace(), SimpleNamespace(llm_report=None)):
        pytest_configure(SimpleNamespace(option=without))
        assert vars(without) == {"llm_report": []}


def test_a_run_without_a_ledger_keeps_its_options_and_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LEFT_OUT_VARIABLE, raising=False)
    given = options()
    pytest_configure(SimpleNamespace(option=given))
    assert given == options()
    assert select("t") == (["t"], [])


def select(*names: str) -> tuple[list[str], list[Any]]:
    """Return which tests are kept, and the lists of tests that pytest is told of."""
    told: list[Iterable[Any]] = []
    hook = SimpleNamespace(pytest_deselected=lambda *, items: told.append(items))
    items = [SimpleNamespace(nodeid=name) for name in names]
    pytest_collection_modifyitems(SimpleNamespace(hook=hook), items)
    return [item.nodeid for item in items], [[item.nodeid for item in left] for left in told]


def test_only_the_tests_of_the_ledger_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin_run(tmp_path, monkeypatch, "a.py::t", "a.py::u[x@y]")
    names = ("a.py::t[1]", "a.py::t", "a.py::t@group", "a.py::u[x@y]", "a.py::u", "b.py::t")
    assert select(*names) == (
        ["a.py::t", "a.py::t@group", "a.py::u[x@y]"],
        [["a.py::t[1]", "a.py::u", "b.py::t"]],
    )
    assert select("a.py::t") == (["a.py::t"], [])


def test_a_ledger_that_names_no_test_runs_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin_run(tmp_path, monkeypatch)
    assert select("a", "b") == (["a", "b"], [])
