"""Trajectories from results of agent frameworks, by stand-ins for their classes; `tests/clients/test_agent_frameworks.py` has the real ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.framework_results import (
    ARGUMENTS,
    QUESTION,
    SOURCES,
    make,
    make_adk_event,
    make_adk_part,
    make_claude,
    make_claude_answer,
    make_claude_result,
    make_crewai,
    make_google_adk,
    make_langchain,
    make_openai_agents,
    make_openai_call,
    make_pydantic_ai,
    make_strands,
    make_strands_result,
)
from support.messages import check_message

from pytest_llmops.agents import Trajectory, read_trajectory
from pytest_llmops.agents.trajectory import MAX_DEPTH
from pytest_llmops.errors import UsageError
from pytest_llmops.protocols import Call, Message, ToolCall

# Those whose result holds a tree
TREES = ("openai_agents", "langchain", "google_adk", "claude_agent", "strands")


@pytest.mark.parametrize("name", SOURCES)
def test_calls_results_and_answer_are_read(name: str) -> None:
    trajectory = read_trajectory(SOURCES[name]())
    assert trajectory.problems == ()
    call = trajectory.tool_calls[0]
    assert (call.name, call.arguments, call.result, call.is_error) == ("get_order", ARGUMENTS, "sent", False)
    assert trajectory.answer == "On its way."
    assert trajectory.tokens == (30 if name == "pydantic_ai" else 45)
    if name != "strands":
        assert [step.text for step in trajectory.steps if step.role == "user"] == [QUESTION]


@pytest.mark.parametrize("name", TREES)
def test_an_agent_hangs_on_the_call_that_handed_over_to_it(name: str) -> None:
    trajectory = read_trajectory(SOURCES[name]())
    started = [call.started for call in trajectory.tool_calls if call.started is not None]
    assert [agent.agent for agent in started] == ["billing"]
    assert all(step.agent == "billing" for step in started[0].steps)
    assert trajectory.turns == (4 if name == "claude_agent" else 3)


def find_places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield what holds a value, and the key, name or index under which it holds it."""
    holder: Any = value
    if isinstance(value, SimpleNamespace):
        holder = vars(value)
    keys: Any = ()
    if isinstance(holder, dict):
        keys = list(holder)
    elif isinstance(holder, list):
        keys = range(len(holder))
    for key in keys:
        yield holder, key
        yield from find_places(holder[key])


class Hostile:
    """Its attributes cannot be read, and it cannot be shown."""

    def __getattr__(self, name: str) -> str:
        raise RuntimeError(name)

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


ODD_VALUES = st.sampled_from(
    [
        None,
        True,
        -1,
        10**400,
        float("nan"),
        "x",
        b"x",
        [],
        [None],
        [[]],
        {},
        {"a": 1},
        ("x",),
        object(),
        Hostile(),
    ]
)


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
@given(data=st.data())
def test_odd_values_are_problems_or_errors(name: str, data: st.DataObject) -> None:
    source = [SOURCES[name]()]
    places = list(find_places(source))
    for index in data.draw(st.lists(st.integers(0, len(places) - 1), min_size=1, max_size=2)):
        holder, key = places[index]
        holder[key] = data.draw(ODD_VALUES)
    try:
        trajectory = read_trajectory(source[0])
    except UsageError:
        return
    trajectory.to_wire()
    assert isinstance(trajectory.answer, str)
    assert isinstance(trajectory.turns, int)


def get_only_call(source: object) -> Any:
    (call,) = read_trajectory(source).tool_calls
    return call


def test_openai_agents_begins_the_result_of_a_failed_tool_with_a_sentence() -> None:
    run = make_openai_agents()
    run.new_items = run.new_items[:2]
    run.new_items[1].output = "An error occurred while running the tool. Please try again."
    assert get_only_call(run).is_error


