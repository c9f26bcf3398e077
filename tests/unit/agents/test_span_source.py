"""Trajectories from spans of OpenTelemetry, as an export has them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import check_message

from pytest_llmops.agents import Trajectory, read_trajectory
from pytest_llmops.errors import UsageError
from pytest_llmops.trace.fields import read_chat_request

SECOND = 1_000_000_000


def any_value(value: Any) -> dict[str, Any]:
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, list):
        return {"arrayValue": {"values": [any_value(item) for item in value]}}
    return {"stringValue": value}


def span(
    number: int,
    parent: int,
    operation: str,
    *,
    start: float | None = None,
    seconds: float = 0.5,
    **attributes: Any,
) -> dict[str, Any]:
    """A span of an OTLP/JSON export; ``tool_name`` is the attribute gen_ai.tool.name."""
    begin = number if start is None else start
    values = {"gen_ai.operation.name": operation}
    for name, value in attributes.items():
        head, _, tail = name.partition("_")
        values[f"gen_ai.{head}.{tail.replace('__', '.')}"] = value
    return {
        "traceId": "t1",
        "spanId": f"s{number}",
        "parentSpanId": f"s{parent}" if parent else "",
        "name": operation,
        "startTimeUnixNano": str(int(begin * SECOND)),
        "endTimeUnixNano": str(int((begin + seconds) * SECOND)),
        "attributes": [{"key": key, "value": any_value(value)} for key, value in values.items()],
    }


def export(*spans: dict[str, Any]) -> dict[str, Any]:
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": list(spans)}]}]}


def text(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": content}]}


def call(name: str, call_id: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_call", "id": call_id, "name": name, "arguments": arguments}


def response(call_id: str, result: str) -> dict[str, Any]:
    return {"role": "tool", "parts": [{"type": "tool_call_response", "id": call_id, "response": result}]}


CHAT_CALL = {"id": "c1", "function": {"name": "get", "arguments": '{"a": 1}'}}
ASK = text("user", "Plan my trip.")
RESEARCH = {
    "role": "assistant",
    "parts": [call("research", "c1", task="Hotels"), call("book", "c2", city="Rome")],
}


def trip() -> list[dict[str, Any]]:
    """An agent whose tool starts another one; the spans in the order of their end."""
    return [
        span(
            3,
            2,
            "chat",
            usage_input_tokens=20,
            usage_output_tokens=5,
            input_messages=json.dumps([ASK]),
            output_messages=json.dumps([RESEARCH]),
        ),
        span(
            6,
            5,
            "chat",
            input_messages=json.dumps([text("user", "Hotels")]),
            output_messages=json.dumps([text("assistant", "Roma")]),
        ),
        span(5, 4, "invoke_agent", agent_name="researcher"),
        span(8, 4, "http"),
        span(
            7,
            2,
            "execute_tool",
            tool_name="book",
            tool_call__id="c2",
            tool_call__arguments='{"city": "Rome"}',
            tool_call__result="ok",
        ),
        span(
            4,
            2,
            "execute_tool",
            tool_name="research",
            tool_call__id="c1",
            tool_call__arguments='{"task": "Hotels"}',
            tool_call__result="Roma",
        ),
        span(
            9,
            2,
            "chat",
            usage_input_tokens=40,
            usage_output_tokens=5,
            input_messages=json.dumps(
                [ASK, RESEARCH, response("c1", "Roma"), response("c2", "ok"), text("user", "Be quick.")]
            ),
            output_messages=json.dumps([text("assistant", "Done.")]),
        ),
        span(2, 1, "invoke_agent", agent_name="planner"),
        span(1, 0, "POST /trip"),
    ]


def check_trip(trajectory: Trajectory) -> None:
    research, book = trajectory.tool_calls
    assert (str(research), research.result, research.latency_s) == ("research(task='Hotels')", "Roma", 0.5)
    assert (book.result, book.started) == ("ok", None)
    assert research.started is not None
    assert research.started.agent == "researcher"
    assert [(step.role, step.text, step.agent) for step in research.started.steps] == [
        ("user", "Hotels", ""),
        ("assistant", "Roma", "researcher"),
    ]
    assert [(step.role, step.text, step.tokens) for step in trajectory.steps] == [
        ("user", "Plan my trip.", None),
        ("assistant", "", 25),
        ("user", "Be quick.", None),
        ("assistant", "Done.", 45),
    ]
    assert trajectory.agent == "planner"
    assert trajectory.problems == ()


def test_export_is_a_tree() -> None:
    check_trip(read_trajectory(export(*trip())))
    check_trip(read_trajectory(trip()))
    check_trip(read_trajectory([export(*trip()[:4]), export(*trip()[4:])]))


def test_files_of_an_export(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_text("\n".join(json.dumps(export(item)) for item in trip()), encoding="utf-8")
    check_trip(read_trajectory(path))
    path.write_text(json.dumps(export(*trip())) + "\n{broken\n", encoding="utf-8")
    trajectory = read_trajectory([path])
    assert len(trajectory.tool_calls) == 2
    assert trajectory.problems[0].startswith("traces.jsonl: line 2 of traces.jsonl: broken or cut JSON")


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, check=check_message):
        read_trajectory(tmp_path / "missing.json")


def test_content_that_is_switched_off() -> None:
    spans = [
        span(1, 0, "chat", usage_input_tokens=20),
        span(2, 0, "execute_tool", tool_name="get_order", tool_call__id="c1"),
        span(3, 0, "execute_tool", tool_name="get_order", tool_call__id="c2"),
        span(4, 0, "chat", usage_input_tokens=30),
    ]
    trajectory = read_trajectory(export(*spans))
    assert [(use.name, use.arguments, use.result) for use in trajectory.tool_calls] == [
        ("get_order", None, None)
    ] * 2
    assert {use.problem for use in trajectory.tool_calls} == {"the span of the tool has no arguments"}
    assert (trajectory.turns, trajectory.tokens) == (2, 50)
    hint = "(OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=span_only records them)"
    assert trajectory.notes == (f"2 spans without messages {hint}", f"2 spans without arguments {hint}")
    assert trajectory.problems == ()
    # Without spans of tools, nothing names the tools that were called.
    assert read_trajectory(export(spans[0])).problems == (f"1 span without messages {hint}",)


def test_spans_of_tools_only() -> None:
    spans = [
        span(1, 0, "execute_tool", tool_name="get", tool_call__arguments='{"a": 1}', tool_call__result="x"),
        {
            **span(2, 0, "execute_tool", tool_name="get", tool_call__arguments="{"),
            "status": {"code": 2, "message": "timed out"},
        },
    ]
    first, second = read_trajectory(spans).tool_calls
    assert (first.arguments, first.result, first.is_error) == ({"a": 1}, "x", False)
    assert (second.arguments, second.result, second.is_error) == (None, "timed out", True)


def test_spans_of_tools_without_ids_and_results_are_a_call_each() -> None:
    spans = [span(number, 0, "execute_tool", tool_name="delete") for number in range(1, 4)]
    assert [use.name for use in read_trajectory(spans).tool_calls] == ["delete"] * 3
    asked = {"role": "assistant", "parts": [call("delete", "c1"), call("delete", "c2")]}
    first = span(9, 0, "chat", start=0.5, output_messages=json.dumps([asked]))
    assert [use.id for use in read_trajectory([first, *spans]).tool_calls] == ["c1", "c2", ""]


def test_long_run_is_read_in_one_pass_over_its_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = 0

    def count(request: Any) -> Any:
        nonlocal parsed
        parsed += len(request["messages"])
        return read_chat_request(request)

    monkeypatch.setattr("pytest_llmops.trace.fields.read_chat_request", count)
    spans = []
    history = [ASK]
    for number in range(40):
        asked = {"role": "assistant", "parts": [call("get", f"long-{number}")]}
        content: dict[str, Any] = {
            "input_messages": json.dumps(history),
            "output_messages": json.dumps([asked]),
        }
        spans.append(span(number + 1, 0, "chat", **content))
        history = [*history, asked, response(f"long-{number}", "x")]
    assert len(read_trajectory(spans).tool_calls) == 40
    assert parsed < 200


def test_order_is_that_of_the_start() -> None:
    spans = [
        span(number, 0, "execute_tool", start=10 - number, tool_name=f"t{number}") for number in range(1, 4)
    ]
    assert [use.name for use in read_trajectory(spans).tool_calls] == ["t3", "t2", "t1"]


def test_answer_in_several_messages_is_one_step() -> None:
    messages = [
        {"role": "assistant", "parts": [call("delete", "d1")]},
        {"role": "assistant", "parts": [call("get", "g1"), {"type": "text", "content": "One moment."}]},
        {"role": "assistant", "parts": [{"type": "text", "content": "Wait."}]},
    ]
    (step,) = read_trajectory([span(1, 0, "chat", output_messages=json.dumps(messages))]).steps
    assert [use.name for use in step.tool_calls] == ["delete", "get"]
    assert step.text == "One moment.\nWait."


def test_tool_whose_client_has_a_span_too() -> None:
    outer = span(1, 0, "execute_tool", tool_name="get", tool_call__arguments="{}", tool_call__result="x")
    inner = span(2, 1, "execute_tool", tool_name="get", tool_call__arguments="{}", tool_call__result="x")
    (use,) = read_trajectory([inner, outer]).tool_calls
    assert use.started is None
    odd = span(2, 1, "execute_tool", tool_name="get", tool_call__id=["c1"])
    (use,) = read_trajectory([odd, outer]).tool_calls
    assert use.started is None
    bare = span(1, 0, "execute_tool", tool_name="get")
    (use,) = read_trajectory([bare, inner]).tool_calls
    assert (use.arguments, use.result, use.problem) == ({}, "x", "")
    # What runs below the span of the client is below the tool.
    answer = json.dumps([{"role": "assistant", "parts": [call("delete", "d1")]}])
    for below in (
        span(3, 2, "execute_tool", tool_name="delete"),
        span(3, 2, "chat", output_messages=answer),
    ):
        (use, deleted) = read_trajectory([outer, inner, below]).tool_calls
        assert use.started is not None
        assert (use.name, use.started.tool_calls) == ("get", [deleted])
        assert deleted.name == "delete"


@pytest.mark.parametrize(
    ("fields", "is_error"),
    [
        ({"error": False}, False),
        ({"status": {"code": "STATUS_CODE_OK", "message": "found"}}, False),
        ({"status": {"code": 2}}, True),
        ({"error": "not found"}, True),
    ],
)
def test_tool_that_failed(fields: dict[str, Any], is_error: bool) -> None:
    tool = span(1, 0, "execute_tool", tool_name="get", tool_call__arguments="{}", tool_call__result="x")
    (use,) = read_trajectory([{**tool, **fields}]).tool_calls
    assert (use.result, use.is_error) == ("x", is_error)


def test_log_records_have_the_messages() -> None:
    logs = [
        {"traceId": "t1", "spanId": "s1", "eventName": "gen_ai.user.message", "body": {"kvlistValue": {"values": [{"key": "content", "value": any_value("Hi")}]}}},
        {"trace_id": "t1", "span_id": "s1", "event_name": "gen_ai.choice", "body": {"message": {"content": "Hello"}}},
    ]  # fmt: skip
    trajectory = read_trajectory(
        [export(span(1, 0, "chat")), {"resourceLogs": [{"scopeLogs": [{"logRecords": logs}]}]}]
    )
    assert [(step.role, step.text) for step in trajectory.steps] == [("user", "Hi"), ("assistant", "Hello")]


def test_openinference_spans() -> None:
    message = {"message.role": "assistant", "message.tool_calls.0.tool_call.function.name": "get"}
    message["message.tool_calls.0.tool_call.function.arguments"] = '{"a": 1}'
    answer = {f"llm.output_messages.0.{key}": value for key, value in message.items()}
    spans = [
        {"span_id": "1", "attributes": {"openinference.span.kind": "LLM", "llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": "Hi", **answer}, "start_time": "2026-01-01T00:00:01Z"},
        {"span_id": "2", "attributes": {"openinference.span.kind": "TOOL", "tool.name": "get", "input.value": '{"a": 1}', "output.value": "x"}, "start_time": "2026-01-01T00:00:02Z"},
    ]  # fmt: skip
    (use,) = read_trajectory(spans).tool_calls
    assert (use.name, use.arguments, use.result) == ("get", {"a": 1}, "x")


def raw(number: int, *, name: str = "", events: list[Any] | None = None, **attributes: Any) -> dict[str, Any]:
    """A span with the attributes as another convention names them; "__" stands for a dot."""
    values = {key.replace("__", "."): value for key, value in attributes.items()}
    start = f"2026-01-01T00:00:{number:02}Z"
    return {"span_id": str(number), "name": name, "start_time": start, "attributes": values, "events": events}


ITEM = {"type": "function_call", "call_id": "c1", "name": "get", "arguments": '{"a": 1}'}
BLOCKS = {
    "anthropic": {"type": "server_tool_use", "id": "c1", "name": "get", "input": {"a": 1}},
    "vercel": {"type": "tool-call", "toolCallId": "c1", "toolName": "get", "input": {"a": 1}},
    "gemini": {"functionCall": {"name": "get", "args": {"a": 1}}},
    "bedrock": {"toolUse": {"toolUseId": "c1", "name": "get", "input": {"a": 1}}},
    "responses": ITEM,
}


@pytest.mark.parametrize(
    "spans",
    [
        *(
            pytest.param(
                [span(1, 0, "chat", output_messages=json.dumps([{"role": "assistant", "parts": [block]}]))],
                id=name,
            )
            for name, block in BLOCKS.items()
        ),
        pytest.param(
            [
                raw(
                    1,
                    openinference__span__kind="LLM",
                    output__value=json.dumps({"object": "response", "output": [ITEM]}),
                )
            ],
            id="openinference-responses",
        ),
        pytest.param(
            [
                raw(
                    1,
                    langfuse__observation__type="generation",
                    langfuse__observation__output=json.dumps(
                        {"role": "assistant", "tool_calls": [{"name": "get", "args": {"a": 1}}]}
                    ),
                )
            ],
            id="langfuse-langchain",
        ),
        pytest.param(
            [raw(1, name="get", langfuse__observation__type="tool", langfuse__observation__input='{"a": 1}')],
            id="langfuse-tool",
        ),
        pytest.param(
            [
                raw(1, ai__operationId="ai.generateText"),
                raw(
                    2,
                    ai__operationId="ai.generateText.doGenerate",
                    ai__response__toolCalls=json.dumps(
                        [{"toolCallId": "c1", "toolName": "get", "args": '{"a": 1}'}]
                    ),
                ),
                raw(
                    3,
                    ai__operationId="ai.toolCall",
                    ai__toolCall__name="get",
                    ai__toolCall__id="c1",
                    ai__toolCall__args='{"a": 1}',
                    ai__toolCall__result='"x"',
                ),
            ],
            id="vercel-ai-sdk",
        ),
        pytest.param(
            [
                raw(
                    1,
                    traceloop__span__kind="tool",
                    traceloop__entity__name="get",
                    traceloop__entity__input='{"args": [], "kwargs": {"a": 1}}',
                )
            ],
            id="traceloop-decorator",
        ),
        pytest.param(
            [
                raw(
                    1,
                    traceloop__span__kind="tool",
                    traceloop__entity__name="get",
                    traceloop__entity__input=json.dumps(
                        {"input_str": "{'a': 1}", "inputs": {"a": 1}, "tags": []}
                    ),
                )
            ],
            id="traceloop-langchain",
        ),
        pytest.param(
            [
                {
                    "run_type": "tool",
                    "name": "get",
                    "inputs": {"input": "{'a': 1}"},
                    "outputs": {"output": "x"},
                    "start_time": "2026-01-01T00:00:00",
                    "span_id": "1",
                }
            ],
            id="langsmith",
        ),
        pytest.param(
            [raw(1, name="running tool", gen_ai__tool__name="get", tool_arguments='{"a": 1}')],
            id="pydantic-ai-1",
        ),
        pytest.param([raw(1, name="execute_tool get", gen_ai__operation__name="execute_tool", gen_ai__tool__call__arguments='{"a": 1}')], id="name-of-the-span"),
        pytest.param(
            [
                raw(
                    1,
                    gen_ai__operation__name="chat",
                    events=[
                        {"name": "gen_ai.choice", "attributes": {"message": json.dumps({"tool_calls": [CHAT_CALL]})}}
                    ],
                )
            ],
            id="events-of-the-span",
        ),
    ],
)  # fmt: skip
def test_call_in_the_spans_of_an_instrumentation(spans: list[Any]) -> None:
    trajectory = read_trajectory(spans)
    assert [(use.name, use.arguments) for use in trajectory.tool_calls] == [("get", {"a": 1})]
    assert (trajectory.problems, trajectory.answer) == ((), "")


def test_call_in_a_form_that_is_not_read_is_a_problem() -> None:
    output = {"candidates": [{"content": {"parts": [{"functionCall": {"name": "delete"}}]}}]}
    spans = [raw(1, openinference__span__kind="LLM", output__value=json.dumps(output))]
    assert read_trajectory(spans).problems == (
        "a call of a model has tool calls in a form that cannot be read",
    )
    # As LiteLLM has it
    ended = span(
        1,
        0,
        "chat",
        output_messages=json.dumps([{"role": "assistant", "parts": []}]),
        response_finish_reasons=["tool_calls"],
    )
    assert read_trajectory([ended]).problems == (
        "a call of a model has tool calls in a form that cannot be read",
    )
    ran = span(2, 0, "execute_tool", tool_name="get")
    trajectory = read_trajectory([ended, ran])
    assert (len(trajectory.tool_calls), trajectory.problems) == (1, ())
    unnamed = read_trajectory([raw(1, openinference__span__kind="TOOL")])
    assert unnamed.problems == ("the span of a tool does not name it",)


def test_tools_that_the_server_ran_are_calls() -> None:
    items = [
        {"type": "web_search_call", "id": "w", "action": {"query": "Rome"}},
        {"type": "mcp_call", "id": "m", "name": "roll", "arguments": "{}", "output": "4"},
        {"type": "custom_tool_call", "call_id": "c", "name": "run", "input": "ls"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]},
    ]
    output = json.dumps({"object": "response", "output": items})
    trajectory = read_trajectory([raw(1, openinference__span__kind="LLM", output__value=output)])
    assert [(use.name, use.text) for use in trajectory.tool_calls] == [
        ("web_search", '{"query": "Rome"}'),
        ("roll", "{}"),
        ("run", "ls"),
    ]
    assert (trajectory.answer, trajectory.problems) == ("Hi", ())
    answer = '{"type": "phone_call"}'
    trajectory = read_trajectory([raw(1, openinference__span__kind="LLM", output__value=answer)])
    assert (trajectory.answer, trajectory.tool_calls) == (answer, [])


def test_call_of_a_model_with_spans_of_two_instrumentations_counts_once() -> None:
    content: dict[str, Any] = {"input_messages": json.dumps([ASK]), "output_messages": json.dumps([RESEARCH])}
    outer = span(1, 0, "chat", **content)
    failed = {**span(2, 1, "chat"), "status": {"code": 2}}
    inner = span(3, 1, "chat", usage_input_tokens=7, **content)
    trajectory = read_trajectory([outer, failed, inner])
    assert [use.name for use in trajectory.tool_calls] == ["research", "book"]
    assert (trajectory.turns, trajectory.tokens, trajectory.notes) == (1, 7, ())
    # A span around several calls is not one of them.
    several = [
        span(1, 0, "chat", output_messages=json.dumps([text("assistant", "Done.")])),
        span(2, 1, "chat", **content),
        span(3, 1, "chat", output_messages=json.dumps([text("assistant", "Done.")])),
    ]
    # A third instrumentation, below the first call.
    for spans in (several, [*several, span(4, 2, "chat", usage_input_tokens=7, **content)]):
        trajectory = read_trajectory(spans)
        assert [use.name for use in trajectory.tool_calls] == ["research", "book"]
        assert trajectory.turns == 2
    assert trajectory.steps[1].tokens == 7


def test_log_records_do_not_hide_their_spans() -> None:
    answer = json.dumps([{"role": "assistant", "parts": [call("get", "c1", a=1)]}])
    details = {
        "traceId": "t1",
        "spanId": "s1",
        "eventName": "gen_ai.client.inference.operation.details",
        "attributes": [{"key": "gen_ai.operation.name", "value": any_value("chat")}, {"key": "gen_ai.output.messages", "value": any_value(answer)}],
    }  # fmt: skip
    other = {"traceId": "t1", "spanId": "s2", "body": any_value("the tool runs")}
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [details, other]}]}]}
    spans = export(span(1, 0, "chat"), span(2, 0, "execute_tool", tool_name="get", tool_call__result="x"))
    for source in ([logs, spans], [spans, logs]):
        trajectory = read_trajectory(source)
        assert [(use.name, use.arguments, use.result) for use in trajectory.tool_calls] == [
            ("get", {"a": 1}, "x")
        ]
        assert (trajectory.problems, trajectory.notes) == ((), ())


def test_traces_that_run_at_the_same_time() -> None:
    """Each trace has the same ids of calls; their spans alternate."""
    spans = []
    for number, trace in enumerate(("t1", "t2")):
        asked = span(
            1,
            0,
            "chat",
            start=1 + number,
            output_messages=json.dumps([{"role": "assistant", "parts": [call("get", "c1")]}]),
        )
        ran = span(
            2,
            0,
            "execute_tool",
            start=5 - number,
            tool_name="get",
            tool_call__id="c1",
            tool_call__result=trace,
        )
        spans += [{**asked, "traceId": trace}, {**ran, "traceId": trace}]
    assert [use.result for use in read_trajectory(spans).tool_calls] == ["t1", "t2"]


def test_schema_of_a_tool_is_not_its_arguments() -> None:
    """OpenInference has the definition of the parameters beside the input; some instrumentations have the arguments there."""
    schema = json.dumps({"type": "object", "properties": {"a": {"type": "integer"}}})
    fields: dict[str, Any] = {"openinference__span__kind": "TOOL", "tool__name": "get"}
    spans = [
        raw(1, **fields, tool__parameters=schema, input__value='{"a": 1}'),
        raw(2, **fields, tool__parameters='{"a": 2}'),
        raw(3, **fields, tool__parameters=schema),
    ]
    uses = read_trajectory(spans).tool_calls
    assert [use.arguments for use in uses] == [{"a": 1}, {"a": 2}, None]
    assert uses[2].problem == "the span of the tool has no arguments"


def test_agent_span_without_calls_of_models_is_a_step() -> None:
    agent = span(
        1,
        0,
        "invoke_agent",
        agent_name="a",
        input_messages=json.dumps([ASK]),
        output_messages=json.dumps([text("assistant", "Ok")]),
    )
    trajectory = read_trajectory([agent])
    assert trajectory.answer == "Ok"
    assert trajectory.agent == "a"


def test_failed_call_of_a_model() -> None:
    failed = {**span(1, 0, "chat", input_messages=json.dumps([ASK])), "status": {"code": 2, "message": "429"}}
    retried = span(
        2, 0, "chat", input_messages=json.dumps([ASK]), output_messages=json.dumps([text("assistant", "Ok")])
    )
    assert read_trajectory([failed, retried]).notes == ()
    assert read_trajectory([failed]).notes == ("the last call of a model failed: 429",)


def test_messages_that_a_limit_cut() -> None:
    cut = span(1, 0, "chat", input_messages='[{"role": "user", "parts": [{"typ', output_messages="[]")
    (problem,) = read_trajectory([cut]).problems
    assert "could not be read: calls cut by a limit of attributes" in problem


@pytest.mark.slow
def test_spans_whose_parents_are_missing_or_a_circle() -> None:
    circle = [
        span(1, 2, "execute_tool", tool_name="a"),
        span(2, 1, "execute_tool", tool_name="b"),
        span(3, 9, "chat"),
    ]
    assert sorted(use.name for use in read_trajectory(circle).tool_calls) == ["a", "b"]
    deep = [span(number, number - 1, "invoke_agent", agent_name="a") for number in range(1, 2_000)]
    deep.append(span(2_000, 1_999, "execute_tool", tool_name="t"))
    assert [use.name for use in read_trajectory(deep).tool_calls] == ["t"]


def test_spans_of_something_else() -> None:
    with pytest.raises(UsageError, check=check_message):
        read_trajectory(export(span(1, 0, "GET")))


@pytest.mark.parametrize("value", [None, 5, "x", [], {"values": 5}, {1: 2}, object(), float("nan")])
def test_values_of_wrong_types(value: Any) -> None:
    wrong = {
        "spanId": value,
        "traceId": value,
        "startTimeUnixNano": value,
        "parentSpanId": value,
        "status": value,
    }
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": value,
        "gen_ai.tool.call.arguments": value,
    }
    source = [span(1, 0, "chat"), {**wrong, "attributes": attributes}, {**wrong, "attributes": value}]
    read_trajectory(source).to_wire()


NAMES = [
    "gen_ai.operation.name", "gen_ai.tool.name", "gen_ai.tool.call.id", "gen_ai.tool.call.arguments", "gen_ai.output.messages",
    "ai.operationId", "ai.response.toolCalls", "openinference.span.kind", "output.value", "tool.parameters", "traceloop.entity.input",
    "langfuse.observation.type", "error", "status",
]  # fmt: skip
ODD_VALUES = st.sampled_from(
    [
        None, 5, True, "chat", "execute_tool", "ai.toolCall", "LLM", "[{", "{'a': {1, 2}}", [None], {"a": 1}, float("inf"), "\ud800",
        '{"args": [1], "kwargs": {}}', '{"input_str": 5, "inputs": null}', [{"toolName": 5, "input": [1]}], '[{"functionCall": 5}]',
        '[{"parts": [{"functionCall": {"name": 5}}, {"toolUse": {}}]}]', {"message": "x"},
    ]
)  # fmt: skip
ATTRIBUTES = st.dictionaries(st.sampled_from(NAMES), ODD_VALUES, max_size=5)
EVENTS = st.fixed_dictionaries(
    {"name": st.sampled_from(["gen_ai.choice", "x", 5]), "attributes": ATTRIBUTES | ODD_VALUES}
)
ODD_SPANS = st.fixed_dictionaries(
    {
        "span_id": st.sampled_from("123"),
        "parent_id": st.sampled_from("0123"),
        "name": ODD_VALUES,
        "attributes": ATTRIBUTES,
        "events": st.lists(EVENTS, max_size=2) | ODD_VALUES,
    }
)


@pytest.mark.slow
@given(st.lists(ODD_SPANS, min_size=1, max_size=4))
def test_odd_spans_are_read_or_refused(spans: list[Any]) -> None:
    with contextlib.suppress(UsageError):
        read_trajectory(spans).to_wire()
