"""Chat models of LangChain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from clients.kit import KEY, TOOL, Scenario, async_row, received, row
from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

Make = Callable[[str], Any]
LOOP = asyncio.new_event_loop()
"""One for all: LangChain keeps its clients, and their connections, for the whole process."""


class Trip(BaseModel):
    """A trip."""

    city: str
    days: int


@tool(TOOL)  # type: ignore[untyped-decorator]  # not installed where types are checked
def look_up(city: str, days: int) -> str:
    """Look it up."""
    return f"{city} {days}"


def openai_model(url: str) -> Any:
    return ChatOpenAI(model="stub", base_url=f"{url}/v1", api_key=KEY, stream_usage=True)


def anthropic_model(url: str) -> Any:
    return ChatAnthropic(model="claude-stub", base_url=url, api_key=KEY, max_tokens=99)


def pick_stable(message: Any) -> object:
    """Without the ids that LangChain makes up."""
    return message.content, message.tool_calls, message.usage_metadata


def scenarios(make: Make, name: str) -> dict[str, Scenario]:
    def ask(url: str, text: str) -> object:
        return pick_stable(make(url).invoke(text))

    async def async_ask(url: str, text: str) -> object:
        return pick_stable(await make(url).ainvoke(text))

    def stream(url: str) -> object:
        return [pick_stable(chunk) for chunk in make(url).stream("stream it all")]

    def left_early(url: str) -> object:
        chunks = make(url).stream("left")
        first = pick_stable(next(chunks))
        chunks.close()
        return first

    def first_token(url: str) -> object:
        chunks = make(url).stream(f"held {name}")
        first = pick_stable(next(chunks))
        received(url, name)
        return first, len(list(chunks))

    async def async_stream(url: str) -> object:
        return [pick_stable(chunk) async for chunk in make(url).astream("async stream")]

    def tools(url: str) -> object:
        return pick_stable(make(url).bind_tools([look_up]).invoke("weather"))

    def structured(url: str) -> object:
        return make(url).with_structured_output(Trip).invoke("a trip")

    def batch(url: str) -> object:
        return [pick_stable(message) for message in make(url).batch([f"{name} batch {n}" for n in range(5)])]

    return {
        **row(ask, name),
        **async_row(async_ask, name, LOOP.run_until_complete),
        "stream": stream,
        "left early": left_early,
        "first token": first_token,
        "async stream": lambda url: LOOP.run_until_complete(async_stream(url)),
        "threads: batch": batch,
        "tools": tools,
        "structured": structured,
    }


def embed(url: str) -> object:
    embeddings = OpenAIEmbeddings(
        model="stub",
        base_url=f"{url}/v1",
        api_key=KEY,
        check_embedding_ctx_length=False,
    )
    return embeddings.embed_documents(["a", "bb"]), embeddings.embed_query("ccc")


ROWS = {
    "langchain-openai": {**scenarios(openai_model, "lcopenai"), "embeddings": embed},
    "langchain-anthropic": scenarios(anthropic_model, "lcanthropic"),
}
