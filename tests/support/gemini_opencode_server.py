"""A scripted model for Gemini CLI (Gemini API) and opencode (Responses API): two calls of tools, then a text."""

from __future__ import annotations

import json
import re
from typing import Any

from support.server import Reply, Seen, StubServer

FINAL = "Order 42 has shipped: see {folder}/order.txt."
GEMINI_STEPS: list[tuple[str, dict[str, str]]] = [
    ("read_file", {"file_path": "{folder}/order.txt"}),
    ("run_shell_command", {"command": "cat {folder}/order.txt", "description": "Read the order"}),
]
OPENCODE_STEPS: list[tuple[str, dict[str, str]]] = [
    ("read", {"filePath": "{folder}/order.txt"}),
    ("bash", {"command": "cat {folder}/order.txt", "description": "Read the order"}),
]
USAGE = {
    "input_tokens": 10,
    "output_tokens": 5,
    "total_tokens": 15,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}


class GeminiOpencodeServer(StubServer):
    """Speaks Google's Gemini API and OpenAI's Responses API."""

    def answer(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        if seen.method != "POST":
            return Reply(b"{}", 404)
        body = seen.json
        if "contents" in body:
            return Reply(f"data: {json.dumps(_make_gemini_answer(body))}\r\n\r\n".encode(), headers=_EVENTS)
        events = _make_response_events(body)
        data = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
        return Reply(data.encode(), headers=_EVENTS)


_EVENTS = {"content-type": "text/event-stream"}


def _fill(arguments: dict[str, str], folder: str) -> dict[str, str]:
    return {name: text.replace("{folder}", folder) for name, text in arguments.items()}


def _find_folder(body: dict[str, Any], pattern: str) -> str:
    match = re.search(pattern, json.dumps(body))
    return match[1] if match else "unknown"


def _make_gemini_answer(body: dict[str, Any]) -> dict[str, Any]:
    folder = _find_folder(body, r"Workspace Directories:\*\*\\n  - (.+?)\\n")
    done = sum("functionResponse" in part for content in body["contents"] for part in content["parts"])
    part: dict[str, Any] = {"text": FINAL.format(folder=folder)}
    if body.get("tools") and done < len(GEMINI_STEPS):
        name, arguments = GEMINI_STEPS[done]
        part = {"functionCall": {"name": name, "args": _fill(arguments, folder)}}
    return {
        "candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
        "modelVersion": "m",
        "responseId": "r",
    }


def _make_response_events(body: dict[str, Any]) -> list[dict[str, Any]]:
    folder = _find_folder(body, r"Working directory: (.+?)\\n")
    done = sum(item.get("type") == "function_call_output" for item in body["input"])
    response = {"id": "resp", "object": "response", "created_at": 1, "status": "completed", "model": "m"}
    # As the real server does, the answer repeats the id of the session.
    response |= {"usage": USAGE, "prompt_cache_key": body.get("prompt_cache_key")}
    if body.get("tools") and done < len(OPENCODE_STEPS):
        name, arguments = OPENCODE_STEPS[done]
        text = json.dumps(_fill(arguments, folder))
        item = {
            "type": "function_call",
            "id": f"fc_{done}",
            "call_id": f"c_{done}",
            "name": name,
            "arguments": text,
        }
        deltas = [
            {
                "type": "response.function_call_arguments.delta",
                "item_id": item["id"],
                "output_index": 0,
                "delta": text,
            }
        ]
        started = {**item, "arguments": ""}
    else:
        text = FINAL.format(folder=folder)
        part = {"type": "output_text", "text": text, "annotations": []}
        item = {"type": "message", "id": "m", "role": "assistant", "content": [part]}
        started = {**item, "content": []}
        place = {"item_id": "m", "output_index": 0, "content_index": 0}
        deltas = [{"type": "response.output_text.delta", **place, "delta": text}]
    item["status"] = "completed"
    return [
        {"type": "response.created", "response": {**response, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": started},
        *deltas,
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": {**response, "output": [item]}},
    ]
