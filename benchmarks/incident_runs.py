"""Small agents with a scripted model, in 50 runs: ten scenarios, each by five ways to call a model.

The runs know nothing of recordings and traces: `benchmarks.incidents` records them, and `benchmarks.incident_model` is the model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

MODEL = "scripted-1"
WAYS = ("chat", "chat_stream", "responses", "claude", "claude_stream")
SHOP = "You answer customers of a shop. Look orders up before you answer."
Call = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Turn:
    """An answer of the model."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    thinking: str = ""


@dataclass(frozen=True)
class Stage:
    """A conversation of an agent: what the user says, and what the model answers."""

    questions: tuple[str, ...]
    turns: tuple[Turn, ...]
    system: str = SHOP


@dataclass
class Trajectory:
    """What an agent did: the calls of its tools, and its answers to the user."""

    calls: list[Call] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)


def call(name: str, **arguments: Any) -> Call:
    return name, arguments


LOOKED = "Order {0} was shipped on 3 May."
SCENARIOS: dict[str, tuple[Stage, ...]] = {
    "direct": (Stage(("{0}: When do you open?",), (Turn("At nine, every day."),)),),
    "lookup": (
        Stage(
            ("{0}: Where is my order?",),
            (Turn(calls=(call("get_order", order_id="{0}"),)), Turn(LOOKED)),
        ),
    ),
    "parallel": (
        Stage(
            ("{0}: Compare my order and the weather in Bonn and Rome.",),
            (
                Turn(
                    calls=(
                        call("get_order", order_id="{0}"),
                        call("get_weather", city="Bonn"),
                        call("get_weather", city="Rome"),
                    )
                ),
                Turn("It rains in Bonn; order {0} is dry."),
            ),
        ),
    ),
    "six_steps": (
        Stage(
            ("{0}: Refund what is broken.",),
            (
                Turn(calls=(call("get_order", order_id="{0}"),)),
                Turn(calls=(call("search", query="broken {0}", filters={"state": ["open", "late"], "limit": 5}),)),
                Turn(calls=(call("get_weather", city="Ulm"),)),
                Turn(calls=(call("get_order", order_id="{0}-2"),)),
                Turn(calls=(call("refund", order_id="{0}", amount=12.5, lines=[1, 3]),)),
                Turn("12.50 is on its way back to you for {0}."),
            ),
        ),
    ),
    "text_and_tool": (
        Stage(
            ("{0}: Is it late?",),
            (Turn("One moment, I look that up.", (call("get_order", order_id="{0}"),)), Turn(LOOKED)),
        ),
    ),
    "languages": (
        Stage(
            ("{0}: 我的订单在哪里? „Größe“ 😀",),
            (Turn(calls=(call("search", query="订单 {0} „Größe“ 😀", filters={}),)), Turn("您的订单 {0} 已发货。\nGrüße\u2028\u00a0😀")),
            "你是商店的客服。",
        ),
    ),
    "mistake": (
        Stage(
            ("{0}: Cancel it.",),
            (
                Turn(calls=(call("get_order", order_id="unknown"),)),
                Turn(calls=(call("get_order", order_id="{0}"),), thinking="The first id was wrong."),
                Turn("Order {0} cannot be cancelled: it was shipped."),
            ),
        ),
    ),
    "polling": (
        Stage(
            ("{0}: Tell me when it is ready.",),
            (
                Turn(calls=(call("get_weather", city="Bonn"),), thinking="Let me see."),
                Turn(calls=(call("get_weather", city="Bonn"),)),
                Turn(calls=(call("get_weather", city="Bonn"),)),
                Turn("It is ready."),
            ),
            "",
        ),
    ),
    "two_questions": (
        Stage(
            ("{0}: Where is my order?", "And the other one, {0}-B?"),
            (
                Turn(calls=(call("get_order", order_id="{0}"),)),
                Turn(LOOKED),
                Turn(calls=(call("get_order", order_id="{0}-B"),)),
                Turn("Order {0}-B is not paid yet."),
            ),
        ),
    ),
    "subagents": (
        Stage(("{0}: Plan how to help with a lost parcel.",), (Turn("1. Look {0} up.\n2. Answer."),), "You plan."),
        Stage(
            ("{0}: Do step 1 of the plan, look it up.",),
            (Turn(calls=(call("get_order", order_id="{0}"),)), Turn(LOOKED)),
        ),
    ),
}  # fmt: skip
TOOLS: dict[str, dict[str, Any]] = {
    "get_order": {"order_id": {"type": "string"}},
    "get_weather": {"city": {"type": "string"}},
    "search": {"query": {"type": "string"}, "filters": {"type": "object"}},
    "refund": {"order_id": {"type": "string"}, "amount": {"type": "number"}, "lines": {"type": "array", "items": {"type": "integer"}}},
}  # fmt: skip


