"""The phase before the reported run: which tests run again, when their requests are sent, and which make their calls themselves."""

from __future__ import annotations

from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from support.silent import SilentWorld, make_item

from pytest_llmops.errors import CallDeferred
from pytest_llmops.harness.ahead import phase
from pytest_llmops.harness.ahead.answers import Place
from pytest_llmops.harness.ahead.phase import (
    MAX_WAIT_S,
    REPORT_INTERVAL_S,
    TEAR_DOWN,
    UNSETTLED,
    Decision,
    Unit,
    decide_after_run,
    find_wait_s,
)
from pytest_llmops.harness.ahead.tapes import PendingRequest, SilentRun
from pytest_llmops.settings import Settings

A, B, C = (Place("a.json", key, "0", 0) for key in "abc")


def make_run(*places: Place, waits: tuple[Place, ...] = (), in_line: str = "") -> SilentRun:
    """A silent run that made requests, and waits for answers to the requests of others."""
    nothing: Any = None
    requests = {place: PendingRequest(place, nothing, nothing, "app") for place in places}
    return SilentRun(requests, set(waits), in_line)


def make_unit(
    *awaited: Place, retried: bool = False, unconfirmed: tuple[Place, ...] = (), in_line: str = ""
) -> Unit:
    unit = Unit(None, None, 0, awaited=set(awaited), is_retried=retried, in_line=in_line)
    unit.unconfirmed = set(unconfirmed)
    return unit


@pytest.mark.parametrize(
    ("unit", "run", "used", "decision"),
    [
        (make_unit(), make_run(), (), Decision("end")),
        (make_unit(), make_run(A), (), Decision("send")),
        (make_unit(), make_run(waits=(A,)), (), Decision("send")),
        (make_unit(A), make_run(B), (A,), Decision("send")),
        (make_unit(A), make_run(), (A,), Decision("end")),
        (make_unit(A), make_run(), (), Decision("end")),
        (make_unit(in_line="why"), make_run(A), (), Decision("end", "why")),
        (make_unit(), make_run(A, in_line="own"), (), Decision("end", "own")),
        (make_unit(in_line="why"), make_run(A, in_line="own"), (), Decision("end", "why")),
        (make_unit(), make_run(in_line="own"), (), Decision("end", "own")),
    ],
)
def test_a_test_ends_once_it_waits_for_nothing_and_is_sent_otherwise(
    unit: Unit, run: SilentRun, used: tuple[Place, ...], decision: Decision
) -> None:
    assert decide_after_run(unit, run, used, confirms=False) == decision


@pytest.mark.parametrize(
    ("unit", "used", "decision"),
    [
        (make_unit(A), (), Decision("end", UNSETTLED)),  # it has used nothing of what it waited for
        (make_unit(A, B), (A,), Decision("again")),
        (make_unit(B, retried=True), (A,), Decision("end", UNSETTLED)),
        (make_unit(A, B, retried=True), (A,), Decision("end", UNSETTLED)),
        (make_unit(A, retried=True), (A,), Decision("send")),
    ],
)
def test_a_test_that_does_not_use_its_answers_runs_once_more_and_then_makes_its_calls_itself(
    unit: Unit, used: tuple[Place, ...], decision: Decision
) -> None:
    assert decide_after_run(unit, make_run(C), used, confirms=False) == decision


@pytest.mark.parametrize(
    ("unconfirmed", "decision"),
    [
        ((), Decision("again")),
        ((A,), Decision("send")),
        ((A, C), Decision("send")),
        ((C,), Decision("end", UNSETTLED)),
    ],
)
def test_a_request_for_a_batch_must_be_made_twice(unconfirmed: tuple[Place, ...], decision: Decision) -> None:
    run = make_run(A, B)
    assert decide_after_run(make_unit(unconfirmed=unconfirmed), run, (), confirms=True) == decision


