"""The SDK of Anthropic."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
from clients.kit import KEY, SCHEMA, TOOL, Scenario, async_row, received, row

TOOLS: Any = [{"name": TOOL, "description": "looks up", "input_schema": SCHEMA}]
THINKING: Any = {"type": "enabled", "budget_tokens": 1024}
HOW: Any = {"model": "claude-stub", "max_tokens": 2048}


def make_client(url: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=url, api_key=KEY)


def make_messages(text: str) -> Any:
    return [{"role": "user", "content": text}]


def message(url: str, text: str) -> object:
    with make_client(url) as client:
        return client.messages.create(messages=make_messages(text), **HOW).model_dump()


async def async_message(url: str, text: str) -> object:
    async with anthropic.AsyncAnthropic(base_url=url, api_key=KEY) as client:
        return (await client.messages.create(messages=make_messages(text), **HOW)).model_dump()


def stream(url: str) -> object:
    with (
        make_client(url) as client,
        client.messages.create(messages=make_messages("all of it"), stream=True, **HOW) as events,
    ):
        return [event.model_dump() for event in events]


def helper(url: str) -> object:
    with (
        make_client(url) as client,
        client.messages.stream(messages=make_messages("with the helper"), **HOW) as events,
    ):
        return list(events.text_stream), events.get_final_message().model_dump()


def left_early(url: str) -> object:
    with (
        make_client(url) as client,
        client.messages.create(messages=make_messages("left"), stream=True, **HOW) as events,
    ):
        return next(iter(events)).model_dump()


def first_token(url: str) -> object:
    with (
        make_client(url) as client,
        client.messages.create(messages=make_messages("held claude"), stream=True, **HOW) as events,
    ):
        first = next(iter(events)).type
        received(url, "claude")
        return first, len(list(events))


def async_stream(url: str) -> object:
    async def ask() -> object:
        async with (
            anthropic.AsyncAnthropic(base_url=url, api_key=KEY) as client,
            client.messages.stream(messages=make_messages("async stream"), **HOW) as events,
        ):
            texts = [text async for text in events.text_stream]
            return texts, (await events.get_final_message()).model_dump()

    return asyncio.run(ask())


def tools(url: str) -> object:
    with make_client(url) as client:
        return client.messages.create(messages=make_messages("weather"), tools=TOOLS, **HOW).model_dump()


def tools_streamed(url: str) -> object:
    with (
        make_client(url) as client,
        client.messages.stream(messages=make_messages("weather"), tools=TOOLS, **HOW) as events,
    ):
        return events.get_final_message().model_dump()


def thinking(url: str) -> object:
    with make_client(url) as client:
        return client.messages.create(messages=make_messages("think"), thinking=THINKING, **HOW).model_dump()


def thinking_streamed(url: str) -> object:
    with (
        make_client(url) as client,
        client.messages.stream(messages=make_messages("think"), thinking=THINKING, **HOW) as events,
    ):
        return events.get_final_message().model_dump()


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
