"""What the run that counts does with the process of its silent runs: which tests it leaves to it, what it keeps, and how it ends."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.cassettes import run_folder
from pytest_llmops.cassettes.tape import open_tape
from pytest_llmops.cassettes.tape_config import TapeConfig
from pytest_llmops.harness.ahead import hooks
from pytest_llmops.harness.ahead.answers import AnswerStore, Place
from pytest_llmops.harness.ahead.child import NoSilentProcessError
from pytest_llmops.harness.ahead.hooks import AheadHooks, find_exit_status
from pytest_llmops.harness.ahead.tapes import ClaimingTape
from pytest_llmops.settings import Settings

OURS = object()
PLACE = Place("/p/cassettes/a.json", "key", "0", 0)
WIRE = {"status": 200, "body": "x", "latency_s": 0.5}
FACTS: Mapping[str, Any] = {
    "seconds": 1.25,
    "in_line": [],
    "runs": 2,
    "stopped_by": "",
    "errors": {},
    "journals": [],
    "lives_on": False,
    "postponed": {},
}


class Reporter:
    """Keeps the lines that pytest's reporter would print."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write_line(self, line: str) -> None:
        self.lines.append(line)


class Config:
    """Like pytest's configuration, with options, and the plugins that are asked for."""

    def __init__(self, *, verbosity: int = 0, args: tuple[str, ...] = (), **options: Any) -> None:
        self.options = options
        self.verbosity = verbosity
        self.args = args
        self.reporter = Reporter()
        self.watch = SimpleNamespace(left_out=0)
        self.deselected: list[Any] = []
        self.cleanups: list[Callable[[], object]] = []
        self.add_cleanup = self.cleanups.append
        plugins = {"terminalreporter": self.reporter, "llmops_watch": self.watch}
        self.pluginmanager = SimpleNamespace(get_plugin=plugins.get)
        self.hook = self

    def getoption(self, name: str, default: object = None) -> Any:
        return self.options.get(name, default)

    def pytest_deselected(self, items: list[Any]) -> None:
        self.deselected += items

    def get_verbosity(self) -> int:
        return self.verbosity


class Process:
    """A process of silent runs that sends messages, and then has ended.

    Attributes:
        orders: The orders for its end.
        last: The messages that it sends at its end.
    """

    def __init__(self, *messages: tuple[str, Any], last: tuple[tuple[str, Any], ...] = ()) -> None:
        self.messages = messages
        self.last = list(last)
        self.orders: list[Any] = []
        self.last_error = ""
        self.process_id = 0

    def receive(self) -> Iterator[tuple[str, Any]]:
        for kind, value in self.messages:
            if isinstance(value, BaseException):
                raise value
            yield kind, value

    def end(self, order: object, on_message: Callable[[str, Any], object]) -> list[tuple[str, Any]]:
        self.orders.append(order)
        for kind, value in self.last:
            on_message(kind, value)
        messages, self.last = self.last, []
        return messages


def make_hooks(config: Config) -> AheadHooks:
    return AheadHooks(config, Settings(concurrency=2), OURS, lambda *_, **__: None)  # type: ignore[arg-type]


def make_test(name: str, *marks: pytest.Mark, ours: bool = True) -> Any:
    def find(wanted: str) -> pytest.Mark | None:
        return next((mark for mark in marks if mark.name == wanted), None)

    return SimpleNamespace(
        nodeid=f"test_a.py::{name}",
        stash={OURS} if ours else set(),
        get_closest_marker=find,
        iter_markers=lambda name=None: [mark for mark in marks if name in (None, mark.name)],
        fixturenames=(),
        path=Path("test_a.py"),
    )


def make_session(*items: Any, **more: Any) -> Any:
    return SimpleNamespace(
        items=list(items), testsfailed=0, shouldstop=False, shouldfail=False, exitstatus=0, **more
    )


def receive(config: Config, *messages: tuple[str, Any], last: Any = (), session: Any = None) -> AheadHooks:
    """Let hooks receive the messages of a process, as before the first test."""
    ahead = make_hooks(config)
    process: Any = Process(*messages, last=last)
    ahead._process = process
    ahead._receive_answers(process)
    ahead._leave_out_postponed(session or make_session())
    return ahead


def summary(ahead: AheadHooks) -> list[str]:
    reporter = Reporter()
    ahead.pytest_terminal_summary(reporter)
    return reporter.lines


def mark(name: str, *args: Any, **more: Any) -> pytest.Mark:
    return pytest.Mark(name, args, more, _ispytest=True)


