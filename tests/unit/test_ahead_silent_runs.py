"""Silent runs: what they leave of a test, which facts they send, and how their process ends."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.cassettes import entry
from support.silent import SilentWorld, make_item

from pytest_llmops.cassettes import lock_folder, run_folder
from pytest_llmops.errors import CallDeferred, SilentWriteRefused
from pytest_llmops.harness.ahead import silent_runs
from pytest_llmops.harness.ahead.answers import Place
from pytest_llmops.harness.ahead.batches import BatchSender, OpenBatch, Postponed
from pytest_llmops.harness.ahead.phase import Unit
from pytest_llmops.harness.ahead.sender import LiveSender
from pytest_llmops.harness.ahead.silence import SilentHooks, keep_item, silence_session
from pytest_llmops.harness.ahead.silent_runs import (
    NO_ORDER,
    SilentRunHooks,
    SilentRuns,
    describe_running,
    describe_units,
)
from pytest_llmops.harness.ahead.tapes import CollectingTape
from pytest_llmops.harness.ahead.watch import LIMIT_S
from pytest_llmops.settings import Settings

PLACE = Place("a.json", "key", "0", 0)


class Link:
    """A connection to the process whose run counts; keeps what is sent, and has the order for the end."""

    def __init__(self, order: Mapping[str, Any] | None = None) -> None:
        self.sent: list[tuple[str, Any]] = []
        self.order = order

    def send(self, kind: str, value: object) -> None:
        self.sent.append((kind, value))

    def wait_for_order(self) -> Mapping[str, Any] | None:
        return self.order

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.sent]


@pytest.fixture(autouse=True)
def _run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setenv(run_folder.RUN_FOLDER_VARIABLE, str(folder))


def make_silent_runs(tmp_path: Path, link: Any, run_once: Any = print, **settings: Any) -> SilentRuns:
    plugins = SimpleNamespace(register=lambda *_: None)
    config = SimpleNamespace(
        rootpath=tmp_path, getoption={"maxfail": 3}.get, pluginmanager=plugins, _ensure_unconfigure=print
    )
    return SilentRuns(config, Settings(**settings), run_once, SimpleNamespace, link, is_fork=True)


def make_unit(name: str, **more: Any) -> Unit:
    return Unit(SimpleNamespace(nodeid=name), None, 0, **more)


def test_the_facts_tell_tests_in_line_from_postponed_ones() -> None:
    units = [
        make_unit("a", runs=1),
        make_unit("b", runs=4, in_line="its requests differ"),
        make_unit("b", runs=2, in_line="its requests differ"),  # another trial
        make_unit("b", in_line="status 401"),
        make_unit("c", in_line=OpenBatch("wait")),
        make_unit("d", in_line=Postponed("refused"), error="ValueError: x"),
    ]
    assert describe_units(units) == {
        "in_line": ["b: its requests differ", "b: status 401"],
        "runs": 4,
        "errors": {"d": "ValueError: x"},
        "postponed": {"c": True, "d": False},
    }
    assert describe_units([]) == {"in_line": [], "runs": 0, "errors": {}, "postponed": {}}


def test_a_test_has_its_own_time_limit_and_other_work_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silent_runs, "find_time_limit", lambda _: 5.0)
    assert describe_running(None) == ("", LIMIT_S)
    assert describe_running("the tear-down") == ("the tear-down", LIMIT_S)
    assert describe_running(SimpleNamespace(nodeid="test_a.py::test_b")) == ("test_a.py::test_b", 5.0)


def test_answers_facts_and_what_runs_are_sent(tmp_path: Path) -> None:
    link = Link()
    runs = make_silent_runs(tmp_path, link)
    runs._state.store.add(PLACE, {"status": 200})
    runs._send_running(None)
    facts = runs._list_facts([make_unit("a", runs=2)], 1.5, "SystemExit 3")
    assert link.sent == [("answer", [PLACE, {"status": 200}]), ("running", ("", LIMIT_S))]
    assert facts == {
        "seconds": 1.5,
        "stopped_by": "SystemExit 3",
        "journals": [],
        "lives_on": False,
        **describe_units([make_unit("a", runs=2)]),
    }


def test_the_folders_of_the_run_and_of_the_settings_may_be_written(tmp_path: Path) -> None:
    runs = make_silent_runs(tmp_path, Link(), silent_writes=["cache", "~/models"])
    home = Path("~/models").expanduser()
    assert list(runs._list_own_folders()) == [tmp_path / "run", lock_folder(), tmp_path / "cache", home]


@pytest.mark.parametrize(
    ("batch", "kind", "failures_left", "room"), [(False, LiveSender, 3, 14), (True, BatchSender, 5, 4)]
)
def test_a_batch_has_the_requests_of_all_tests_whatever_fails(
    tmp_path: Path, kind: type[LiveSender], failures_left: int, room: int, *, batch: bool
) -> None:
    """The run has ``--maxfail=3``."""
    runs = make_silent_runs(tmp_path, Link(), concurrency=7, batch=batch)
    phase = runs._make_phase(None, [make_unit(name) for name in "abcd"])
    phase.sender.stop()
    assert type(phase.sender) is kind
    assert (phase._failures_left, phase._room, phase._width) == (failures_left, room, 7)


def test_each_silent_run_has_a_folder_of_its_own_for_temporary_files(tmp_path: Path) -> None:
    seen: list[Any] = []

    def run_once(*tests: Any) -> None:
        seen.append((tests, factory._basetemp, factory._given_basetemp, dict(factory._next_number)))
        factory._basetemp, factory._next_number["a"] = "made", 1

    runs = make_silent_runs(tmp_path, Link(), run_once)
    factory = SimpleNamespace(_next_number={"a": 3}, _basetemp="of the run that counts", _given_basetemp=None)
    runs._config._tmp_path_factory = factory
    runs._run_in_own_folder("a", "b")
    runs._run_in_own_folder("b", None)
    folders = [tmp_path / "run" / name for name in ("silent-0", "silent-1")]
    assert seen == [(("a", "b"), None, folders[0], {}), (("b", None), None, folders[1], {})]
    assert factory._retention_policy == "failed"


def test_without_a_factory_of_folders_a_test_runs_too(tmp_path: Path) -> None:
    seen: list[Any] = []
    make_silent_runs(tmp_path, Link(), lambda *tests: seen.append(tests))._run_in_own_folder("a", "b")
    assert seen == [("a", "b")]


def test_a_tape_collects_and_its_folder_may_be_written(tmp_path: Path) -> None:
    runs = make_silent_runs(tmp_path, Link())
    path = tmp_path / "cassettes" / "a.json"
    event = ("open", (str(path.with_name("a")), "w", os.O_WRONLY))
    with pytest.raises(SilentWriteRefused):
        runs._guard.check_event(*event)
    tape = runs._make_tape(path, "new")
    assert (type(tape), tape.state) == (CollectingTape, runs._state)
    runs._guard.check_event(*event)


def test_the_first_reason_that_puts_a_test_in_line_counts(tmp_path: Path) -> None:
    runs = make_silent_runs(tmp_path, Link())
    with pytest.raises(SilentWriteRefused):
        runs._state.refuse("it would write")
    runs._put_in_line("second")
    assert runs._state.run.in_line == "it would write"


@pytest.mark.parametrize("is_over", [True, False])
def test_journals_are_removed_once_the_run_holds_what_is_in_them(tmp_path: Path, *, is_over: bool) -> None:
    runs = make_silent_runs(tmp_path, Link())
    journals = runs._state.store.journals
    journals.write(tmp_path / "a.json", entry(0, by="test#001"))
    (path,) = journals.paths
    assert runs._close_journals({**NO_ORDER, "is_over": is_over}) == {"notes": [], "lines": []}
    assert path.exists() is not is_over


def test_batches_get_the_order_for_the_end(tmp_path: Path) -> None:
    orders: list[Any] = []
    runs = make_silent_runs(tmp_path, Link())
    batches: Any = SimpleNamespace(lines=["a line"], finish=lambda *a, **more: orders.append((a, more)))
    runs._batches = batches
    order = {"is_over": True, "is_part": False, "closed": ["a.json"]}
    assert runs._close_journals(order)["lines"] == ["a line"]
    assert orders == [((["a.json"],), {"is_over": True, "is_part": False})]
    assert runs._list_facts([], 0.0, "")["lives_on"] is True


class Ended(BaseException):
    """In place of the end of this process."""


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The steps at the end of the process."""
    steps: list[Any] = []

    def leave(status: int) -> None:
        steps.append(status)
        raise Ended

    def run_exit_functions(_: object, *, is_fork: bool) -> None:
        steps.append(f"exit functions of a fork: {is_fork}")

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(silent_runs, "run_exit_functions", run_exit_functions)
    monkeypatch.setattr(silent_runs, "_interrupt_main_thread", lambda: steps.append("interrupt"))
    monkeypatch.setattr(silent_runs, "INTERRUPT_AFTER_S", 0)
    monkeypatch.setattr(silent_runs, "END_LIMIT_S", 0)
    return steps


