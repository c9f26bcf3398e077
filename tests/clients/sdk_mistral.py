"""The SDK of Mistral."""

from __future__ import annotations

import asyncio
from typing import Any

from clients.kit import KEY, SCHEMA, TOOL, Scenario, async_row, received, row
from mistralai.client import Mistral
from mistralai.client.utils import BackoffStrategy, RetryConfig

TOOLS: Any = [{"type": "function", "function": {"name": TOOL, "parameters": SCHEMA}}]


def make_client(url: str) -> Mistral:
    retry = RetryConfig("backoff", BackoffStrategy(1, 2, 1.0, 5_000), retry_connection_errors=False)
    return Mistral(api_key=KEY, server_url=url, retry_config=retry)


def make_messages(text: str) -> Any:
    return [{"role": "user", "content": text}]


def chat(url: str, text: str) -> object:
    with make_client(url) as client:
        return client.chat.complete(model="m", messages=make_messages(text))


async def async_chat(url: str, text: str) -> object:
    async with make_client(url) as client:
        return (
            (await client.chat.complete_async(model="m", messages=make_messages(text)))
            .choices[0]
            .message.content
        )


def stream(url: str) -> object:
    with (
        make_client(url) as client,
        client.chat.stream(model="m", messages=make_messages("stream it all")) as events,
    ):
        return [event.data.model_dump(mode="json") for event in events]


def left_early(url: str) -> object:
    with make_client(url) as client, client.chat.stream(model="m", messages=make_messages("left")) as events:
        return next(iter(events)).data.model_dump(mode="json")


def first_token(url: str) -> object:
    with (
        make_client(url) as client,
        client.chat.stream(model="m", messages=make_messages("held mistral")) as events,
    ):
        first = next(iter(events)).data.id
        received(url, "mistral")
        return first, len(list(events))


async def _async_stream(url: str) -> object:
    async with make_client(url) as client:
        events = await client.chat.stream_async(model="m", messages=make_messages("async stream"))
        return [event.data.model_dump(mode="json") async for event in events]


def tools(url: str) -> object:
    with make_client(url) as client:
        return client.chat.complete(model="m", messages=make_messages("weather"), tools=TOOLS)


def embed(url: str) -> object:
    with make_client(url) as client:
        return client.embeddings.create(model="m", inputs=["a", "bb"])


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
