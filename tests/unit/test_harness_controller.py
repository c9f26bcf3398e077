"""The controller: reports of pytest become records, the run, the files of reports and the lines of the summary."""

from __future__ import annotations

import contextlib
import json
import platform
import shlex
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.cassettes import entry, merged
from support.messages import check_message
from support.page import read_texts
from support.reports import NODEID, Config, Terminal, make_report, make_session

import pytest_llmops
from pytest_llmops.errors import BudgetReached, CassetteError, CassetteMiss, MeasurementFailed
from pytest_llmops.harness import controller as session
from pytest_llmops.harness.controller import (
    Controller,
)
from pytest_llmops.harness.records import attach_payload, build_record, report_message, report_outcome
from pytest_llmops.harness.tracebacks import hide_frames
from pytest_llmops.measurement import Measurement
from pytest_llmops.protocols import Call
from pytest_llmops.reports.commands import complete_command
from pytest_llmops.reports.formats import render_report
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.secrets import mask_run_secrets
from pytest_llmops.settings import Settings

MEASURED = {"measurements": [Measurement(name="text.contains", value=1.0).to_wire()]}
SECRET = "hunter2hunter2"


def controller(folder: Path, *reports: str, **how: Any) -> Controller:
    return Controller(Config(folder, **how), Settings(report=reports))


def finish(made: Controller, **how: Any) -> Any:
    ended = make_session(**how)
    made.finish_run(ended, pytest.TestReport)
    return ended


def records_of(made: Controller) -> tuple[TestRecord, ...]:
    finish(made)
    return made.run.records


# Reports become records.


def test_the_phases_of_a_test_are_one_record(tmp_path: Path) -> None:
    made = controller(tmp_path)
    made.add_report(make_report("passed", "setup", llmops={"facts": {"case": {"id": "a"}}}))
    made.add_report(make_report("failed", "call", longrepr="no", llmops={**MEASURED, "raised": ["KeyError"]}))
    made.add_report(make_report("failed", "teardown", longrepr="nor this"))
    (record,) = records_of(made)
    assert (record.nodeid, record.outcome, record.duration_s) == (NODEID, "errored", 1.5)
    assert record.message == "no\n\nnor this"
    assert (len(record.measurements), record.raised) == (1, ("KeyError",))
    assert record.facts == {"case": {"id": "a"}, "failed_outside": "teardown"}


def test_a_test_that_carries_nothing_of_ours_is_no_record(tmp_path: Path) -> None:
    made = controller(tmp_path)
    made.add_report(make_report("failed", longrepr="no"))
    made.add_report(make_report("passed", "???"))
    assert records_of(made) == ()


def test_a_phase_without_a_payload_counts_once_the_test_is_known(tmp_path: Path) -> None:
    made = controller(tmp_path)
    made.add_report(make_report("passed", "call", llmops={}))
    made.add_report(make_report("failed", "teardown", longrepr="broken"))
    (record,) = records_of(made)
    assert (record.outcome, record.message) == ("errored", "broken")


def test_the_test_that_a_worker_crashed_at_is_a_record_although_its_payload_is_lost(tmp_path: Path) -> None:
    made = controller(tmp_path)
    made.add_report(make_report("failed", "???", longrepr="worker 'gw0' crashed"))
    (record,) = records_of(made)
    assert (record.outcome, record.message, record.raised) == ("errored", "worker 'gw0' crashed", ())


def test_an_attempt_that_is_run_again_does_not_change_the_usage_of_its_cassettes(tmp_path: Path) -> None:
    made = controller(tmp_path)
    used = {"path": "cassettes/a.json", "ran": False, "shared": False, "asked": {"k": {"0": 1}}}
    made.add_report(make_report("passed", "setup", llmops=MEASURED))
    made.add_report(make_report("rerun", "call", llmops={**MEASURED, "tapes": [used]}))
    assert made.run.records == ()
    made.add_report(make_report("passed", "call", llmops=MEASURED))
    (record,) = records_of(made)
    assert (record.outcome, len(record.measurements)) == ("passed", 1)
    config: Any = made._config
    assert config.cached["llmops/usage"]["files"]["cassettes/a.json"]["asked"] == {"k": {"0": 1}}


