"""A support agent as an application would have it: the loop of model and tools, with the openai SDK and nothing else.

Server and key come from the SDK's own environment variables (OPENAI_BASE_URL, OPENAI_API_KEY). The prompt is a file, whose
version in production is decided by `prompts/desk/agent/aliases.toml`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai

from help_desk.shop import Shop, ToolError
from pytest_llmops.prompts import Prompts

MODEL = os.environ.get("ASSISTANT_MODEL", "qwen2.5-coder-1.5b-instruct")
PROMPTS = Prompts(Path(__file__).parents[1] / "prompts")
MOST_TURNS = 5
# After these the conversation is over: the customer has an answer, or a person to talk to.
LAST_TOOLS = ("answer_customer", "hand_over")


def define_tool(name: str, description: str, **parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the definition of a tool as the API wants it; the parameters are named with their JSON Schema."""
    schema = {
        "type": "object",
        "properties": parameters,
        "required": list(parameters),
        "additionalProperties": False,
    }
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": schema},
    }


TEXT = {"type": "string"}
EUROS = {"type": "integer", "minimum": 1, "maximum": 500}
TOOLS = [
    define_tool("get_order", "Look up item, price and status of an order.", order_id=TEXT),
    define_tool("hand_over", "Hand the customer over to a person.", reason=TEXT),
    define_tool("answer_customer", "Send the answer to the customer.", text=TEXT),
    define_tool("refund", "Pay euros of an order back.", order_id=TEXT, amount=EUROS),
]

TOOLS_BEFORE_LOOKUP = [tool for tool in TOOLS if tool["function"]["name"] != "refund"]


def handle(message: str, shop: Shop, *, refund_needs_lookup: bool = True) -> list[dict[str, Any]]:
    """Let the agent work on a customer's message, and return all messages of the conversation with the model.

    Args:
        message: What the customer wrote.
        shop: What the tools act on.
        refund_needs_lookup: Whether `refund` is offered only after an order was looked up.
    """
    prompt = PROMPTS.get("desk/agent")
    messages: list[Any] = list(prompt.render(message=message).to_dicts())
    with openai.OpenAI() as client:
        for _ in range(MOST_TURNS):
            is_known = bool(shop.looked_up) or not refund_needs_lookup
            reply = client.chat.completions.create(
                model=MODEL,
                messages=messages,
                tools=TOOLS if is_known else TOOLS_BEFORE_LOOKUP,
                tool_choice="required",
                parallel_tool_calls=False,
                **prompt.params,
            )
            answer = reply.choices[0].message
            messages.append(answer.model_dump(exclude_none=True))
            tool_calls = answer.tool_calls or []
            for call in tool_calls:
                result = use_tool(shop, call.function.name, call.function.arguments)
                messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
            if any(call.function.name in LAST_TOOLS for call in tool_calls):
                break
    return messages


def use_tool(shop: Shop, name: str, arguments: str) -> str:
    """Call a tool with the arguments of the model, and return its result, or why the call failed, as a text for the model."""
    tools: dict[str, Callable[..., str]] = {
        "get_order": shop.get_order,
        "refund": shop.refund,
        "hand_over": shop.hand_over,
        "answer_customer": shop.answer_customer,
    }
    try:
        return tools[name](**json.loads(arguments))
    except (KeyError, TypeError, ValueError, ToolError) as error:
        return f"Error: {error}"
