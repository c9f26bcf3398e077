"""The model behind the snippets of the documentation: OpenAI's and Anthropic's APIs, with answers that a page sets."""

from __future__ import annotations

import base64
import json
import math
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from support.server import (
    Reply,
    Seen,
    StubServer,
    chat_answer,
    chat_events,
    embedding_answer,
    error_reply,
    json_reply,
    responses_answer,
    responses_events,
    stream,
)

DATA = re.compile(r"<data-([0-9a-f]+)>\n(.*?)\n</data-\1>", re.DOTALL)
PASSING = ("pass", "supported", "same", "yes", "relevant", "tie")
FAILING = ("fail", "contradicted", "different", "no", "irrelevant", "tie")
DIMENSIONS = 64


class SnippetServer(StubServer):
    """Answer with what the page sets, else with the system message; judge with what the page sets, else pass.

    Attributes:
        answers: The answer by a part of the last user message; ``*``: any other. An answer is a text, an object with
            ``call`` and ``arguments`` (a call of a tool), an object with ``status`` (an error), or a list of these:
            one after the other, as an agent gets them.
        verdicts: ``pass``, ``fail`` or a score by a part of the request; ``*``: any other.
    """

    def __init__(self) -> None:
        super().__init__()
        self.answers: Mapping[str, Any] = {}
        self.verdicts: Mapping[str, Any] = {}

    def answer(self, seen: Seen) -> Reply:
        with self._lock:
            self.seen.append(seen)
        path = seen.path.partition("?")[0]
        if seen.method == "GET" and path.endswith("/models"):
            return json_reply({"object": "list", "data": []})
        if path.endswith("/embeddings"):
            return json_reply(_embed(seen.json))
        if path.endswith("/chat/completions"):
            return self._answer_chat(seen.json)
        if path.endswith("/responses"):
            return self._answer_responses(seen.json)
        if path.endswith("/messages"):
            return self._answer_anthropic(seen.json)
        return error_reply(404, f"the fake server has no {seen.method} {path}")

    def _answer_chat(self, body: Mapping[str, Any]) -> Reply:
        if _read_schema(body) and DATA.search(_join_texts(body["messages"])):
            verdict = json.dumps(self._judge(body))
            return json_reply(chat_answer(verdict, model=body["model"]))
        chosen = self._choose(body["messages"])
        if isinstance(chosen, Mapping) and "status" in chosen:
            return error_reply(chosen["status"], str(chosen.get("message", "no")))
        if isinstance(chosen, Mapping):
            function = {"name": chosen["call"], "arguments": json.dumps(chosen.get("arguments", {}))}
            call = {"id": f"call_{len(body['messages'])}", "type": "function", "function": function}
            answer = chat_answer("", model=body["model"], tool_calls=[call])
            answer["choices"][0]["message"]["content"] = None
            answer["choices"][0]["finish_reason"] = "tool_calls"
            return json_reply(answer)
        if body.get("stream"):
            return stream(chat_events(str(chosen), model=body["model"]))
        return json_reply(chat_answer(str(chosen), model=body["model"]))

    def _answer_responses(self, body: Mapping[str, Any]) -> Reply:
        given = body["input"]
        messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
        if body.get("instructions"):
            messages = [{"role": "system", "content": body["instructions"]}, *messages]
        chosen = self._choose(messages)
        if isinstance(chosen, Mapping) and "status" in chosen:
            return error_reply(chosen["status"], str(chosen.get("message", "no")))
        if isinstance(chosen, Mapping):
            call = {
                "type": "function_call",
                "id": f"fc_{len(messages)}",
                "call_id": f"call_{len(messages)}",
                "name": chosen["call"],
                "arguments": json.dumps(chosen.get("arguments", {})),
                "status": "completed",
            }
            return json_reply(responses_answer("", model=body["model"], output=[call]))
        if body.get("stream"):
            return stream(responses_events(str(chosen)))
        return json_reply(responses_answer(str(chosen), model=body["model"]))

    def _answer_anthropic(self, body: Mapping[str, Any]) -> Reply:
        messages = list(body["messages"])
        if body.get("system"):
            messages = [{"role": "system", "content": body["system"]}, *messages]
        chosen = self._choose(messages)
        if isinstance(chosen, Mapping) and "status" in chosen:
            return error_reply(chosen["status"], str(chosen.get("message", "no")))
        block: dict[str, Any] = {"type": "text", "text": str(chosen)}
        if isinstance(chosen, Mapping):
            block = {"type": "tool_use", "id": f"toolu_{len(messages)}", "name": chosen["call"]}
            block["input"] = chosen.get("arguments", {})
        return json_reply(
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": body["model"],
                "content": [block],
                "stop_reason": "end_turn" if block["type"] == "text" else "tool_use",
                "stop_sequence": None,
                "usage": {"input_tokens": 7, "output_tokens": 3},
            }
        )

    def _choose(self, messages: Sequence[Mapping[str, Any]]) -> Any:
        """Return the answer to a conversation."""
        users = [number for number, message in enumerate(messages) if _is_of_user(message)]
        last = users[-1] if users else -1
        question = _read_text(messages[last].get("content", "")) if users else ""
        chosen = _look_up(self.answers, question)
        if chosen is None:
            system = [
                _read_text(row["content"]) for row in messages if row.get("role") in ("system", "developer")
            ]
            return "\n".join(system) or question
        if isinstance(chosen, list):
            results = [message for message in messages[last + 1 :] if _is_result(message)]
            return chosen[min(len(results), len(chosen) - 1)]
        return chosen

    def _judge(self, body: Mapping[str, Any]) -> Any:
        """Return the verdict that the page sets, in the form that the judge requests."""
        nonce, data = DATA.findall(_join_texts(body["messages"]))[-1]
        verdict = _look_up(self.verdicts, data)
        return _fill(_read_schema(body), "pass" if verdict is None else verdict, nonce, _read_answer(data))