def test_an_attempt_of_a_test_that_is_not_known_is_none(tmp_path: Path) -> None:
    made = controller(tmp_path)
    made.add_report(make_report("rerun", "setup", llmops={}))
    assert records_of(made) == ()


@pytest.mark.parametrize(
    ("outcome", "when", "payload", "xfail", "words"),
    [
        ("passed", "setup", {}, None, "passed"),
        ("passed", "call", {}, None, "passed"),
        ("passed", "call", {"outcome": "errored"}, None, "passed"),
        ("failed", "call", {}, None, "failed"),
        ("failed", "call", {"outcome": "errored"}, None, "errored"),
        ("failed", "setup", {}, None, "errored"),
        ("failed", "teardown", {}, None, "errored"),
        ("failed", "setup", {"outcome": "errored"}, None, "errored"),
        ("failed", "???", {}, None, "errored"),
        ("skipped", "setup", {}, None, "skipped"),
        ("skipped", "call", {}, None, "skipped"),
        ("skipped", "call", {}, "known", "xfailed"),
        ("skipped", "setup", {}, "[NOTRUN] known", "xfailed"),
        ("passed", "call", {}, "known", "xpassed"),
        ("failed", "call", {}, "known", "failed"),
        ("failed", "teardown", {}, "known", "errored"),
        ("rerun", "call", {}, None, "errored"),
    ],
)
def test_the_outcome_of_a_phase(
    outcome: str, when: str, payload: dict[str, Any], xfail: str | None, words: str
) -> None:
    more = {} if xfail is None else {"wasxfail": xfail}
    assert report_outcome(make_report(outcome, when, **more), payload) == words


CRASH = SimpleNamespace(reprcrash=SimpleNamespace(message="ValueError: no"))


@pytest.mark.parametrize(
    ("report", "message"),
    [
        (make_report("passed", longrepr="unread"), ""),
        (make_report("passed", wasxfail="known"), ""),
        (make_report("skipped", wasxfail="known", longrepr=CRASH), "known"),
        (make_report("skipped", longrepr=("a.py", 3, "Skipped: not here")), "not here"),
        (make_report("skipped", longrepr=("a.py", 3, "bare Skipped: reason")), "bare Skipped: reason"),
        (make_report("failed", longrepr=CRASH), "ValueError: no"),
        (make_report("failed", longrepr=SimpleNamespace(reprcrash=None)), "namespace(reprcrash=None)"),
        (make_report("failed", longrepr="[XPASS(strict)] known"), "[XPASS(strict)] known"),
        (make_report("failed", longrepr=None), ""),
    ],
)
def test_the_message_of_a_phase_has_no_traceback(report: Any, message: str) -> None:
    assert report_message(report) == message


@pytest.mark.parametrize(
    ("report", "raised"),
    [
        (make_report("failed"), ("KeyError",)),
        (make_report("skipped", wasxfail="known"), ("KeyError",)),
        (make_report("skipped"), ()),
        (make_report("passed"), ()),
    ],
)
def test_a_skip_is_no_error_that_a_record_keeps(report: Any, raised: tuple[str, ...]) -> None:
    record = build_record(report, {"raised": ["KeyError"], "tapes": [1], "facts": {"a": 1}})
    assert (record.raised, record.facts, record.duration_s) == (raised, {"a": 1}, 0.5)
    assert build_record(report, {}).raised == ()


# The end of a run.


def test_records_are_in_the_natural_order_of_their_names(tmp_path: Path) -> None:
    made = controller(tmp_path)
    for name in ("t.py::test[10]", "t.py::test[9]", "t.py::test", "a.py::test[11]"):
        made.add_report(make_report(nodeid=name, llmops={}))
    assert [record.nodeid for record in records_of(made)] == [
        "a.py::test[11]",
        "t.py::test",
        "t.py::test[9]",
        "t.py::test[10]",
    ]


def test_the_hook_gets_the_run_of_records_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APP_PASSWORD", SECRET)
    made = controller(tmp_path)
    made.add_report(make_report("failed", longrepr=f"said {SECRET}", llmops=MEASURED))
    finish(made)
    config: Any = made._config
    assert config.finished == [made.run]
    assert made.run.records[0].message == "said [secret]"


