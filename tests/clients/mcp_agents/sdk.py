"""The official SDK, of both majors: a loop over the model's calls, those of a turn at once."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import mcp
from clients.mcp_agents import kit
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from openai import AsyncOpenAI

PACKAGES: tuple[str, ...] = ()


async def run_agent(connection: kit.Connection, question: str) -> str:
    async with AsyncExitStack() as stack:
        session = await _open_session(connection, stack)
        model = await stack.enter_async_context(AsyncOpenAI())
        return await _converse(model, session, question)


async def _open_session(connection: kit.Connection, stack: AsyncExitStack) -> Any:
    """Return the `Client` of 2.x, or the session of 1.x."""
    parameters = StdioServerParameters(
        command=connection.command, args=list(connection.args), env=connection.env
    )
    if hasattr(mcp, "Client"):
        return await stack.enter_async_context(mcp.Client(connection.url or parameters))
    transport = streamable_http_client(connection.url) if connection.url else stdio_client(parameters)
    streams: Any = await stack.enter_async_context(transport)
    session = await stack.enter_async_context(ClientSession(*streams[:2]))
    await session.initialize()
    return session


async def _converse(model: AsyncOpenAI, session: Any, question: str) -> str:
    listed = [tool.model_dump(by_alias=True) for tool in (await session.list_tools()).tools]
    tools: Any = [
        {"type": "function", "function": {"name": tool["name"], "parameters": tool["inputSchema"]}}
        for tool in listed
    ]
    messages: list[Any] = [{"role": "user", "content": question}]
    while True:
        answer = await model.chat.completions.create(model=kit.MODEL, messages=messages, tools=tools)
        message = answer.choices[0].message
        if not message.tool_calls:
            return message.content or ""
        messages.append(message.model_dump(exclude_none=True))
        results = await asyncio.gather(*(_call_tool(session, call) for call in message.tool_calls))
        messages += results


async def _call_tool(session: Any, call: Any) -> dict[str, Any]:
    steps: list[float] = []

    async def note_progress(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    result = await session.call_tool(
        call.function.name, json.loads(call.function.arguments), progress_callback=note_progress
    )
    texts = [block.text for block in result.content if block.type == "text"]
    return {"role": "tool", "tool_call_id": call.id, "content": f"{' '.join(texts)} after {steps}"}
