"""The guard of a run that replays: which calls it refuses, what it says of them, and how a refused call fails the run."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.cassettes import late_call_checks
from pytest_llmops.errors import CassetteMiss
from pytest_llmops.harness import closed_session, tracebacks
from pytest_llmops.harness.closed_session import REFUSED_OUTPUT, ClosedSession, WorkerHooks, find_message
from pytest_llmops.settings import Settings

OPENAI = "api.openai.com"
CHAT = f"https://{OPENAI}/v1/chat/completions"
BODY = b'{"model": "m", "messages": []}'
TEST = "the running test"


class UsageError(Exception):
    """pytest's exception for a run that cannot go on."""


class Exit(Exception):
    """pytest's exception that ends a run without a traceback."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Change:
    """A change of the system, as patches are."""

    def __init__(self, log: list[str], name: str) -> None:
        self.log, self.name = log, name

    def apply(self) -> None:
        self.log.append(f"apply {self.name}")

    def restore_attribute(self) -> None:
        self.log.append(f"restore {self.name}")


class PluginConfig(SimpleNamespace):
    """pytest's configuration: keeps what is registered, and what is called at its end."""

    def __init__(self, root: Path, **more: Any) -> None:
        super().__init__(rootpath=root, registered={}, cleanups=[], **more)
        self.pluginmanager = SimpleNamespace(register=self._register)

    def _register(self, plugin: object, name: str) -> None:
        self.registered[name] = plugin

    def add_cleanup(self, function: Callable[[], None]) -> None:
        self.cleanups.append(function)


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The changes of the system that a guard makes, none of which is real; its check of late calls is taken back."""
    log: list[str] = []
    monkeypatch.setattr(
        closed_session, "network_patches", lambda _check: [Change(log, "a"), Change(log, "b")]
    )
    monkeypatch.setattr(closed_session, "request_patches", lambda _check: Change(log, "c"))
    monkeypatch.setattr(closed_session, "_is_command", lambda: False)  # this very run is one
    before = list(late_call_checks)
    yield log
    late_call_checks[:] = before


def guard_of(root: Path, *, worker: bool = False, **settings: Any) -> ClosedSession:
    more: dict[str, Any] = {"workerinput": {}, "workeroutput": {}} if worker else {}
    return ClosedSession(PluginConfig(root, **more), Settings(**settings), UsageError, Exit)


@pytest.fixture
def guard(tmp_path: Path) -> ClosedSession:
    return guard_of(tmp_path)


def refused(guard: ClosedSession) -> str:
    """The message of a connection that the guard has refused."""
    with pytest.raises(CassetteMiss) as caught:
        guard._check_host(OPENAI, 443)
    return str(caught.value)


def run_hook(hook: Any, result: object = "result") -> object:
    """Run a hook wrapper around other hooks that return a result."""
    next(hook)
    with pytest.raises(StopIteration) as ended:
        hook.send(result)
    return ended.value.value


# What is refused.


def test_a_connection_to_a_model_outside_of_tests_is_refused_and_names_the_caller(
    guard: ClosedSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        closed_session, "_describe_caller", lambda _root: "conftest.py:7, hook pytest_configure"
    )
    check_message(refused(guard))


@pytest.mark.parametrize(
    ("host", "port", "settings"),
    [
        ("example.org", 443, {}),
        (OPENAI, 443, {"allow_hosts": (OPENAI,)}),
        ("API.OpenAI.com", 443, {"allow_hosts": (OPENAI,)}),
        (OPENAI, 443, {"calls_outside_tests": "allow"}),
        ("127.0.0.1", 1, {"base_url": "http://127.0.0.1:8080/v1"}),
    ],
)
def test_other_connections_are_made(tmp_path: Path, host: str, port: int, settings: Any) -> None:
    guard_of(tmp_path, **settings)._check_host(host, port)


def test_a_connection_to_the_own_server_is_refused_at_its_port(tmp_path: Path) -> None:
    guard = guard_of(tmp_path, base_url="http://127.0.0.1:8080/v1")
    with pytest.raises(CassetteMiss):
        guard._check_host("127.0.0.1", 8080)


def test_what_is_recorded_may_call(guard: ClosedSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_session, "current_tape", lambda: "a tape")
    guard._check_host(OPENAI, 443)
    assert guard._check_request("POST", CHAT, lambda: BODY) is False


def test_within_a_test_the_guard_of_the_tests_decides(guard: ClosedSession) -> None:
    guard.pytest_runtest_setup(TEST)
    guard._check_host(OPENAI, 443)
    asked = []

    def refuse(item: object, host: str) -> BaseException:
        asked.append((item, host))
        return KeyError("in a test")

    guard.refuse_in_test = refuse
    guard.pytest_runtest_setup("an inner test")
    with pytest.raises(KeyError):
        guard._check_host(OPENAI, 443)
    assert asked == [("an inner test", OPENAI)]
    assert guard.take_unreported() == []


@pytest.mark.parametrize("ending", ["pytest_runtest_teardown", "pytest_runtest_protocol"])
def test_after_a_test_calls_are_refused_again(guard: ClosedSession, ending: str) -> None:
    guard.pytest_runtest_setup(TEST)
    hook = getattr(guard, ending)(TEST)
    next(hook)
    guard._check_host(OPENAI, 443)
    with pytest.raises(KeyError):
        hook.throw(KeyError("the test failed"))
    refused(guard)


def test_a_test_whose_set_up_failed_elsewhere_runs_from_its_tear_down_on(guard: ClosedSession) -> None:
    hook = guard.pytest_runtest_teardown(TEST)
    next(hook)
    guard._check_host(OPENAI, 443)
    with pytest.raises(StopIteration):
        hook.send(None)
    refused(guard)


def test_a_request_to_a_model_outside_of_tests_is_refused(guard: ClosedSession) -> None:
    with pytest.raises(CassetteMiss):
        guard._check_request("post", CHAT, lambda: BODY)
    guard.pytest_runtest_setup(TEST)
    assert guard._check_request("POST", CHAT, lambda: BODY) is False


@pytest.mark.parametrize(
    ("method", "url", "settings"),
    [
        ("GET", CHAT, {}),
        ("POST", CHAT, {"calls_outside_tests": "allow"}),
        ("POST", CHAT, {"allow_hosts": (OPENAI,)}),
        ("POST", CHAT.replace("api.o", "API.O"), {"allow_hosts": (OPENAI,)}),
        ("POST", "https://app.example/responses", {}),
    ],
)
def test_other_requests_are_sent(tmp_path: Path, method: str, url: str, settings: Any) -> None:
    assert guard_of(tmp_path, **settings)._check_request(method, url, lambda: b'{"text": "hi"}') is False


@pytest.mark.parametrize(("is_model", "answered"), [(True, True), (False, False)])
def test_traces_for_the_host_of_a_model_are_answered_instead_of_sent(
    guard: ClosedSession, monkeypatch: pytest.MonkeyPatch, *, is_model: bool, answered: bool
) -> None:
    monkeypatch.setattr(closed_session, "has_telemetry_host", lambda _method, _url: True)
    url = CHAT if is_model else "https://traces.example/v1/chat/completions"
    assert guard._check_request("POST", url, lambda: BODY) is answered


def test_a_process_that_outlived_its_test_may_not_call(guard: ClosedSession) -> None:
    error = guard.refuse_late_call("host.example")
    assert isinstance(error, CassetteMiss)
    check_message(error)
    assert guard.take_unreported() == [str(error)]


@pytest.mark.parametrize("settings", [{"record": "new"}, {"calls_outside_tests": "allow"}])
def test_a_process_that_outlived_its_test_may_call_where_others_may(tmp_path: Path, settings: Any) -> None:
    assert guard_of(tmp_path, **settings).refuse_late_call("host.example") is None


def test_a_process_that_outlived_its_test_may_call_while_another_runs(guard: ClosedSession) -> None:
    guard.pytest_runtest_setup(TEST)
    assert guard.refuse_late_call("host.example") is None


# Who calls.


def describe_from(file: Path, text: str, root: Path) -> str:
    """Execute code of a file that describes who calls, as ``found``."""
    space: dict[str, Any] = {"describe": functools.partial(closed_session._describe_caller, root)}
    exec(compile(text, str(file), "exec"), space)
    found: str = space["found"]
    return found


HOOK = """
def helper():
    return describe()

