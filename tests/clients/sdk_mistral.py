"""The SDK of Mistral."""

from __future__ import annotations

import asyncio
from typing import Any

from clients.kit import KEY, SCHEMA, TOOL, Scenario, async_row, received, row
from mistralai.client import Mistral
from mistralai.client.utils import BackoffStrategy, RetryConfig

TOOLS: Any = [{"type": "function", "function": {"name": TOOL, "parameters": SCHEMA}}]


def client(url: str) -> Mistral:
    retry = RetryConfig("backoff", BackoffStrategy(1, 2, 1.0, 5_000), retry_connection_errors=False)
    return Mistral(api_key=KEY, server_url=url, retry_config=retry)


def said(text: str) -> Any:
    return [{"role": "user", "content": text}]


def chat(url: str, text: str) -> object:
    with client(url) as entry:
        return entry.chat.complete(model="m", messages=said(text))


async def async_chat(url: str, text: str) -> object:
    async with client(url) as entry:
        return (await entry.chat.complete_async(model="m", messages=said(text))).choices[0].message.content


def stream(url: str) -> object:
    with client(url) as entry, entry.chat.stream(model="m", messages=said("stream it all")) as asked:
        return [event.data.model_dump(mode="json") for event in asked]


def left_early(url: str) -> object:
    with client(url) as entry, entry.chat.stream(model="m", messages=said("left")) as asked:
        return next(iter(asked)).data.model_dump(mode="json")


def first_token(url: str) -> object:
    with client(url) as entry, entry.chat.stream(model="m", messages=said("held mistral")) as asked:
        first = next(iter(asked)).data.id
        received(url, "mistral")
        return first, len(list(asked))


async def _async_stream(url: str) -> object:
    async with client(url) as entry:
        asked = await entry.chat.stream_async(model="m", messages=said("async stream"))
        return [event.data.model_dump(mode="json") async for event in asked]


def tools(url: str) -> object:
    with client(url) as entry:
        return entry.chat.complete(model="m", messages=said("weather"), tools=TOOLS)


def embed(url: str) -> object:
    with client(url) as entry:
        return entry.embeddings.create(model="m", inputs=["a", "bb"])


SCENARIOS: dict[str, Scenario] = {
    **row(chat, "mistral"),
    **async_row(async_chat, "mistral"),
    "stream": stream,
    "left early": left_early,
    "first token": first_token,
    "async stream": lambda url: asyncio.run(_async_stream(url)),
    "tools": tools,
    "embeddings": embed,
}
ROWS = {"mistralai": SCENARIOS}
