"""A request of a test and a call of a trace are compared by meaning: the same conversation in any vendor's format is the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.exchanges import exchange

from pytest_llmops.cassettes.traces.spelling import (
    list_tool_results,
    spell_messages,
    spell_parameters,
    spell_request,
    spell_value,
    write_chat_request,
)
from pytest_llmops.trace import read_call

Json = dict[str, Any]
# No lines that readers put into a text themselves
TEXTS = st.text('abc äß漢🙂\n{}"\\:,1 ', min_size=1, max_size=12).filter(lambda text: text.strip())
ARGUMENTS = st.dictionaries(st.sampled_from(["city", "day"]), TEXTS | st.integers(0, 9), max_size=2)
CALLS = st.tuples(st.sampled_from(["find", "pay"]), ARGUMENTS, TEXTS)
STEPS = st.tuples(st.sampled_from(["", "Let me look."]), st.lists(CALLS, min_size=1, max_size=3))
CONVERSATIONS = st.fixed_dictionaries(
    {
        "system": st.sampled_from(["", "Be brief."]),
        "question": TEXTS,
        "steps": st.lists(STEPS, max_size=3),
        "more": st.sampled_from(["", "And then?"]),
    }
)


def number(conversation: Json) -> list[tuple[str, list[tuple[str, str, Json, str]]]]:
    """The steps of a conversation, each call with an id."""
    count = iter(range(100))
    return [
        (text, [(f"id{next(count)}", name, arguments, result) for name, arguments, result in calls])
        for text, calls in conversation["steps"]
    ]


def write_chat(conversation: Json, *, prefix: str = "", backwards: bool = False) -> list[Json]:
    """The messages of OpenAI's chat completions; results may come in another order than the calls, with other ids."""
    messages: list[Json] = []
    if conversation["system"]:
        messages.append({"role": "system", "content": conversation["system"]})
    messages.append({"role": "user", "content": conversation["question"]})
    for text, calls in number(conversation):
        functions = [
            {
                "id": prefix + key,
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments)},
            }
            for key, name, arguments, _ in calls
        ]
        messages.append({"role": "assistant", "content": text or None, "tool_calls": functions})
        results = [
            {"role": "tool", "tool_call_id": prefix + key, "content": result} for key, _, _, result in calls
        ]
        messages += results[::-1] if backwards else results
    if conversation["more"]:
        messages.append({"role": "assistant", "content": "Done."})
        messages.append({"role": "user", "content": conversation["more"]})
    return messages


def write_anthropic(conversation: Json) -> Json:
    messages: list[Json] = [{"role": "user", "content": conversation["question"]}]
    for text, calls in number(conversation):
        blocks: list[Json] = [{"type": "text", "text": text}] if text else []
        blocks += [
            {"type": "tool_use", "id": key, "name": name, "input": given} for key, name, given, _ in calls
        ]
        results = [
            {"type": "tool_result", "tool_use_id": key, "content": result} for key, _, _, result in calls
        ]
        messages += [{"role": "assistant", "content": blocks}, {"role": "user", "content": results}]
    if conversation["more"]:
        messages.append({"role": "assistant", "content": [{"type": "text", "text": "Done."}]})
        messages.append({"role": "user", "content": conversation["more"]})
    return {"model": "m", "max_tokens": 10, "system": conversation["system"], "messages": messages}


def write_responses(conversation: Json) -> Json:
    items: list[Json] = [{"role": "user", "content": conversation["question"]}]
    for text, calls in number(conversation):
        if text:
            parts = [{"type": "output_text", "text": text, "annotations": []}]
            items.append({"type": "message", "role": "assistant", "content": parts})
        items += [
            {"type": "function_call", "call_id": key, "name": name, "arguments": json.dumps(given)}
            for key, name, given, _ in calls
        ]
        items += [
            {"type": "function_call_output", "call_id": key, "output": result} for key, _, _, result in calls
        ]
    if conversation["more"]:
        items.append({"role": "assistant", "content": "Done."})
        items.append({"role": "user", "content": conversation["more"]})
    return {"model": "m", "instructions": conversation["system"], "input": items}


def write_gemini(conversation: Json) -> Json:
    contents: list[Json] = [{"role": "user", "parts": [{"text": conversation["question"]}]}]
    for text, calls in number(conversation):
        parts: list[Json] = [{"text": text}] if text else []
        parts += [{"functionCall": {"name": name, "args": given}} for _, name, given, _ in calls]
        results = [
            {"functionResponse": {"name": name, "response": {"result": result}}}
            for _, name, _, result in calls
        ]
        contents += [{"role": "model", "parts": parts}, {"role": "user", "parts": results}]
    if conversation["more"]:
        contents.append({"role": "model", "parts": [{"text": "Done."}]})
        contents.append({"role": "user", "parts": [{"text": conversation["more"]}]})
    body: Json = {"contents": contents}
    if conversation["system"]:
        body["systemInstruction"] = {"parts": [{"text": conversation["system"]}]}
    return body


def spell(url: str, body: Json) -> list[str]:
    """A request of a test as it is compared."""
    return list(spell_request(write_chat_request(read_call(exchange(url, body, b"")))).messages)


@pytest.mark.slow
@given(CONVERSATIONS)
def test_a_conversation_is_the_same_in_every_format(conversation: Json) -> None:
    held = spell_messages(write_chat(conversation))
    chat = {"model": "m", "messages": write_chat(conversation, prefix="other", backwards=True)}
    assert spell("https://api.openai.com/v1/chat/completions", chat) == held
    assert spell("https://api.anthropic.com/v1/messages", write_anthropic(conversation)) == held
    assert spell("https://api.openai.com/v1/responses", write_responses(conversation)) == held
    gemini = {
        **conversation,
        "steps": [
            (text, [(name, arguments, json.dumps({"result": result})) for name, arguments, result in calls])
            for text, calls in conversation["steps"]
        ],
    }
    url = "https://generativelanguage.googleapis.com/v1beta/models/m:generateContent"
    assert spell(url, write_gemini(conversation)) == spell_messages(write_chat(gemini))


@pytest.mark.slow
@given(CONVERSATIONS, CONVERSATIONS)
def test_other_conversations_are_others(first: Json, second: Json) -> None:
    def strip(conversation: Json) -> Json:
        plain: Json = json.loads(json.dumps(conversation))
        plain["question"] = plain["question"].strip()
        for _, calls in plain["steps"]:
            for call in calls:
                call[2] = spell_value(call[2])
        return plain

    are_same = spell_messages(write_chat(first)) == spell_messages(write_chat(second))
    assert are_same == (strip(first) == strip(second))


@given(CONVERSATIONS)
def test_each_tool_call_gets_its_own_result(conversation: Json) -> None:
    expected = [call for _, calls in conversation["steps"] for call in calls]
    found = list_tool_results(write_chat(conversation, backwards=True))
    results = [(call.name, json.loads(call.arguments), result) for call, result in found]
    assert results == expected


def test_labels_of_thoughts_count_only_in_what_others_than_the_model_say() -> None:
    messages = [{"role": role, "content": "[thinking]\nHi"} for role in ("user", "assistant")]
    assert spell_messages(messages) == ["user: [thinking]\nHi", "assistant: Hi"]


def test_parameters_have_the_names_of_openai() -> None:
    given = {"choice": {"count": 2}, "options": {"num_predict": 9, "stop": []}, "topP": "0.5", "seed": True}
    assert spell_parameters(given) == {"n": 2, "max_tokens": 9, "top_p": 0.5}