def test_calls_of_openai_agents_belong_to_the_response_they_are_in() -> None:
    first, second = make_openai_call(call_id="c1"), make_openai_call(call_id="c2")
    together = [make("agents.items", "ModelResponse", output=[first.raw_item, second.raw_item], usage=None)]
    apart = [
        make("agents.items", "ModelResponse", output=[call.raw_item], usage=None) for call in (first, second)
    ]
    items = [first, second]
    counts = []
    for responses in (together, apart):
        run = make("agents.result", "RunResult", input=[], new_items=items, raw_responses=responses)
        counts.append([len(step.tool_calls) for step in read_trajectory(run).steps])
    assert counts == [[2], [1, 1]]
    assert [len(step.tool_calls) for step in read_trajectory(items).steps] == [2]


def test_openai_agents_input_may_be_messages_and_hosted_tools_have_no_name() -> None:
    search = {"query": "B-77"}
    raw = make("openai.types", "ResponseFunctionWebSearch", type="web_search_call", id="ws1", action=search)
    item = make("agents.items", "ToolCallItem", type="tool_call_item", agent=None, raw_item=raw)
    given_messages = [{"role": "user", "content": QUESTION}]
    run = make("agents.result", "RunResult", input=given_messages, new_items=[item], raw_responses=[])
    call = get_only_call(run)
    assert (call.name, call.arguments) == ("web_search", search)
    assert read_trajectory(run).steps[0].text == QUESTION


@pytest.mark.parametrize(("key", "is_error"), [("output", False), ("error", True)])
def test_openai_agents_result_of_a_tool_that_the_server_ran(key: str, is_error: bool) -> None:
    raw = make("openai.types", "McpCall", type="mcp_call", id="m1", name="roll", arguments="{}", **{key: "4"})
    item = make("agents.items", "ToolCallItem", type="tool_call_item", agent=None, raw_item=raw)
    call = get_only_call([item])
    assert (call.name, call.result, call.is_error) == ("roll", "4", is_error)


def test_openai_agents_searches_for_tools_are_calls() -> None:
    raw_call = make(
        "openai.types", "ResponseToolSearchCall", type="tool_search_call", call_id=None, arguments="{}"
    )
    raw_result = make("openai.types", "ResponseToolSearchOutputItem", type="tool_search_output", call_id=None)
    items = [
        make("agents.items", "ToolSearchCallItem", type="tool_search_call_item", raw_item=raw_call),
        make("agents.items", "ToolSearchOutputItem", type="tool_search_output_item", raw_item=raw_result),
    ]
    call = get_only_call(items)
    assert (call.name, call.result) == ("tool_search", "")


def test_langchain_calls_of_tools_of_the_server_are_parts_of_the_content() -> None:
    content = [
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "Rome"}},
        {
            "type": "web_search_tool_result",
            "tool_use_id": "s1",
            "content": [{"type": "text", "text": "A city"}],
        },
        {"type": "tool_use", "id": "c1", "name": "get_order", "input": ARGUMENTS},
    ]
    own_calls = [{"name": "get_order", "args": ARGUMENTS, "id": "c1"}]
    message = make(
        "langchain_core.messages.ai", "AIMessage", type="ai", content=content, tool_calls=own_calls
    )
    calls = read_trajectory(message).tool_calls
    assert [(call.name, call.result) for call in calls] == [("get_order", None), ("web_search", "A city")]


def test_langchain_keeps_arguments_that_are_not_json() -> None:
    invalid = [{"name": "get_order", "args": '{"order_id": ', "id": "c1", "error": "no"}]
    message = make(
        "langchain_core.messages.ai", "AIMessage", type="ai", content="", invalid_tool_calls=invalid
    )
    call = get_only_call(message)
    assert (call.arguments, call.text) == (None, '{"order_id": ')
    assert call.problem


def test_an_agent_that_is_handed_back_to_goes_on() -> None:
    state = make_langchain()
    back = make(
        "langchain_core.messages.ai", "AIMessage", type="ai", content="", name="billing",
        tool_calls=[{"name": "transfer_back_to_desk", "args": {}, "id": "c3"}],
    )  # fmt: skip
    result = make(
        "langchain_core.messages.tool",
        "ToolMessage",
        type="tool",
        content="",
        name="transfer_back_to_desk",
        tool_call_id="c3",
    )
    bye = make("langchain_core.messages.ai", "AIMessage", type="ai", content="Bye.", name="desk")
    trajectory = read_trajectory({"messages": [*state["messages"], back, result, bye]})
    assert trajectory.answer == "Bye."
    assert [step.agent for step in trajectory.steps if step.role == "assistant"] == ["desk", "desk", "desk"]
    assert trajectory.problems == ()