def end_with_parent(runs: SilentRuns, *, is_ending: bool = False) -> list[str]:
    """Let the other process end, and return what happens to the sender."""
    stops: list[str] = []
    phase: Any = SimpleNamespace(
        is_ending=is_ending, sender=SimpleNamespace(stop=lambda: stops.append("stop"))
    )
    with pytest.raises(Ended):
        runs._end_with_parent(phase)
    return stops


def test_an_idle_process_ends_with_the_run_that_counts(tmp_path: Path, ends: list[Any]) -> None:
    link = Link({"is_over": True, "is_part": False, "closed": []})
    runs = make_silent_runs(tmp_path, link)
    runs._is_idle.set()
    assert end_with_parent(runs) == ["stop"]
    assert ends[:2] == ["exit functions of a fork: True", 0]
    assert link.kinds() == ["closing", "closing", "end"]
    assert [value[0] for _, value in link.sent[:2]] == ["", "the end of the silent runs"]


@pytest.mark.parametrize("is_ending", [True, False])
def test_a_test_that_still_runs_is_interrupted_but_not_a_tear_down(
    tmp_path: Path, ends: list[Any], *, is_ending: bool
) -> None:
    link = Link()
    assert end_with_parent(make_silent_runs(tmp_path, link), is_ending=is_ending) == ["stop"]
    assert ends == ["interrupt", 0][is_ending:]
    assert link.kinds() == ["closing", "closing", "end"]


