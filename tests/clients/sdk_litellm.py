"""LiteLLM, over the SDK of OpenAI and over its own clients of Anthropic and Gemini."""

from __future__ import annotations

import asyncio
from typing import Any

import litellm
from clients.kit import KEY, SCHEMA, TOOL, Scenario, async_row, error, received, row

litellm.telemetry = False
litellm.suppress_debug_info = True
TOOLS: Any = [{"type": "function", "function": {"name": TOOL, "parameters": SCHEMA}}]


def make_options(url: str, provider: str = "openai") -> dict[str, Any]:
    base = f"{url}/v1" if provider == "openai" else url
    model = "claude-sonnet-4-5" if provider == "anthropic" else "stub"
    return {"model": f"{provider}/{model}", "api_base": base, "api_key": KEY, "num_retries": 1}


def make_messages(text: str) -> Any:
    return [{"role": "user", "content": text}]


def pick_stable(answer: Any) -> object:
    """Without the ids and days that LiteLLM makes up."""
    message = answer.choices[0].message
    calls = [[call.function.name, call.function.arguments] for call in message.tool_calls or []]
    usage = answer.usage
    return (
        message.content,
        calls,
        answer.choices[0].finish_reason,
        usage.prompt_tokens,
        usage.completion_tokens,
    )


def chat(url: str, text: str) -> object:
    return pick_stable(litellm.completion(messages=make_messages(text), **make_options(url)))


async def async_chat(url: str, text: str) -> object:
    return pick_stable(await litellm.acompletion(messages=make_messages(text), **make_options(url)))


def stream(url: str, provider: str = "openai") -> object:
    chunks = litellm.completion(
        messages=make_messages("stream it all"), stream=True, **make_options(url, provider)
    )
    return [chunk.choices[0].delta.content for chunk in chunks]


def left_early(url: str) -> object:
    chunks = litellm.completion(messages=make_messages("left"), stream=True, **make_options(url))
    return next(iter(chunks)).choices[0].delta.content


def first_token(url: str) -> object:
    chunks = litellm.completion(messages=make_messages("held litellm"), stream=True, **make_options(url))
    first = next(iter(chunks)).choices[0].delta.content
    received(url, "litellm")
    return first, len(list(chunks))


async def _async_stream(url: str, provider: str) -> object:
    chunks = await litellm.acompletion(
        messages=make_messages("async stream"), stream=True, **make_options(url, provider)
    )
    return [chunk.choices[0].delta.content async for chunk in chunks]


async def _async_first(url: str, provider: str) -> object:
    name = f"lite{provider}"
    chunks = await litellm.acompletion(
        messages=make_messages(f"held {name}"), stream=True, **make_options(url, provider)
    )
    await anext(aiter(chunks))
    await asyncio.to_thread(received, url, name)
    return len([chunk async for chunk in chunks])


def tools(url: str, provider: str = "openai") -> object:
    return pick_stable(
        litellm.completion(messages=make_messages("weather"), tools=TOOLS, **make_options(url, provider))
    )


def structured(url: str) -> object:
    form = {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA, "strict": True}}
    return pick_stable(
        litellm.completion(messages=make_messages("a trip"), response_format=form, **make_options(url))
    )


def embed(url: str) -> object:
    answer = litellm.embedding(model="openai/stub", input=["a", "bb"], api_base=f"{url}/v1", api_key=KEY)
    return [vector["embedding"] for vector in answer.data]


async def _async_embed(url: str) -> object:
    embedding = litellm.aembedding(model="openai/stub", input=["async"], api_base=f"{url}/v1", api_key=KEY)
    return [vector["embedding"] for vector in (await embedding).data]


def claude(url: str, text: str) -> object:
    return pick_stable(litellm.completion(messages=make_messages(text), **make_options(url, "anthropic")))


async def async_claude(url: str, text: str) -> object:
    return pick_stable(
        await litellm.acompletion(messages=make_messages(text), **make_options(url, "anthropic"))
    )


OPENAI: dict[str, Scenario] = {
    **row(chat, "litellm"),
    **async_row(async_chat, "litellm"),
    "stream": stream,
    "left early": left_early,
    "first token": first_token,
    "first token: async": lambda url: asyncio.run(_async_first(url, "openai")),
    "async stream": lambda url: asyncio.run(_async_stream(url, "openai")),
    "tools": tools,
    "structured": structured,
    "embeddings": embed,
    "embeddings: async": lambda url: asyncio.run(_async_embed(url)),
}
ANTHROPIC: dict[str, Scenario] = {
    **row(claude, "litellm claude"),
    **async_row(async_claude, "litellm claude"),
    "error": lambda url: error(lambda: claude(url, "missing claude")),
    "stream": lambda url: stream(url, "anthropic"),
    "first token: async": lambda url: asyncio.run(_async_first(url, "anthropic")),
    "async stream": lambda url: asyncio.run(_async_stream(url, "anthropic")),
    "tools": lambda url: tools(url, "anthropic"),
}
ROWS = {"litellm (openai)": OPENAI, "litellm (anthropic)": ANTHROPIC}
