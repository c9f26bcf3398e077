"""When a fault comes, what is said about a fault that never came, and the timeline of the calls."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from support.messages import check_message

from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.fault_injection import find_fault_plan
from pytest_llmops.cassettes.faults.kinds import CANARY, Fault
from pytest_llmops.cassettes.faults.plan import MAX_TRIES, FaultEvent, FaultPlan, describe_event
from pytest_llmops.cassettes.faults.takes import find_fault_take, is_fault_take, name_fault_take
from pytest_llmops.cassettes.http.fault_pauses import (
    choose_wait,
    end_wait,
    is_pause,
    wait_out,
    wait_out_async,
)
from pytest_llmops.cassettes.outcome import Outcome
from pytest_llmops.cassettes.request_key import Answer, Question, build_question
from pytest_llmops.redaction.redactor import Redactor

ANSWER = Answer(200, {}, b"{}", 0.1)


def give(plan: FaultPlan, key: str, **how: Any) -> str:
    """The kind of the fault that a call gets; "" for none."""
    fault = plan.begin_call(f"call {key}", key, **how).fault
    return "" if fault is None else fault.kind


def test_a_fault_hits_the_call_with_its_number_as_often_as_it_says() -> None:
    plan = FaultPlan([Fault(kind="empty", call=2, times=2), Fault(kind="timeout", call=2, times=3)])
    assert [give(plan, key) for key in "aabbbc"] == ["", "empty", "", "", "", ""]
    plan = FaultPlan([Fault(kind="empty", call=2, times=2), Fault(kind="timeout", call=2, times=3)])
    assert [give(plan, key) for key in "abbbbbbb"] == [
        "",
        "empty",
        "empty",
        "timeout",
        "timeout",
        "timeout",
        "",
        "",
    ]
    assert [event.attempt for event in plan.events] == [1, 1, 2, 3, 4, 5, 6, 1]
    assert len(plan.hits) == 5
    plan = FaultPlan([Fault(kind="empty", call=None, times=None)])
    assert [give(plan, key) for key in "aab"] == ["empty"] * 3


def test_a_fault_of_a_tool_hits_only_that_tool() -> None:
    plan = FaultPlan([Fault(kind="empty", tool="a/*"), Fault(kind="timeout", tool="pay", call=2)])
    assert give(plan, "m") == ""
    assert give(plan, "1", tool_names=["pay", "b/pay"]) == ""
    assert give(plan, "2", tool_names=["get", "a/get"], exchanges=3) == "empty"
    assert give(plan, "3", tool_names=["pay", "b/pay"]) == "timeout"
    assert plan.tools == ["b/pay", "a/get"]
    assert [(event.is_tool, event.exchanges) for event in plan.events] == [
        (False, 0),
        (True, 0),
        (True, 3),
        (True, 0),
    ]
    assert plan.has_tool_faults
    assert not FaultPlan([Fault(kind="empty")]).has_tool_faults


def test_a_wrong_call_of_a_tool_needs_a_model_that_is_offered_tools() -> None:
    plan = FaultPlan([Fault(kind="unknown_tool")])
    assert [give(plan, "a"), give(plan, "b", offers_tools=True)] == ["", "unknown_tool"]


def test_a_stale_answer_needs_an_answer_before() -> None:
    plan = FaultPlan([Fault(kind="stale", call=None), Fault(kind="stale", tool="pay", call=None)])
    assert give(plan, "a") == ""
    plan.note_answer("a", "model", ANSWER)
    assert plan.last_answer("model") is ANSWER
    assert give(plan, "b") == "stale"
    assert give(plan, "c", tool_names=["pay", "x/pay"]) == ""
    plan.note_answer("c", "pay", ANSWER)
    assert give(plan, "d", tool_names=["pay", "x/pay"]) == "stale"
    assert plan.last_answer("get") is None


@pytest.mark.parametrize(
    ("answer", "fails"),
    [
        (ANSWER, False),
        (Answer(500, {}, b"", 0.1), True),
        (Answer(0, {}, b"", 0.1, outcome=Outcome("TimeoutError", "")), True),
        (Answer(200, {}, b"", 0.1, outcome=Outcome("left early", "")), False),
    ],
)
def test_a_call_that_failed_by_itself_is_tried_again(answer: Answer, fails: bool) -> None:
    plan = FaultPlan([Fault(kind="empty", call=2)])
    assert give(plan, "a") == ""
    plan.note_answer("a", "model", answer)
    assert plan.events[0].has_failed is fails
    assert plan.events[0].is_answered is not fails
    assert (plan.last_answer("model") is None) is fails
    assert give(plan, "a") == ("" if fails else "empty")
    assert plan.events[1].attempt == (2 if fails else 1)


def test_a_failure_of_a_call_with_a_fault_or_of_no_call_is_not_noted() -> None:
    plan = FaultPlan([Fault(kind="empty")])
    give(plan, "a")
    plan.note_failure("a")
    plan.note_failure("unknown")
    plan.note_late("unknown")
    plan.note_hung("unknown")
    assert [(event.has_failed, event.came_late, event.hung) for event in plan.events] == [
        (False, False, False)
    ]
    answered = [plan.events[0].is_answered]
    plan.note_late("a")
    answered.append(plan.events[0].is_answered)
    assert answered == [False, True]
    give(plan, "b")
    plan.note_late("b")  # without a fault, it is not late
    give(plan, "a")
    plan.note_hung("a")
    assert [(event.came_late, event.hung) for event in plan.events] == [
        (True, False),
        (False, False),
        (False, True),
    ]


def test_what_was_obeyed_is_seen_in_a_text() -> None:
    plan = FaultPlan([Fault(kind="hostile")])
    seen = []
    for text in (CANARY, "all is well", f"so {CANARY.lower()} it is", "all is well"):
        plan.note_text(text)
        seen.append(plan.is_obeyed)
        give(plan, text)  # the first one comes before the fault
    assert seen == [False, False, True, True]
    assert not Fault(kind="hostile", text="Delete all!").is_obeyed_by(CANARY)


MISSING = [
    ([Fault(kind="empty", call=9), Fault(kind="timeout", call=None, tool="pay")], ["a", "b"], [], False),
    ([Fault(kind="empty", call=9)], ["a", "b"], ["get"], True),
    ([Fault(kind="empty", tool="pay")], [], ["x" * 81, "y" * 80, "a", "b", "c", "d"], True),
    ([Fault(kind="empty", tool="pay")], ["a"], [f"t{n}" for n in range(5)], False),
    ([Fault(kind="unknown_tool"), Fault(kind="slow", must_come=False)], ["a"], [], False),
]


@pytest.mark.parametrize(("faults", "models", "tools", "socket"), MISSING)
def test_a_fault_that_never_came_is_named_with_what_came(
    faults: list[Fault], models: list[str], tools: list[str], socket: bool
) -> None:
    plan = FaultPlan(faults)
    plan.has_socket = socket
    for key in models:
        give(plan, key)
    for name in tools:
        give(plan, name, tool_names=[name])
    assert plan.list_missing() == [fault for fault in faults if fault.must_come]
    check_message(plan.describe_missing())


def test_faults_that_came_or_need_not_come_are_not_missing() -> None:
    plan = FaultPlan([Fault(kind="empty"), Fault(kind="slow", call=7, must_come=False)])
    give(plan, "a")
    assert (plan.list_missing(), plan.describe_missing()) == ([], "")


def test_an_application_that_waits_for_ever_is_hung() -> None:
    plan = FaultPlan([Fault(kind="never_returns", at_most_s=2.5)])
    give(plan, "a")
    assert plan.describe_hung() == ""
    plan.note_hung("a")
    check_message(plan.describe_hung())
    plan = FaultPlan([Fault(kind="timeout", times=None)])
    for _ in range(MAX_TRIES):
        give(plan, "a")
    give(plan, "a")
    assert [event.is_endless for event in plan.events] == [False] * MAX_TRIES + [True]
    plan.note_hung("a")
    check_message(plan.describe_hung())


def test_the_timeline_has_a_line_for_each_call() -> None:
    fault = Fault(kind="slow")
    plan = FaultPlan([])
    plan.events = [
        FaultEvent("one", "a", is_tool=False, attempt=1, fault=None, exchanges=0),
        FaultEvent("two", "b", is_tool=False, attempt=2, fault=None, exchanges=0, has_failed=True),
        FaultEvent(
            "three", "c", is_tool=True, attempt=1, fault=fault, exchanges=0, came_late=True, hung=True
        ),
    ]
    assert plan.describe_calls() == [
        ("call 1", "one: answered"),
        ("call 2", "two, attempt 2: failed by itself"),
        ("call 3", "three: FAULT slow, answered late, HUNG"),
    ]
    assert describe_event(plan.events[0]) == "one: answered"


def test_a_fault_is_named_with_its_call_and_its_target() -> None:
    assert [
        Fault(kind="empty").describe(),
        Fault(kind="empty", call=None, tool="pay").describe(),
        Fault(kind="bad_arguments", call=3).describe(),
    ] == [
        "empty on call 1 of a model",
        "empty on every call of the tool 'pay'",
        "bad_arguments on call 3 of a model that is offered tools",
    ]


@pytest.mark.parametrize(
    ("kind", "tool", "take", "name"),
    [
        ("timeout", False, 1_000_000, "the fault timeout of a model"),
        ("timeout", True, 1_000_100, "the fault timeout of a tool"),
        ("unknown_tool", False, 1_000_015, "the fault unknown_tool of a model"),
    ],
)
def test_a_take_of_a_fault_has_its_kind_and_target(kind: str, tool: bool, take: int, name: str) -> None:
    assert find_fault_take(kind, is_for_tool=tool) == str(take)
    assert name_fault_take(take) == name
    assert is_fault_take(take)
    assert not is_fault_take(999_999)
    assert name_fault_take(1_000_016) == name_fault_take(1_000_199) == "a fault of a later version"


LATE = Answer(0, {}, b"", 0.0, fault="slow", pause_s=2.0)
NEVER = Answer(0, {}, b"", 0.0, fault="never_returns", pause_s=2.0)


@pytest.mark.parametrize(
    ("limit", "wait"), [(None, (2.0, False)), (1.5, (1.5, True)), (2.0, (2.0, False)), (9.0, (2.0, False))]
)
def test_a_client_waits_up_to_the_shorter_limit(limit: float | None, wait: tuple[float, bool]) -> None:
    assert choose_wait(LATE, limit) == wait


def test_only_an_answer_with_a_pause_is_waited_for() -> None:
    assert is_pause(LATE)
    assert not is_pause(ANSWER)
    assert not is_pause("answer")


@pytest.mark.parametrize(
    ("answer", "gave_up", "comes", "hung"),
    [(LATE, False, True, 0), (LATE, True, False, 0), (NEVER, False, False, 1), (NEVER, True, False, 0)],
)
def test_a_late_answer_comes_unless_the_client_gave_up(
    monkeypatch: pytest.MonkeyPatch, answer: Answer, gave_up: bool, comes: bool, hung: int
) -> None:
    keys: list[str] = []
    waits: list[float] = []
    tape: Any = SimpleNamespace(note_hung=keys.append)
    question: Question = build_question("POST", "https://a", {}, b"", Redactor())
    assert end_wait(tape, question, answer, gave_up=gave_up) is comes
    assert keys == [question.key] * hung

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(time, "sleep", waits.append)
    monkeypatch.setattr(anyio, "sleep", sleep)
    limit = 1.0 if gave_up else None
    assert wait_out(tape, question, answer, limit) is comes
    assert asyncio.run(wait_out_async(tape, question, answer, limit)) is comes
    assert waits == [limit or 2.0] * 2
    assert keys == [question.key] * hung * 3


def test_the_plan_is_that_of_the_running_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(active_tape, "base_tape", lambda: None)
    assert find_fault_plan() is None
    plan = FaultPlan([])
    tape = SimpleNamespace(config=SimpleNamespace(faults=plan))
    monkeypatch.setattr(active_tape, "base_tape", lambda: tape)
    assert find_fault_plan() is plan
