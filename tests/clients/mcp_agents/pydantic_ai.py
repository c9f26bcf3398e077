"""Pydantic-AI: `MCPToolset` on a client and a transport of fastmcp."""

from __future__ import annotations

from clients.mcp_agents import kit
from fastmcp.client.transports import StdioTransport
from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

PACKAGES = ("pydantic-ai-slim", "fastmcp-slim")


async def run_agent(connection: kit.Connection, question: str) -> str:
    target = connection.url or StdioTransport(
        connection.command, list(connection.args), env=connection.env, keep_alive=False
    )
    async with AsyncOpenAI() as client:
        model = OpenAIChatModel(kit.MODEL, provider=OpenAIProvider(openai_client=client))
        agent = Agent(model, toolsets=[MCPToolset(target, init_timeout=kit.TIMEOUT_S)])
        async with agent:
            result = await agent.run(question)
        return str(result.output)