@pytest.mark.parametrize(
    ("left_s", "ready", "blocked", "width", "is_more_coming", "wait_s"),
    [
        (0.05, 0, 9, 16, True, REPORT_INTERVAL_S),
        (0.05, 0, 9, 16, False, 0),
        (0.05, 3, 9, 16, True, 0.05),
        (0.05, 3, 9, 16, False, 0),
        (0.05, 4, 9, 16, True, 0),
        (0.05, 2, 3, 16, True, 0.05),
        (0.05, 3, 3, 16, True, 0),
        (0.05, 1, 9, 4, True, 0),
        (0.0, 3, 9, 16, True, 0),
        (-0.01, 3, 9, 16, True, 0),
    ],
)
def test_more_answers_are_waited_for_while_few_tests_are_ready(  # noqa: PLR0917 -- one column each
    left_s: float, ready: int, blocked: int, width: int, is_more_coming: bool, wait_s: float
) -> None:
    found = find_wait_s(left_s, ready=ready, blocked=blocked, width=width, is_more_coming=is_more_coming)
    assert found == wait_s


def test_a_chain_of_calls_is_sent_step_by_step_and_each_call_once(tmp_path: Path) -> None:
    world = SilentWorld(
        tmp_path,
        make_item("chain", lambda ask: ask(f"second of {ask('first')}")),
        make_item("one", lambda ask: ask("one")),
        make_item("none"),
    )
    world.phase.run()
    assert world.sender.sent == ["first", "one", "second of echo of first"]
    assert world.runs == ["chain", "one", "none", "chain", "one", "chain"]
    assert [unit.runs for unit in world.units] == [3, 2, 1]
    assert world.report()["chain"] == "echo of second of echo of first"
    assert (world.live, world.state.not_ahead, world.state.store.answers) == ([], set(), {})
    assert world.state.store.claimed == 3
    assert world.sender.is_stopped


def test_the_next_test_is_named_so_that_shared_fixtures_stay(tmp_path: Path) -> None:
    one, two = make_item("one", lambda ask: ask("1")), make_item("two")
    world = SilentWorld(tmp_path, one, two)
    world.phase.run()
    assert world.next_items == [two, world.session, world.session]
    assert world.running[1:3] == [one, two]
    assert world.running[0] == TEAR_DOWN
    assert world.running[-1] is None
    assert world.running.count(None) >= 2
    assert world.torn_down == 1
    assert world.phase.is_ending


def test_each_trial_of_a_test_has_calls_of_its_own(tmp_path: Path) -> None:
    item = make_item("trials", lambda ask: ask("same"))
    world = SilentWorld(tmp_path, item, takes=(0, 1))
    world.phase.run()
    assert world.sender.sent == ["same", "same"]
    assert sorted(place.take for place in world.state.store.answers) == ["0", "1"]
    assert world.next_items[0] == item.parent  # another trial of it: its own fixtures are set up anew


def test_two_tests_that_wait_for_one_answer_make_one_call(tmp_path: Path) -> None:
    """As those of one cassette do, or of a fixture."""
    world = SilentWorld(
        tmp_path, make_item("same", lambda ask: ask("x")), make_item("same", lambda ask: ask("x"))
    )
    world.phase.run()
    assert world.sender.sent == ["x"]
    assert world.in_line() == {}
    assert [unit.runs for unit in world.units] == [2, 2]


def test_a_test_whose_requests_never_settle_costs_one_call_and_is_in_line(tmp_path: Path) -> None:
    numbers = count()
    world = SilentWorld(tmp_path, make_item("clock", lambda ask: ask(f"it is {next(numbers)}")))
    world.phase.run()
    assert world.sender.sent == ["it is 0"]
    assert world.in_line() == {"clock": UNSETTLED}


