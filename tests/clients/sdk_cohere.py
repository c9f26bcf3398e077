"""The SDK of Cohere."""

from __future__ import annotations

import asyncio
from typing import Any

import cohere
from clients.kit import KEY, SCHEMA, TOOL, Scenario, async_row, received, row

TOOLS: Any = [{"type": "function", "function": {"name": TOOL, "parameters": SCHEMA}}]


def client(url: str) -> cohere.ClientV2:
    return cohere.ClientV2(api_key=KEY, base_url=url)


def said(text: str) -> Any:
    return [{"role": "user", "content": text}]


def chat(url: str, text: str) -> object:
    return client(url).chat(model="m", messages=said(text))


async def async_chat(url: str, text: str) -> object:
    async with cohere.AsyncClientV2(api_key=KEY, base_url=url) as async_client_v2:
        return (await async_client_v2.chat(model="m", messages=said(text))).model_dump(mode="json")


def stream(url: str) -> object:
    return list(client(url).chat_stream(model="m", messages=said("stream it all")))


def left_early(url: str) -> object:
    asked = client(url).chat_stream(model="m", messages=said("left"))
    first = next(iter(asked)).type
    asked.close()
    return first


def first_token(url: str) -> object:
    asked = client(url).chat_stream(model="m", messages=said("held cohere"))
    first = next(iter(asked)).type
    received(url, "cohere")
    return first, len(list(asked))


async def _async_stream(url: str) -> object:
    async with cohere.AsyncClientV2(api_key=KEY, base_url=url) as async_client_v2:
        return [
            event.type
            async for event in async_client_v2.chat_stream(model="m", messages=said("async stream"))
        ]


def tools(url: str) -> object:
    return client(url).chat(model="m", messages=said("weather"), tools=TOOLS)


def embed(url: str) -> object:
    answer = client(url).embed(
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
