"""Trajectories from message lists and replies of SDKs, whatever their entries hold."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import check_message

from pytest_llmops.agents import Trajectory, read_trajectory
from pytest_llmops.agents.sources import messages
from pytest_llmops.errors import UsageError
from pytest_llmops.protocols import Completion, Message, ToolCall, Usage

ARGUMENTS = {"order_id": "B-77"}
TEXT = json.dumps(ARGUMENTS)
ASK = {"role": "user", "content": "Where is B-77?"}
CALL = {"id": "c1", "type": "function", "function": {"name": "get_order", "arguments": TEXT}}
CHAT = [
    ASK,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "sent"},
    {"role": "assistant", "content": "On its way."},
]
LEGACY = [
    ASK,
    {"role": "assistant", "content": None, "function_call": {"name": "get_order", "arguments": TEXT}},
    {"role": "function", "name": "get_order", "content": "sent"},
    {"role": "assistant", "content": "On its way."},
]
RESPONSES = [
    ASK,
    {"type": "reasoning", "id": "rs", "summary": []},
    {"type": "function_call", "id": "fc", "call_id": "c1", "name": "get_order", "arguments": TEXT},
    {"type": "function_call_output", "call_id": "c1", "output": "sent"},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "On its way."}]},
]
ANTHROPIC = [
    ASK,
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "Look it up."},
            {"type": "tool_use", "id": "c1", "name": "get_order", "input": ARGUMENTS},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "sent"}]}
        ],
    },
    {"role": "assistant", "content": [{"type": "text", "text": "On its way."}]},
]
LANGCHAIN = [
    {"type": "human", "data": {"content": "Where is B-77?"}},
    {
        "type": "ai",
        "data": {
            "content": [{"type": "tool_use", "id": "c1", "name": "get_order", "input": ARGUMENTS}],
            "tool_calls": [{"name": "get_order", "args": ARGUMENTS, "id": "c1"}],
        },
    },
    {"type": "tool", "data": {"content": "sent", "tool_call_id": "c1", "status": "success"}},
    {"type": "ai", "data": {"content": "On its way.", "tool_calls": []}},
]
OBJECTS = [
    SimpleNamespace(type="human", content="Where is B-77?"),
    SimpleNamespace(
        type="AIMessageChunk", content="", tool_calls=[{"name": "get_order", "args": ARGUMENTS, "id": "c1"}]
    ),
    SimpleNamespace(type="tool", content="sent", tool_call_id="c1", status="success", name="get_order"),
    SimpleNamespace(type="ai", content="On its way.", tool_calls=[]),
]
GEMINI = [
    {"role": "user", "parts": [{"text": "Where is B-77?"}]},
    {"role": "model", "parts": [{"functionCall": {"name": "get_order", "args": ARGUMENTS}}]},
    {"role": "user", "parts": [{"functionResponse": {"name": "get_order", "response": {"result": "sent"}}}]},
    {"role": "model", "parts": [{"text": "Thinking", "thought": True}, {"text": "On its way."}]},
]
CONVERSE = {
    "messages": [
        {"role": "user", "content": [{"text": "Where is B-77?"}]},
        {
            "role": "assistant",
            "content": [{"toolUse": {"toolUseId": "c1", "name": "get_order", "input": ARGUMENTS}}],
        },
        {"role": "user", "content": [{"toolResult": {"toolUseId": "c1", "content": [{"text": "sent"}]}}]},
        {"role": "assistant", "content": [{"text": "On its way."}]},
    ]
}
# ModelMessage of Vercel's AI SDK
VERCEL = [
    ASK,
    {
        "role": "assistant",
        "content": [
            {"type": "tool-call", "toolCallId": "c1", "toolName": "get_order", "input": ARGUMENTS},
        ],
    },
    {
        "role": "tool",
        "content": [
            {
                "type": "tool-result",
                "toolCallId": "c1",
                "toolName": "get_order",
                "output": {"type": "text", "value": "sent"},
            }
        ],
    },
    {"role": "assistant", "content": [{"type": "text", "text": "On its way."}]},
]
# gen_ai.input.messages of OpenTelemetry
OPENTELEMETRY = [
    {"role": "user", "parts": [{"type": "text", "text": "Where is B-77?"}]},
    {
        "role": "assistant",
        "parts": [{"type": "tool_call", "id": "c1", "name": "get_order", "arguments": ARGUMENTS}],
    },
    {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "sent"}]},
    {"role": "assistant", "parts": [{"type": "text", "text": "On its way."}]},
]
OWN = [
    Message("user", "Where is B-77?"),
    Message(
        "assistant",
        f"[tool call get_order {TEXT}]",
        tool_calls=(ToolCall(name="get_order", arguments=TEXT, id="c1"),),
    ),
    Message("tool", "sent", call_id="c1"),
    Message("assistant", "On its way."),
]


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(CHAT, id="chat"),
        pytest.param({"messages": CHAT}, id="state"),
        pytest.param(LEGACY, id="legacy"),
        pytest.param(RESPONSES, id="responses"),
        pytest.param(ANTHROPIC, id="anthropic"),
        pytest.param(LANGCHAIN, id="langchain"),
        pytest.param(OBJECTS, id="objects"),
        pytest.param(GEMINI, id="gemini"),
        pytest.param(CONVERSE, id="converse"),
        pytest.param(VERCEL, id="vercel"),
        pytest.param(OPENTELEMETRY, id="opentelemetry"),
        pytest.param(OWN, id="own"),
    ],
)
def test_result_reaches_its_call(source: Any) -> None:
    trajectory = read_trajectory(source)
    (call,) = trajectory.tool_calls
    assert (call.name, call.arguments) == ("get_order", ARGUMENTS)
    assert "sent" in str(call.result)
    assert [(step.role, step.text) for step in trajectory.steps] == [
        ("user", "Where is B-77?"),
        ("assistant", ""),
        ("assistant", "On its way."),
    ]
    assert trajectory.problems == ()


@pytest.mark.parametrize(
    ("reply", "tokens"),
    [
        (
            {
                "object": "chat.completion",
                "choices": [
                    {"message": {"role": "assistant", "content": "One moment.", "tool_calls": [CALL]}}
                ],
                "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
            },
            10,
        ),
        (
            {
                "object": "response",
                "output": [
                    RESPONSES[1],
                    {
                        "type": "message",
                        "role": "assistant",
                        "content": [{"type": "output_text", "text": "One moment."}],
                    },
                    RESPONSES[2],
                ],
                "usage": {"input_tokens": 7, "output_tokens": 3},
            },
            10,
        ),
        (
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "text", "text": "One moment."}, ANTHROPIC[1]["content"][1]],  # type: ignore[index]
                "usage": {"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 3},
            },
            10,
        ),
        (
            {
                "candidates": [{"content": {"parts": [{"text": "One moment."}, GEMINI[1]["parts"][0]]}}],  # type: ignore[index]
                "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 3},
            },
            10,
        ),
        (
            Completion(
                text="One moment.",
                tool_calls=(ToolCall(name="get_order", arguments=TEXT),),
                usage=Usage(input_tokens=7, output_tokens=3),
            ),
            10,
        ),
        (
            SimpleNamespace(
                type="ai", content="One moment.", tool_calls=[{"name": "get_order", "args": ARGUMENTS}]
            ),
            None,
        ),
    ],
)
def test_one_reply_of_a_model(reply: Any, tokens: int | None) -> None:
    for source in (reply, [reply], [ASK, reply]):
        trajectory = read_trajectory(source)
        assert str(trajectory.tool_calls[0]) == "get_order(order_id='B-77')"
        assert trajectory.answer == "One moment."
        assert trajectory.tokens == tokens


def test_calls_of_tools_that_the_server_ran_have_their_results() -> None:
    source = [
        {
            "role": "assistant",
            "content": [
                {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "Rome"}},
                {
                    "type": "web_search_tool_result",
                    "tool_use_id": "s1",
                    "content": {"type": "web_search_tool_result_error", "error_code": "unavailable"},
                },
                {"type": "text", "text": "I cannot search."},
            ],
        },
        {"type": "web_search_call", "id": "ws", "status": "completed", "action": {"query": "Rome"}},
        {"type": "mcp_call", "id": "m1", "name": "roll", "arguments": "{}", "output": "4", "error": None},
        {
            "type": "mcp_call",
            "id": "m2",
            "name": "roll",
            "arguments": "{}",
            "output": None,
            "error": "no dice",
        },
        {
            "type": "code_interpreter_call",
            "id": "ci",
            "code": "print(1)",
            "outputs": [{"type": "logs", "logs": "1"}],
        },
    ]
    trajectory = read_trajectory(source)
    search, web, roll, failed, code = trajectory.tool_calls
    assert search.is_error
    assert "unavailable" in str(search.result)
    assert (web.name, web.arguments, web.result) == ("web_search", {"query": "Rome"}, None)
    assert (roll.result, failed.result, failed.is_error) == ("4", "no dice", True)
    assert (code.arguments, code.text, code.result) == (None, "print(1)", '{"type": "logs", "logs": "1"}')
    assert trajectory.problems == ()


@pytest.mark.parametrize(
    ("message", "what"),
    [
        pytest.param({"content": [{"type": "dynamic-tool", "toolName": "f"}]}, "'dynamic-tool'", id="vercel"),
        pytest.param({"toolInvocations": [{"toolName": "f"}]}, "toolInvocations", id="vercel-4"),
        pytest.param({"content": [{"tool_call": {"tool_name": "f"}}]}, "'tool_call'", id="haystack"),
        pytest.param({"blocks": [{"block_type": "tool_call"}]}, "'tool_call'", id="llamaindex"),
        pytest.param({"additional_kwargs": {"tool_calls": [CALL]}}, "additional_kwargs", id="langchain"),
        pytest.param({"content": [{"type": "non_standard"}]}, "'non_standard'", id="langchain-1"),
        pytest.param({"parts": [{"thought": False, "toolCall": {}}]}, "'toolCall'", id="gemini-3"),
    ],
)
def test_calls_in_a_form_that_is_not_read_are_a_problem(message: dict[str, Any], what: str) -> None:
    (problem,) = read_trajectory([{"role": "assistant", **message}]).problems
    assert problem.startswith("a message of the assistant has ")
    assert what in problem


def test_call_of_langchain_that_the_server_ran() -> None:
    item = {"type": "mcp_call", "id": "m1", "name": "roll", "arguments": "{}", "output": "4"}
    call = {"type": "function_call", "id": "fc", "call_id": "c1", "name": "get_order", "arguments": TEXT}
    own = {"name": "get_order", "args": ARGUMENTS, "id": "c1"}
    listed = [{"type": "mcp_list_tools", "tools": []}, {"type": "tool_search_output", "tools": []}]
    content = [item, {"type": "web_search_call", "id": "w"}, call, *listed]
    trajectory = read_trajectory([{"type": "ai", "content": content, "tool_calls": [own]}])
    assert [(use.name, use.result) for use in trajectory.tool_calls] == [
        ("get_order", None),
        ("roll", "4"),
        ("web_search", None),
    ]
    assert (trajectory.answer, trajectory.problems) == ("", ())


def test_result_of_a_hosted_tool_without_an_id_is_not_that_of_another_call() -> None:
    source = [
        {"type": "function_call", "call_id": "c1", "name": "get_order", "arguments": "{}"},
        {"type": "code_interpreter_call", "code": "1", "outputs": [{"type": "logs", "logs": "1"}]},
        {"type": "function_call_output", "call_id": "c1", "output": "delivered"},
    ]
    for entries in (source, [{"role": "assistant", "content": source[:2]}, source[2]]):
        trajectory = read_trajectory(entries)
        assert [(use.name, use.result) for use in trajectory.tool_calls] == [
            ("get_order", "delivered"),
            ("code_interpreter", '{"type": "logs", "logs": "1"}'),
        ]
        assert trajectory.notes == ()


def test_results_of_local_tools_of_the_responses_api() -> None:
    source = [
        {"type": "local_shell_call", "call_id": "c1", "action": {"command": ["ls"]}},
        {"type": "local_shell_call_output", "id": "c1", "output": "a.txt"},
        {"type": "apply_patch_call", "call_id": "c2", "operation": {"path": "a.txt"}},
        {"type": "apply_patch_call_output", "call_id": "c2", "output": "no", "status": "failed"},
        {"type": "tool_search_call", "call_id": "c3", "arguments": {"query": "mail"}},
        {"type": "tool_search_output", "call_id": "c3", "tools": [{"name": "send"}]},
        {"type": "computer_call", "call_id": "c4", "actions": [{"type": "click"}]},
    ]
    trajectory = read_trajectory(source)
    calls = [(use.name, use.result is not None, use.is_error) for use in trajectory.tool_calls]
    assert calls == [
        ("local_shell", True, False),
        ("apply_patch", True, True),
        ("tool_search", True, False),
        ("computer", False, False),
    ]
    assert "click" in trajectory.tool_calls[-1].text
    assert (trajectory.problems, trajectory.notes) == ((), ())


def test_results_in_another_order_before_their_calls_and_twice() -> None:
    calls = [{"id": name, "function": {"name": "f", "arguments": "{}"}} for name in "abc"]
    source = [
        {"role": "tool", "tool_call_id": "c", "content": "early"},
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "b", "content": "B"},
        {"role": "tool", "tool_call_id": "a", "content": "A"},
        {"role": "tool", "tool_call_id": "a", "content": "again"},
        {"role": "tool", "tool_call_id": "z", "content": "never"},
    ]
    trajectory = read_trajectory(source)
    assert [call.result for call in trajectory.tool_calls] == ["A", "B", "early"]
    assert [note.split(", ")[0] for note in trajectory.notes] == [
        "there is a result for the call id 'a'",
        "there is a result for the call id 'z'",
    ]


def test_id_that_two_calls_have() -> None:
    call = {"id": "__fake_id__", "function": {"name": "f", "arguments": "{}"}}
    source: list[Any] = []
    for text in ("one", "two"):
        source.append({"role": "assistant", "tool_calls": [call]})
        source.append({"role": "tool", "tool_call_id": "__fake_id__", "content": text})
    assert [use.result for use in read_trajectory(source).tool_calls] == ["one", "two"]


def test_arguments_that_are_not_json() -> None:
    texts = [
        "{",
        "[]",
        "NaN",
        "3",
        "null",
        '"B"',
        "[" * 100_000,
        "1" * 5_000,
        '{"a": "' + "x" * 5_000_000 + '"}',
    ]
    calls = [{"id": text[:5], "function": {"name": "f", "arguments": text}} for text in texts]
    uses = read_trajectory([{"role": "assistant", "tool_calls": calls}]).tool_calls
    assert [use.arguments is None for use in uses] == [True] * 8 + [False]
    assert all(use.problem for use in uses[:-1])
    assert [use.text for use in uses] == texts


def test_values_that_cannot_be_json_and_lone_surrogates() -> None:
    loop: list[Any] = []
    loop.append(loop)
    source = [
        {"role": "user", "content": "\ud800"},
        {"role": "assistant", "content": loop, "tool_calls": [{"name": "f", "args": {"a": loop}}]},
        {"role": "tool", "content": {"a": loop}},
        {"role": "assistant", "tool_calls": [{"name": "\udfff", "args": {(1, 2): 3}}, {"args": {}}, None, 5]},
        {"role": "assistant", "tool_calls": {"name": "delete"}, "content": 7},
        {"role": "assistant", "content": None},
    ]
    trajectory = read_trajectory(source)
    assert [call.arguments for call in trajectory.tool_calls[:2]] == [None, None]
    assert trajectory.tool_calls[0].problem.startswith("the arguments cannot be written as JSON: ")
    assert trajectory.problems == (
        "a message calls a tool without a name",
        "a message of the assistant has tool_calls that are not a list: dict",
    )
    trajectory.to_wire()


def test_invalid_tool_calls_of_langchain_are_calls_with_a_problem() -> None:
    message = {
        "type": "ai",
        "content": "",
        "tool_calls": [],
        "invalid_tool_calls": [
            {"name": "f", "args": "{", "id": "c", "error": "not JSON", "type": "invalid_tool_call"}
        ],
    }
    source = [message, {"type": "tool", "content": "bad arguments", "tool_call_id": "c", "status": "error"}]
    (call,) = read_trajectory(source).tool_calls
    assert (call.name, call.arguments, call.result, call.is_error) == ("f", None, "bad arguments", True)
    assert call.problem


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            [ASK, {"role": "critic", "content": "Bad."}],
            "message 2 ",
        ),
        ([ASK, {"role": "critic", "content": "Bad."}], "got the role 'critic'"),
        ([ASK, {"content": "Bad."}], "got {'content': 'Bad.'}"),
        ([ASK, None], "got None"),
        ([ASK, object()], "got an object of the type object"),
        ([None], "got a list whose first item is of the type NoneType"),
        ("Hello", "got an object of the type str"),
        (None, r"got None; does the function that runs the agent return its result\?"),
        ({"messages": "Hello"}, "got an object of the type dict"),
        (SimpleNamespace(type="car"), "got an object of the type types.SimpleNamespace"),
    ],
)
def test_source_that_is_not_messages(source: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message, check=check_message):
        read_trajectory(source)


def test_empty_lists() -> None:
    assert read_trajectory([]) == read_trajectory({"messages": []}) == Trajectory()


def test_property_that_raises() -> None:
    class Broken:
        type = "ai"
        content = "Hello"

        @property
        def tool_calls(self) -> list[Any]:
            raise RuntimeError("closed")

    assert read_trajectory([Broken()]).answer == "Hello"


@pytest.mark.slow
def test_thousand_steps_have_their_results() -> None:
    source: list[Any] = [ASK]
    for number in range(1_000):
        call = {"id": f"c{number}", "function": {"name": "f", "arguments": "{}"}}
        source.append({"role": "assistant", "tool_calls": [call]})
    for number in reversed(range(1_000)):
        source.append({"role": "tool", "tool_call_id": f"c{number}", "content": str(number)})
    trajectory = read_trajectory(source)
    assert [call.result for call in trajectory.tool_calls] == [str(number) for number in range(1_000)]


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[Any], dict[str, str]]:
    """Messages with calls of unique ids, whose results stand somewhere after, in any order; and the results by id."""
    results: dict[str, str] = {}
    waiting: list[str] = []
    source: list[Any] = []
    for number in range(draw(st.integers(1, 6))):
        names = draw(st.lists(st.sampled_from(["get", "put"]), max_size=4))
        ids = [f"{number}-{index}" for index in range(len(names))]
        calls = [
            {"id": call_id, "function": {"name": name, "arguments": draw(st.text(max_size=5))}}
            for call_id, name in zip(ids, names, strict=True)
        ]
        source.append({"role": "assistant", "content": draw(st.text(max_size=5)), "tool_calls": calls})
        waiting = draw(st.permutations([*waiting, *ids]))
        for call_id in waiting[: draw(st.integers(0, len(waiting)))]:
            results[call_id] = draw(st.text(max_size=5))
            waiting.remove(call_id)
            source.append({"role": "tool", "tool_call_id": call_id, "content": results[call_id]})
    return source, results


@pytest.mark.slow
@given(conversations())
def test_each_call_has_its_result(conversation: tuple[list[Any], dict[str, str]]) -> None:
    source, results = conversation
    trajectory = read_trajectory(source)
    assert {call.id: call.result for call in trajectory.tool_calls if call.result is not None} == results
    assert trajectory.problems == ()


def test_further_answers_of_a_reply_are_a_problem() -> None:
    choices = [{"message": {"role": "assistant", "content": text}} for text in ("One.", "Two.", "Three.")]
    trajectory = read_trajectory({"object": "chat.completion", "choices": choices})
    assert trajectory.answer == "One."
    assert trajectory.problems == ("reply 1 has 2 more answers; only the first one is read",)


KEYS = [
    "role", "type", "content", "tool_calls", "function_call", "name", "id", "call_id", "tool_call_id", "arguments", "input",
    "function", "parts", "functionResponse", "output", "choices", "candidates", "object", "usage", "data", "text", "response",
    "toolCallId", "toolName", "toolUse", "toolResult", "blocks", "block_type", "additional_kwargs", "toolInvocations",
]  # fmt: skip
WORDS = [
    "user",
    "assistant",
    "tool",
    "function",
    "function_call",
    "function_call_output",
    "tool_use",
    "tool_result",
    "text",
    "response",
    "tool-call",
    "tool-result",
    "mcp_call",
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(WORDS)
    | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=20,
)


@given(VALUES)
def test_reading_raises_usage_errors_only(source: Any) -> None:
    for value in (source, [source], [{"role": "assistant", "content": source}, source]):
        try:
            trajectory = messages.read(value)
        except UsageError:
            continue
        if trajectory is not None:
            trajectory.to_wire()