def test_a_test_whose_requests_never_settle_is_in_no_batch(tmp_path: Path) -> None:
    numbers = count()
    world = SilentWorld(
        tmp_path,
        make_item("clock", lambda ask: ask(f"it is {next(numbers)}")),
        make_item("settled", lambda ask: ask("settled")),
        confirms=True,
    )
    world.phase.run()
    assert world.sender.sent == ["settled"]
    assert world.in_line() == {"clock": UNSETTLED}
    assert [unit.runs for unit in world.units] == [2, 3]


def test_a_request_without_an_answer_leaves_the_test_its_calls(tmp_path: Path) -> None:
    world = SilentWorld(
        tmp_path,
        make_item("bad", lambda ask: ask("bad")),
        make_item("later", lambda ask: ask(f"of {ask('good')}") and ask("bad")),
        make_item("good", lambda ask: ask("good")),
    )
    world.sender.problems = {"bad": "status 401"}
    world.phase.run()
    assert world.in_line() == {"bad": "status 401", "later": "status 401"}
    world.report()
    assert world.live == ["bad", "bad"]
    assert world.state.not_ahead == {"test_a.py::bad", "test_a.py::later"}


def test_a_call_that_failed_is_not_sent_for_another_test(tmp_path: Path) -> None:
    """The tests share a cassette; the second one comes to the request later."""
    world = SilentWorld(
        tmp_path,
        make_item("same", lambda ask: ask("bad")),
        make_item("same", lambda ask: (ask("good"), ask("bad"))),
    )
    world.sender.problems = {"bad": "status 500"}
    world.phase.run()
    assert world.sender.sent == ["bad", "good"]
    assert [unit.in_line for unit in world.units] == ["status 500", "status 500"]


def test_a_test_that_catches_the_end_of_its_run_makes_its_calls_itself(tmp_path: Path) -> None:
    def ask_for_ever(ask: Any) -> str:
        while True:
            try:
                text: str = ask("again")
            except BaseException:  # noqa: BLE001 -- as such a test does
                continue
            return text

    world = SilentWorld(tmp_path, make_item("for_ever", ask_for_ever))
    world.phase.run()
    assert world.in_line() == {"for_ever": "it continues after a call was given up"}
    assert world.sender.sent == []
    assert world.report() == {"for_ever": "echo of again"}
    assert world.live == []  # the call that its silent run made counts


def test_calls_after_the_first_one_that_was_put_off_are_not_sent(tmp_path: Path) -> None:
    def ask_in_finally(ask: Any) -> None:
        try:
            ask("first")
        finally:
            ask("last")

    world = SilentWorld(tmp_path, make_item("finally", ask_in_finally))
    world.phase.run()
    assert world.sender.sent == ["first", "last"]
    assert world.units[0].runs == 3


def fail(ask: Any) -> None:
    ask("before")
    raise ValueError("as it should")


def test_the_error_of_a_test_is_noted_but_not_that_of_a_call_that_was_put_off(tmp_path: Path) -> None:
    world = SilentWorld(tmp_path, make_item("fails", fail), make_item("good", lambda ask: ask("x")))
    world.phase.run()
    assert [unit.error for unit in world.units] == ["ValueError: as it should", ""]
    assert world.in_line() == {}


def many(number: int) -> list[Any]:
    return [make_item(f"many_{index}", partial(ask_text, str(index))) for index in range(number)]


def ask_text(text: str, ask: Any) -> None:
    ask(text)


def test_after_too_many_failures_no_other_test_is_begun(tmp_path: Path) -> None:
    """With ``-x`` the reported run ends there too."""
    world = SilentWorld(
        tmp_path, make_item("fails", fail), make_item("b"), *many(30), width=1, max_failures=1
    )
    world.phase.run()
    assert world.sender.sent == ["before", "0"]  # so few are under way at a time
    without_limit = SilentWorld(tmp_path, make_item("fails", fail), *many(30), width=1)
    without_limit.phase.run()
    assert len(without_limit.sender.sent) == 31


