"""LiteLLM, over the SDK of OpenAI and over its own clients of Anthropic and Gemini."""

from __future__ import annotations

import asyncio
from typing import Any

import litellm
from clients.kit import KEY, SCHEMA, TOOL, Scenario, async_row, error, received, row

litellm.telemetry = False
litellm.suppress_debug_info = True
TOOLS: Any = [{"type": "function", "function": {"name": TOOL, "parameters": SCHEMA}}]


def how(url: str, provider: str = "openai") -> dict[str, Any]:
    base = f"{url}/v1" if provider == "openai" else url
    model = "claude-sonnet-4-5" if provider == "anthropic" else "stub"
    return {"model": f"{provider}/{model}", "api_base": base, "api_key": KEY, "num_retries": 1}


def said(text: str) -> Any:
    return [{"role": "user", "content": text}]


def shown(answer: Any) -> object:
    """Without the ids and days that LiteLLM makes up."""
    message = answer.choices[0].message
    calls = [[entry.function.name, entry.function.arguments] for entry in message.tool_calls or []]
    usage = answer.usage
    return (
        message.content,
        calls,
        answer.choices[0].finish_reason,
        usage.prompt_tokens,
        usage.completion_tokens,
    )


def chat(url: str, text: str) -> object:
    return shown(litellm.completion(messages=said(text), **how(url)))


async def async_chat(url: str, text: str) -> object:
    return shown(await litellm.acompletion(messages=said(text), **how(url)))


def stream(url: str, provider: str = "openai") -> object:
    asked = litellm.completion(messages=said("stream it all"), stream=True, **how(url, provider))
    return [entry.choices[0].delta.content for entry in asked]


def left_early(url: str) -> object:
    asked = litellm.completion(messages=said("left"), stream=True, **how(url))
    return next(iter(asked)).choices[0].delta.content


def first_token(url: str) -> object:
    asked = litellm.completion(messages=said("held litellm"), stream=True, **how(url))
    first = next(iter(asked)).choices[0].delta.content
    received(url, "litellm")
    return first, len(list(asked))


async def _async_stream(url: str, provider: str) -> object:
    asked = await litellm.acompletion(messages=said("async stream"), stream=True, **how(url, provider))
    return [entry.choices[0].delta.content async for entry in asked]


async def _async_first(url: str, provider: str) -> object:
    name = f"lite{provider}"
    asked = await litellm.acompletion(messages=said(f"held {name}"), stream=True, **how(url, provider))
    await anext(aiter(asked))
    await asyncio.to_thread(received, url, name)
    return len([entry async for entry in asked])


def tools(url: str, provider: str = "openai") -> object:
    return shown(litellm.completion(messages=said("weather"), tools=TOOLS, **how(url, provider)))


def structured(url: str) -> object:
    form = {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA, "strict": True}}
    return shown(litellm.completion(messages=said("a trip"), response_format=form, **how(url)))


def embed(url: str) -> object:
    answer = litellm.embedding(model="openai/stub", input=["a", "bb"], api_base=f"{url}/v1", api_key=KEY)
    return [entry["embedding"] for entry in answer.data]


async def _async_embed(url: str) -> object:
    asked = litellm.aembedding(model="openai/stub", input=["async"], api_base=f"{url}/v1", api_key=KEY)
    return [entry["embedding"] for entry in (await asked).data]


def claude(url: str, text: str) -> object:
    return shown(litellm.completion(messages=said(text), **how(url, "anthropic")))


async def async_claude(url: str, text: str) -> object:
    return shown(await litellm.acompletion(messages=said(text), **how(url, "anthropic")))


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