def test_the_hook_is_not_called_without_records_and_reports_are_written(tmp_path: Path) -> None:
    made = controller(tmp_path, "r.json", "out/r.html")
    ended = finish(made)
    config: Any = made._config
    assert (config.finished, ended.exitstatus) == ([], 0)
    assert Run.from_json((tmp_path / "r.json").read_text()).meta == made.run.meta
    assert (tmp_path / "out" / "r.html").read_text().startswith("<!")


def test_the_kind_of_a_report_goes_by_its_suffix() -> None:
    run = Run(records=(TestRecord(nodeid=NODEID),))
    assert json.loads(render_report(run, "json"))["records"][0]["nodeid"] == NODEID
    assert NODEID.partition("::")[2] in read_texts(render_report(run, "html"))


@pytest.mark.parametrize(("crashed", "lost"), [(0, ()), (1, ("1 worker",)), (3, ("3 workers",))])
def test_workers_that_were_lost_come_first_among_the_notes(
    tmp_path: Path, crashed: int, lost: tuple[str, ...]
) -> None:
    made = controller(tmp_path)
    made.cassette_usage.crashed = crashed
    answers = [Call(model="m", purpose=text).to_wire() for text in ("app", "judge")]
    made.add_report(
        make_report(llmops={"calls": answers, "facts": {"cassette": {"notes": ["one note"], "path": "a"}}})
    )
    finish(made)
    *lost_notes, judge, note = made.run.notes
    assert [text.partition(" crashed")[0] for text in lost_notes] == list(lost)
    check_message(judge)
    assert note == f"{NODEID}: one note"


@pytest.mark.parametrize("options", [{}, {"no_summary": True}])
def test_annotations_come_before_the_section_and_show_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, bool]
) -> None:
    asked: list[object] = []

    def annotate(*given: object) -> list[str]:
        asked.append(given)
        return ["::error::x swordfish99", "::warning::y"]

    monkeypatch.setenv("SHOP_API_KEY", "swordfish99")
    monkeypatch.setattr("pytest_llmops.harness.controller.list_annotations", annotate)
    made = controller(tmp_path)
    made._config.option.__dict__.update(options)
    made.add_report(make_report(llmops=MEASURED))
    finish(made)
    terminal = Terminal()
    made.print_section(terminal)
    assert asked == [(made.run, made._config, made._github)]
    first, second, *others = terminal.lines
    assert first.startswith("::error::x ")
    assert "swordfish99" not in first
    assert second == "::warning::y"
    assert bool(others) is not bool(options)


@pytest.mark.slow
@pytest.mark.parametrize(("status", "after"), [(0, 1), (1, 1), (2, 2)])
def test_a_report_that_cannot_be_written_fails_the_run_and_the_others_are_written(
    tmp_path: Path, status: int, after: int
) -> None:
    (tmp_path / "blocked").write_text("a file")
    made = controller(tmp_path, "blocked/r.json", "r.json")
    made.add_report(make_report(llmops=MEASURED))
    assert finish(made, status=status).exitstatus == after
    terminal = Terminal()
    made.print_section(terminal)
    (_line,) = [line for line in terminal.lines if line.startswith("error     report blocked/r.json: ")]
    assert {"red": True} in terminal.styles
    assert "report    r.json" in terminal.lines
    assert (tmp_path / "r.json").exists()


def test_the_meta_says_when_and_with_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name not in ("pytest", "vcrpy"):  # one that is missing does not hide those after it
            raise metadata.PackageNotFoundError(name)
        return "9.9"

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setenv("APP_PASSWORD", SECRET)
    made = controller(tmp_path, "r.json", command=("-k", SECRET, Path("tests")))
    finish(made)
    meta: Any = made.run.meta
    created = datetime.fromisoformat(meta["created"])
    assert timedelta() <= datetime.now(UTC) - created < timedelta(hours=1)
    assert (created.utcoffset(), created.microsecond) == (timedelta(), 0)
    assert meta["command"] == "pytest -k '[secret]' tests"
    assert meta["versions"] == {
        "pytest-llmops": pytest_llmops.__version__,
        "python": platform.python_version(),
        "pytest": "9.9",
        "vcrpy": "9.9",
    }
    assert list(meta["settings"]) == [spec.name for spec in fields(Settings)]
    assert (meta["settings"]["report"], meta["settings"]["record"]) == (["r.json"], "none")
    assert "cassettes" not in meta


