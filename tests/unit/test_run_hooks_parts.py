"""Parts of a run's start and end: its report files, wire formats of a project, and which tests are the plugin's own."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.messages import check_message
from support.reports import Config

from pytest_llmops._util.file_override import LEFT_OUT_VARIABLE, FileOverride
from pytest_llmops.errors import SettingError, UsageError
from pytest_llmops.harness import own_tests
from pytest_llmops.harness.call_formats import use_call_formats
from pytest_llmops.harness.report_files import find_reports, remove_run_files
from pytest_llmops.settings import Settings
from pytest_llmops.trace import routes

# Report files.


@pytest.mark.parametrize("option", [None, ["x"]])
def test_a_wrong_report_is_refused_where_it_was_named(option: object) -> None:
    config = Config(Path(), options={"llm_report": option})
    assert find_reports(config, Settings()) == []
    with pytest.raises(SettingError, check=check_message):
        find_reports(config, Settings(report=("no such report",)))
    (report,) = find_reports(config, Settings(report=("report.html",)))
    assert (report.format.kind, report.target) == ("html", "report.html")


def test_run_files_of_a_run_that_did_not_begin_are_removed(tmp_path: Path) -> None:
    for name in ("a.json", "b.json", "report.html"):
        tmp_path.joinpath(name).touch()
    config = Config(tmp_path)
    remove_run_files(config, Settings(report=("missing.json", "report.html", "a.json")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.json", "report.html"]
    remove_run_files(config, Settings(report=("b.json", "no such report")))
    assert tmp_path.joinpath("b.json").exists()


# Wire formats.


class Run(SimpleNamespace):
    """pytest's configuration with one hook."""

    def __init__(self, results: Iterable[object], error: Exception | None = None) -> None:
        def call(*, config: object) -> Iterable[object]:
            assert config is self
            if error is not None:
                raise error
            return results

        super().__init__(hook=SimpleNamespace(pytest_llmops_call_formats=call), cleanups=[])
        self.add_cleanup = self.cleanups.append


@pytest.mark.parametrize("run", [Run([], KeyError("x")), Run([["a list"]])])
def test_a_hook_of_wire_formats_that_fails_ends_the_run(run: Run) -> None:
    with pytest.raises(UsageError, check=check_message):
        use_call_formats(run)
    assert run.cleanups == []


def test_wire_formats_are_used_until_the_run_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[object] = ["before"]

    def use(formats: object) -> object:
        used.append(formats)
        return used[-2]

    monkeypatch.setattr(routes, "use_formats", use)
    run = Run([{}])
    use_call_formats(run)
    assert used == ["before", {}]
    (end,) = run.cleanups
    end()
    assert used == ["before", {}, "before"]


# Tests of ours.


def item_with(code: str) -> Any:
    space: dict[str, Any] = {}
    exec(f"def test(): {code}", space)
    return SimpleNamespace(function=space["test"])


def test_tests_may_measure_if_their_code_or_an_import_names_the_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in own_tests.PROJECT_PACKAGES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    others = [SimpleNamespace(), SimpleNamespace(function=len), item_with("import os, pytest_llmops_extra")]
    assert own_tests.may_measure(others) is False
    assert own_tests.may_measure([*others, item_with("import pytest_llmops.judges")]) is True
    monkeypatch.setitem(sys.modules, "pytest_llmops.judges", sys)
    assert own_tests.may_measure(others) is True


def test_cassettes_of_other_plugins_are_none_of_ours(tmp_path: Path) -> None:
    assert own_tests.has_cassettes(tmp_path) is False
    folder = tmp_path / "cassettes" / "test_a"
    (folder / "folder.json").mkdir(parents=True)
    folder.joinpath("other.json").write_bytes(b"{}")
    folder.joinpath("ours.txt").write_bytes(own_tests.CASSETTE_START)
    assert own_tests.has_cassettes(tmp_path) is False
    folder.joinpath("ours.json").write_bytes(own_tests.CASSETTE_START + b"1}")
    assert own_tests.has_cassettes(tmp_path) is True


def test_a_baseline_counts_where_tests_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def has_baseline(ini: str | None = None, *, collectonly: bool = False) -> bool:
        config = Config(tmp_path, ini={"llm_baseline": ini}, options={"collectonly": collectonly})
        return own_tests.has_baseline_file(config)

    monkeypatch.delenv(LEFT_OUT_VARIABLE, raising=False)
    assert not has_baseline()
    tmp_path.joinpath(Settings().baseline).touch()
    assert has_baseline()
    assert not has_baseline("other.json")
    assert not has_baseline(collectonly=True)
    tmp_path.joinpath("other.json").touch()
    assert has_baseline("other.json")
    override = FileOverride(file="", other="", root="", cassettes="", mark=str(tmp_path / "mark"))
    override.write(tmp_path / "override.json")
    monkeypatch.setenv(LEFT_OUT_VARIABLE, str(tmp_path / "override.json"))
    assert not has_baseline()
