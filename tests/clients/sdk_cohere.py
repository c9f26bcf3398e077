"""The SDK of Cohere."""

from __future__ import annotations

import asyncio
from typing import Any

import cohere
from clients.kit import KEY, SCHEMA, TOOL, Scenario, async_row, received, row

TOOLS: Any = [{"type": "function", "function": {"name": TOOL, "parameters": SCHEMA}}]


def make_client(url: str) -> cohere.ClientV2:
    return cohere.ClientV2(api_key=KEY, base_url=url)


def make_messages(text: str) -> Any:
    return [{"role": "user", "content": text}]


def chat(url: str, text: str) -> object:
    return make_client(url).chat(model="m", messages=make_messages(text))


async def async_chat(url: str, text: str) -> object:
    async with cohere.AsyncClientV2(api_key=KEY, base_url=url) as client:
        return (await client.chat(model="m", messages=make_messages(text))).model_dump(mode="json")


def stream(url: str) -> object:
    return list(make_client(url).chat_stream(model="m", messages=make_messages("stream it all")))


def left_early(url: str) -> object:
    events = make_client(url).chat_stream(model="m", messages=make_messages("left"))
    first = next(iter(events)).type
    events.close()
    return first


def first_token(url: str) -> object:
    events = make_client(url).chat_stream(model="m", messages=make_messages("held cohere"))
    first = next(iter(events)).type
    received(url, "cohere")
    return first, len(list(events))


async def _async_stream(url: str) -> object:
    async with cohere.AsyncClientV2(api_key=KEY, base_url=url) as client:
        return [
            event.type
            async for event in client.chat_stream(model="m", messages=make_messages("async stream"))
        ]


def tools(url: str) -> object:
    return make_client(url).chat(model="m", messages=make_messages("weather"), tools=TOOLS)


def embed(url: str) -> object:
    answer = make_client(url).embed(
        model="m", texts=["a", "bb"], input_type="search_document", embedding_types=["float"]
    )
    return answer.embeddings.model_dump(mode="json")


SCENARIOS: dict[str, Scenario] = {
    **row(chat, "cohere"),
    **async_row(async_chat, "cohere"),
    "stream": stream,
    "left early": left_early,
    "first token": first_token,
    "async stream": lambda url: asyncio.run(_async_stream(url)),
    "tools": tools,
    "embeddings": embed,
}
ROWS = {"cohere": SCENARIOS}