def test_the_command_is_without_secrets_before_anything_else_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APP_PASSWORD", SECRET)
    assert session._pytest_command(Config(tmp_path, command=(f"--x={SECRET}",))) == "pytest '--x=[secret]'"


def test_words_of_the_command_survive_in_what_reports_suggest(tmp_path: Path) -> None:
    words = ("-k", "it's", "--llm-model", "my model", "--llm-judge")
    command = session._pytest_command(Config(tmp_path, command=words))
    assert shlex.split(command) == ["pytest", *words]
    assert complete_command("pytest", command) == "pytest --llm-model='my model' --llm-judge"


@pytest.mark.parametrize(
    ("outcome", "more", "undone"),
    [
        ("passed", {}, 0),
        ("failed", {}, 0),
        ("skipped", {}, 1),
        ("skipped", {"wasxfail": "known"}, 1),
        ("passed", {"wasxfail": "known"}, 1),
    ],
)
def test_a_run_with_a_test_that_was_not_done_is_partial_and_red_if_one_failed(
    tmp_path: Path, outcome: str, more: dict[str, Any], undone: int
) -> None:
    made = controller(tmp_path)
    tapes = [{"path": "cassettes/a.json", "ran": True, "shared": False, "asked": {}}]
    made.add_report(make_report(outcome, llmops={"tapes": tapes}, **more))
    finish(made, failed=int(outcome == "failed"))
    config: Any = made._config
    usage = config.cached["llmops/usage"]
    assert usage["complete"] is (not undone)
    assert [text.split()[0] for text in usage["partial_because"]] == [str(undone)] * undone
    assert [text.split()[0] for text in usage["red_because"]] == (["1"] if outcome == "failed" else [])
    assert made.run.meta["cassettes"] == {"oldest": "", "orphans": []}


@pytest.mark.parametrize(
    ("facts", "partial"), [({}, []), ({"model": {"name": "m"}}, ["--llm-model"]), ({"model": "m"}, [])]
)
def test_a_run_of_some_of_several_models_is_partial(
    tmp_path: Path, facts: dict[str, Any], partial: list[str]
) -> None:
    made = controller(tmp_path, options={"llm_model": ["m"]})
    tapes = [{"path": "cassettes/a.json", "ran": True, "shared": False, "asked": {}}]
    made.add_report(make_report(llmops={"tapes": tapes, "facts": facts}))
    made.add_report(make_report(nodeid="z", llmops={}))
    finish(made)
    config: Any = made._config
    assert config.cached["llmops/usage"]["partial_because"] == partial


# The summary.


def measured(folder: Path, *reports: str, **how: Any) -> Controller:
    made = controller(folder, *reports, **how)
    made.add_report(make_report(llmops=MEASURED))
    finish(made)
    return made


def printed(made: Controller, **how: Any) -> Terminal:
    terminal = Terminal(**how)
    made.print_section(terminal)
    return terminal


def test_the_section_names_the_verdict_and_the_reports(tmp_path: Path) -> None:
    terminal = printed(measured(tmp_path, "r.json", "r.html", options={"xmlpath": "j.xml"}))
    assert terminal.lines[:2] == ["= LLM regression: PASS =", "PASS      1 of 1 test passed."]
    assert terminal.styles[0] == {"bold": True}
    assert "report    r.json, r.html, j.xml" in terminal.lines


def test_a_report_is_named_although_another_of_its_name_could_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    assert "report    r.json" in printed(measured(tmp_path, "out/r.json", "r.json")).lines


@pytest.mark.parametrize("reports", [("r.json", "out/r.json"), ()])
def test_quiet_is_verdict_and_next_step_and_very_quiet_nothing_but_errors_are_shown(
    tmp_path: Path, reports: tuple[str, ...]
) -> None:
    (tmp_path / "out").write_text("a file")
    lines = {}
    for verbosity in (-1, -2):
        made = measured(tmp_path, *reports, verbosity=verbosity, options={"xmlpath": "j.xml"})
        lines[verbosity] = [line[:18].strip() for line in printed(made).lines]
    verdict = ["PASS      1 of 1 t", "next      Accept t", "pytest -", "worse:"]
    assert [line for line in lines[-1] if line in verdict][:2] == verdict[:2]
    assert ("error     report o" in lines[-1]) is bool(reports)
    assert lines[-2] == (["report out/r.json:"] if reports else [])


