"""A scripted model that speaks OpenAI's Chat Completions: the number of answers so far selects the turn."""

from __future__ import annotations

import json
from typing import Any

from clients.frameworks.kit import Turn
from clients.mcp_agents import kit
from support.server import Reply, Seen, StubServer, chat_answer, json_reply, stream

PIECE = 7
"""Characters of each event of a stream."""


class ModelServer(StubServer):
    """Plays the script of the server that the question names; the last text quotes the results of all tools."""

    def answer(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        if seen.method != "POST" or not seen.path.endswith("/chat/completions"):
            return Reply(b"{}", 404)
        body = seen.json
        answer = make_answer(body["messages"])
        return stream(_make_events(answer)) if body.get("stream") else json_reply(answer)


def make_answer(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the completion that follows the messages. Ids of calls are new in each turn, and equal in each run."""
    question = next(_read_text(message) for message in messages if message["role"] == "user")
    server, folder = kit.parse_question(question)
    number = sum(message["role"] == "assistant" for message in messages)
    turns = kit.find_script(server).turns
    if number >= len(turns):
        results = [_read_text(message) for message in messages if message["role"] == "tool"]
        return chat_answer(f"{len(results)} results: " + " | ".join(results), model=kit.MODEL)
    calls = _make_calls(turns[number], number, folder)
    answer = chat_answer("", model=kit.MODEL, tool_calls=calls)
    answer["choices"][0]["message"]["content"] = None
    answer["choices"][0]["finish_reason"] = "tool_calls"
    return answer


def _read_text(message: dict[str, Any]) -> str:
    content = message["content"]
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def _make_calls(turn: Turn, number: int, folder: str) -> list[dict[str, Any]]:
    calls = []
    for place, call in enumerate(turn.calls):
        function = {"name": call.name, "arguments": json.dumps(kit.fill(call.arguments, folder))}
        calls.append({"id": f"call_{number}_{place}", "type": "function", "function": function})
    return calls


def _make_events(answer: dict[str, Any]) -> list[object]:
    """Return the answer as a stream: text and arguments in pieces."""
    message = answer["choices"][0]["message"]
    text = message["content"] or ""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": piece} for piece in _cut(text)]
    for place, call in enumerate(message.get("tool_calls", [])):
        head = {**call, "function": {"name": call["function"]["name"], "arguments": ""}}
        deltas.append({"tool_calls": [{"index": place, **head}]})
        deltas += [
            {"tool_calls": [{"index": place, "function": {"arguments": piece}}]}
            for piece in _cut(call["function"]["arguments"])
        ]
    head = {**answer, "object": "chat.completion.chunk", "usage": None}
    events: list[object] = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas
    ]
    reason = answer["choices"][0]["finish_reason"]
    events.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    events.append({**head, "choices": [], "usage": answer["usage"]})
    return [*events, "[DONE]"]


def _cut(text: str) -> list[str]:
    return [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
