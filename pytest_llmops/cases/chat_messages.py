"""Conversations in the rows of a file: lists of messages with a role, as chat models take them."""

from collections.abc import Mapping
from typing import Any

from pytest_llmops._util.text_files import BadFile, canonical_json, json_kind
from pytest_llmops.measurement import Json


def question_text(value: Json) -> str:
    """Return the question in an input, by which duplicates and leaks are searched.

    A text is the question itself, in a list of messages it is the user's last one; of anything else, the JSON is returned.

    >>> question_text([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello?"}])
    'Hello?'
    """
    text = value
    if isinstance(value, list):
        for message in value:
            if isinstance(message, Mapping) and message.get("role") == "user":
                text = message.get("content")
    if isinstance(text, str):
        return text
    return canonical_json(text)


def split_messages(messages: Json) -> tuple[Json, str]:
    """Return the question and the answer of a conversation: the text before the last message of the assistant, and its text.

    A question of one message of the user is its text. Without a message of the assistant at the end, the answer is empty.

    Raises:
        BadFile: It is not a list of messages, or no message comes before the answer.

    >>> split_messages([{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Hi."}])
    ('Hello?', 'Hi.')
    """
    if not isinstance(messages, list) or not all(_has_role(message) for message in messages):
        raise BadFile(f"messages: expected a list of objects with a role, got {json_kind(messages)}")
    before: list[Any] = [*messages]
    answer = ""
    if before and before[-1]["role"] == "assistant":
        content = before.pop().get("content")
        if isinstance(content, str):
            answer = content
    if not before:
        raise BadFile("messages: expected a message before the assistant's answer, got none")
    first = before[0]
    if len(before) == 1 and first["role"] == "user" and isinstance(first.get("content"), str):
        return first["content"], answer
    return before, answer


def _has_role(message: Json) -> bool:
    return isinstance(message, Mapping) and isinstance(message.get("role"), str)