@pytest.mark.parametrize(
    ("options", "silent"), [({"no_summary": True}, True), ({"no_summary": False}, False)]
)
def test_no_summary_prints_nothing(tmp_path: Path, options: dict[str, Any], *, silent: bool) -> None:
    assert (not printed(measured(tmp_path, "r.json", options=options)).lines) is silent


def test_a_run_that_used_nothing_of_ours_says_so_only_if_a_report_was_asked_for(tmp_path: Path) -> None:
    made = controller(tmp_path, "r.json")
    finish(made)
    assert printed(made).lines == [
        "= LLM regression: NONE =",
        "NONE      No test called a model or measured anything.",
        "report    r.json",
        "next      Write a first test:",
        "          llmops init",
    ]
    other = controller(tmp_path)
    finish(other)
    assert printed(other).lines == []


@pytest.mark.parametrize(
    ("encoding", "ascii_only"),
    [("utf-8", False), ("ascii", True), ("latin-1", True), (None, True), ("no-such-code", True)],
)
def test_the_summary_is_ascii_where_the_terminal_has_no_more(
    tmp_path: Path, encoding: str | None, *, ascii_only: bool
) -> None:
    made = controller(tmp_path, verbosity=1)
    made.add_report(
        make_report(llmops={"measurements": [Measurement(name="m", value=1.0, label="größe").to_wire()]})
    )
    finish(made)
    assert "".join(printed(made, encoding=encoding).lines).isascii() is ascii_only


def test_the_summary_keeps_to_the_width_of_the_terminal(tmp_path: Path) -> None:
    made = controller(tmp_path, verbosity=1)
    made.add_report(make_report(llmops={"facts": {"cassette": {"notes": ["a note of many words " * 9]}}}))
    finish(made)
    widths = [max(map(len, printed(made, width=width).lines[1:])) for width in (50, 120)]
    assert widths[0] <= 50 < widths[1] <= 120


def test_in_the_log_of_a_ci_job_lines_are_not_wrapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    made = controller(tmp_path, verbosity=1)
    made.add_report(make_report(llmops={"facts": {"cassette": {"notes": ["a note of many words " * 9]}}}))
    finish(made)
    assert max(map(len, printed(made, isatty=False).lines)) > 120
    monkeypatch.setenv("COLUMNS", "60")
    assert max(map(len, printed(made, isatty=False, width=60).lines[1:])) <= 60


# In the worker: what a phase measured is put on its report.


def harness_of(*payloads: dict[str, Any], junit: bool = True) -> Any:
    waiting = list(payloads)
    return SimpleNamespace(
        build_payload=lambda _when, _error: waiting.pop(0),
        mask_secrets=lambda text: text.replace(SECRET, "[secret]"),
        settings=Settings(junit_properties=junit),
        record=None,
    )


@pytest.mark.parametrize("junit", [True, False])
def test_what_a_phase_measured_is_on_its_report_without_secrets(*, junit: bool) -> None:
    harness = harness_of({**MEASURED, "facts": {"a": SECRET}}, {"facts": {"b": 1}}, junit=junit)
    call, teardown = make_report("failed", longrepr=f"no {SECRET}"), make_report("passed", "teardown")
    attach_payload(harness, call, ValueError(SECRET))
    assert call.llmops["facts"] == {"a": "[secret]"}
    assert (harness.record.message, harness.record.facts) == ("no [secret]", {"a": "[secret]"})
    assert call.user_properties == []
    attach_payload(harness, teardown, None)
    assert (harness.record.outcome, harness.record.facts) == ("failed", {"a": "[secret]", "b": 1})
    properties = dict(teardown.user_properties)
    assert properties.get("llm.outcome") == ("failed" if junit else None)
    assert ("llm.metric.text.contains.score" in properties) is junit


def test_the_payload_of_a_phase_is_requested_with_its_name_and_error() -> None:
    seen: list[object] = []
    harness = harness_of({})
    payload = harness.build_payload

    def keep(*given: object) -> Any:
        seen.append(given)
        return payload(*given)

    harness.build_payload = keep
    error = ValueError()
    attach_payload(harness, make_report("failed", "setup"), error)
    assert seen == [("setup", error)]


# Tracebacks.