@pytest.mark.parametrize(
    ("item", "may_run"),
    [
        (make_test("plain"), True),
        (make_test("not_ours", ours=False), False),
        (make_test("skipped", mark("skip")), False),
        (make_test("with_a_fault", mark("llm_fault", "timeout")), False),
        (make_test("opted_out", mark("llm_cassette", at_once=False)), False),
        (make_test("has_a_cassette", mark("llm_cassette")), True),
    ],
    ids=lambda value: getattr(value, "nodeid", ""),
)
def test_which_tests_run_silently(item: Any, *, may_run: bool) -> None:
    ahead = make_hooks(Config())
    assert ahead._may_run_ahead(item) is may_run
    assert ahead._is_needed(make_session(make_test("other", ours=False), item)) is may_run


def test_a_test_that_another_plugin_records_does_not_run_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "is_recorded_elsewhere", lambda _: True)
    assert not make_hooks(Config())._may_run_ahead(make_test("foreign"))


def test_after_an_error_of_collection_nothing_runs_silently() -> None:
    session = make_session(make_test("a"))
    session.testsfailed = 1
    assert not make_hooks(Config())._is_needed(session)
    assert make_hooks(Config(continue_on_collection_errors=True))._is_needed(session)
    assert not make_hooks(Config())._is_needed(make_session())
    assert make_hooks(Config(dist="load"))._is_needed(make_session())  # it has collected nothing


class Loop:
    """Runs the hook around pytest's loop, and notes whether requests were sent ahead."""

    def __init__(self, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[str] = []
        monkeypatch.setattr(hooks, "find_parent_link", lambda: None)
        self.ahead = make_hooks(config)
        monkeypatch.setattr(self.ahead, "_ask_ahead", lambda _: self.steps.append("ahead"))

    def run(self, session: Any) -> list[str]:
        steps = self.ahead.pytest_runtestloop(session)
        next(steps)
        self.steps.append("loop")
        with pytest.raises(StopIteration) as ended:
            steps.send("result")
        self.steps.append(str(ended.value.value))
        return self.steps


@pytest.mark.parametrize("option", ["usepdb", "trace", "setuponly", "setupplan", "collectonly"])
def test_options_that_run_no_test_or_stop_in_it_send_nothing_ahead(
    monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    session = make_session(make_test("a"))
    on: dict[str, Any] = {option: True}
    off: dict[str, Any] = {option: False}
    assert Loop(Config(**on), monkeypatch).run(session) == ["loop", "result"]
    assert Loop(Config(**off), monkeypatch).run(session) == ["ahead", "loop", "result"]


def test_a_worker_of_xdist_and_a_run_without_such_tests_send_nothing_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = Config()
    worker.workerinput = {}  # type: ignore[attr-defined]
    assert Loop(worker, monkeypatch).run(make_session(make_test("a"))) == ["loop", "result"]
    assert Loop(Config(), monkeypatch).run(make_session(make_test("a", ours=False))) == ["loop", "result"]


def test_the_process_of_the_silent_runs_gets_those_tests_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended(Exception):
        """In place of the end of this process."""

    made: list[Any] = []

    def make_silent_runs(*link: Any, is_fork: bool) -> Any:
        made.append((link, is_fork))
        return SimpleNamespace(run=run)

    def run(*tests: Any) -> None:
        made.append(tests)
        raise Ended

    monkeypatch.setattr(hooks, "find_parent_link", lambda: "link")
    ahead = AheadHooks(Config(), Settings(), OURS, make_silent_runs)
    one, other = make_test("one"), make_test("other", ours=False)
    session = make_session(one, other)
    with pytest.raises(Ended):
        next(ahead.pytest_runtestloop(session))
    with pytest.raises(Ended):
        ahead._run_silently(session, "fork link", is_fork=True)  # type: ignore[arg-type]
    tests = (session, [one])
    assert made == [(("link",), False), tests, (("fork link",), True), tests]


def test_a_fork_runs_the_tests_as_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def make_silent_runs(*link: Any, is_fork: bool) -> Any:
        made.append((link, is_fork))
        return SimpleNamespace(run=lambda *tests: made.append(tests))

    def fork(_: object, run_silently: Callable[[str], object]) -> Process:
        run_silently("link")
        return Process(("facts", FACTS))

    monkeypatch.setattr(hooks, "find_process_kind", lambda _: "fork")
    monkeypatch.setattr(hooks, "fork_process", fork)
    session = make_session()
    AheadHooks(Config(), Settings(), OURS, make_silent_runs)._ask_ahead(session)
    assert made == [(("link",), True), (session, [])]


def test_tests_claim_their_answers_while_the_loop_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hooks, "find_parent_link", lambda: None)
    ahead = make_hooks(Config())
    steps = ahead.pytest_runtestloop(make_session())
    next(steps)
    tape = open_tape(tmp_path / "a.json", "new", TapeConfig())
    assert isinstance(tape, ClaimingTape)
    assert tape.state is ahead._state
    steps.close()
    assert not isinstance(open_tape(tmp_path / "a.json", "new", TapeConfig()), ClaimingTape)


def test_without_another_process_the_calls_are_made_one_after_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: object) -> str:
        raise NoSilentProcessError("a debugger is running")

    monkeypatch.setattr(hooks, "find_process_kind", refuse)
    ahead = make_hooks(Config())
    ahead._ask_ahead(make_session())
    (line,) = summary(ahead)
    assert "a debugger" in line
    check_message(line)