def test_the_end_is_sent_once(tmp_path: Path, ends: list[Any]) -> None:
    link = Link()
    runs = make_silent_runs(tmp_path, link)
    with pytest.raises(Ended):
        runs._end_process(NO_ORDER)
    end_with_parent(runs)
    assert link.kinds() == ["end", "closing", "closing"]
    assert ends[:2] == ["exit functions of a fork: True", 0]


def test_silent_runs_send_their_facts_and_end(
    tmp_path: Path, ends: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Link()
    runs = make_silent_runs(tmp_path, link)
    order = threading.Event()
    link.wait_for_order = order.wait  # type: ignore[assignment]
    registered: list[Any] = []
    runs._config.pluginmanager = SimpleNamespace(register=lambda *plugin: registered.append(plugin))
    phase: Any = SimpleNamespace(sender=None, run=lambda: sys.exit(3))
    monkeypatch.setattr(runs, "_make_phase", lambda *_: phase)
    monkeypatch.setattr(runs._guard, "start", lambda: None)
    monkeypatch.setattr(runs, "_end_with_parent", lambda _: None)
    monkeypatch.setattr(silent_runs, "silence_session", lambda _: None)
    monkeypatch.setattr(silent_runs, "drop_inherited_exit_functions", lambda: None)
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(Ended):
            runs.run(None, [])
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert link.kinds() == ["process", "facts", "end"]
    assert link.sent[0][1] == os.getpid()
    assert link.sent[1][1]["stopped_by"] == "SystemExit 3"
    assert [plugin[1:] for plugin in registered] == [(silent_runs.PLUGIN,), ()]
    order.set()


class Skipped(Exception):
    """As pytest's."""


def make_report(
    tmp_path: Path, error: BaseException | None, when: str = "call", *, marks: tuple[str, ...] = ()
) -> tuple[Any, SilentWorld, list[str]]:
    """Return the report of a phase of a test, the world that has noted its error, and the reasons to be in line."""
    reasons: list[str] = []
    world = SilentWorld(tmp_path)
    item = make_item("a", iter_markers=lambda: map(make_mark, marks), location=("test_a.py", 1, "a"))
    call = SimpleNamespace(excinfo=error and SimpleNamespace(value=error), when=when)

    def test_report(*values: Any) -> Any:
        names = ("nodeid", "location", "keywords", "outcome", "longrepr", "when", "sections", "duration")
        return SimpleNamespace(**dict(zip(names, values, strict=True)))

    hooks = SilentRunHooks(world.phase, test_report, reasons.append)
    return hooks.pytest_runtest_makereport(item, call), world, reasons


def make_mark(name: str) -> Any:
    return SimpleNamespace(name=name)


@pytest.mark.parametrize(
    ("error", "when", "outcome"),
    [
        (None, "call", "passed"),
        (None, "setup", "passed"),
        (ValueError(), "call", "passed"),
        (ValueError(), "setup", "failed"),
        (CallDeferred(PLACE), "setup", "failed"),
        (ValueError(), "teardown", "passed"),
    ],
)
def test_a_silent_report_is_bare(
    tmp_path: Path, error: BaseException | None, when: str, outcome: str
) -> None:
    report, _, reasons = make_report(tmp_path, error, when)
    assert (report.outcome, report.when, report.nodeid) == (outcome, when, "test_a.py::a")
    assert (report.longrepr, report.sections, report.wasxfail) == (None, (), "silent")
    assert reasons == []


@pytest.mark.parametrize(
    ("error", "marks", "is_failure"),
    [
        (ValueError("x"), (), True),
        (ValueError("x"), ("slow",), True),
        (ValueError("x"), ("slow", "xfail"), False),
        (Skipped("x"), (), False),
        (CallDeferred(PLACE), (), False),
    ],
)
def test_an_expected_failure_and_a_skip_do_not_count(
    tmp_path: Path, error: BaseException, marks: tuple[str, ...], *, is_failure: bool
) -> None:
    _, world, _ = make_report(tmp_path, error, marks=marks)
    assert world.phase._has_failed is is_failure
    assert world.phase._error == ("ValueError: x" if is_failure else "")


def test_a_refused_write_puts_each_test_of_its_fixture_in_line(tmp_path: Path) -> None:
    _, _, reasons = make_report(tmp_path, SilentWriteRefused("it would write a twice"), "setup")
    assert reasons == ["it would write a twice"]


class Fixture:
    """A fixture of pytest."""

    def __init__(self, scope: str) -> None:
        self.scope = scope
        self.cached_result: Any = None

    def cache_key(self, request: str) -> str:
        return f"key of {request}"


def set_up(tmp_path: Path, scope: str, error: BaseException | None) -> tuple[SilentWorld, Fixture, Any]:
    world, fixture = SilentWorld(tmp_path), Fixture(scope)
    hooks = SilentRunHooks(world.phase, None, print)
    steps = hooks.pytest_fixture_setup(fixture, "request")
    next(steps)
    result: Any = None
    if error is None:
        with pytest.raises(StopIteration) as returned:
            steps.send("value")
        result = returned.value.value
    else:
        with pytest.raises(type(error)):
            steps.throw(error)
    return world, fixture, result


@pytest.mark.parametrize(
    ("scope", "is_wide"),
    [("function", False), ("class", True), ("module", True), ("package", True), ("session", True)],
)
def test_fixtures_that_outlive_a_test_are_kept_for_their_tear_down(
    tmp_path: Path, scope: str, *, is_wide: bool
) -> None:
    world, fixture, result = set_up(tmp_path, scope, None)
    assert world.phase.wide == [(fixture, "request")] * is_wide
    assert (world.phase.broken, fixture.cached_result, result) == ([], None, "value")


def test_a_fixture_that_a_call_ended_is_torn_down_and_keeps_the_error_for_its_other_tests(
    tmp_path: Path,
) -> None:
    error = CallDeferred(PLACE)
    world, fixture, _ = set_up(tmp_path, "function", error)
    assert world.phase.broken == [(fixture, "request")]
    assert fixture.cached_result[:2] == (None, "key of request")
    assert fixture.cached_result[2][0] is error


def test_the_error_of_a_fixture_is_kept_by_pytest(tmp_path: Path) -> None:
    world, fixture, _ = set_up(tmp_path, "function", ValueError())
    assert (world.phase.broken, fixture.cached_result) == ([], None)


# Nothing is reported.


def test_hooks_that_report_do_nothing_and_the_others_what_they_do() -> None:
    called: list[str] = []
    hooks = SilentHooks(
        SimpleNamespace(
            pytest_runtest_setup=lambda: called.append("setup"),
            pytest_runtest_logreport=lambda: called.append("report"),
        )
    )
    hooks.pytest_runtest_setup()
    hooks.pytest_runtest_logreport(report=1)
    hooks.pytest_exception_interact(1)
    hooks.pytest_warning_recorded.call_historic(kwargs={})
    assert called == ["setup"]


def test_a_silent_session_logs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("excepthook", "unraisablehook"):
        monkeypatch.setattr(threading if name == "excepthook" else sys, name, print)
    logged: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: logged.append(record.getMessage())  # type: ignore[method-assign]
    plugin = SimpleNamespace(log_file_handler=handler, log_cli_handler=None)
    config = SimpleNamespace(pluginmanager=SimpleNamespace(get_plugin={"logging-plugin": plugin}.get))
    hooks = SimpleNamespace(pytest_runtest_logreport=lambda: logged.append("report"))
    session = SimpleNamespace(config=config, gethookproxy={"path": hooks}.__getitem__)
    silence_session(session)
    handler.handle(logging.LogRecord("a", logging.ERROR, "a.py", 1, "logged", (), None))
    session.gethookproxy("path").pytest_runtest_logreport()
    for hook in (threading.excepthook, sys.unraisablehook):
        assert hook is not print
        assert hook(None) is None  # type: ignore[arg-type]
    assert logged == []


def test_an_item_is_as_it_was_before() -> None:
    entered: list[Any] = []

    @contextlib.contextmanager
    def catch(*arguments: Any) -> Iterator[None]:
        entered.append(arguments)
        yield

    item = make_item("a", ihook="hook", _excinfo="error")
    warnings = SimpleNamespace(catch_warnings_for_item=catch)
    item.config.pluginmanager.get_plugin = {"warnings": warnings}.get
    item.own_markers, item.user_properties, item.keywords._markers = ["mark"], [("a", 1)], {"a": True}
    item._report_sections = deque([("call", "stdout", "text")])
    markers = item.own_markers

    def change() -> None:
        with keep_item(item):
            item.own_markers.append("xfail")
            item.user_properties.append(("b", 2))
            item.keywords._markers["xfail"] = True
            raise KeyError

    with pytest.raises(KeyError):
        change()
    assert item.own_markers == ["mark"]
    assert item.own_markers is markers
    assert (item.user_properties, item.keywords._markers) == ([("a", 1)], {"a": True})
    assert not item._report_sections
    assert not hasattr(item, "_excinfo")
    assert entered == [(item.config, "hook", "runtest", item)]