def test_with_a_limit_of_failures_few_tests_are_under_way_and_all_come_to_their_turn(tmp_path: Path) -> None:
    world = SilentWorld(tmp_path, *many(10), width=2, max_failures=3)
    world.phase.run()
    assert world.runs[:8] == ["many_0", "many_1", "many_2", "many_3"] * 2
    assert len(world.sender.sent) == 10


def test_tests_in_line_make_room_for_others(tmp_path: Path) -> None:
    world = SilentWorld(tmp_path, *many(10), width=1, max_failures=3)
    world.sender.problems = {str(index): "no answer" for index in range(10)}
    world.phase.run()
    assert len(world.sender.sent) == 10


def test_several_failures_are_counted_one_by_one(tmp_path: Path) -> None:
    items = [make_item("fails", fail), make_item("also", fail), *many(30)]
    world = SilentWorld(tmp_path, *items, width=1, max_failures=2)
    world.phase.run()
    assert len(world.sender.sent) < 10
    world = SilentWorld(tmp_path, *items, width=1, max_failures=3)
    world.phase.run()
    assert len(world.sender.sent) == 32


def test_an_exit_of_pytest_ends_the_phase_after_the_calls_before_it(tmp_path: Path) -> None:
    def leave(_: Any) -> None:
        raise GeneratorExit

    items = [make_item("before", lambda ask: ask("before")), make_item("exits", leave), *many(9)]
    world = SilentWorld(tmp_path, *items, width=1, max_failures=100)
    world.phase.run()
    assert world.in_line() == {"exits": "GeneratorExit"}
    assert world.sender.sent == ["before"]


def test_ctrl_c_ends_the_phase_and_everything_is_torn_down(tmp_path: Path) -> None:
    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    world = SilentWorld(tmp_path, make_item("interrupted", interrupt), *many(3))
    finished: list[str] = []
    world.phase.wide.append((FixtureOf("wide", finished), "request"))
    with pytest.raises(KeyboardInterrupt):
        world.phase.run()
    assert finished == ["wide request"]
    assert (world.torn_down, world.sender.is_stopped, world.sender.sent) == (1, True, [])


class FixtureOf:
    """A fixture of pytest that notes that it was finished, or raises."""

    def __init__(self, name: str, finished: list[str], error: BaseException | None = None) -> None:
        self._name = name
        self._finished = finished
        self._error = error

    def finish(self, request: str) -> None:
        self._finished.append(f"{self._name} {request}")
        if self._error is not None:
            raise self._error


def test_fixtures_are_finished_in_reverse_order_and_their_errors_are_ignored() -> None:
    finished: list[str] = []
    errors = (None, ValueError(), SystemExit())
    fixtures: list[tuple[Any, Any]] = [
        (FixtureOf(name, finished, error), "r") for name, error in zip("abc", errors, strict=True)
    ]
    phase._finish_fixtures(fixtures)
    assert (finished, fixtures) == (["c r", "b r", "a r"], [])
    with pytest.raises(KeyboardInterrupt):
        phase._finish_fixtures([(FixtureOf("a", finished, KeyboardInterrupt()), "r")])


def test_a_fixture_whose_set_up_was_put_off_is_set_up_again(tmp_path: Path) -> None:
    finished: list[str] = []
    world = SilentWorld(tmp_path)

    def use_fixture(ask: Any) -> None:
        world.phase.broken.append((FixtureOf("broken", finished), str(len(world.runs))))
        ask("of a fixture")

    world = SilentWorld(tmp_path, make_item("uses", use_fixture))
    world.phase.run()
    assert finished == ["broken 1", "broken 2"]


def raise_again(error: BaseException) -> Any:
    """Return a test that raises the error of its fixture."""

    def body(_: Any) -> None:
        raise error

    return body