def test_pydantic_ai_leaves_the_output_tool_out_and_retries_are_failures() -> None:
    messages = make_pydantic_ai()
    messages[2].parts[0] = make(
        "pydantic_ai.messages",
        "RetryPromptPart",
        part_kind="retry-prompt",
        content="Again.",
        tool_name="get_order",
        tool_call_id="c1",
    )
    output = make(
        "pydantic_ai.messages",
        "ToolCallPart",
        part_kind="tool-call",
        tool_name="final_result",
        args='{"state": "sent"}',
        tool_call_id="c9",
    )
    done = make(
        "pydantic_ai.messages",
        "ToolReturnPart",
        part_kind="tool-return",
        content="Final result processed.",
        tool_call_id="c9",
    )
    messages[3].parts = [output]
    messages.append(make("pydantic_ai.messages", "ModelRequest", kind="request", parts=[done]))
    result = make(
        "pydantic_ai.run", "AgentRunResult", _output_tool_name="final_result", all_messages=lambda: messages
    )
    for source in (messages, result):
        trajectory = read_trajectory(source)
        assert [(call.name, call.is_error, call.result) for call in trajectory.tool_calls] == [
            ("get_order", True, "Again.")
        ]
        assert trajectory.answer == '{"state": "sent"}'
        assert trajectory.problems == ()


def test_pydantic_ai_reads_an_outcome_instructions_and_prompts_of_parts() -> None:
    image = make("pydantic_ai.messages", "ImageUrl", kind="image-url", url="https://example.org/a.png")
    messages = make_pydantic_ai()
    messages[0].instructions = "Be brief."
    messages[0].parts[0].content = ["Look:", image]
    messages[2].parts[0].outcome = "denied"
    trajectory = read_trajectory(messages)
    assert [(step.role, step.text) for step in trajectory.steps[:2]] == [
        ("system", "Be brief."),
        ("user", "Look:\n[image-url]"),
    ]
    assert trajectory.tool_calls[0].is_error


def test_google_adk_errors_fragments_and_contents() -> None:
    session = make_google_adk()
    session.events[2].content.parts[0].function_response.response = {"error": "no such order"}
    fragment = make_adk_event("desk", make_adk_part(text="On"))
    fragment.partial = True
    broken = make_adk_event("desk")
    broken.error_message = "quota exceeded"
    session.events += [fragment, broken]
    trajectory = read_trajectory(session)
    call = trajectory.tool_calls[0]
    assert (call.result, call.is_error) == ("no such order", True)
    assert trajectory.answer == "On its way."
    assert trajectory.problems == ("event 8: quota exceeded",)
    contents = [event.content for event in make_google_adk().events[:3]]
    assert get_only_call(contents).result == "sent"


def test_google_adk_call_next_to_a_result_is_not_lost() -> None:
    session = make_google_adk()
    deletion = make("google.genai.types", "FunctionCall", name="delete", args={}, id="c9")
    session.events[2].content.parts.append(make_adk_part(function_call=deletion))
    names = [call.name for call in read_trajectory(session).tool_calls]
    assert names[:2] == ["get_order", "delete"]


def test_a_reply_of_gemini_is_read_as_a_message() -> None:
    part = make_adk_part(
        function_call=make("google.genai.types", "FunctionCall", name="refund", args={}, id=None)
    )
    content = make("google.genai.types", "Content", role="model", parts=[part])
    candidate = make("google.genai.types", "Candidate", content=content)
    usage = make("google.genai.types", "Usage", prompt_token_count=3, candidates_token_count=4)
    reply = make(
        "google.genai.types",
        "GenerateContentResponse",
        candidates=[candidate],
        parts=[part],
        usage_metadata=usage,
    )
    assert get_only_call(reply).name == "refund"
    assert read_trajectory([reply]) == read_trajectory(reply)
    assert read_trajectory(reply).tokens == 7


