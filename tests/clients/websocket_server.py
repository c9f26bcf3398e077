"""A scripted server of OpenAI's Realtime, its Responses over a socket and Gemini Live: ``python -m clients.websocket_server``.

It prints its port and the one for TLS, notes the path of each connection in ``opened.txt``, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from support.tls import server_context
from websockets.asyncio.server import serve
from websockets.datastructures import Headers
from websockets.http11 import Response

_numbers = itertools.count(1)


def realtime_events(number: int, event: dict[str, Any]) -> list[dict[str, Any]]:
    text = f"Hello {number}"
    response = {"id": f"resp_{number}", "object": "realtime.response", "output": []}
    part = {"type": "output_audio", "transcript": text}
    item = {"id": "item", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    usage = {"total_tokens": 9, "input_tokens": 5, "output_tokens": 4}
    delta = {"response_id": "r", "item_id": "item", "output_index": 0, "content_index": 0, "delta": text}
    return [
        {"type": "response.created", "event_id": "a", "response": {**response, "status": "in_progress"}},
        {"type": "response.output_audio_transcript.delta", "event_id": "b", **delta},
        {
            "type": "response.done",
            "event_id": "c",
            "response": {**response, "status": "completed", "output": [item], "usage": usage},
        },
    ]


def responses_events(number: int, event: dict[str, Any]) -> list[dict[str, Any]]:
    if event["model"] == "gone":
        return [{"type": "error", "status": 404, "error": {"message": "no such model", "code": "gone"}}]
    base: dict[str, Any] = {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1,
        "model": event["model"],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
    part = {"type": "output_text", "text": f"Hi {number}", "annotations": []}
    item = {"id": "item", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    usage = {
        "input_tokens": 3,
        "output_tokens": 2,
        "total_tokens": 5,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    delta = {"item_id": "item", "output_index": 0, "content_index": 0, "delta": "Hi", "logprobs": []}
    return [
        {
            "type": "response.created",
            "sequence_number": 0,
            "response": {**base, "status": "in_progress", "output": []},
        },
        {"type": "response.output_text.delta", "sequence_number": 1, **delta},
        {
            "type": "response.completed",
            "sequence_number": 2,
            "response": {**base, "status": "completed", "output": [item], "usage": usage},
        },
    ]


async def answer(socket: Any, message: str | bytes) -> bool:
    """Answer a message; return False if the connection ends with it."""
    if isinstance(message, bytes):
        await socket.send(message[::-1])
        return True
    event = json.loads(message)
    kind = event.get("type")
    if kind == "close":
        await socket.close(event["code"], event["reason"])
        return False
    if kind == "cut":
        socket.transport.abort()
        return False
    if kind == "response.create":
        make = realtime_events if "realtime" in socket.request.path else responses_events
        for reply in make(next(_numbers), event):
            await socket.send(json.dumps(reply))
    elif kind == "echo":
        await socket.send(json.dumps({"echo": event["text"]}))
    elif kind == "flood":
        for _ in range(event["count"]):
            await socket.send("x" * event["size"])
    elif "setup" in event:
        await socket.send(json.dumps({"setupComplete": {}}).encode())
    elif "client_content" in event or "clientContent" in event:
        turn = {"modelTurn": {"parts": [{"text": "Hi from Gemini"}]}}
        await socket.send(json.dumps({"serverContent": {**turn, "turnComplete": True}}).encode())
    return True


def note_opened(path: str) -> None:
    with Path("opened.txt").open("a", encoding="utf-8") as file:
        file.write(f"{path}\n")


async def talk(socket: Any) -> None:
    note_opened(socket.request.path)
    if "realtime" in socket.request.path:
        session = {"type": "realtime", "model": "gpt-realtime", "id": f"sess_{next(_numbers)}"}
        await socket.send(json.dumps({"type": "session.created", "event_id": "s", "session": session}))
    async for message in socket:
        if not await answer(socket, message):
            return


async def check(_: Any, request: Any) -> Any:
    if "never" in request.path:
        await asyncio.Event().wait()
    if "unauthorized" in request.path:
        return Response(401, "Unauthorized", Headers({"content-length": "0"}))
    if "missing" in request.path:
        body = b'{"error": {"message": "no such model", "code": "model_not_found"}}'
        headers = Headers({"content-type": "application/json", "content-length": str(len(body))})
        return Response(404, "Not Found", headers, body)
    return None


def choose(_: Any, offered: list[str]) -> Any:
    return "realtime" if "realtime" in offered else None


async def main() -> None:
    open_server = partial(
        serve, talk, "127.0.0.1", 0, process_request=check, max_size=None, select_subprotocol=choose
    )
    context = server_context(Path("server.pem"))
    async with open_server() as server, open_server(ssl=context) as secure:
        ports = [one.sockets[0].getsockname()[1] for one in (server, secure)]
        print(*ports, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        for connection in [*server.connections, *secure.connections]:
            connection.transport.abort()


if __name__ == "__main__":
    asyncio.run(main())
