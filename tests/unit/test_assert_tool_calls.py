"""assert_tool_calls: what is measured, and what a failure says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops import (
    MeasurementErrored,
    MeasurementFailed,
    assert_tool_calls,
    assert_trajectory,
    call,
    collect,
    schemas,
)
from pytest_llmops.agents import Step, ToolCatalogue, ToolUse, Trajectory, offered_tools
from pytest_llmops.agents import started as expect_started
from pytest_llmops.cases.files import Case
from pytest_llmops.errors import UsageError
from pytest_llmops.harness.tool_choice import MarkedTools
from pytest_llmops.protocols import Call, Message, ToolCall, ToolDefinition
from pytest_llmops.trace import CallLog

REFUND = {"name": "refund", "input_schema": {"type": "object", "properties": {"amount": {"type": "number"}}}}
Messages = list[dict[str, Any]]


def turn(*calls: tuple[str, Any], result: str = "ok") -> Messages:
    """A message with calls and their results; arguments that are a text stand as they are."""
    entries = []
    results: Messages = []
    for number, (name, arguments) in enumerate(calls):
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        entries.append({"id": f"c{number}", "function": {"name": name, "arguments": text}})
        results.append({"role": "tool", "tool_call_id": f"c{number}", "content": result})
    return [{"role": "assistant", "tool_calls": entries}, *results]


LOOKUP = turn(("get_order", {"order_id": "B-77"}), result="delivered")
MESSAGES = [
    {"role": "user", "content": "Refund B-77, please."},
    *LOOKUP,
    *turn(("refund", {"order_id": "B-77", "amount": 200})),
    {"role": "assistant", "content": "Done."},
]


def fail(source: object, *arguments: Any, **options: Any) -> list[str]:
    """The lines of the failure."""
    with pytest.raises(MeasurementFailed) as error:
        assert_tool_calls(source, *arguments, **options)
    return str(error.value).splitlines()


def measure(source: object, *arguments: Any, **options: Any) -> dict[str, float | None]:
    with collect() as measurements:
        assert_tool_calls(source, *arguments, **options)
    return {measurement.name: measurement.value for measurement in measurements}


def test_a_wrong_argument_is_named_with_its_path_and_the_trajectory_follows() -> None:
    lines = fail(MESSAGES, ["get_order", call("refund", order_id="B-77", amount=pytest.approx(20))])
    assert lines[:6] == [
        "tools.calls: 1 of 2 expected calls missing; 1 of 2 calls not expected",
        f"  step 2        refund: amount: expected {pytest.approx(20)!r}, got 200",
        "    user        Refund B-77, please.",
        "  1 assistant   get_order(order_id='B-77') -> delivered",
        "  2 assistant   refund(order_id='B-77', amount=200) -> ok",
        "    assistant   Done.",
    ]


def test_near_misses_come_first_then_other_tools_and_missing_calls() -> None:
    lines = fail(MESSAGES, [call("get_user", id=1), call("refund", ..., amount=20), call("send_mail")])
    assert lines[1:4] == [
        "  step 2        refund: amount: expected 20, got 200",
        "  step 1        expected get_user(id=1), got get_order(order_id='B-77')",
        "  missing       expected send_mail",
    ]
    assert lines[0] == "tools.calls: 3 of 3 expected calls missing; 2 of 2 calls not expected"


def test_a_missing_call_is_placed_beside_its_neighbours() -> None:
    assert "  missing       expected get_user before step 1" in fail(
        MESSAGES, ["get_user", "get_order", "refund"]
    )
    assert "  missing       expected send_mail after step 2" in fail(
        MESSAGES, ["get_order", "refund", "send_mail"]
    )
    assert "  missing       expected get_user" in fail(
        MESSAGES, ["get_user", "get_order", "refund"], order="any"
    )


def test_a_hint_where_only_the_order_differs() -> None:
    in_another = (
        "the same calls in another order: order='any' would pass; do that only if the order does not matter"
    )
    assert f"  hint          {in_another}" in fail(MESSAGES, ["refund", "get_order"])
    parallel = turn(("a", {}), ("b", {}))
    same_turn = "only calls of the same turn have another order: order='turns' would pass"
    assert any(same_turn in line for line in fail(parallel, ["b", "a"]))
    assert not any(line.startswith("  hint") for line in fail(MESSAGES, ["refund", "send_mail"]))


def find_hints(lines: list[str]) -> list[str]:
    return [line.removeprefix("  hint").strip() for line in lines if line.startswith("  hint")]


def test_a_hint_where_a_call_has_more_arguments_than_expected() -> None:
    orders = turn(("order", {"item": "lamp", "quantity": 2}), ("order", {"item": "stove", "quantity": 1}))
    lines = fail(orders, [call("order", item="lamp"), call("order", item="stove")])
    assert find_hints(lines) == ["three dots allow other arguments: call('order', ..., item='lamp')"]
    for expected in (
        call("order", item="tent"),
        call("order", ..., item="tent"),
        call("order", item="lamp", quantity=3),
    ):
        assert find_hints(fail(turn(("order", {"item": "lamp", "quantity": 2})), [expected])) == []


def test_forbidden_calls_fail_with_or_without_expected_ones() -> None:
    lines = fail(MESSAGES, never=["delete_*", call("refund", ..., amount=200)])
    assert lines[:2] == [
        "tools.calls: forbidden: refund(order_id='B-77', amount=200)",
        "  step 2        refund(order_id='B-77', amount=200) is forbidden by never=call('refund', ..., amount=200)",
    ]
    passed = assert_tool_calls(MESSAGES, never="delete_*")
    assert (passed.value, "expected" in passed.detail) == (1, False)
    many = turn(*[("refund", {})] * 7)
    assert "  and           2 more forbidden calls" in fail(many, never=["refund"])
    assert fail(MESSAGES, [], never="delete_*")[0] == "tools.calls: 2 of 2 calls not expected"


def test_a_forbidden_call_fails_where_the_others_are_only_recorded() -> None:
    lines = fail(MESSAGES, ["search"], never="ref*", at_least=None)
    assert lines[0].startswith("tools.calls: forbidden: refund(order_id='B-77', amount=200); 1 of 1 expected")
    with pytest.raises(MeasurementFailed, match="forbidden: refund"):
        assert_trajectory(MESSAGES, ["search"], never="ref*", at_least=None)
    assert assert_tool_calls(MESSAGES, ["search"], never="delete_*", at_least=None).status == "recorded"
    # The call that was not read, or that a function could not compare, may be the forbidden one.
    unsure = call("search", q=lambda q: q.missing)
    for source, never in ((UNREAD, "delete_*"), (turn(("search", {"q": 1})), unsure)):
        for check in (assert_tool_calls, assert_trajectory):
            with pytest.raises(MeasurementErrored):
                check(source, [], never=[never], at_least=None)


def test_shares_for_the_gate() -> None:
    assert measure(MESSAGES, ["get_order", "send_mail", "log", "log"], tools=[REFUND]) == {
        "tools.calls": 0,
        "tools.recall": 0.25,
        "tools.precision": 0.5,
        "tools.valid_arguments": 0.5,
    }
    no_calls = [{"role": "assistant", "content": "Hello"}]
    assert measure(no_calls, []) == {
        "tools.calls": 1,
        "tools.recall": 1,
        "tools.precision": 1,
        "tools.valid_arguments": 1,
    }
    assert measure(no_calls, ["search"])["tools.recall"] == 0
    assert measure(MESSAGES, [])["tools.precision"] == 0
    assert [*measure(MESSAGES, never="delete_*")] == ["tools.calls", "tools.valid_arguments"]


def test_detail_has_the_names_and_the_trajectory() -> None:
    measurement = assert_tool_calls(MESSAGES, ["get_order", call("refund", ..., amount=int)], label="first")
    assert measurement.detail["expected"] == ["get_order", "refund"]
    assert measurement.detail["made"] == ["get_order", "refund"]
    trajectory = measurement.detail["trajectory"]
    assert isinstance(trajectory, dict)
    assert len(trajectory["steps"]) == 4
    assert measurement.label == "first"
    assert assert_tool_calls(MESSAGES, ["send_mail"], at_least=None).status == "recorded"


def test_an_agent_without_calls_fails_unless_none_is_expected() -> None:
    no_calls = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert (
        fail(no_calls, ["search"])[0] == "tools.calls: 1 of 1 expected calls missing; the agent made no call"
    )
    assert assert_tool_calls(no_calls, []).value == 1


@pytest.mark.parametrize("source", [[], {"messages": []}, [{"role": "user", "content": "Hi"}]])
def test_a_source_without_a_message_of_the_agent_could_not_be_scored(source: object) -> None:
    for expected in ([], ["search"]):
        with pytest.raises(MeasurementErrored, match="gave no score: the source has no message of an agent"):
            assert_tool_calls(source, expected)


@pytest.mark.parametrize("check", [assert_tool_calls, assert_trajectory])
def test_a_test_without_a_recorded_call_names_the_next_step(check: Any) -> None:
    reason = (
        "the source has no message of an agent: no call to a model was recorded in this test; was the agent "
        "called in it? If it is not a Python process that the test starts, use the fixture llm_proxy"
    )
    for expected in ([], ["search"]):
        with pytest.raises(MeasurementErrored, match=re.escape(reason)):
            check(CallLog([]), expected)
    with pytest.raises(MeasurementErrored) as error:
        check([], [])
    assert "was recorded" not in str(error.value)


def started(inner: Trajectory) -> Trajectory:
    """An agent that started another one."""
    use = ToolUse(name="start", arguments={}, started=inner)
    return Trajectory(steps=(Step(role="assistant", tool_calls=(use,)),))


UNREAD = Trajectory(
    agent="billing",
    steps=(Step(role="assistant", tool_calls=(ToolUse(name="search", arguments={}),)),),
    problems=("call 2 was not read completely", "call 3 could not be read"),
)


@pytest.mark.parametrize(
    ("source", "expected", "options"),
    [
        (UNREAD, ["search"], {}),
        (UNREAD, ["search", "refund"], {}),  # the second call may be the one that was not read
        (UNREAD, [], {"extra": "allow", "never": ["delete_*"]}),
        (UNREAD, ["search"], {"at_least": None}),
        (started(UNREAD), ["start", "search"], {}),
        (started(UNREAD), [expect_started("billing", ["search", "refund"])], {}),
    ],
)
def test_calls_that_may_be_missing_could_not_be_scored(
    source: Trajectory, expected: Any, options: dict[str, Any]
) -> None:
    with pytest.raises(MeasurementErrored) as error:
        assert_tool_calls(source, expected, **options)
    reason = "calls of the agent may be missing: call 2 was not read completely (and 1 more)"
    lines = [" ".join(line.split()) for line in str(error.value).splitlines()]
    assert lines[0].startswith(f"tools.calls gave no score: {reason}")
    assert "problem call 3 could not be read" in lines
    # The shares are not known either.
    assert list(measure(source, expected, **options)) == ["tools.calls"]


@pytest.mark.parametrize(
    ("source", "options"), [(UNREAD, {}), (started(UNREAD), {"extra": "allow", "never": ["search"]})]
)
def test_what_fails_in_any_case_fails_with_the_problems_and_notes(
    source: Trajectory, options: dict[str, Any]
) -> None:
    failure = fail(replace(source, notes=("a result is lost",)), ["start"], **options)
    lines = [" ".join(line.split()) for line in failure]
    assert "problem call 3 could not be read" in lines
    assert "note a result is lost" in lines


def test_a_note_hides_no_call() -> None:
    assert assert_tool_calls(replace(UNREAD, problems=(), notes=("a result is lost",)), ["search"]).value == 1


def test_a_source_without_a_message_names_what_was_not_read() -> None:
    reason = "the source has no message of an agent: call 1 could not be read"
    with pytest.raises(MeasurementErrored, match=reason):
        assert_tool_calls(Trajectory(problems=("call 1 could not be read",)), [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "never", "reason"),
    [
        ("{broken", call("refund", ..., amount=20), "the arguments are not JSON"),
        ('{"amount": "20"}', call("refund", ..., amount=lambda amount: amount > 20), "TypeError"),
        (
            json.dumps({"q": "a" * 5_000 + "b"}),
            call("refund", q=re.compile("(?:a|a?)+$(?#forbidden)")),
            "searches for more than",
        ),
    ],
)
def test_a_call_that_may_be_forbidden_could_not_be_scored(
    arguments: str, never: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llmops._util.timed_search.MAX_SECONDS", 0.01)
    messages = turn(("refund", arguments))
    with pytest.raises(MeasurementErrored, match="step 1: it is not known whether refund") as error:
        assert_tool_calls(messages, ["refund"], never=[never])
    assert reason in str(error.value)
    # A call that is not made as expected fails in any case, and so does a name that is forbidden.
    assert fail(messages, ["search"], never=[never])[0].startswith("tools.calls: 1 of 1")
    assert fail(messages, never=[never, "re*"])[0].startswith("tools.calls: forbidden")


def test_calls_that_are_not_valid_are_named() -> None:
    messages = [
        *turn(("refund", {"amount": "20"})),
        *turn(("refnd", {})),
        *turn(("refund", "{broken")),
        *turn(("search", '["q"]')),
        *turn(("refund", {"amount": 20})),
    ]
    lines = fail(messages, ["refund"], tools=[REFUND])
    invalid = [line.split("invalid", 1)[1].strip() for line in lines if line.startswith("  invalid")]
    assert [text.partition(": Expecting")[0] for text in invalid] == [
        'step 1: refund: not valid by its schema: amount: expected number | got "20" (string)',
        "step 2: the tool refnd was not offered; did the model mean refund?",
        "step 3: refund: the arguments are not JSON",
        "step 4: the tool search was not offered; offered: refund",
    ]
    assert measure(messages, ["refund"], tools=[REFUND])["tools.valid_arguments"] == 0.2
    with collect() as measurements:
        assert_tool_calls(messages, [], extra="allow", missing="allow", at_least=None, tools=[REFUND])
    # A call that passes is seen too.
    assert "step 2: the tool refnd was not offered" in str(measurements[-1].detail["invalid"])
    # Without known tools only the form counts.
    assert measure(messages, ["refund"])["tools.valid_arguments"] == 0.6


def test_arguments_that_are_not_known_are_neither_valid_nor_invalid() -> None:
    unknown = ToolUse(name="refund", problem="the span of the tool has no arguments")
    for calls, share in (((unknown,), None), ((unknown, ToolUse(name="refund", arguments={})), 1)):
        trajectory = Trajectory(steps=(Step(role="assistant", tool_calls=calls),))
        values = measure(trajectory, ["refund"] * len(calls))
        assert (values["tools.calls"], values.get("tools.valid_arguments")) == (1, share)
    lines = fail(Trajectory(steps=(Step(role="assistant", tool_calls=(unknown,)),)), [call("refund", x=1)])
    assert lines[1] == "  step 1        refund: expected x=1, got the span of the tool has no arguments"


def test_invalid_calls_are_forbidden_on_demand() -> None:
    lines = fail(MESSAGES, ["get_order", "refund"], tools=[REFUND], invalid="forbid")
    assert lines[:2] == [
        "tools.calls: 1 invalid call",
        "  invalid       step 1: the tool get_order was not offered; offered: refund",
    ]
    assert measure(turn(("refund", "{")), ["refund"], invalid="allow")["tools.calls"] == 1
    for arguments in ("{", '{"amount": "20"}', "[]"):
        messages = turn(("refund", arguments))
        lines = fail(messages, tools=[REFUND], extra="allow", missing="allow", invalid="forbid")
        assert lines[0] == "tools.calls: 1 invalid call"
    unknown = ToolUse(name="refund", problem="the span of the tool has no arguments")
    trajectory = Trajectory(steps=(Step(role="assistant", tool_calls=(unknown,)),))
    with pytest.raises(
        MeasurementErrored, match="does not have the arguments of 1 of 1 call", check=check_message
    ):
        assert_tool_calls(trajectory, ["refund"], tools=[REFUND], invalid="forbid")
    known = replace(unknown, arguments={"amount": 20}, problem="")
    half = Trajectory(steps=(Step(role="assistant", tool_calls=(unknown, known)),))
    with pytest.raises(MeasurementErrored, match="does not have the arguments of 1 of 2 calls"):
        assert_tool_calls(half, ["refund", "refund"], tools=[REFUND], invalid="forbid")
    with pytest.raises(
        MeasurementErrored, match="does not have the tools that were offered; give them by tools="
    ):
        assert_tool_calls(turn(("refund", {})), ["refund"], invalid="forbid")
    assert assert_tool_calls([{"role": "assistant", "content": "Hello."}], [], invalid="forbid").value == 1
    wrong = replace(known, arguments={"amount": "20"})
    cut = Trajectory(steps=(Step(role="assistant", tool_calls=(wrong,)),), problems=("a reply is missing",))
    assert fail(cut, tools=[REFUND], invalid="forbid")[0] == "tools.calls: 1 invalid call"
    broken = ToolDefinition(name="f", parameters={"type": "txt"})
    recorded = Call(
        messages=(Message("user", "?"),), tools=(broken,), tool_calls=(ToolCall(name="f", arguments="{}"),)
    )
    assert assert_tool_calls([recorded], ["f"]).value == 1
    with pytest.raises(UsageError, match="the schema of tool 'f' is invalid"):
        assert_tool_calls([recorded], ["f"], invalid="forbid")


def test_the_tool_of_a_question_is_called_with_valid_arguments() -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"amount": {"type": "number"}}}
    tools = MarkedTools("all", (ToolDefinition(name="refund", parameters=schema),))
    question = Case(id="a", input="Money back!", data={"tool": "refund"})
    assert tools.check(turn(("refund", {"amount": 20})), question).value == 1
    assert tools.check(turn(("refund", {"amount": "20"})), question, at_least=None).value == 0
    with pytest.raises(MeasurementFailed, match="not valid by its schema: amount: expected number"):
        tools.check(turn(("refund", {"amount": "20"})), question)


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "required": ["q"]}}},
        {"type": "function", "name": "f", "parameters": {"type": "object", "required": ["q"]}},
        {"name": "f", "inputSchema": {"type": "object", "required": ["q"]}},
        ToolDefinition(name="f", parameters={"type": "object", "required": ["q"]}),
    ],
)
def test_tools_as_vendors_describe_them(tool: object) -> None:
    messages = turn(("f", {"q": 1}), ("f", {}))
    assert measure(messages, [], tools=[tool])["tools.valid_arguments"] == 0.5
    assert measure(messages, [], tools={"tools": [tool]})["tools.valid_arguments"] == 0.5
    assert measure(messages, [], tools=[{"name": "f"}])["tools.valid_arguments"] == 1


def test_only_the_schemas_of_called_tools_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[object] = []

    def load(schema: object) -> Any:
        compiled.append(schema)
        return schemas.load(schema)

    monkeypatch.setattr(offered_tools, "load", load)
    others = [{"name": f"other_{number}", "input_schema": {"type": "txt"}} for number in range(100)]
    assert measure(MESSAGES, ["get_order", "refund"], tools=[REFUND, *others])["tools.valid_arguments"] == 0.5
    assert compiled == [REFUND["input_schema"]]


def test_decoys_of_a_catalogue_were_offered_too() -> None:
    catalogue = ToolCatalogue("all", (ToolDefinition(name="get_order"),), (ToolDefinition(name="refund"),))
    assert measure(MESSAGES, ["get_order", "refund"], tools=catalogue)["tools.valid_arguments"] == 1


def test_recorded_calls_know_what_was_offered() -> None:
    offered = ToolDefinition(name="f", parameters={"type": "object", "required": ["q"]})
    recorded = Call(
        messages=(Message("user", "Hi"),),
        tools=(offered,),
        tool_calls=(ToolCall(name="f", arguments='{"q": 1}'), ToolCall(name="g")),
        status=200,
    )
    assert measure([recorded], ["f", "g"]) == {
        "tools.calls": 1,
        "tools.recall": 1,
        "tools.precision": 1,
        "tools.valid_arguments": 0.5,
    }


@pytest.mark.slow
def test_arguments_of_5_mb_make_a_short_text() -> None:
    big = "x" * 5_000_000
    messages = turn(("save", {"text": big, "parts": [big]}), ("load", big), result=big)
    lines = fail(messages, [call("save", text="y", parts=[]), call("load", ..., q=1)])
    assert len("\n".join(lines)) < 3_000
    assert lines[1].startswith("  step 1        save: text: expected 'y', got 'xxxxx")


def test_an_agent_that_never_stops_is_shown_in_a_few_lines() -> None:
    messages: Messages = []
    for number in range(600):
        messages += turn((("search", "read")[number % 2], {"q": "x"}))
    lines = fail(messages, ["answer"])
    assert len(lines) < 45
    assert "search(q='x'), then read(q='x'), 300 times: steps 1 to 600" in "\n".join(lines)
    assert "lines are left out" in "\n".join(lines)


def test_foreign_text_is_escaped() -> None:
    messages = turn(("a\x1b[31m\nb", {"\x1b]0;x": "\x1b[2J\n"}), result="\x1b[1m\nnext")
    text = "\n".join(fail(messages, ["c"]))
    assert "\x1b" not in text
    assert "\nnext" not in text


@pytest.mark.parametrize(
    ("arguments", "options", "problem"),
    [
        (
            ["search"],
            {"order": "sorted"},
            "expected order to be one of 'strict', 'turns', 'any', got 'sorted'",
        ),
        (["search"], {"extra": True}, "expected extra to be one of 'forbid', 'allow', got True"),
        (
            None,
            {},
            "or never=[...], got neither; for no call at all write assert_tool_calls(source, [])",
        ),
        ("search", {}, "expected a list of calls, got 'search'"),
        (
            ["a", {"name": "a", "arguements": {}}],
            {},
            """expected a call as {"name": "refund", "arguments": {...}}, got {'name': 'a', 'arguements': {}}: unknown key 'arguements'""",
        ),
        ([{}], {}, "got {}: no name"),
        ([{"name": "a", "args": None}], {}, "a: expected `arguments` (or `args`) to be a mapping, got None"),
        ([{"name": "a", "args": {}, "arguments": {}}], {}, "expected `arguments` or `args`, got both"),
        ([1], {}, "expected call('name', ...) or the name of a tool, got 1"),
        (
            [["a"], ["b"]],
            {},
            "got a list of calls; lists for each turn need order='turns', got order='strict'",
        ),
        ([["a"], []], {"order": "turns"}, "expected at least one call in each turn, got an empty list"),
        (
            ["refund"],
            {"never": ["refund"]},
            "call('refund') is expected, and forbidden by never=call('refund')",
        ),
        (
            [call("refund", x=1)],
            {"never": ["re*"]},
            "is expected, and forbidden by never=call('re*'); remove one of them",
        ),
        (
            [call("refund", ..., x=1, y=2)],
            {"never": [call("refund", ..., x=1)]},
            "is expected, and forbidden by",
        ),
        (["a"], {"never": [expect_started("b")]}, "got started('b'); forbid the tool that starts the agent"),
        ([call("refund", x=1.0)], {"never": [call("refund", ..., x=1)]}, "is expected, and forbidden by"),
        (
            ["a"],
            {"extra": "allow", "missing": "allow"},
            "with which nothing can fail; at_least=None only records",
        ),
        (["a"], {"never": {"a": 1}}, "expected never to be a list of names or calls, got {'a': 1}"),
        (
            ["a"],
            {"tools": [{"type": "object"}, 1]},
            "tool 2: expected a tool with a name, as OpenAI, Anthropic or MCP",
        ),
        (
            ["a"],
            {"tools": [{"name": "refund", "input_schema": {"type": "txt"}}]},
            "the schema of tool 'refund' is invalid: schema: no valid",
        ),
        (["a"], {"at_least": 2}, "expected at_least from 0 to 1"),
        (["a"], {"at_least": 0}, "expected at_least=1.0, or None to record only, got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: Any, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError) as error:
        assert_tool_calls(MESSAGES, arguments, **options)
    assert str(error.value).startswith("assert_tool_calls: ")
    assert problem in str(error.value)


def test_a_schema_whose_pattern_takes_too_long_is_an_error_of_its_tool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pytest_llmops._util.timed_search.MAX_SECONDS", 0.01)
    schema = {"properties": {"id": {"pattern": "^(a|a)+$"}}}
    calls = turn(("find", {"id": "a" * 60 + "!"}))
    with pytest.raises(
        UsageError, match=r"^assert_tool_calls: tool 'find': schema: the pattern .* searches for more"
    ):
        assert_tool_calls(calls, ["find"], tools=[{"name": "find", "input_schema": schema}])


def test_what_does_not_contradict_is_accepted() -> None:
    options: dict[str, Any] = {
        "never": [call("refund", ..., amount=1_000), call("refund", amount=200), "delete_*"]
    }
    assert assert_tool_calls(MESSAGES, ["get_order", call("refund", ..., amount=200)], **options).value == 1
    assert assert_tool_calls(MESSAGES, ["get_order", call("refund", ..., amount=int)], **options).value == 1
    assert assert_tool_calls(turn(("a", {}), ("a", {})), ["a", "a"]).value == 1


@pytest.mark.slow
def test_in_a_plain_script_without_pytest() -> None:
    script = """
import sys
from pytest_llmops import MeasurementFailed, assert_tool_calls, call

messages = [{"role": "assistant", "tool_calls": [{"function": {"name": "refund", "arguments": '{"amount": 200}'}}]}]
assert assert_tool_calls(messages, [call("refund", amount=int)]).value == 1
try:
    assert_tool_calls(messages, [call("refund", amount=20)])
except MeasurementFailed as failure:
    print(str(failure).splitlines()[1].strip())
assert "pytest" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "step 1        refund: amount: expected 20, got 200\n"