def test_a_test_that_gets_the_put_off_call_of_a_fixture_waits_for_the_same_answer(tmp_path: Path) -> None:
    """A fixture raises its error again for each of its tests; in a group it may be too."""
    calls: list[CallDeferred] = []

    def set_up(ask: Any) -> None:
        try:
            ask("of a fixture")
        except CallDeferred as error:
            calls.append(error)
            raise

    def use(ask: Any) -> None:
        if not world.state.store.answers:
            raise BaseExceptionGroup("group", [ValueError(), BaseExceptionGroup("inner", [calls[0]])])
        ask("own")

    world = SilentWorld(tmp_path, make_item("first", set_up), make_item("second", use), confirms=True)
    world.phase.run()
    assert world.in_line() == {}
    assert world.sender.sent == ["of a fixture", "own"]
    assert [unit.error for unit in world.units] == ["", ""]


@pytest.mark.parametrize("confirms", [True, False])
def test_what_a_fixture_waits_for_is_not_waited_for_if_nobody_sends_it(
    tmp_path: Path, confirms: bool
) -> None:
    error = CallDeferred(A)
    world = SilentWorld(tmp_path, make_item("second", raise_again(error)), confirms=confirms)
    world.phase.run()
    assert world.in_line() == ({"second": UNSETTLED} if confirms else {})
    assert world.units[0].error == ""


def test_a_put_off_call_that_has_failed_puts_the_test_in_line(tmp_path: Path) -> None:
    world = SilentWorld(tmp_path, make_item("second", raise_again(CallDeferred(A))))
    world.state.failed[A] = "status 401"
    world.phase.run()
    assert world.in_line() == {"second": "status 401"}


def test_a_client_that_cannot_be_copied_is_in_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        phase, "why_not_sent", lambda module, transport: f"{module} {type(transport).__name__}"
    )
    world = SilentWorld(tmp_path, make_item("own", lambda ask: ask("x")))
    world.phase.run()
    assert world.in_line() == {"own": "None HTTPConnection"}
    assert world.sender.sent == []


def test_the_progress_is_told_from_time_to_time(tmp_path: Path) -> None:
    now = [0.0]

    def take_time(ask: Any) -> None:
        now[0] += REPORT_INTERVAL_S * 0.5
        ask(ask(ask("a")))

    world = SilentWorld(tmp_path, make_item("chain", take_time), *many(1), clock=lambda: now[0])
    world.phase.run()
    assert world.reports == ["sent ahead: 2 of 3 calls answered", "sent ahead: 4 of 4 calls answered"]


def test_few_ready_tests_wait_for_the_time_that_is_left(tmp_path: Path) -> None:
    """Another test becomes ready meanwhile; both then run in their order."""
    now = [0.0]
    waited: list[float] = []
    world = SilentWorld(tmp_path, *many(7), width=32, clock=lambda: now[0])
    world.phase._wait_for_units()
    places = [Place("a.json", str(number), "0", 0) for number in range(7)]
    requests = make_run(*places).requests
    for unit, place in zip(world.units, places, strict=True):
        unit.missing = 1
        world.phase._blocked[place] = [unit]

    def wait(seconds: float) -> None:
        waited.append(seconds)
        now[0] += 0.0625
        if len(waited) == 1:
            world.phase._end_request(requests[places[2]], "")

    world.phase._end_request(requests[places[4]], "")
    world.phase._changed.wait = wait  # type: ignore[assignment, method-assign]
    assert world.phase._wait_for_units() == [world.units[2], world.units[4]]
    assert waited == [MAX_WAIT_S, pytest.approx(MAX_WAIT_S - 0.0625)]


def test_tests_and_their_trials_are_units_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phase, "has_trials", lambda item, _: item == "trials")
    monkeypatch.setattr(phase, "list_takes", lambda *_, if_all_pass: range(4, 6 + if_all_pass))
    units = phase.make_units(["one", "trials", "two"], Settings())
    assert [(unit.item, unit.take, unit.order) for unit in units] == [
        ("one", None, 0),
        ("trials", 4, 1),
        ("trials", 5, 2),
        ("trials", 6, 3),
        ("two", None, 4),
    ]