def test_an_agent_of_google_adk_that_is_a_tool_hangs_on_its_call() -> None:
    session = make_google_adk()
    call = session.events[3].content.parts[0].function_call
    call.name = "billing"
    answer = session.events.pop()
    session.events[4].actions.transfer_to_agent = None
    session.events[4].content.parts[0].function_response.name = "billing"
    session.events.insert(4, answer)
    trajectory = read_trajectory(session)
    (started,) = [call.started for call in trajectory.tool_calls if call.started is not None]
    assert (started.agent, started.answer) == ("billing", "On its way.")
    assert [call.result for call in trajectory.tool_calls] == ["sent", "sent"]
    assert trajectory.problems == ()


def test_pieces_of_an_answer_of_claude_are_one_turn() -> None:
    blocks = [make_claude("ToolUseBlock", id=call_id, name="get_order", input={}) for call_id in ("c1", "c2")]
    answers = [make_claude_answer(block, message_id="m1") for block in blocks]
    trajectory = read_trajectory([*answers, make_claude_result("c2"), make_claude_result("c1")])
    assert trajectory.turns == 1
    assert [call.result for call in trajectory.tool_calls] == ["sent", "sent"]


def test_agents_of_claude_without_their_call_are_a_problem() -> None:
    text = make_claude("TextBlock", text="Hm.")
    error = make_claude(
        "ResultMessage", subtype="error_max_turns", usage=None, total_cost_usd=None, is_error=True
    )
    trajectory = read_trajectory([make_claude_answer(text, parent="c9"), error])
    assert [step.text for step in trajectory.steps] == ["Hm."]
    (problem,) = trajectory.problems
    assert "'c9'" in problem
    assert trajectory.notes == ("the run ended with error_max_turns",)
    assert trajectory.cost_usd is None


def test_crewai_failures_mark_their_call_only() -> None:
    crew = make_crewai()
    (task,) = crew.tasks_output
    call = {"id": "c2", "type": "function", "function": {"name": "get_order", "arguments": "{"}}
    task.messages[1]["tool_calls"].append(call)
    failure = make("crewai.tools", "ToolFailureRecord", tool_name="get_order", tool_args="{")
    task.tool_failures = [failure]
    assert [call.is_error for call in read_trajectory(crew).tool_calls] == [False, True]


def test_crewai_calls_that_are_written_as_text_are_a_problem() -> None:
    text = 'Thought: look it up\nAction: get_order\nAction Input: {"order_id": "B-77"}'
    entries = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": text}]
    output = make("crewai.tasks", "TaskOutput", agent="clerk", raw="On its way.", messages=entries)
    (problem,) = read_trajectory(output).problems
    assert "wrote its calls as text" in problem


def test_crewai_output_without_messages_is_an_answer() -> None:
    task = make("crewai.tasks", "TaskOutput", agent="desk", raw="On its way.", messages=[])
    trajectory = read_trajectory(task)
    assert (trajectory.answer, trajectory.agent, trajectory.tokens) == ("On its way.", "desk", None)


def test_messages_of_strands_are_those_of_bedrock() -> None:
    messages = [
        {"role": "user", "content": [{"text": QUESTION}, {"image": {"format": "png"}}]},
        {
            "role": "assistant",
            "content": [{"toolUse": {"toolUseId": "c1", "name": "get_order", "input": ARGUMENTS}}],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "c1", "status": "error", "content": [{"json": {"a": 1}}]}}
            ],
        },
    ]
    trajectory = read_trajectory(messages)
    assert trajectory.steps[0].text == f"{QUESTION}\n[image]"
    (call,) = trajectory.tool_calls
    assert (call.result, call.is_error) == ('{"a": 1}', True)
    agent = make("strands.agent.agent", "Agent", name="desk", messages=messages)
    trajectory = read_trajectory(agent)
    assert [trajectory.agent, *(step.agent for step in trajectory.steps)] == ["desk", "", "desk"]


