"""Equal errors are shown once while pytest prints them, and where GitHub's annotations find the changed line of a prompt."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.messages import check_message
from support.reports import Config, make_report

from pytest_llmops.errors import SetupMissing, append_code
from pytest_llmops.harness import terminal
from pytest_llmops.harness.terminal import TerminalHooks, list_annotations, prepare_live_calls
from pytest_llmops.measurement import Measurement
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.settings import Settings


class Longrepr:
    """The traceback of a failure, with sections as pytest prints them."""

    def __init__(self, message: str) -> None:
        self.reprcrash = SimpleNamespace(message=message)
        self.sections: list[tuple[str, str, str]] = []

    def addsection(self, name: str, content: str, sep: str) -> None:
        self.sections.append((name, content, sep))


def errored(number: int, message: str, *, kind: str = "UsageError", outcome: str = "errored") -> Any:
    """The report of a test that has an error; a missing recording comes with the command that records it."""
    nodeid = f"test_a.py::test_{number}"
    payload: dict[str, Any] = {"outcome": outcome, "kind": kind}
    if kind == "CassetteMiss":
        payload["record"] = [f"pytest {nodeid} --llm-record=new"]
    return make_report("failed", nodeid=nodeid, longrepr=Longrepr(message), llmops=payload)


def missed(number: int, message: str) -> Any:
    return errored(number, message, kind="CassetteMiss")


def summarize(reports: list[Any], verbosity: int = 0) -> tuple[list[str], list[str]]:
    """Return the tests whose errors pytest prints, and the lines of its short summary."""
    stats = {"error": list(reports)}
    reporter = SimpleNamespace(stats=stats)
    sections: list[Any] = []
    hooks = TerminalHooks(Config(Path(), verbosity=verbosity), sections.append)
    hook = hooks.pytest_terminal_summary(reporter)
    next(hook)
    printed = [report.nodeid.rpartition("_")[2] for report in stats["error"]]
    hooks.list_failures(stats)
    lines = [report.longrepr.reprcrash.message for report in stats["error"]]
    assert sections == []
    with pytest.raises(StopIteration) as caught:
        hook.send("result")
    assert caught.value.value == "result"
    assert sections == [reporter]
    assert stats["error"] == reports
    return printed, lines


def test_errors_with_the_same_reason_are_one() -> None:
    reports = [
        errored(0, "UsageError: test_a.py::test_0: no file"),
        errored(1, "UsageError: another"),
        errored(2, "UsageError: test_a.py::test_2: no file"),
        errored(3, "UsageError: test_a.py::test_3: no file"),
        errored(4, "UsageError: another", outcome="failed"),
        make_report("failed", nodeid="test_a.py::test_5", longrepr=Longrepr("UsageError: another")),
    ]
    printed, lines = summarize(reports)
    assert printed == ["0", "1", "4", "5"]
    assert lines == ["3 tests: no file", "another", "another", "UsageError: another"]
    assert [report.longrepr.sections for report in reports[1:]] == [[]] * 5
    ((heading, text, line),) = reports[0].longrepr.sections
    assert (text, line) == ("test_a.py::test_2\ntest_a.py::test_3", "-")
    assert check_message(heading)


@pytest.mark.parametrize(("verbosity", "printed"), [(1, ["0"]), (2, ["0", "1"])])
def test_with_vv_each_error_is_printed(verbosity: int, printed: list[str]) -> None:
    reports = [errored(number, "UsageError: no file") for number in range(2)]
    assert summarize(reports, verbosity)[0] == printed


def test_a_missing_package_is_one_error_also_if_a_call_missed() -> None:
    message = append_code("no package", SetupMissing.code)
    reports = [missed(0, message), missed(1, message), missed(2, "CassetteMiss: nothing")]
    printed, lines = summarize(reports)
    assert printed == ["0", "2"]
    assert lines == [f"2 tests: {message}", "nothing"]


def test_equal_misses_are_printed_once_and_listed_all() -> None:
    reports = [
        missed(0, "CassetteMiss: no file"),
        errored(1, "CassetteMiss: no file"),
        *(missed(number, "CassetteMiss: no file") for number in range(2, 14)),
    ]
    printed, lines = summarize(reports)
    assert printed == ["0", "1"]
    assert lines == ["no file"] * 14
    assert [report.longrepr.sections for report in reports[1:]] == [[]] * 13
    ((heading, text, _),) = reports[0].longrepr.sections
    *names, last, command = text.splitlines()
    assert names == [f"test_a.py::test_{number}" for number in range(2, 12)]
    assert command == "record all: pytest test_a.py --llm-record=new"
    assert check_message([heading, last])


def test_ten_other_tests_are_all_named() -> None:
    reports = [errored(number, "UsageError: no file") for number in range(11)]
    assert summarize(reports)[0] == ["0"]
    ((_, text, _),) = reports[0].longrepr.sections
    assert text.splitlines() == [report.nodeid for report in reports[1:]]


@pytest.mark.parametrize(
    ("kinds", "verbosity", "printed"), [(5, 0, "01234"), (6, 0, "01234"), (6, 1, "012345"), (7, -1, "01234")]
)
def test_few_kinds_of_misses_are_printed(kinds: int, verbosity: int, printed: str) -> None:
    reports = [missed(number, f"CassetteMiss: {'abcdefg'[number]} is missing") for number in range(kinds)]
    again = missed(9, "CassetteMiss: d is missing")
    assert summarize([*reports, again], verbosity)[0] == list(printed)
    others = [text for _, text, _ in reports[4].longrepr.sections]
    hidden = [report.nodeid for report in reports[len(printed) :]]
    assert [text.splitlines()[:-1] for text in others] == [hidden] * bool(hidden)


def test_a_plain_text_of_an_error_gets_the_other_tests_at_its_end() -> None:
    reports = [errored(number, "") for number in range(2)]
    for report in reports:
        report.longrepr = "UsageError: no file"
    hooks = TerminalHooks(Config(Path()), lambda _: None)
    assert list(hooks._hide_repeated_errors(reports)) == reports[:1]
    assert check_message(reports[0].longrepr)


def test_the_list_of_failures_has_words_without_scores() -> None:
    score = Measurement(name="semantic", value=0.73)
    report = make_report(llmops={"measurements": [score.to_wire()]})
    hooks = TerminalHooks(Config(Path(), verbosity=1), lambda _: None)
    assert hooks.pytest_report_teststatus(report) == (
        "passed",
        ".",
        ("PASSED (semantic 0.73)", {"green": True}),
    )
    next(hooks.pytest_terminal_summary(SimpleNamespace(stats={})))
    assert hooks.pytest_report_teststatus(report) is None


# Annotations.


def pull_request(prompt: str = "prompts/a.md") -> Run:
    record = TestRecord(
        nodeid="tests/test_a.py::t", outcome="failed", facts={"prompt": {"name": "a", "path": prompt}}
    )
    return Run(records=(record,))


@pytest.mark.parametrize(
    ("environ", "other", "base"),
    [
        ({}, False, None),
        ({"GITHUB_ACTIONS": "false"}, False, None),
        ({"GITHUB_ACTIONS": "true"}, True, None),
        ({"GITHUB_ACTIONS": "true"}, False, ""),
        ({"GITHUB_ACTIONS": "true", "GITHUB_BASE_REF": "main"}, False, "main"),
    ],
)
def test_only_a_run_on_github_is_annotated(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], base: str | None, *, other: bool
) -> None:
    asked: list[object] = []
    config: Any = Config(Path("/project"))
    config.pluginmanager.hasplugin = lambda name: other and name == terminal.OTHER_ANNOTATOR

    def find(*request: object) -> dict[str, int]:
        asked.append(request)
        return {"prompts/a.md": 7}

    def annotate(run: Run, lines: dict[str, int]) -> list[object]:
        return [run, lines]

    monkeypatch.setattr(terminal, "_find_changed_lines", find)
    monkeypatch.setattr("pytest_llmops.reports.ci_formats.format_annotations", annotate)
    run = pull_request()
    expected: list[object] = []
    if base is not None:
        expected = [run, {"prompts/a.md": 7} if base else {}]
    assert list(list_annotations(run, config, environ)) == expected
    assert asked == [(Path("/project"), {"prompts/a.md"}, "main")] * bool(base)
    without_file: list[Any] = list(list_annotations(pull_request(""), config, environ))
    assert without_file[1:] == [{}] * (base is not None)


def test_the_changed_line_of_a_file_is_read_from_git(monkeypatch: pytest.MonkeyPatch) -> None:
    patch = b"""diff --git a.md a.md