Raise = Callable[[], None]
USER, LIBRARY, DIST, OURS = (
    ("test_a", "/project/test_a.py"),
    ("requests", "/venv/lib/site-packages/requests/api.py"),
    ("yaml", "/usr/lib/python3/dist-packages/yaml/loader.py"),
    ("pytest_llmops.cassettes.tape", "<string>"),
)


def raised(error: BaseException, *frames: tuple[str, str]) -> Any:
    """What pytest knows of a call that raised an error, the outermost frame first."""

    def fail() -> None:
        raise error

    def inside(name: str, file: str, inner: Raise) -> Raise:
        space: dict[str, Any] = {"__name__": name, "inner": inner}
        exec(compile("def call():\n    inner()", file, "exec"), space)
        called: Raise = space["call"]
        return called

    function: Raise = fail
    for name, file in reversed(frames):
        function = inside(name, file, function)
    fails_here = len(frames)
    try:
        function()
    except BaseException:  # noqa: BLE001 -- an error of ours may be none of `Exception`
        linked = error.__traceback__
        assert linked is not None
        outermost = linked.tb_next
        last = outermost
        for _ in range(fails_here - 1):
            assert last is not None
            last = last.tb_next
        assert last is not None
        last.tb_next = None  # the frame of `fail` itself
        error.__traceback__ = outermost
    return SimpleNamespace(excinfo=pytest.ExceptionInfo.from_exception(error))


def names(call: Any) -> list[str]:
    return [frame.frame.f_globals["__name__"] for frame in call.excinfo.traceback]


def failure(text: str, *, pytrace: bool) -> BaseException:
    return pytest.fail.Exception(text, pytrace=pytrace)


MISSED = CassetteMiss("no recording")
FAILED = MeasurementFailed("below", [Measurement(name="m", value=0.0, threshold=1.0)])


def test_of_another_error_our_frames_alone_are_cut() -> None:
    call = raised(ValueError("no"), USER, OURS, LIBRARY, ("pytest_llmops", "x.py"), LIBRARY)
    error = call.excinfo.value
    hide_frames(call, failure)
    assert names(call) == ["test_a", "requests", "requests"]
    assert call.excinfo.value is error


def test_a_package_whose_name_begins_like_ours_is_the_users() -> None:
    call = raised(ValueError("no"), USER, ("pytest_llmops_extras", "/project/x.py"), OURS)
    hide_frames(call, failure)
    assert names(call) == ["test_a", "pytest_llmops_extras"]


@pytest.mark.parametrize("error", [MISSED, FAILED, CassetteError("damaged"), BudgetReached("no call left")])
def test_of_our_errors_the_frames_of_libraries_below_the_users_are_cut_too(error: BaseException) -> None:
    call = raised(error, LIBRARY, USER, LIBRARY, USER, LIBRARY, OURS, DIST, OURS)
    hide_frames(call, failure)
    assert names(call) == ["requests", "test_a", "requests", "test_a"]
    assert call.excinfo.value is error


def test_of_our_errors_the_frame_of_a_context_manager_of_ours_is_cut_and_not_that_of_the_users() -> None:
    context = ("contextlib", contextlib.__file__)
    call = raised(CassetteError("damaged"), context, USER, OURS, context, OURS)
    hide_frames(call, failure)
    assert names(call) == ["contextlib", "test_a"]


def test_of_our_errors_the_frame_of_a_users_module_named_like_one_of_python_stays() -> None:
    call = raised(CassetteError("damaged"), USER, ("calendar", "/project/calendar.py"), LIBRARY, OURS)
    hide_frames(call, failure)
    assert names(call) == ["test_a", "calendar"]


CLIENT = "def call():\n    try:\n        raise OSError('refused')\n    except OSError as error:\n        vars(error)['llmops_note'] = 'is the server up?'\n        raise ConnectionError from error"
FALLBACKS = {
    "none": ("call()", ConnectionError, []),
    "wrapped": ("try: call()\n    except OSError as e: raise RuntimeError from e", RuntimeError, []),
    "cause": (
        "try: call()\n    except OSError:\n        try: int('x')\n        except ValueError as e: raise RuntimeError from e",
        RuntimeError,
        [ValueError],
    ),
    "context": (
        "try: call()\n    except OSError:\n        try: int('x')\n        except ValueError: raise RuntimeError",
        RuntimeError,
        [ValueError],
    ),
    "another": (
        "try: call()\n    except OSError: raise RuntimeError from KeyError('first')",
        RuntimeError,
        [KeyError],
    ),
}


