"""The scripted model for Claude Code, which speaks Anthropic's Messages API and has to look up the tools of a server first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from clients.frameworks.kit import ScriptedCall
from clients.mcp_agents import kit
from support.agent_server import event_reply, message_events
from support.server import Reply, Seen, StubServer

SERVER = "shop"
"""What the client calls the server."""
PREFIX = f"mcp__{SERVER}__"
SEARCH = "ToolSearch"


class AnthropicServer(StubServer):
    """Plays the script of the server that the question names; the last text quotes the results of all tools."""

    def answer(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        if seen.method != "POST" or "/messages" not in seen.path:
            return Reply(b"{}", 404)
        return event_reply(make_events(seen.json))


def make_events(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the answer to a request as a stream."""
    blocks = list(_list_blocks(body["messages"]))
    server, folder = _find_question(blocks)
    script = kit.SCRIPTS[server]
    used = [block for block in blocks if block["type"] == "tool_use"]
    called = [block for block in used if block["name"].startswith(PREFIX)]
    names = [call.name for turn in script.turns for call in turn.calls]
    known = {tool.get("name") for tool in body.get("tools", [])}
    if not used and SEARCH in known and f"{PREFIX}{names[0]}" not in known:
        query = "select:" + ",".join(dict.fromkeys(PREFIX + name for name in names))
        return message_events(body["model"], "search", json.dumps({"query": query}), tool=SEARCH)
    number, place = 0, 0
    while number < len(script.turns) and place < len(called):
        place += len(script.turns[number].calls)
        number += 1
    if number < len(script.turns):
        return _call_events(body["model"], number, script.turns[number].calls, folder)
    ids = {block["id"] for block in called}
    results = [_read_result(block) for block in blocks if block.get("tool_use_id") in ids]
    return message_events(body["model"], number, f"{len(results)} results: " + " | ".join(results))


def _list_blocks(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for message in messages:
        if isinstance(message["content"], str):
            yield {"type": "text", "text": message["content"]}
        else:
            yield from message["content"]


def _find_question(blocks: list[dict[str, Any]]) -> tuple[str, str]:
    for block in blocks:
        try:
            return kit.parse_question(block.get("text", ""))
        except ValueError:
            continue
    raise AssertionError(f"no block is a question: {json.dumps(blocks)[:2000]}")


def _call_events(
    model: str, number: int, calls: tuple[ScriptedCall, ...], folder: str
) -> list[dict[str, Any]]:
    """Return the events of an answer with several calls: those of one call each, put together."""
    parts = []
    for place, call in enumerate(calls):
        arguments = kit.fill(call.arguments, folder)
        parts.append(
            message_events(model, f"{number}_{place}", json.dumps(arguments), tool=PREFIX + call.name)
        )
    middle = [{**event, "index": place} for place, events in enumerate(parts) for event in events[1:-2]]
    return [parts[0][0], *middle, *parts[0][-2:]]


def _read_result(block: dict[str, Any]) -> str:
    content = block["content"]
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)
