"""An application that calls the SDK directly: its HTTP calls are recorded and replayed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from app import assistant

from pytest_llmops import assert_matches, assert_score

if TYPE_CHECKING:
    from pytest_llmops.trace import CallLog

# The application uses no fixture of the plugin: this marker records and replays its calls.
pytestmark = pytest.mark.llm_cassette

QUESTIONS = [
    "What should I wear in rain?",
    "How much water do I need a day?",
    "When does it get dark in June?",
]

MAX_WORDS = 40  # what fits a chat bubble


def words(text: str) -> int:
    """Return the number of words of a text."""
    return len(text.split())


def test_one_answer(llm_calls: CallLog) -> None:
    text = assistant.answer("What do I need for a hike in the snow?")

    assert_matches(text, r"\w")
    assert_score(words, text, at_most=MAX_WORDS, unit="count")
    (call,) = llm_calls
    assert call.endpoint == "chat"
    assert call.finish_reason == "stop", "the answer was cut off at the limit of tokens"
    assert [message.role for message in call.messages] == ["system", "user"]
    assert call.usage.output_tokens <= assistant.LIMIT


def test_three_at_once(llm_calls: CallLog) -> None:
    answers = asyncio.run(assistant.answer_all(QUESTIONS))

    assert len(answers) == len(llm_calls) == len(QUESTIONS)
    # Each question gets its own answer, whichever came first when it was recorded.
    by_question = {call.messages[-1].content: call.output for call in llm_calls}
    assert [by_question[question] for question in QUESTIONS] == answers


def test_stream(llm_calls: CallLog) -> None:
    pieces = list(assistant.stream("Name one thing to pack."))

    assert len(pieces) > 1, "a stream comes in pieces, also when it is replayed"
    (call,) = llm_calls
    assert call.streamed
    assert call.output == "".join(pieces)
    # Measured when it was recorded, and the same in every replay.
    assert 0 < call.ttft_s < call.latency_s


def test_responses_api(llm_calls: CallLog) -> None:
    text = assistant.respond("What do I do when I am lost?")

    assert text.strip()
    assert [call.endpoint for call in llm_calls] == ["responses"]
    assert [message.role for message in llm_calls[0].messages] == ["system", "user"]


def test_the_same_question_twice_is_two_calls(llm_calls: CallLog) -> None:
    question = "Which shoes do I need?"
    first, second = assistant.answer(question), assistant.answer(question)

    assert len(llm_calls) == 2
    assert (first, second) == (llm_calls[0].output, llm_calls[1].output)