@pytest.mark.parametrize("kind", ["fork", "fresh"])
def test_a_process_that_cannot_be_started_is_named(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    def fail(*_: object) -> None:
        raise OSError("no memory")

    monkeypatch.setattr(hooks, "find_process_kind", lambda _: kind)
    monkeypatch.setattr(hooks, {"fork": "fork_process", "fresh": "start_fresh_process"}[kind], fail)
    ahead = make_hooks(Config())
    ahead._ask_ahead(make_session())
    (line,) = summary(ahead)
    assert "(no memory)" in line
    check_message(line)


def ask_ahead(
    config: Config, monkeypatch: pytest.MonkeyPatch, process: Process, session: Any = None
) -> AheadHooks:
    monkeypatch.setattr(hooks, "find_process_kind", lambda _: "fresh")
    monkeypatch.setattr(hooks, "start_fresh_process", lambda _: process)
    ahead = make_hooks(config)
    ahead._ask_ahead(session or make_session())
    return ahead


def test_answers_and_progress_are_taken_until_the_facts_come(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config()
    messages = [
        ("process", 123),
        ("progress", "sent ahead: 1 of 2 calls answered"),
        ("answer", [list(PLACE), WIRE]),
        ("answer", [list(PLACE._replace(n=1)), WIRE]),
        ("facts", {**FACTS, "in_line": ["test_a.py::test_b: its requests differ"]}),
        ("answer", [["never", "read", "0", 0], WIRE]),
    ]
    process = Process(*messages, last=(("end", {"notes": ["kept: 1 answer"], "lines": ["collected b"]}),))
    ahead = ask_ahead(config, monkeypatch, process)
    assert process.process_id == 123
    assert config.reporter.lines == ["sent ahead: 1 of 2 calls answered"]
    assert ahead._state.store.answers == {PLACE: WIRE, PLACE._replace(n=1): WIRE}
    assert process.orders == [None]
    assert len(config.cleanups) == 1
    ahead._state.store.claim(PLACE)
    lines = summary(ahead)
    assert (lines[0], lines[-1]) == ("batch: collected b", "kept: 1 answer")
    assert "2 calls in 1.2 s" in lines[1]
    assert "3 times" in lines[1]
    assert lines[2].endswith("test_a.py::test_b: its requests differ")
    check_message(lines)
    config.verbosity = -1
    assert summary(ahead) == ["batch: collected b"]


def test_a_process_with_batches_lives_until_the_run_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(("facts", {**FACTS, "lives_on": True}))
    ahead = ask_ahead(Config(), monkeypatch, process)
    assert process.orders == []
    ahead._state.closed.update({"/p/b.json", "/p/a.json", PLACE.cassette})
    ahead._state.store.add(PLACE, WIRE)
    ahead.pytest_sessionfinish(make_session(), 0)
    assert process.orders == [{"is_over": True, "is_part": False, "closed": ["/p/a.json", "/p/b.json"]}]


def test_a_controller_of_xdist_leaves_the_answers_to_its_workers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(run_folder.RUN_FOLDER_VARIABLE, str(tmp_path))
    worker_config = Config()
    worker_config.workerinput = {}  # type: ignore[attr-defined]
    worker_config.workeroutput = {}  # type: ignore[attr-defined]
    worker = make_hooks(worker_config)
    messages = (("answer", [list(PLACE), WIRE]), ("facts", FACTS))
    controller = ask_ahead(Config(dist="load"), monkeypatch, Process(*messages))
    worker.pytest_runtest_protocol(make_test("first"))
    assert worker._state.test == "test_a.py::first"
    assert worker._state.store.claim(PLACE) == WIRE
    worker.pytest_runtest_protocol(make_test("second"))
    assert worker._state.store.claim(PLACE) is None  # read once
    worker._state.not_ahead.update({"test_a.py::second", "test_a.py::first"})
    worker.pytest_sessionfinish(make_session(), 0)
    output = json.loads(json.dumps(worker_config.workeroutput))  # type: ignore[attr-defined]
    controller.pytest_testnodedown(SimpleNamespace(workeroutput=output))
    controller.pytest_testnodedown(SimpleNamespace())  # one that has crashed
    assert controller._state.not_ahead == {"test_a.py::first", "test_a.py::second"}
    check_message(summary(controller))  # the answer was used


def test_a_run_without_workers_shares_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(run_folder.RUN_FOLDER_VARIABLE, str(tmp_path))
    ask_ahead(Config(), monkeypatch, Process(("answer", [list(PLACE), WIRE]), ("facts", FACTS)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("messages", "last_error", "why"),
    [
        ((), "", "ended;"),
        ((), "MemoryError", "ended MemoryError;"),
        ((("failed", "OSError: full (a.py:1)"),), "MemoryError", "OSError: full (a.py:1)"),
        ((("facts", {**FACTS, "stopped_by": "SystemExit 3"}),), "", "SystemExit 3"),
    ],
)
def test_silent_runs_that_end_early_are_told_with_the_reason(
    messages: tuple[tuple[str, Any], ...], last_error: str, why: str
) -> None:
    ahead = make_hooks(Config())
    process: Any = Process(("answer", [list(PLACE), WIRE]), *messages)
    process.last_error = last_error
    ahead._receive_answers(process)
    line = summary(ahead)[-1]
    assert why in line
    check_message(line)
    assert ahead._answer_count == 1
    assert process.orders == [None]


def test_an_interrupt_names_the_test_and_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    running = ("running", ["test_a.py::test_b", 60.0])
    process = Process(running, ("interrupt", KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt) as interrupted:
        ask_ahead(Config(), monkeypatch, process)
    assert str(interrupted.value).endswith(": test_a.py::test_b")
    assert process.orders == [None]
    check_message(interrupted.value)
    process = Process(("running", ["", 60.0]), ("interrupt", KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt) as between:
        ask_ahead(Config(), monkeypatch, process)
    check_message(between.value)


def test_tests_that_wait_for_a_batch_are_deselected(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config()
    waits, other = make_test("waits"), make_test("other")
    session = make_session(waits, other)
    facts = {**FACTS, "postponed": {waits.nodeid: True, "test_b.py::gone": False}}
    ask_ahead(config, monkeypatch, Process(("facts", facts)), session)
    assert session.items == [other]
    assert config.deselected == [waits]
    assert config.watch.left_out == 1


@pytest.mark.parametrize(
    ("postponed", "status"),
    [
        ({}, 1),
        ({"a": False}, 4),
        ({"a": True}, 75),
        ({"a": False, "b": True, "c": False}, 75),
    ],
)
def test_the_exit_status_tells_of_tests_that_wait_for_a_batch(
    postponed: dict[str, bool], status: int
) -> None:
    assert find_exit_status(1, postponed) == status


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "postponed", "stop", "is_over", "exit_status"),
    [
        (0, {}, {}, True, 0),
        (1, {}, {}, True, 1),
        (5, {}, {}, True, 5),
        (0, {"a": True}, {}, False, 75),
        (5, {"a": False}, {}, False, 4),
        (2, {"a": True}, {}, False, 2),
        (3, {}, {}, False, 3),
        (1, {}, {"shouldfail": "stopping after 1 failures"}, False, 1),
        (1, {}, {"shouldstop": "Session.shouldstop"}, False, 1),
        (1, {"a": True}, {"shouldfail": "stopping after 1 failures"}, False, 75),
    ],
)
def test_the_journals_go_only_after_a_run_whose_tests_have_all_run(  # noqa: PLR0917 -- one column each
    tmp_path: Path,
    status: int,
    postponed: dict[str, bool],
    stop: dict[str, str],
    is_over: bool,
    exit_status: int,
) -> None:
    (tmp_path / ".journal").mkdir()
    journal = tmp_path / ".journal" / "run.000000-1-00000000.journal"
    journal.write_bytes(b"{}\n")
    facts = {**FACTS, "postponed": postponed, "journals": [str(journal)]}
    ahead = receive(Config(), ("facts", facts))
    process: Any = ahead._process
    session = make_session()
    session.exitstatus = status
    vars(session).update(stop)
    ahead.pytest_sessionfinish(session, status)
    assert process.orders[-1] == {"is_over": is_over, "is_part": False, "closed": []}
    assert journal.exists() is not is_over
    assert session.exitstatus == exit_status


def test_a_run_whose_calls_were_stopped_keeps_its_journals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "are_live_calls_stopped", lambda: True)
    ahead = receive(Config(), ("facts", {**FACTS, "lives_on": True, "postponed": {"a": True}}))
    process: Any = ahead._process
    session = make_session()
    ahead.pytest_sessionfinish(session, 0)
    assert (process.orders[-1]["is_over"], session.exitstatus) == (False, 0)


def test_a_run_without_a_process_ends_as_it_would() -> None:
    session = make_session()
    ahead = make_hooks(Config())
    ahead._postponed = {"a": True}
    ahead.pytest_sessionfinish(session, 0)
    assert session.exitstatus == 0


@pytest.mark.parametrize(
    ("left_out", "args", "is_part"),
    [(0, ("tests",), False), (1, ("tests",), True), (0, ("tests", "test_a.py::test_b"), True)],
)
def test_a_run_of_some_tests_is_a_part(left_out: int, args: tuple[str, ...], *, is_part: bool) -> None:
    config = Config(args=args)
    config.watch.left_out = left_out
    assert make_hooks(config)._is_part() is is_part


def test_the_time_of_claimed_calls_is_added_to_one_report() -> None:
    ahead = make_hooks(Config())
    ahead._state.store.answers = {PLACE: WIRE, PLACE._replace(n=1): {**WIRE, "latency_s": None}}
    ahead._state.store.claim(PLACE)
    ahead._state.store.claim(PLACE._replace(n=1))
    durations = []
    for duration in (1.0, 2.0):
        report = SimpleNamespace(duration=duration)
        ahead.pytest_runtest_logreport(report)
        durations.append(report.duration)
    assert durations == [1.5, 2.0]


def test_an_answer_is_claimed_once_and_told_to_who_asks() -> None:
    told: list[Any] = []
    store = AnswerStore(on_answer=lambda *answer: told.append(answer))
    store.add(PLACE, WIRE)
    assert [store.claim(PLACE), store.claim(PLACE)] == [WIRE, None]
    assert (store.claimed, store.latency_s, told) == (1, 0.5, [(PLACE, WIRE)])


def test_only_the_tests_that_came_to_their_calls_are_named_as_failed() -> None:
    facts = {
        **FACTS,
        "in_line": ["a: its requests differ"],
        "errors": {"a": "ValueError: x", "b": "ValueError: y", "c": "ValueError: z"},
    }
    named = hooks._name_failed_tests(facts, {"a", "b"})
    assert named["in_line"][0] == "a: its requests differ"
    assert [line.partition(":")[0] for line in named["in_line"]] == ["a", "b"]
    assert named["in_line"][1].endswith("(ValueError: y)")
    check_message(named["in_line"][1])
    assert facts["in_line"] == ["a: its requests differ"]
    assert hooks._name_failed_tests({}, {"a"}) == {}


def test_ten_tests_are_named_and_the_others_counted() -> None:
    names = [f"test_{number}: {'why ' * 99}" for number in range(12)]
    facts = {**FACTS, "in_line": names[:10]}
    lines = hooks._describe_facts(facts, 0, 0)
    assert [re.findall(r"test_\d+", line) for line in lines] == [[f"test_{number}"] for number in range(10)]
    check_message(lines[0])  # it is shortened
    facts["in_line"] = names
    (more,) = hooks._describe_facts(facts, 0, 0)[10:]
    assert more.endswith(": 2 more")
    assert hooks._describe_facts({}, 3, 0) == []


@pytest.mark.parametrize(
    ("claimed", "numbers"), [(3, ["3", "1.2", "3"]), (4, ["3", "1.2", "3"]), (1, ["3", "1.2", "3", "2"])]
)
def test_answers_that_no_test_has_claimed_are_counted(claimed: int, numbers: list[str]) -> None:
    """After the number of calls, their seconds, and how often a test ran."""
    (line,) = hooks._describe_facts(FACTS, 3, claimed)
    assert re.findall(r"[\d.]+", line) == numbers
