"""Compares the live answer of a tool with the recorded one."""

import json
from typing import Any

from pytest_llmops.cassettes.drift import Drift
from pytest_llmops.cassettes.request_key import Answer, Question
from pytest_llmops.cassettes.tape_config import TapeConfig
from pytest_llmops.cassettes.tool_questions import LIST_METHOD, read_tool_answer

MAX_TEXT = 2000


def compare_tool_answers(
    question: Question, recorded: Answer, live: Answer, config: TapeConfig
) -> list[Drift]:
    """Return how a live answer differs from the recorded one; an empty list if it does not.

    Args:
        question: The call.
        recorded: The recorded answer, with the folders of this run.
        live: The answer of the tool.
        config: Masks secrets.
    """
    before = _read(recorded)
    now = _read(live)
    if before == now:
        return []
    what = "tool result"
    if question.method == LIST_METHOD:
        what = "tool definitions"
    return [
        Drift(
            f"{question.method} {question.url}",
            what,
            json.dumps(before)[:MAX_TEXT],
            config.redactor.clean_text(json.dumps(now))[:MAX_TEXT],
        )
    ]


def _read(answer: Answer) -> Any:
    """Return what is compared of an answer: its result or error, or how the call ended."""
    if answer.outcome is not None:
        return answer.outcome.error
    content = read_tool_answer(answer)
    return {name: content[name] for name in ("result", "error") if name in content}
