"""The LLM of LlamaIndex for OpenAI."""

from __future__ import annotations

import asyncio
from typing import Any

from clients.kit import KEY, TOOL, Scenario, async_row, received, row
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai import OpenAI
from pydantic import BaseModel


class Trip(BaseModel):
    """A trip."""

    city: str
    days: int


def look_up(city: str, days: int) -> str:
    """Look it up."""
    return f"{city} {days}"


def make_model(url: str) -> Any:
    return OpenAI(model="gpt-4o-mini", api_base=f"{url}/v1", api_key=KEY, max_retries=2)


def make_messages(text: str) -> list[ChatMessage]:
    return [ChatMessage(role="user", content=text)]


def chat(url: str, text: str) -> object:
    return make_model(url).chat(make_messages(text)).message.content


async def async_chat(url: str, text: str) -> object:
    return (await make_model(url).achat(make_messages(text))).message.content


def stream(url: str) -> object:
    return [chunk.delta for chunk in make_model(url).stream_chat(make_messages("stream it all"))]


def left_early(url: str) -> object:
    chunks = make_model(url).stream_chat(make_messages("left"))
    first = next(chunks).delta
    chunks.close()
    return first


def first_token(url: str) -> object:
    chunks = make_model(url).stream_chat(make_messages("held llama"))
    first = next(chunks).delta
    received(url, "llama")
    return first, len(list(chunks))


async def _async_stream(url: str) -> object:
    return [chunk.delta async for chunk in await make_model(url).astream_chat(make_messages("async stream"))]


def tools(url: str) -> object:
    model = make_model(url)
    answer = model.chat_with_tools([FunctionTool.from_defaults(look_up, name=TOOL)], user_msg="weather")
    return [[call.tool_name, call.tool_kwargs] for call in model.get_tool_calls_from_response(answer)]


def structured(url: str) -> object:
    return make_model(url).as_structured_llm(Trip).chat(make_messages("a trip")).raw


SCENARIOS: dict[str, Scenario] = {
    **row(chat, "llama"),
    **async_row(async_chat, "llama"),
    "stream": stream,
    "left early": left_early,
    "first token": first_token,
    "async stream": lambda url: asyncio.run(_async_stream(url)),
    "tools": tools,
    "structured": structured,
}
ROWS = {"llama-index (openai)": SCENARIOS}