def make_schema(name: str) -> dict[str, Any]:
    return {"type": "object", "properties": TOOLS[name], "required": [next(iter(TOOLS[name]))]}


def run_tool(name: str, arguments: dict[str, Any]) -> str:
    """The result of a tool: JSON of two kinds, or a text."""
    if arguments.get("order_id") == "unknown":
        return json.dumps({"error": "no order with this id"})
    if name == "get_order":
        order = {"id": arguments["order_id"], "state": "shipped", "lines": [{"sku": "Täschchen", "n": 2}] * 3}
        return json.dumps(order, ensure_ascii=False)
    if name == "search":
        return "\n".join(f"{n}. {arguments['query']}: nothing broken" for n in range(20))
    if name == "refund":
        return "ok"
    return f"rain in {arguments['city']}"


def list_runs() -> list[tuple[str, str]]:
    """The scenario and the way of each of the 50 runs."""
    return [(scenario, way) for scenario in SCENARIOS for way in WAYS]


def name_order(scenario: str, way: str) -> str:
    """The order that a run is about: no two runs have the same."""
    return f"{scenario}/{way}"


def find_run(asked: Any) -> str:
    """The order that a case is about, from its input: a question, or messages."""
    question = asked
    if isinstance(asked, list):
        question = next(message["content"] for message in asked if message["role"] == "user")
    return str(question).partition(": ")[0]


def fill(value: Any, order: str) -> Any:
    """A value of a script with the order of the run."""
    if isinstance(value, str):
        return value.replace("{0}", order)
    if isinstance(value, (list, tuple)):
        return type(value)(fill(item, order) for item in value)
    if isinstance(value, dict):
        return {key: fill(item, order) for key, item in value.items()}
    return value


# --- The agents


def run_agents(scenario: str, way: str, url: str, changed: str = "") -> Trajectory:
    """Run the agents of a scenario, one after the other; ``changed`` is added to their system prompts."""
    order = name_order(scenario, way)
    trajectory = Trajectory()
    for stage in SCENARIOS[scenario]:
        questions = [fill(question, order) for question in stage.questions]
        AGENTS[way](url, stage.system + changed, questions, trajectory)
    return trajectory


def run_calls(
    calls: Sequence[tuple[str, str, dict[str, Any]]], trajectory: Trajectory
) -> list[tuple[str, str]]:
    """Run the tools of an answer; returns (id of the call, result) for each."""
    results = []
    for call_id, name, arguments in calls:
        trajectory.calls.append((name, arguments))
        results.append((call_id, run_tool(name, arguments)))
    return results


def make_openai(url: str) -> Any:
    from benchmarks import incident_tracing

    return incident_tracing.import_openai().OpenAI(base_url=f"{url}/v1", api_key="placeholder", max_retries=0)


def make_claude(url: str) -> Any:
    import anthropic

    return anthropic.Anthropic(base_url=url, api_key="placeholder", max_retries=0)


def run_chat(url: str, system: str, questions: Sequence[str], trajectory: Trajectory) -> None:
    _loop_chat(make_openai(url), system, questions, trajectory, _ask_chat)


def run_chat_stream(url: str, system: str, questions: Sequence[str], trajectory: Trajectory) -> None:
    _loop_chat(make_openai(url), system, questions, trajectory, _stream_chat)


def _loop_chat(
    client: Any,
    system: str,
    questions: Sequence[str],
    trajectory: Trajectory,
    ask: Callable[[Any, list[Any]], dict[str, Any]],
) -> None:
    messages: list[Any] = [{"role": "system", "content": system}] if system else []
    for question in questions:
        messages.append({"role": "user", "content": question})
        while True:
            answer = ask(client, messages)
            messages.append(answer)
            if not answer.get("tool_calls"):
                trajectory.answers.append(answer["content"])
                break
            calls = []
            for given in answer["tool_calls"]:
                function = given["function"]
                calls.append((given["id"], function["name"], json.loads(function["arguments"])))
            for call_id, result in run_calls(calls, trajectory):
                messages.append({"role": "tool", "tool_call_id": call_id, "content": result})