def pytest_configure():
    return helper()

found = pytest_configure()
"""


@pytest.mark.parametrize(
    ("file", "text", "place"),
    [
        ("conftest.py", HOOK, "conftest.py:3, hook pytest_configure"),
        ("sub/test_a.py", "\n\nfound = describe()", "sub/test_a.py:3, import of sub/test_a.py"),
        ("/elsewhere/a.py", "found = describe()", "/elsewhere/a.py:1, import of /elsewhere/a.py"),
    ],
)
def test_the_place_of_a_call_is_the_users_line_and_the_hook_or_module_around_it(
    tmp_path: Path, file: str, text: str, place: str
) -> None:
    assert describe_from(tmp_path / file, text, tmp_path) == place


def test_lines_of_libraries_are_no_place_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracebacks, "LIBRARY", re.compile(""))
    check_message(closed_session._describe_caller(tmp_path))
    monkeypatch.setattr(tracebacks, "LIBRARY", re.compile(r"^(?!/project/thread\.py)"))
    text = "def work():\n    return describe()\nfound = work()"
    found = describe_from(Path("/project/thread.py"), text, Path("/project"))
    assert found == "thread.py:2, import of thread.py"


# A refused call is found behind other errors.


def chained(error: BaseException, *, by: str) -> BaseException:
    if by == "group":
        return BaseExceptionGroup("several", [KeyError("other"), ValueError("more"), error])
    outer = KeyError("outer")
    setattr(outer, by, error)
    return outer


@pytest.mark.parametrize("by", ["__context__", "__cause__", "group"])
def test_a_refused_call_is_found_behind_other_errors(by: str) -> None:
    error = chained(chained(CassetteMiss("no"), by=by), by=by)
    assert find_message(error, ["no"]) == "no"
    assert find_message(error, ["another"]) == ""


def test_a_refused_call_is_found_at_once() -> None:
    assert find_message(CassetteMiss("no"), {"no": 1}) == "no"
    assert find_message(KeyError("no"), ["'no'"]) == ""
    assert find_message(None, ["no"]) == ""


def test_an_error_that_is_its_own_cause_ends_the_search() -> None:
    error = KeyError("a")
    error.__context__ = other = KeyError("b")
    other.__context__ = error
    assert find_message(error, ["no"]) == ""


def test_a_refused_call_is_found_behind_fifty_errors_that_each_name_the_one_before_twice() -> None:
    error: BaseException = CassetteMiss("no")
    for number in range(50):
        later = ValueError(number)
        later.__context__ = later.__cause__ = error
        error = later
    assert find_message(error, ["no"]) == "no"


def test_an_attribute_of_another_library_is_no_group() -> None:
    error = KeyError("a")
    error.exceptions = 3  # type: ignore[attr-defined]
    assert find_message(error, ["no"]) == ""
    error.exceptions = ["no error", CassetteMiss("no")]  # type: ignore[attr-defined]
    assert find_message(error, ["no"]) == "no"


# The run fails for a refused call, however often it is caught.


def test_a_refused_call_is_shown_once(guard: ClosedSession) -> None:
    text = refused(guard)
    assert refused(guard) == text
    assert guard.take_unreported() == [text]
    assert guard.take_unreported() == []


def test_a_block_that_a_refused_call_ends_ends_the_run_without_a_traceback(guard: ClosedSession) -> None:
    with pytest.raises(UsageError) as caught, guard.end_run_if_refused():
        guard._check_host(OPENAI, 443)
    assert caught.value.__suppress_context__
    assert OPENAI in str(caught.value)
    assert guard.take_unreported() == []


def test_a_block_that_another_error_ends_keeps_it(guard: ClosedSession) -> None:
    refused(guard)
    with pytest.raises(KeyError), guard.end_run_if_refused():
        raise KeyError
    assert len(guard.take_unreported()) == 1


def test_a_refused_call_in_a_hook_ends_the_run_instead_of_an_internal_error(guard: ClosedSession) -> None:
    text = refused(guard)
    with pytest.raises(Exit) as caught:
        guard.pytest_internalerror(SimpleNamespace(value=CassetteMiss(text)))
    assert (str(caught.value), caught.value.status) == (text, 4)
    assert guard.take_unreported() == []
    guard.pytest_internalerror(SimpleNamespace(value=KeyError("a bug")))


def test_a_worker_leaves_an_internal_error_to_xdist(tmp_path: Path) -> None:
    guard = guard_of(tmp_path, worker=True)
    text = refused(guard)
    guard.pytest_internalerror(SimpleNamespace(value=CassetteMiss(text)))
    assert guard.take_unreported() == [text]


def test_a_module_that_calls_while_it_is_imported_is_a_collection_error(guard: ClosedSession) -> None:
    refused(guard)
    report = SimpleNamespace(outcome="passed", result=["a test"], longrepr=None)
    assert run_hook(guard.pytest_make_collect_report("a module"), report) is report
    assert (report.outcome, report.result) == ("passed", ["a test"])
    hook = guard.pytest_make_collect_report("another module")
    next(hook)
    text = refused(guard)
    with pytest.raises(StopIteration):
        hook.send(report)
    assert (report.outcome, report.result) == ("failed", [])
    assert report.longrepr == "\n".join(f"E   {line}" for line in text.splitlines())
    assert guard.take_unreported() == []


@pytest.mark.parametrize(("status", "after"), [(0, 1), (5, 1), (1, 1), (2, 2), (4, 4)])
def test_a_refused_call_fails_a_run_without_a_failure(guard: ClosedSession, status: int, after: int) -> None:
    session = SimpleNamespace(exitstatus=status)
    assert run_hook(guard.pytest_sessionfinish(session)) == "result"
    assert session.exitstatus == status
    refused(guard)
    hook = guard.pytest_sessionfinish(session)
    next(hook)
    assert session.exitstatus == after
    session.exitstatus = status  # as another plugin sets it
    with pytest.raises(StopIteration):
        hook.send(None)
    assert session.exitstatus == after


def test_a_call_refused_in_the_last_hook_ends_the_run(guard: ClosedSession) -> None:
    session = SimpleNamespace(exitstatus=0)
    text = refused(guard)
    hook = guard.pytest_sessionfinish(session)
    next(hook)
    with pytest.raises(Exit):
        hook.throw(CassetteMiss(text))
    assert session.exitstatus == 1
    other = guard.pytest_sessionfinish(session)
    next(other)
    with pytest.raises(KeyError):
        other.throw(KeyError("a bug"))


def test_a_worker_sends_its_refused_calls_to_the_controller(tmp_path: Path) -> None:
    worker = guard_of(tmp_path, worker=True)
    worker.pytest_configure(worker._config)
    (hooks,) = worker._config.registered.values()
    assert isinstance(hooks, WorkerHooks)
    text = refused(worker)
    assert run_hook(hooks.pytest_sessionfinish()) == "result"
    assert worker._config.workeroutput == {REFUSED_OUTPUT: [text]}
    controller = guard_of(tmp_path)
    session = SimpleNamespace(exitstatus=0)
    controller.pytest_sessionstart(session)
    controller.pytest_testnodedown(SimpleNamespace())
    controller.pytest_testnodedown(SimpleNamespace(workeroutput=worker._config.workeroutput))
    assert controller.take_unreported() == [text]
    controller._fail_session()
    assert session.exitstatus == 1


def test_only_a_worker_registers_hooks_for_its_controller(guard: ClosedSession) -> None:
    guard.pytest_configure(guard._config)
    assert guard._config.registered == {}


# Its begin and end.


def test_the_guard_changes_the_system_and_changes_it_back_in_reverse(
    tmp_path: Path, changes: list[str]
) -> None:
    guard = guard_of(tmp_path)
    guard.start()
    assert changes == ["apply a", "apply b", "apply c"]
    assert guard._config.registered == {closed_session.PLUGIN_NAME: guard}
    assert guard._config.cleanups == [guard.end]
    assert late_call_checks[-1] == guard.refuse_late_call
    changes.clear()
    guard.end()
    assert changes == ["restore c", "restore b", "restore a"]
    assert guard.refuse_late_call not in late_call_checks
    guard.end()  # a second time is harmless


@pytest.mark.parametrize(("worker", "command"), [(True, False), (False, True)])
def test_connections_stay_closed_where_the_process_ends_with_the_run(
    tmp_path: Path, changes: list[str], monkeypatch: pytest.MonkeyPatch, *, worker: bool, command: bool
) -> None:
    monkeypatch.setattr(closed_session, "_is_command", lambda: command)
    guard = guard_of(tmp_path, worker=worker)
    guard.start()
    changes.clear()
    guard.end()
    assert changes == [], "they were opened"


def test_the_end_shows_what_nothing_has_shown(
    tmp_path: Path, changes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    del changes
    guard = guard_of(tmp_path)
    guard._session = SimpleNamespace(exitstatus=0)
    text = refused(guard)
    guard.end()
    assert capsys.readouterr().err == f"ERROR: {text}\n"
    assert guard._session.exitstatus == 1
    refused(guard)  # nothing comes after the end: it is shown at once
    assert capsys.readouterr().err.startswith("ERROR: ")


def call_and_end(guard: ClosedSession) -> None:
    """Call a model in a hook, and end the run while the error is handled."""
    try:
        guard._check_host(OPENAI, 443)
    finally:
        guard.end()


def test_a_call_refused_in_unconfigure_is_an_error_of_the_run(
    tmp_path: Path, changes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    guard = guard_of(tmp_path)
    with pytest.raises(UsageError) as caught:
        call_and_end(guard)
    assert OPENAI in str(caught.value)
    assert (len(changes), capsys.readouterr().err) == (3, "")


def test_in_a_worker_a_call_refused_in_unconfigure_is_printed(
    tmp_path: Path, changes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CassetteMiss) as caught:
        call_and_end(guard_of(tmp_path, worker=True))
    assert (changes, capsys.readouterr().err) == ([], f"ERROR: {caught.value}\n")


PYTEST_FRAMES = """
def console_main(call): return main(call)
def main(call): return call()
"""


@pytest.mark.parametrize(
    ("start", "command"),
    [
        ("found = console_main(call)", True),
        ("found = main(call)", False),
        ("def own(call): return main(call)\nfound = own(call)", False),
    ],
)
def test_a_program_that_calls_pytest_goes_on_after_the_run(start: str, *, command: bool) -> None:
    space: dict[str, Any] = {"__name__": "_pytest.config"}
    exec(PYTEST_FRAMES, space)
    # A frame of this very run of pytest lies further out, with other functions in between.
    program = {"__name__": "program", "main": space["main"], "console_main": space["console_main"]}
    found: dict[str, Any] = {}
    exec(start, {**program, "call": closed_session._is_command}, found)
    assert found["found"] is command


def test_without_pytests_main_function_no_command_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = SimpleNamespace(f_globals={"__name__": "x"}, f_code=SimpleNamespace(co_name="main"), f_back=None)
    monkeypatch.setattr(sys, "_getframe", lambda _depth: frame)
    assert closed_session._is_command() is False
