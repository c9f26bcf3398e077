"""openai-agents, streamed: `MCPServerStdio` and `MCPServerStreamableHttp`."""

from __future__ import annotations

from typing import Any

from agents import Agent, OpenAIChatCompletionsModel, Runner, set_tracing_disabled
from agents.mcp import MCPServerStdio, MCPServerStreamableHttp
from clients.mcp_agents import kit
from openai import AsyncOpenAI

PACKAGES = ("openai-agents",)

set_tracing_disabled(True)


async def run_agent(connection: kit.Connection, question: str, timeout_s: float = kit.TIMEOUT_S) -> str:
    options = {"client_session_timeout_seconds": timeout_s}
    if connection.url:
        server: Any = MCPServerStreamableHttp(params={"url": connection.url}, **options)
    else:
        parameters: Any = {
            "command": connection.command,
            "args": list(connection.args),
            "env": connection.env,
        }
        server = MCPServerStdio(params=parameters, **options)
    async with AsyncOpenAI() as client, server:
        model = OpenAIChatCompletionsModel(kit.MODEL, client)
        agent = Agent(name="desk", model=model, mcp_servers=[server])
        result = Runner.run_streamed(agent, question)
        async for _ in result.stream_events():
            pass
        return str(result.final_output)
