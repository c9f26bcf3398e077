"""The agent for questions about parcels. The carrier's MCP server has its tools; two of our own end the conversation."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import openai
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from help_desk.agent import LAST_TOOLS, MODEL, MOST_TURNS, PROMPTS, TEXT, define_tool

CARRIER = StdioServerParameters(
    command=sys.executable, args=[str(Path(__file__).parents[1] / "carrier" / "server.py")]
)
OWN_TOOLS = [
    define_tool("hand_over", "Hand the customer over to a person.", reason=TEXT),
    define_tool("answer_customer", "Send the answer to the customer.", text=TEXT),
]


async def handle(message: str) -> list[dict[str, Any]]:
    """Let the agent answer a question about a parcel, and return all messages of the conversation with the model."""
    async with stdio_client(CARRIER) as streams, ClientSession(*streams) as carrier:
        await carrier.initialize()
        return await converse(message, carrier)


async def converse(message: str, carrier: ClientSession) -> list[dict[str, Any]]:
    """Ask the model, and call the tools that it wants, until it answers the customer or hands over."""
    prompt = PROMPTS.get("desk/parcels")
    messages: list[Any] = list(prompt.render(message=message).to_dicts())
    tools = [describe_tool(tool) for tool in (await carrier.list_tools()).tools] + OWN_TOOLS
    async with openai.AsyncOpenAI() as client:
        for _ in range(MOST_TURNS):
            reply = await client.chat.completions.create(
                model=MODEL,
                messages=messages,
                tools=tools,
                tool_choice="required",
                parallel_tool_calls=False,
                **prompt.params,
            )
            answer = reply.choices[0].message
            messages.append(answer.model_dump(exclude_none=True))
            for call in answer.tool_calls or []:
                result = await use_tool(carrier, call.function.name, call.function.arguments)
                messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
                if call.function.name in LAST_TOOLS:
                    return messages
    return messages


def describe_tool(tool: Any) -> dict[str, Any]:
    """Return a tool of the carrier as the model's API wants it."""
    function = {"name": tool.name, "description": tool.description, "parameters": tool.input_schema}
    return {"type": "function", "function": function}


async def use_tool(carrier: ClientSession, name: str, arguments: str) -> str:
    """Call a tool of the carrier, and return its result or its error as a text for the model. Our own tools only end the conversation."""
    if name in LAST_TOOLS:
        return "done"
    try:
        result = await carrier.call_tool(name, json.loads(arguments))
    except Exception as error:  # noqa: BLE001 -- whatever the carrier does, the customer gets an answer
        return f"Error: the carrier cannot be asked: {error}"
    text = "\n".join(part.text for part in result.content if part.type == "text")
    if result.is_error:
        return f"Error: {text}"
    return text