def _chat_options(messages: list[Any]) -> dict[str, Any]:
    tools = [
        {"type": "function", "function": {"name": name, "parameters": make_schema(name)}} for name in TOOLS
    ]
    return {"model": MODEL, "messages": messages, "tools": tools, "temperature": 0.2}


def _ask_chat(client: Any, messages: list[Any]) -> dict[str, Any]:
    completion = client.chat.completions.create(**_chat_options(messages), max_tokens=500)
    answer: dict[str, Any] = completion.choices[0].message.model_dump(exclude_none=True)
    answer.setdefault("content", None)
    return {key: answer[key] for key in ("role", "content", "tool_calls") if key in answer}


def _stream_chat(client: Any, messages: list[Any]) -> dict[str, Any]:
    text = ""
    calls: list[dict[str, Any]] = []
    for chunk in client.chat.completions.create(
        **_chat_options(messages), stream=True, stream_options={"include_usage": True}
    ):
        for choice in chunk.choices:
            text += choice.delta.content or ""
            for piece in choice.delta.tool_calls or ():
                if piece.index == len(calls):
                    calls.append(
                        {
                            "id": piece.id,
                            "type": "function",
                            "function": {"name": piece.function.name, "arguments": ""},
                        }
                    )
                calls[piece.index]["function"]["arguments"] += piece.function.arguments or ""
    answer: dict[str, Any] = {"role": "assistant", "content": text or None}
    if calls:
        answer["tool_calls"] = calls
    return answer


def run_responses(url: str, system: str, questions: Sequence[str], trajectory: Trajectory) -> None:
    client = make_openai(url)
    tools = [
        {"type": "function", "name": name, "parameters": make_schema(name), "strict": False} for name in TOOLS
    ]
    options = {"instructions": system} if system else {}
    items: list[Any] = []
    for question in questions:
        items.append({"role": "user", "content": question})
        while True:
            response = client.responses.create(model=MODEL, input=items, tools=tools, store=False, **options)
            items += [item.model_dump(exclude_none=True) for item in response.output]
            calls = [item for item in response.output if item.type == "function_call"]
            if not calls:
                trajectory.answers.append(response.output_text)
                break
            given = [(item.call_id, item.name, json.loads(item.arguments)) for item in calls]
            for call_id, result in run_calls(given, trajectory):
                items.append({"type": "function_call_output", "call_id": call_id, "output": result})


def run_claude(url: str, system: str, questions: Sequence[str], trajectory: Trajectory) -> None:
    _loop_claude(make_claude(url), system, questions, trajectory, _ask_claude)


def run_claude_stream(url: str, system: str, questions: Sequence[str], trajectory: Trajectory) -> None:
    _loop_claude(make_claude(url), system, questions, trajectory, _stream_claude)


def _loop_claude(
    client: Any,
    system: str,
    questions: Sequence[str],
    trajectory: Trajectory,
    ask: Callable[[Any, dict[str, Any]], Any],
) -> None:
    tools = [{"name": name, "input_schema": make_schema(name)} for name in TOOLS]
    options: dict[str, Any] = {"model": MODEL, "max_tokens": 500, "tools": tools}
    if system:
        options["system"] = system
    messages: list[Any] = []
    for question in questions:
        messages.append({"role": "user", "content": question})
        while True:
            message = ask(client, {**options, "messages": messages})
            blocks = [block.model_dump(exclude_none=True) for block in message.content]
            messages.append({"role": "assistant", "content": blocks})
            calls = [
                (block.id, block.name, block.input) for block in message.content if block.type == "tool_use"
            ]
            if not calls:
                texts = [block.text for block in message.content if block.type == "text"]
                trajectory.answers.append("".join(texts))
                break
            results = [
                {"type": "tool_result", "tool_use_id": call_id, "content": result}
                for call_id, result in run_calls(calls, trajectory)
            ]
            messages.append({"role": "user", "content": results})


def _ask_claude(client: Any, options: dict[str, Any]) -> Any:
    return client.messages.create(**options)


def _stream_claude(client: Any, options: dict[str, Any]) -> Any:
    with client.messages.stream(**options) as stream:
        for _ in stream:
            pass
        return stream.get_final_message()


AGENTS: dict[str, Callable[[str, str, Sequence[str], Trajectory], None]] = {
    "chat": run_chat,
    "chat_stream": run_chat_stream,
    "responses": run_responses,
    "claude": run_claude,
    "claude_stream": run_claude_stream,
}