@pytest.mark.parametrize("name", FALLBACKS)
def test_of_a_server_that_is_down_the_clients_errors_are_cut_and_not_those_of_the_users_code(
    name: str,
) -> None:
    body, raised, expected = FALLBACKS[name]
    space: dict[str, Any] = {"__name__": "test_a"}
    exec(compile(CLIENT, "/venv/lib/site-packages/client.py", "exec"), space)
    exec(compile(f"def answer():\n    {body}", "/project/app.py", "exec"), space)
    with pytest.raises(raised) as caught:
        space["answer"]()
    hide_frames(SimpleNamespace(excinfo=caught), failure)
    error: BaseException | None = caught.value
    assert error is not None
    assert error.__notes__ == ["is the server up? [LLM-MODEL]"]
    causes = []
    while error := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        causes.append(type(error))
    assert causes == expected


@pytest.mark.parametrize("frames", [(LIBRARY, OURS), (DIST,), (OURS, OURS)])
def test_an_error_of_ours_that_no_line_of_the_user_led_to_has_no_traceback(frames: Any) -> None:
    call = raised(CassetteError("it is damaged"), *frames)
    hide_frames(call, failure)
    assert isinstance(call.excinfo, pytest.ExceptionInfo)
    assert isinstance(call.excinfo.value, pytest.fail.Exception)
    assert str(call.excinfo.value) == "CassetteError: it is damaged [LLM-CASSETTE]"
    hide_frames(raised(call.excinfo.value), failure)  # reported again, as the error of a fixture is
    assert str(call.excinfo.value).count("[LLM-") == 1
    assert call.excinfo.value.pytrace is False
    assert call.excinfo.traceback  # pytest reads the place of the failure from it


def test_another_error_inside_of_ours_keeps_its_traceback() -> None:
    call = raised(KeyError("bug"), OURS, OURS)
    hide_frames(call, failure)
    assert names(call) == [OURS[0]] * 2


# The last net: secrets that are cut over several texts.


@pytest.fixture
def scattered(monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with a secret in a note."""
    monkeypatch.setenv("APP_PASSWORD", SECRET)
    return Run(records=(TestRecord(nodeid=NODEID, facts={"a": 1}),), notes=(f"said {SECRET}",))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b'"facts":', b'"fact":'),
        lambda data: data.replace(b'"duration_s": 0.0', b'"duration_s": 1.0'),
        lambda data: data.replace(b'"meta"', b'"meat"'),
        lambda data: data[:-9],
    ],
    ids=["facts", "number", "key", "json"],
)
def test_a_mask_over_more_than_texts_is_not_taken(
    scattered: Run, monkeypatch: pytest.MonkeyPatch, change: Callable[[bytes], bytes]
) -> None:
    from pytest_llmops.redaction.redactor import Redactor

    masked = Run(records=scattered.records, notes=("said [secret]",))
    monkeypatch.setattr(Redactor, "clean", lambda _self, data: change(data) if b"schema" in data else data)
    monkeypatch.setattr(Redactor, "clean_text", lambda _self, text: text.replace(SECRET, "[secret]"))
    assert mask_run_secrets(scattered) == masked


def test_a_mask_over_texts_alone_is_taken(scattered: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_llmops.redaction.redactor import Redactor

    def clean(_self: object, data: bytes) -> bytes:
        return data.replace(b"said", b"[secret]") if b"schema" in data else data

    monkeypatch.setattr(Redactor, "clean", clean)
    monkeypatch.setattr(Redactor, "clean_text", lambda _self, text: text.replace(SECRET, "[secret]"))
    assert mask_run_secrets(scattered).notes == ("[secret] [secret]",)


def test_the_age_of_the_oldest_cassette_and_the_orphans_are_in_the_meta(tmp_path: Path) -> None:
    merged(tmp_path / "cassettes" / "a.json", entry(1))
    made = controller(tmp_path)
    used = {"path": "cassettes/a.json", "ran": True, "shared": False, "asked": {"key-1": {"0": 1}}}
    made.add_report(make_report(llmops={"tapes": [used]}))
    finish(made)
    cassettes: Any = made.run.meta["cassettes"]
    assert (len(cassettes["oldest"]), cassettes["orphans"]) == (len("2020-01-01"), [])