def _look_up(answers: Mapping[str, Any], text: str) -> Any:
    """Return the answer of the first part that the text holds, else the one of ``*``, else None."""
    for part, answer in answers.items():
        if part != "*" and part in text:
            return answer
    return answers.get("*")


def _is_of_user(message: Mapping[str, Any]) -> bool:
    """Return whether a message is a user's own, not the result of a tool as Anthropic sends it."""
    return message.get("role") == "user" and not _is_result(message)


def _is_result(message: Mapping[str, Any]) -> bool:
    if message.get("role") == "tool" or message.get("type") == "function_call_output":
        return True
    content = message.get("content")
    return isinstance(content, list) and any(part.get("type") == "tool_result" for part in content)


def _read_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content or ())


def _join_texts(messages: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(_read_text(message.get("content")) for message in messages)


def _read_schema(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of the verdict that a judge requests; empty: none."""
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        schema: Mapping[str, Any] = wanted["json_schema"]["schema"]
        return schema
    return {}


def _read_answer(data: str) -> str:
    """Return the answer within the data of a judge's request; "": there is none."""
    value = json.loads(data)
    return str(value.get("answer", "")) if isinstance(value, dict) else ""


def _fill(schema: Mapping[str, Any], verdict: Any, nonce: str, answer: str) -> Any:
    """Return a value of a schema that is the verdict: ``pass``, ``fail`` or a number."""
    if "enum" in schema:
        return _pick(schema["enum"], verdict)
    kind = schema["type"]
    if kind == "object":
        filled = {}
        for name, inner in schema["properties"].items():
            filled[name] = answer if name == "claim" else _fill(inner, verdict, nonce, answer)
        return filled
    if kind == "array":
        return [_fill(schema["items"], verdict, nonce, answer)]
    if kind == "string":
        return "It meets the criteria." if verdict == "pass" else "It does not meet the criteria."
    if isinstance(verdict, int | float):
        return verdict
    return schema.get("maximum", 10) if verdict == "pass" else schema.get("minimum", 1)


def _pick(values: Sequence[Any], verdict: Any) -> Any:
    if len(values) == 1:
        return values[0]
    if all(isinstance(value, int | float) for value in values):
        if verdict in values:
            return verdict
        return max(values) if verdict == "pass" else min(values)
    wanted = PASSING if verdict == "pass" else FAILING
    for word in wanted:
        if word in values:
            return word
    return values[0] if verdict == "pass" else values[-1]


def _embed(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return vectors of the words of each text: texts with the same words are similar."""
    answer = embedding_answer({**body, "encoding_format": "float"})
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    for row, text in zip(answer["data"], texts, strict=True):
        vector = [0.01] * DIMENSIONS
        for word in re.findall(r"\w+", str(text).lower()):
            vector[zlib.crc32(word.encode()) % DIMENSIONS] += 1.0
        length = math.hypot(*vector)
        row["embedding"] = [value / length for value in vector]
    if body.get("encoding_format") == "base64":
        _pack(answer["data"])
    return answer


def _pack(rows: Sequence[dict[str, Any]]) -> None:

    for row in rows:
        packed = struct.pack(f"<{DIMENSIONS}f", *row["embedding"])
        row["embedding"] = base64.b64encode(packed).decode()