--- a.md
+++ a.md
@@ -3,2 +4,2 @@ x
-old
+new \xff
@@ -30 +31 @@
+++ b c.md\t
@@ -1 +0,0 @@
"""
    answers: dict[str, object] = {"HEAD^1..HEAD": patch}
    calls: list[tuple[object, ...]] = []

    def git(*command: object) -> object:
        calls.append(command)
        return answers.get(str(command[8]), "no such revision")

    monkeypatch.setattr(terminal, "run_git", git)
    assert terminal._find_changed_lines(Path("x"), ["a.md", "b c.md"], "main") == {"a.md": 4, "b c.md": 1}
    options = [
        "--literal-pathspecs",
        "diff",
        "-U0",
        "--no-prefix",
        "--no-ext-diff",
        "--no-color",
        "--relative",
    ]
    assert calls == [
        (Path("x"), *options, commits, "--", "a.md", "b c.md")
        for commits in ("origin/main...HEAD", "HEAD^1..HEAD")
    ]
    answers = {"origin/main...HEAD": b""}
    assert terminal._find_changed_lines(Path("x"), ["a.md"], "main") == {}
    assert len(calls) == 3
    answers = {}
    assert terminal._find_changed_lines(Path("x"), ["a.md"], "main") == {}


# Live calls.


@pytest.mark.parametrize(("trials", "opens"), [("auto", False), ("auto:5", False), ("3", True), (None, True)])
def test_a_run_that_may_call_models_shows_its_progress(
    monkeypatch: pytest.MonkeyPatch, trials: str | None, *, opens: bool
) -> None:
    events: list[object] = []

    class Folder:
        def __enter__(self) -> None:
            events.append("open")

        def __exit__(self, *_: object) -> None:
            events.append("close")

    monkeypatch.setattr("pytest_llmops.cassettes.open_run_folder", Folder)
    config: Any = Config(Path(), options={"llm_trials": trials})
    config.add_cleanup = events.append
    config.pluginmanager.register = lambda *plugin: events.append(plugin)
    prepare_live_calls(config, Settings(budget=2.5))
    registered: Any = events.pop()
    plugin, name = registered
    assert (name, plugin._config, plugin._budget_usd) == ("llmops_progress", config, 2.5)
    if opens:
        close: Any = events.pop()
        close()
    assert events == ["open", "close"] * opens
