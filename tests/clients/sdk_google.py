"""The SDK of Google for Gemini."""

from __future__ import annotations

import asyncio
from typing import Any

from clients.kit import KEY, TOOL, Scenario, async_row, received, row
from google import genai
from google.genai import types

MODEL = "gemini-stub"
DECLARED = types.FunctionDeclaration(
    name=TOOL,
    parameters=types.Schema(
        type=types.Type.OBJECT, properties={"city": types.Schema(type=types.Type.STRING)}
    ),
)


def make_client(url: str) -> genai.Client:
    retry = types.HttpRetryOptions(attempts=3, initial_delay=0.001, max_delay=0.002, http_status_codes=[429])
    options = types.HttpOptions(base_url=url, api_version="v1beta", retry_options=retry)
    return genai.Client(api_key=KEY, vertexai=False, http_options=options)


def generate(url: str, text: str) -> object:
    with make_client(url) as client:
        return client.models.generate_content(model=MODEL, contents=text).model_dump(mode="json")[
            "candidates"
        ]


async def async_generate(url: str, text: str) -> object:
    async with make_client(url).aio as aio:
        return (await aio.models.generate_content(model=MODEL, contents=text)).text


def stream(url: str) -> object:
    with make_client(url) as client:
        chunks = client.models.generate_content_stream(model=MODEL, contents="stream it all")
        return [chunk.text for chunk in chunks]


def left_early(url: str) -> object:
    with make_client(url) as client:
        return next(iter(client.models.generate_content_stream(model=MODEL, contents="left here"))).text


def first_token(url: str) -> object:
    with make_client(url) as client:
        chunks = client.models.generate_content_stream(model=MODEL, contents="held gemini")
        first = next(chunks).text
        received(url, "gemini")
        return first, len(list(chunks))


async def _async_stream(url: str) -> object:
    async with make_client(url).aio as aio:
        chunks = await aio.models.generate_content_stream(model=MODEL, contents="async stream")
        return [chunk.text async for chunk in chunks]


def tools(url: str) -> object:
    how: Any = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[DECLARED])])
    with make_client(url) as client:
        answer = client.models.generate_content(model=MODEL, contents="weather", config=how)
    return [[call.name, call.args] for call in answer.function_calls or []]


def structured(url: str) -> object:
    how: Any = types.GenerateContentConfig(
        response_mime_type="application/json", response_schema=DECLARED.parameters
    )
    with make_client(url) as client:
        answer = client.models.generate_content(model=MODEL, contents="a trip", config=how)
    return answer.text, answer.parsed


def embed(url: str) -> object:
    with make_client(url) as client:
        answer = client.models.embed_content(model="embed-stub", contents=["a", "bb"])
    return [vector.values for vector in answer.embeddings or []]


async def _async_embed(url: str) -> object:
    async with make_client(url).aio as aio:
        answer = await aio.models.embed_content(model="embed-stub", contents="async text")
    return [vector.values for vector in answer.embeddings or []]


SCENARIOS: dict[str, Scenario] = {
    **row(generate, "gemini"),
    **async_row(async_generate, "gemini"),
    # In one word, as the server makes a part of the answer out of each.
    "large": lambda url: generate(url, "gemini " + "large" * 24_000),
    "stream": stream,
    "left early": left_early,
    "first token": first_token,
    "async stream": lambda url: asyncio.run(_awaited(_async_stream, url)),
    "tools": tools,
    "structured": structured,
    "embeddings": embed,
    "embeddings: async": lambda url: asyncio.run(_awaited(_async_embed, url)),
}


async def _awaited(ask: Any, url: str) -> object:
    return await ask(url)


ROWS = {"google-genai": SCENARIOS}
