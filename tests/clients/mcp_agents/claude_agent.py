"""claude-agent-sdk: its command line starts the server and asks the model, in a process of its own."""

from __future__ import annotations

from typing import Any

from claude_agent_sdk import ClaudeAgentOptions, query
from clients.mcp_agents import kit
from clients.mcp_agents.anthropic_model import SERVER

PACKAGES = ("claude-agent-sdk",)


async def run_agent(connection: kit.Connection, question: str) -> str:
    _, folder = kit.parse_question(question)
    server: Any = {"command": connection.command, "args": list(connection.args), "env": connection.env}
    options = ClaudeAgentOptions(
        cwd=folder,
        mcp_servers={SERVER: server},
        allowed_tools=[f"mcp__{SERVER}"],
        setting_sources=[],
        strict_mcp_config=True,
        model="claude-sonnet-5-5",
    )
    result = ""
    async for message in query(prompt=question, options=options):
        result = getattr(message, "result", None) or result
    return result
