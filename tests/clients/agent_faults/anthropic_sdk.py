"""The SDK of Anthropic: a single request, without tools."""

from __future__ import annotations

import anthropic
from clients.mcp_agents import kit

PACKAGES = ("anthropic",)


async def run_agent(connection: kit.Connection, question: str) -> str:
    async with anthropic.AsyncAnthropic() as client:
        message = await client.messages.create(
            model=kit.MODEL, max_tokens=100, messages=[{"role": "user", "content": question}]
        )
        return str(message.content[0].text)
