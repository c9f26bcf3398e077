"""The line of a run with live calls: when it is shown, where, and what it says."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.reports import make_report

from pytest_llmops.cassettes import run_folder
from pytest_llmops.harness.terminal import Progress


class Writer:
    """pytest's writer, in the middle of a line."""

    fullwidth = 60

    def __init__(self) -> None:
        self._file = io.StringIO()
        self._current_line = "test_a.py .."

    @property
    def width_of_current_line(self) -> int:
        return len(self._current_line)


class TerminalReporter:
    """As pytest's own, by which the progress knows it."""

    def __init__(self, *, terminal: bool) -> None:
        self.isatty = self.hasmarkup = terminal
        self._tw = Writer()


class OtherReporter(TerminalReporter):
    pass


@pytest.fixture(autouse=True)
def _run() -> Iterator[None]:
    with run_folder.open_run_folder():
        yield


def begin(
    reporter: Any, *, clock: Any = None, verbose: int = 0, capture: str = "fd", **more: Any
) -> Progress:
    plugins = SimpleNamespace(get_plugin={"terminalreporter": reporter}.get)
    option = SimpleNamespace(verbose=verbose, capture=capture, collectonly=False)
    progress = Progress(
        SimpleNamespace(pluginmanager=plugins, option=option),
        **{"budget_usd": None, **more},
        clock=clock or itertools.count().__next__,
    )
    progress._ended.set()  # no thread: the tests tick
    progress.pytest_runtestloop(SimpleNamespace(testscollected=4))
    return progress


def call(usd: float | None, *, replayed: bool = False) -> dict[str, object]:
    return {"cost_usd": usd, "replayed": replayed}


def test_without_a_terminal_a_line_every_ten_seconds() -> None:
    seconds = iter([0.0, 9.0, 11.0, 20.0, 21.5])
    reporter = TerminalReporter(terminal=False)
    progress = begin(reporter, clock=lambda: next(seconds))
    for sign in "++-":
        run_folder.note_live_call(sign)
    lines = []
    for _ in range(4):
        reporter._tw._file.truncate(0)
        reporter._tw._file.seek(0)
        progress.tick()
        lines.append(reporter._tw._file.getvalue())
    line = "llm: 1 call done, 1 in flight, cost unknown, 0 of 4 tests"
    assert lines == ["", f"\n{line}\ntest_a.py ..", "", f"\n{line}\ntest_a.py .."]


def test_between_two_lines_of_pytest_it_has_one_of_its_own() -> None:
    reporter = TerminalReporter(terminal=False)
    reporter._tw._current_line = ""
    progress = begin(reporter)
    run_folder.note_live_call("+")
    for _ in range(10):
        progress.tick()
    assert reporter._tw._file.getvalue() == "llm: 0 calls done, 1 in flight, cost unknown, 0 of 4 tests\n"


def test_on_a_terminal_it_is_below_the_line_and_goes_before_pytest_writes() -> None:
    seconds = iter([0.0, 2.0, 4.0])
    reporter = TerminalReporter(terminal=True)
    progress = begin(reporter, clock=lambda: next(seconds))
    run_folder.note_live_call("+")
    progress.tick()
    assert reporter._tw._file.getvalue() == ""
    progress.tick()
    line = "llm: 0 calls done, 1 in flight, cost unknown, 0 of 4 tests"
    assert reporter._tw._file.getvalue() == f"\x1b[J\n{line}\x1b[A\r\x1b[12C"
    progress.pytest_runtest_logstart()
    progress.pytest_runtest_logstart()
    progress.pytest_sessionfinish()
    assert reporter._tw._file.getvalue().endswith("\x1b[12C\x1b[J")


@pytest.mark.parametrize(
    ("line", "back"), [("t" * 59, "\x1b[59C"), ("t" * 60, None), ("t" * 72, "\x1b[12C"), ("", "")]
)
def test_a_line_over_several_rows_goes_on_in_the_last(line: str, back: str | None) -> None:
    reporter = TerminalReporter(terminal=True)
    reporter._tw._current_line = line
    progress = begin(reporter)
    run_folder.note_live_call("+")
    for _ in range(3):
        progress.tick()
    assert reporter._tw._file.getvalue().rpartition("\r")[2] == (back or "")
    assert bool(reporter._tw._file.getvalue()) == (back is not None)


@pytest.mark.parametrize(
    "reporter", [OtherReporter(terminal=True), TerminalReporter(terminal=True)], ids=["sugar", "no capture"]
)
def test_where_others_write_too_no_line_is_replaced(reporter: Any) -> None:
    progress = begin(reporter, capture="no" if type(reporter) is TerminalReporter else "fd")
    run_folder.note_live_call("+")
    for _ in range(11):
        progress.tick()
    assert "\x1b" not in reporter._tw._file.getvalue()
    assert reporter._tw._file.getvalue().count("in flight") == 1


def test_what_it_says() -> None:
    progress = begin(TerminalReporter(terminal=False), budget_usd=2.0)
    assert progress.describe(0, 0, 1).endswith("cost unknown of $2.00, 0 of 4 tests")
    progress.pytest_runtest_logreport(
        make_report(llmops={"calls": [call(0.5), call(0.25), call(9.0, replayed=True), call(None)]})
    )
    progress.pytest_runtest_logreport(make_report("passed", "teardown"))
    assert progress.describe(1200, 1100, 20).startswith(
        "llm: 1,100 calls done, 100 in flight, $0.75 of $2.00, 1 of 4"
    )
    assert progress.describe(2, 2, 20).endswith("1 of 4 tests, about 60 s left")
    assert progress.describe(2, 2, 200).endswith("about 10 min left")


@pytest.mark.parametrize("how", ["no live call", "-qq", "no terminal"])
def test_otherwise_it_is_silent(how: str) -> None:
    reporter = TerminalReporter(terminal=False)
    progress = begin(None if how == "no terminal" else reporter, verbose=-2 if how == "-qq" else 0)
    if how == "no live call":
        for _ in range(12):
            progress.tick()
    else:
        assert not hasattr(progress, "_writer")
    progress.pytest_runtest_logreport(make_report())
    progress.pytest_sessionfinish()
    assert reporter._tw._file.getvalue() == ""


def test_a_script_has_no_run_to_count_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(run_folder.RUN_FOLDER_VARIABLE, str(tmp_path / "gone"))
    run_folder.note_live_call("+")
    assert run_folder.count_live_calls() == (0, 0)
