"""Stand-ins for results of agent frameworks: objects of classes that say they are of these packages."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

QUESTION = "Where is B-77?"
ARGUMENTS = {"order_id": "B-77"}


def make(module: str, class_name: str, /, **fields: Any) -> Any:
    """Return an object of a class of another package."""
    return type(class_name, (SimpleNamespace,), {"__module__": module})(**fields)


def make_openai_call(name: str = "get_order", call_id: str = "c1", kind: str = "tool_call_item") -> Any:
    raw = make(
        "openai.types",
        "ResponseFunctionToolCall",
        name=name,
        arguments='{"order_id": "B-77"}',
        call_id=call_id,
    )
    agent = make("agents.agent", "Agent", name="desk")
    return make("agents.items", "ToolCallItem", type=kind, agent=agent, raw_item=raw)


def make_openai_agents() -> Any:
    call = make_openai_call()
    handoff = make_openai_call("transfer_to_billing", "c2", "handoff_call_item")
    output = make(
        "agents.items",
        "ToolCallOutputItem",
        type="tool_call_output_item",
        output="sent",
        raw_item={"call_id": "c1"},
    )
    billing = make("agents.agent", "Agent", name="billing")
    handed_over = make(
        "agents.items", "HandoffOutputItem", type="handoff_output_item", target_agent=billing,
        raw_item={"call_id": "c2", "output": "{}"},
    )  # fmt: skip
    text = make("openai.types", "ResponseOutputText", type="output_text", text="On its way.")
    message = make("openai.types", "ResponseOutputMessage", type="message", role="assistant", content=[text])
    answer = make(
        "agents.items", "MessageOutputItem", type="message_output_item", agent=billing, raw_item=message
    )
    usage = make("agents.usage", "Usage", input_tokens=10, output_tokens=5)
    responses = [
        make("agents.items", "ModelResponse", output=[item.raw_item], usage=usage)
        for item in (call, handoff, answer)
    ]
    items = [call, output, handoff, handed_over, answer]
    return make("agents.result", "RunResult", input=QUESTION, new_items=items, raw_responses=responses)


def make_langchain() -> Any:
    usage = {"input_tokens": 10, "output_tokens": 5}

    def call(name: str, call_id: str) -> Any:
        calls = [{"name": name, "args": dict(ARGUMENTS), "id": call_id}]
        return make(
            "langchain_core.messages.ai", "AIMessage", type="ai", content="", name="desk", tool_calls=calls,
            invalid_tool_calls=[], usage_metadata=dict(usage),
        )  # fmt: skip

    def result(name: str, call_id: str) -> Any:
        return make(
            "langchain_core.messages.tool", "ToolMessage", type="tool", content="sent", name=name,
            tool_call_id=call_id, status="success",
        )  # fmt: skip

    human = make("langchain_core.messages.human", "HumanMessage", type="human", content=QUESTION)
    answer = make(
        "langchain_core.messages.ai", "AIMessage", type="ai", content="On its way.", name="billing",
        usage_metadata=dict(usage),
    )  # fmt: skip
    messages = [
        human,
        call("get_order", "c1"),
        result("get_order", "c1"),
        call("transfer_to_billing", "c2"),
        result("transfer_to_billing", "c2"),
        answer,
    ]
    return {"messages": messages}


def make_pydantic_ai() -> Any:
    def part(kind: str, **fields: Any) -> Any:
        return make("pydantic_ai.messages", "Part", part_kind=kind, **fields)

    def message(kind: str, *parts: Any) -> Any:
        usage = make("pydantic_ai.usage", "RequestUsage", input_tokens=10, output_tokens=5)
        return make("pydantic_ai.messages", "ModelMessage", kind=kind, parts=list(parts), usage=usage)

    return [
        message("request", part("user-prompt", content=QUESTION)),
        message(
            "response", part("tool-call", tool_name="get_order", args=dict(ARGUMENTS), tool_call_id="c1")
        ),
        message("request", part("tool-return", tool_name="get_order", content="sent", tool_call_id="c1")),
        message("response", part("thinking", content="Done."), part("text", content="On its way.")),
    ]


def make_adk_event(author: str, *parts: Any, transfer: str | None = None) -> Any:
    role = "user" if author == "user" else "model"
    return make(
        "google.adk.events.event", "Event", author=author, partial=None, error_message=None,
        content=make("google.genai.types", "Content", role=role, parts=list(parts)),
        actions=make("google.adk.events.event_actions", "EventActions", transfer_to_agent=transfer),
        usage_metadata=make("google.genai.types", "Usage", total_token_count=15),
    )  # fmt: skip


def make_adk_part(**fields: Any) -> Any:
    empty = {"text": None, "thought": None, "function_call": None, "function_response": None}
    return make("google.genai.types", "Part", **{**empty, **fields})


def make_google_adk() -> Any:
    def call(name: str, call_id: str) -> Any:
        return make_adk_part(
            function_call=make(
                "google.genai.types", "FunctionCall", name=name, args=dict(ARGUMENTS), id=call_id
            )
        )

    def response(name: str, call_id: str) -> Any:
        value = make(
            "google.genai.types", "FunctionResponse", name=name, response={"result": "sent"}, id=call_id
        )
        return make_adk_part(function_response=value)

    events = [
        make_adk_event("user", make_adk_part(text=QUESTION)),
        make_adk_event("desk", make_adk_part(text="Hm.", thought=True), call("get_order", "c1")),
        make_adk_event("desk", response("get_order", "c1")),
        make_adk_event("desk", call("transfer_to_agent", "c2")),
        make_adk_event("desk", response("transfer_to_agent", "c2"), transfer="billing"),
        make_adk_event("billing", make_adk_part(text="On its way.")),
    ]
    return make("google.adk.sessions.session", "Session", events=events)


def make_claude(kind: str, **fields: Any) -> Any:
    return make("claude_agent_sdk.types", kind, **fields)


def make_claude_answer(*blocks: Any, parent: str | None = None, message_id: str | None = None) -> Any:
    return make_claude(
        "AssistantMessage", content=list(blocks), parent_tool_use_id=parent, message_id=message_id
    )


def make_claude_result(call_id: str, parent: str | None = None) -> Any:
    block = make_claude(
        "ToolResultBlock", tool_use_id=call_id, content=[{"type": "text", "text": "sent"}], is_error=None
    )
    return make_claude("UserMessage", content=[block], parent_tool_use_id=parent)


def make_claude_agent() -> Any:
    start = make_claude("ToolUseBlock", id="c2", name="Task", input={"subagent_type": "billing"})
    call = make_claude("ToolUseBlock", id="c1", name="get_order", input=dict(ARGUMENTS))
    usage = {"input_tokens": 20, "cache_read_input_tokens": 10, "output_tokens": 15}
    return [
        make_claude("SystemMessage", subtype="init", data={}),
        make_claude("UserMessage", content=QUESTION, parent_tool_use_id=None),
        make_claude_answer(call, message_id="m1"),
        make_claude_result("c1"),
        make_claude_answer(start, message_id="m2"),
        make_claude_answer(make_claude("TextBlock", text="Let me see."), parent="c2"),
        make_claude_result("c2"),
        make_claude_answer(make_claude("TextBlock", text="On its way."), message_id="m3"),
        make_claude("ResultMessage", subtype="success", usage=usage, total_cost_usd=0.02, is_error=False),
    ]


def make_crewai() -> Any:
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "get_order", "arguments": '{"order_id": "B-77"}'},
    }
    messages = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "sent", "tool_call_id": "c1", "name": "get_order"},
        {"role": "assistant", "content": "On its way."},
    ]
    task = make(
        "crewai.tasks", "TaskOutput", agent="desk", raw="On its way.", messages=messages, tool_failures=[]
    )
    usage = make("crewai.types", "UsageMetrics", total_tokens=45)
    return make("crewai.crews", "CrewOutput", tasks_output=[task], token_usage=usage, raw="On its way.")


def make_strands_trace(message: Any, **metadata: Any) -> Any:
    trace = make(
        "strands.telemetry.metrics", "Trace", message=message, metadata=metadata, start_time=1.0, end_time=3.0
    )
    return make("strands.telemetry.metrics", "Trace", children=[trace], message=None)


def make_strands_result(*blocks: dict[str, Any]) -> Any:
    """Return the result of an agent whose blocks are messages of their own."""
    traces = []
    for block in blocks:
        role = "user" if "toolResult" in block else "assistant"
        call_id = block.get("toolResult", {}).get("toolUseId", "")
        usage = {"usage": {"inputTokens": 10, "outputTokens": 5}}
        traces.append(
            make_strands_trace({"role": role, "content": [block], "metadata": usage}, toolUseId=call_id)
        )
    metrics = make("strands.telemetry.metrics", "EventLoopMetrics", traces=traces)
    return make("strands.agent.agent_result", "AgentResult", metrics=metrics, message=None)


def make_strands() -> Any:
    call = {"toolUse": {"toolUseId": "c1", "name": "get_order", "input": dict(ARGUMENTS)}}
    result = {"toolResult": {"toolUseId": "c1", "status": "success", "content": [{"text": "sent"}]}}
    transfer = {
        "toolUse": {"toolUseId": "c2", "name": "handoff_to_agent", "input": {"agent_name": "billing"}}
    }
    nodes = {
        "desk": make("strands.multiagent", "NodeResult", result=make_strands_result(call, result, transfer)),
        "billing": make(
            "strands.multiagent", "NodeResult", result=make_strands_result({"text": "On its way."})
        ),
    }
    history = [make("strands.multiagent", "SwarmNode", node_id=name) for name in nodes]
    return make("strands.multiagent", "SwarmResult", results=nodes, node_history=history)


SOURCES = {
    "openai_agents": make_openai_agents,
    "langchain": make_langchain,
    "pydantic_ai": make_pydantic_ai,
    "google_adk": make_google_adk,
    "claude_agent": make_claude_agent,
    "crewai": make_crewai,
    "strands": make_strands,
}
