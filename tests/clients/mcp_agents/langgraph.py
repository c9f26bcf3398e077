"""LangGraph with langchain-mcp-adapters: a session for the list of tools and one for each call."""

from __future__ import annotations

from typing import Any

from clients.mcp_agents import kit
from langchain.agents import create_agent
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_openai import ChatOpenAI
from openai import DefaultAsyncHttpxClient

PACKAGES = ("langgraph", "langchain-mcp-adapters")


async def run_agent(connection: kit.Connection, question: str) -> str:
    if connection.url:
        parameters: dict[str, Any] = {"transport": "streamable_http", "url": connection.url}
    else:
        parameters = {
            "transport": "stdio",
            "command": connection.command,
            "args": list(connection.args),
            "env": connection.env,
        }
    tools = await MultiServerMCPClient({"server": parameters}).get_tools()
    # A client of its own: the one that ChatOpenAI makes is kept for later models, whose event loop is another one.
    async with DefaultAsyncHttpxClient() as client:
        agent = create_agent(ChatOpenAI(model=kit.MODEL, http_async_client=client), tools)
        state = await agent.ainvoke({"messages": [{"role": "user", "content": question}]})
    return str(state["messages"][-1].content)
