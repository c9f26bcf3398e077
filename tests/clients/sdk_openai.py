"""The SDK of OpenAI: chat, Responses, embeddings, and its client over aiohttp."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
from clients.kit import KEY, SCHEMA, TOOL, Scenario, async_row, error, received, row
from openai import DefaultAioHttpClient
from pydantic import BaseModel

TOOLS: Any = [{"type": "function", "function": {"name": TOOL, "parameters": SCHEMA}}]
FLAT_TOOLS: Any = [{"type": "function", "name": TOOL, "parameters": SCHEMA, "strict": True}]


class Trip(BaseModel):
    city: str
    days: int


def make_client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=KEY)


def make_async_client(url: str, *, aiohttp: bool = False) -> openai.AsyncOpenAI:
    http: Any = {"http_client": DefaultAioHttpClient()} if aiohttp else {}
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, **http)


def make_messages(text: str) -> Any:
    return [{"role": "user", "content": text}]


def chat(url: str, text: str) -> object:
    with make_client(url) as client:
        return client.chat.completions.create(model="m", messages=make_messages(text)).model_dump()


async def async_chat(url: str, text: str, *, aiohttp: bool = False) -> object:
    async with make_async_client(url, aiohttp=aiohttp) as client:
        answer = await client.chat.completions.create(model="m", messages=make_messages(text))
        return answer.choices[0].message.content


def chat_stream(url: str) -> object:
    with make_client(url) as client:
        chunks = client.chat.completions.create(
            model="m", messages=make_messages("stream it all"), stream=True
        )
        return [chunk.model_dump() for chunk in chunks]


def helper(url: str) -> object:
    with (
        make_client(url) as client,
        client.chat.completions.stream(model="m", messages=make_messages("with the helper")) as events,
    ):
        return [event.type for event in events], events.get_final_completion().model_dump()


def left_early(url: str) -> object:
    with make_client(url) as client:
        with client.chat.completions.create(model="m", messages=make_messages("left"), stream=True) as chunks:
            first = next(iter(chunks)).model_dump()
        return first, chat(url, "after it was left")


def first_token(url: str) -> object:
    with make_client(url) as client:
        chunks = client.chat.completions.create(model="m", messages=make_messages("held chat"), stream=True)
        first = next(chunks).model_dump()
        received(url, "chat")
        return first, len(list(chunks))


def async_stream(url: str, *, aiohttp: bool = False) -> object:
    async def ask() -> object:
        async with make_async_client(url, aiohttp=aiohttp) as client:
            chunks = await client.chat.completions.create(
                model="m", messages=make_messages("async stream"), stream=True
            )
            return [chunk.model_dump() async for chunk in chunks]

    return asyncio.run(ask())


def async_first_token(url: str, *, aiohttp: bool = False) -> object:
    name = f"async{aiohttp}"

    async def ask() -> object:
        async with make_async_client(url, aiohttp=aiohttp) as client:
            chunks = await client.chat.completions.create(
                model="m", messages=make_messages(f"held {name}"), stream=True
            )
            await anext(aiter(chunks))
            await asyncio.to_thread(received, url, name)
            return len([chunk async for chunk in chunks])

    return asyncio.run(ask())


def async_left(url: str, *, aiohttp: bool = False) -> object:
    async def ask() -> object:
        async with make_async_client(url, aiohttp=aiohttp) as client:
            chunks = await client.chat.completions.create(
                model="m", messages=make_messages("async left"), stream=True
            )
            async with chunks:
                return (await anext(aiter(chunks))).model_dump()

    return asyncio.run(ask())


def tools(url: str) -> object:
    with make_client(url) as client:
        first = client.chat.completions.create(model="m", messages=make_messages("weather"), tools=TOOLS)
        call = first.choices[0].message
        history = [
            *make_messages("weather"),
            call,
            {"role": "tool", "tool_call_id": "call00001", "content": "sunny"},
        ]
        second = client.chat.completions.create(model="m", messages=history, tools=TOOLS)
        return first.model_dump(), second.model_dump()


def tools_streamed(url: str) -> object:
    with (
        make_client(url) as client,
        client.chat.completions.stream(model="m", messages=make_messages("weather"), tools=TOOLS) as events,
    ):
        return events.get_final_completion().model_dump()


def structured(url: str) -> object:
    with make_client(url) as client:
        answer = client.chat.completions.parse(
            model="m", messages=make_messages("a trip"), response_format=Trip
        )
        return answer.choices[0].message.parsed


def raw(url: str) -> object:
    with make_client(url) as client:
        answer = client.chat.completions.with_raw_response.create(model="m", messages=make_messages("raw"))
        return answer.http_response.content, answer.status_code, answer.parse().model_dump()


def streaming_response(url: str) -> object:
    with (
        make_client(url) as client,
        client.chat.completions.with_streaming_response.create(
            model="m", messages=make_messages("raw stream")
        ) as answer,
    ):
        return b"".join(answer.iter_bytes())


def no_retries(url: str) -> object:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        return error(lambda: client.chat.completions.create(model="m", messages=make_messages("missing too")))


CHAT: dict[str, Scenario] = {
    **row(chat, "chat"),
    **async_row(async_chat, "chat"),
    "plain: raw": raw,
    "plain: streaming response": streaming_response,
    "stream": chat_stream,
    "stream: helper": helper,
    "left early": left_early,
    "left early: async": async_left,
    "first token": first_token,
    "first token: async": async_first_token,
    "async stream": async_stream,
    "tools": tools,
    "tools: streamed": tools_streamed,
    "structured": structured,
    "error: without retries": no_retries,
}


def respond(url: str, text: str) -> object:
    with make_client(url) as client:
        return client.responses.create(model="m", input=text).model_dump()


async def async_respond(url: str, text: str) -> object:
    async with make_async_client(url) as client:
        return (await client.responses.create(model="m", input=text)).output_text


def responses_stream(url: str) -> object:
    with make_client(url) as client:
        events = client.responses.create(model="m", input="stream this", stream=True)
        return [event.model_dump() for event in events]


def responses_helper(url: str) -> object:
    with make_client(url) as client, client.responses.stream(model="m", input="help with this") as events:
        return [event.type for event in events], events.get_final_response().output_text


def responses_left(url: str) -> object:
    with (
        make_client(url) as client,
        client.responses.create(model="m", input="left here", stream=True) as events,
    ):
        return next(iter(events)).model_dump()


def responses_first(url: str) -> object:
    with make_client(url) as client:
        events = client.responses.create(model="m", input="held responses", stream=True)
        first = next(events).type
        received(url, "responses")
        return first, len(list(events))


def responses_tools(url: str) -> object:
    with make_client(url) as client:
        return client.responses.create(model="m", input="weather", tools=FLAT_TOOLS).model_dump()["output"]


def responses_parse(url: str) -> object:
    with make_client(url) as client:
        return client.responses.parse(model="m", input="a trip", text_format=Trip).output_parsed


RESPONSES: dict[str, Scenario] = {
    **row(respond, "responses"),
    **async_row(async_respond, "responses"),
    "stream": responses_stream,
    "stream: helper": responses_helper,
    "left early": responses_left,
    "first token": responses_first,
    "tools": responses_tools,
    "structured": responses_parse,
}


def embed(url: str, **how: Any) -> object:
    with make_client(url) as client:
        return client.embeddings.create(model="m", input=["a", "bb", "ccc"], **how).model_dump()


async def async_embed(url: str) -> object:
    async with make_async_client(url) as client:
        return (await client.embeddings.create(model="m", input="async text")).model_dump()


EMBEDDINGS: dict[str, Scenario] = {
    "embeddings: base64": embed,
    "embeddings: floats": lambda url: embed(url, encoding_format="float"),
    "embeddings: async": lambda url: asyncio.run(async_embed(url)),
}


async def over_aiohttp(url: str, text: str) -> object:
    return await async_chat(url, text, aiohttp=True)


AIOHTTP: dict[str, Scenario] = {
    **async_row(over_aiohttp, "aiohttp"),
    "left early": lambda url: async_left(url, aiohttp=True),
    "first token": lambda url: async_first_token(url, aiohttp=True),
    "async stream": lambda url: async_stream(url, aiohttp=True),
    "error": lambda url: error(lambda: asyncio.run(_awaited(url, "missing model"))),
    "retry": lambda url: asyncio.run(_awaited(url, "limited over aiohttp")),
    "compressed: gzip": lambda url: asyncio.run(_awaited(f"{url}/~gzip", "packed")),
    "compressed: deflate": lambda url: asyncio.run(_awaited(f"{url}/~deflate", "packed")),
    "large": lambda url: asyncio.run(_awaited(url, "large " * 20_000)),
}


async def _awaited(url: str, text: str) -> object:
    return await over_aiohttp(url, text)


ROWS = {
    "openai chat": CHAT,
    "openai responses": RESPONSES,
    "openai embeddings": EMBEDDINGS,
    "openai over aiohttp": AIOHTTP,
}
