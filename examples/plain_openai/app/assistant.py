"""A trip assistant as an application would have it: it calls the openai SDK and knows nothing of tests.

Server and key come from the SDK's own environment variables (OPENAI_BASE_URL, OPENAI_API_KEY).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence

import openai

MODEL = os.environ.get("ASSISTANT_MODEL", "qwen2.5-coder-1.5b-instruct")
SYSTEM = "You help people who plan a hike. Answer in one short sentence."
LIMIT = 60


def answer(question: str) -> str:
    """Answer a question."""
    reply = openai.OpenAI().chat.completions.create(
        model=MODEL, messages=_messages(question), max_completion_tokens=LIMIT, temperature=0
    )
    return reply.choices[0].message.content or ""


async def answer_all(questions: Sequence[str]) -> list[str]:
    """Answer several questions at once; the answers are in the order of the questions."""
    async with openai.AsyncOpenAI() as client:
        requests = [
            client.chat.completions.create(
                model=MODEL, messages=_messages(question), max_completion_tokens=LIMIT, temperature=0
            )
            for question in questions
        ]
        replies = await asyncio.gather(*requests)
    return [reply.choices[0].message.content or "" for reply in replies]


def stream(question: str) -> Iterator[str]:
    """Yield the answer piece by piece, as a chat window shows it."""
    with openai.OpenAI().chat.completions.create(
        model=MODEL,
        messages=_messages(question),
        max_completion_tokens=LIMIT,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    ) as events:
        for event in events:
            if event.choices and event.choices[0].delta.content:
                yield event.choices[0].delta.content


def respond(question: str) -> str:
    """Answer a question through the Responses API."""
    reply = openai.OpenAI().responses.create(
        model=MODEL, instructions=SYSTEM, input=question, max_output_tokens=LIMIT, temperature=0
    )
    return reply.output_text


def _messages(question: str) -> list[openai.types.chat.ChatCompletionMessageParam]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
