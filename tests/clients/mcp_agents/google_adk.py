"""google-adk: `McpToolset`, and its model by LiteLLM."""

from __future__ import annotations

from typing import Any

from clients.mcp_agents import kit
from google.adk.agents import LlmAgent
from google.adk.models.lite_llm import LiteLlm
from google.adk.runners import InMemoryRunner
from google.adk.tools.mcp_tool import McpToolset, StdioConnectionParams, StreamableHTTPConnectionParams
from google.genai import types
from mcp import StdioServerParameters

PACKAGES = ("google-adk",)


async def run_agent(connection: kit.Connection, question: str, timeout_s: float = kit.TIMEOUT_S) -> str:
    if connection.url:
        parameters: Any = StreamableHTTPConnectionParams(url=connection.url, timeout=timeout_s)
    else:
        server = StdioServerParameters(
            command=connection.command, args=list(connection.args), env=connection.env
        )
        parameters = StdioConnectionParams(server_params=server, timeout=timeout_s)
    toolset = McpToolset(connection_params=parameters)
    agent = LlmAgent(name="desk", model=LiteLlm(model=f"openai/{kit.MODEL}"), tools=[toolset])
    runner = InMemoryRunner(agent=agent, app_name="shop")
    session = await runner.session_service.create_session(app_name="shop", user_id="u")
    message = types.Content(role="user", parts=[types.Part(text=question)])
    answer = ""
    try:
        async for event in runner.run_async(user_id="u", session_id=session.id, new_message=message):
            if event.is_final_response() and event.content:
                answer = "".join(part.text or "" for part in event.content.parts)
    finally:
        await runner.close()
        await toolset.close()
    return answer