def test_an_agent_of_strands_that_failed_is_a_problem() -> None:
    swarm = make_strands()
    swarm.results["billing"].result = ValueError("no money")
    trajectory = read_trajectory(swarm)
    (started,) = [call.started for call in trajectory.tool_calls if call.started is not None]
    assert "no money" in started.problems[0]
    assert "'billing'" in started.problems[0]


def make_chain_of_openai_agents(count: int) -> Any:
    items = []
    for number in range(count):
        call = make_openai_call("transfer", f"c{number}", "handoff_call_item")
        agent = make("agents.agent", "Agent", name=f"agent {number}")
        raw = {"call_id": f"c{number}", "output": ""}
        output = make(
            "agents.items", "HandoffOutputItem", type="handoff_output_item", target_agent=agent, raw_item=raw
        )
        items += [call, output]
    return items


def make_chain_of_claude(count: int) -> Any:
    messages = []
    parent = None
    for number in range(count):
        call = make_claude("ToolUseBlock", id=f"c{number}", name="Task", input={})
        messages.append(make_claude_answer(call, parent=parent))
        parent = f"c{number}"
    return [*messages, make_claude_answer(make_claude("TextBlock", text="Done."), parent=parent)]


def make_chain_of_strands(count: int) -> Any:
    nodes = {}
    for number in range(count):
        transfer = {
            "toolUse": {
                "toolUseId": "c",
                "name": "handoff_to_agent",
                "input": {"agent_name": f"n{number + 1}"},
            }
        }
        nodes[f"n{number}"] = make("strands.multiagent", "NodeResult", result=make_strands_result(transfer))
    return make("strands.multiagent", "SwarmResult", results=nodes)


def make_chain_of_calls(count: int) -> Any:
    calls = []
    for number in range(count):
        use = ToolCall(name="delegate", id=f"c{number}", arguments=json.dumps({"task": f"Task {number + 1}"}))
        calls.append(Call(messages=(Message("user", f"Task {number}"),), tool_calls=(use,), status=200))
    return calls


def make_chain_of_spans(count: int) -> Any:
    spans = []
    for number in range(count):
        call = {"type": "tool_call", "id": f"c{number}", "name": "delegate", "arguments": {}}
        answer = json.dumps([{"role": "assistant", "parts": [call]}])
        place = {"parent_span_id": f"t{number - 1}", "start_time_unix_nano": str(number + 1)}
        model = {"gen_ai.operation.name": "chat", "gen_ai.output.messages": answer}
        tool = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "delegate",
            "gen_ai.tool.call.id": f"c{number}",
        }
        spans.append({"span_id": f"m{number}", "attributes": model, **place})
        spans.append({"span_id": f"t{number}", "attributes": tool, **place})
    return spans


@pytest.mark.slow
@pytest.mark.parametrize(
    "make_chain",
    [
        make_chain_of_openai_agents,
        make_chain_of_claude,
        make_chain_of_strands,
        make_chain_of_calls,
        make_chain_of_spans,
    ],
)
def test_a_tree_is_not_deeper_than_it_can_be_walked(make_chain: Any) -> None:
    count = 4 * MAX_DEPTH
    trajectory = read_trajectory(make_chain(count))
    assert len(trajectory.tool_calls) == count
    trajectory.to_wire()
    assert MAX_DEPTH <= measure_depth(trajectory) <= MAX_DEPTH + 1


def measure_depth(trajectory: Trajectory) -> int:
    """Return how many agents are below each other, the first one included."""
    started = [call.started for step in trajectory.steps for call in step.tool_calls]
    return 1 + max((measure_depth(agent) for agent in started if agent is not None), default=0)


def test_what_no_reader_knows_is_refused() -> None:
    with pytest.raises(UsageError, check=check_message) as caught:
        read_trajectory(make("crewai.crew", "Crew", name="x"))
    assert "crewai.crew.Crew" in str(caught.value)
