"""The SDK of Anthropic."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
from clients.kit import KEY, SCHEMA, TOOL, Scenario, async_row, received, row

TOOLS: Any = [{"name": TOOL, "description": "looks up", "input_schema": SCHEMA}]
THINKING: Any = {"type": "enabled", "budget_tokens": 1024}
HOW: Any = {"model": "claude-stub", "max_tokens": 2048}


def client(url: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=url, api_key=KEY)


def said(text: str) -> Any:
    return [{"role": "user", "content": text}]


def message(url: str, text: str) -> object:
    with client(url) as entry:
        return entry.messages.create(messages=said(text), **HOW).model_dump()


async def async_message(url: str, text: str) -> object:
    async with anthropic.AsyncAnthropic(base_url=url, api_key=KEY) as async_anthropic:
        return (await async_anthropic.messages.create(messages=said(text), **HOW)).model_dump()


def stream(url: str) -> object:
    with client(url) as entry, entry.messages.create(messages=said("all of it"), stream=True, **HOW) as asked:
        return [event.model_dump() for event in asked]


def helper(url: str) -> object:
    with client(url) as entry, entry.messages.stream(messages=said("with the helper"), **HOW) as asked:
        return list(asked.text_stream), asked.get_final_message().model_dump()


def left_early(url: str) -> object:
    with client(url) as entry, entry.messages.create(messages=said("left"), stream=True, **HOW) as asked:
        return next(iter(asked)).model_dump()


def first_token(url: str) -> object:
    with (
        client(url) as entry,
        entry.messages.create(messages=said("held claude"), stream=True, **HOW) as asked,
    ):
        first = next(iter(asked)).type
        received(url, "claude")
        return first, len(list(asked))


def async_stream(url: str) -> object:
    async def ask() -> object:
        async with (
            anthropic.AsyncAnthropic(base_url=url, api_key=KEY) as async_anthropic,
            async_anthropic.messages.stream(messages=said("async stream"), **HOW) as asked,
        ):
            texts = [text async for text in asked.text_stream]
            return texts, (await asked.get_final_message()).model_dump()

    return asyncio.run(ask())


def tools(url: str) -> object:
    with client(url) as entry:
        return entry.messages.create(messages=said("weather"), tools=TOOLS, **HOW).model_dump()


def tools_streamed(url: str) -> object:
    with client(url) as entry, entry.messages.stream(messages=said("weather"), tools=TOOLS, **HOW) as asked:
        return asked.get_final_message().model_dump()


def thinking(url: str) -> object:
    with client(url) as entry:
        return entry.messages.create(messages=said("think"), thinking=THINKING, **HOW).model_dump()


def thinking_streamed(url: str) -> object:
    with (
        client(url) as entry,
        entry.messages.stream(messages=said("think"), thinking=THINKING, **HOW) as asked,
    ):
        return asked.get_final_message().model_dump()


SCENARIOS: dict[str, Scenario] = {
    **row(message, "claude"),
    **async_row(async_message, "claude"),
    "plain: thinking": thinking,
    "stream": stream,
    "stream: helper": helper,
    "stream: thinking": thinking_streamed,
    "left early": left_early,
    "first token": first_token,
    "async stream": async_stream,
    "tools": tools,
    "tools: streamed": tools_streamed,
}
ROWS = {"anthropic": SCENARIOS}
