"""Scripted models for coding agents: each call of a tool in turn, then a text; paths are in the folder that the agent states."""

from __future__ import annotations

import json
import re
from typing import Any

from support.server import Reply, Seen, StubServer

FINAL = "Order 42 has shipped: see {folder}/order.txt."
CLAUDE_STEPS: list[tuple[str, dict[str, str]]] = [
    ("Skill", {"skill": "orders"}),
    ("Read", {"file_path": "{folder}/order.txt"}),
]
CODEX_STEPS = ["cat {folder}/.agents/skills/orders/SKILL.md", "cat {folder}/order.txt"]
PIECE = 7
"""Characters of each event of a stream: paths are split."""


class AgentServer(StubServer):
    """Speaks Anthropic's Messages API and OpenAI's Responses API."""

    def answer(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        if seen.method != "POST":
            return Reply(b"{}", 404)
        body = seen.json
        events = _message_events(body) if "messages" in body else _response_events(body)
        return event_reply(events)


def event_reply(events: list[dict[str, Any]]) -> Reply:
    """The answer with the events of a stream."""
    data = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return Reply(data.encode(), headers={"content-type": "text/event-stream"})


def _folder(body: dict[str, Any], pattern: str) -> str:
    found = re.search(pattern, json.dumps(body))
    return found[1] if found else "unknown"


def _fill(value: dict[str, str], folder: str) -> str:
    return json.dumps({name: text.replace("{folder}", folder) for name, text in value.items()})


def _message_events(body: dict[str, Any]) -> list[dict[str, Any]]:
    folder = _folder(body, r"Primary working directory: ([^\\\"]+)")
    blocks = [
        block
        for message in body["messages"]
        if isinstance(message["content"], list)
        for block in message["content"]
    ]
    done = sum(block["type"] == "tool_use" for block in blocks)
    if done < len(CLAUDE_STEPS):
        name, arguments = CLAUDE_STEPS[done]
        return message_events(body["model"], done, _fill(arguments, folder), tool=name)
    return message_events(body["model"], done, FINAL.format(folder=folder))


def message_events(model: str, number: int | str, text: str, tool: str = "") -> list[dict[str, Any]]:
    """The stream of an answer of Anthropic's Messages API: a text, or the arguments of a tool that is called."""
    message: dict[str, Any] = {
        "id": f"msg_{number}", "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 10, "output_tokens": 1},
    }  # fmt: skip
    block: dict[str, Any] = {"type": "text", "text": ""}
    kind, member, reason = "text_delta", "text", "end_turn"
    if tool:
        block = {"type": "tool_use", "id": f"toolu_{number}", "name": tool, "input": {}}
        kind, member, reason = "input_json_delta", "partial_json", "tool_use"
    pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
    return [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *[
            {"type": "content_block_delta", "index": 0, "delta": {"type": kind, member: piece}}
            for piece in pieces
        ],
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": None},
            "usage": {"output_tokens": 5},
        },
        {"type": "message_stop"},
    ]


def _response_events(body: dict[str, Any]) -> list[dict[str, Any]]:
    folder = _folder(body, r"<cwd>([^<]+)</cwd>")
    done = sum(item.get("type") == "function_call" for item in body["input"])
    item: dict[str, Any]
    if done < len(CODEX_STEPS):
        arguments = _fill({"cmd": CODEX_STEPS[done]}, folder)
        item = {
            "type": "function_call", "id": f"fc_{done}", "call_id": f"call_{done}", "name": "exec_command",
            "arguments": arguments, "status": "completed",
        }  # fmt: skip
    else:
        text = {"type": "output_text", "text": FINAL.format(folder=folder), "annotations": []}
        item = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [text]}
    usage = {
        "input_tokens": 10, "output_tokens": 5, "total_tokens": 15,
        "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip
    response = {
        "id": f"resp_{done}", "object": "response", "created_at": 1, "status": "completed", "model": body["model"],
        "output": [item], "usage": usage,
    }  # fmt: skip
    return [
        {"type": "response.created", "response": {**response, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": response},
    ]
