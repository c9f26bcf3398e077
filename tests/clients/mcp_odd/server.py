"""An MCP server that behaves as its first argument says: over stdio, or at a port. It needs no package, so it starts at once."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Send = Callable[[dict[str, Any]], None]
KEY = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
NAMES = ("add", "binary", "structured", "progress")
NOTES: dict[str, Any] = {"sum": 0, "lists": 0, "numbers": 0}
REPLIES: dict[str, Any] = {}
ARRIVED = threading.Condition()


def make_tool(name: str) -> dict[str, Any]:
    return {"name": name, "description": f"Does {name}.", "inputSchema": {"type": "object"}}


def text_result(text: str, **more: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], **more}


def ask_client(send: Send, method: str, params: dict[str, Any]) -> Any:
    NOTES["numbers"] += 1
    number = f"server-{NOTES['numbers']}"
    send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
    with ARRIVED:
        ARRIVED.wait_for(lambda: number in REPLIES, timeout=20)
        reply = REPLIES.pop(number)
    return reply.get("result", reply.get("error"))


def list_tools(params: dict[str, Any]) -> dict[str, Any]:
    NOTES["lists"] += 1
    if MODE == "pages":
        place = int(params.get("cursor") or 0)
        page = {"tools": [make_tool(NAMES[place])]}
        return page if place == 2 else {**page, "nextCursor": str(place + 1)}
    if MODE == "changing" and NOTES["sum"]:
        return {"tools": [make_tool("add"), make_tool("remove")]}
    return {"tools": [make_tool(name) for name in NAMES]}


def add(request: dict[str, Any], send: Send) -> dict[str, Any]:
    NOTES["sum"] += request["params"].get("arguments", {}).get("x", 1)
    if MODE == "changing":
        send({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
    return text_result(f"{NOTES['sum']}")


def report_progress(request: dict[str, Any], send: Send) -> dict[str, Any]:
    token = request["params"].get("_meta", {}).get("progressToken")
    for step in range(3):
        params = {"progressToken": token, "progress": step, "total": 3}
        send({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
    return text_result("done")


def log(_: dict[str, Any], send: Send) -> dict[str, Any]:
    for step in range(2):
        params = {"level": "info", "data": f"step {step}"}
        send({"jsonrpc": "2.0", "method": "notifications/message", "params": params})
    return text_result("logged")


def ask(request: dict[str, Any], send: Send) -> dict[str, Any]:
    answers = []
    for question in request["params"]["arguments"]["questions"]:
        message = {"role": "user", "content": {"type": "text", "text": question}}
        answers.append(ask_client(send, "sampling/createMessage", {"messages": [message], "maxTokens": 9}))
    return text_result(json.dumps(answers, sort_keys=True))


def elicit(_: dict[str, Any], send: Send) -> dict[str, Any]:
    params = {"message": "which?", "requestedSchema": {"type": "object", "properties": {}}}
    return text_result(json.dumps(ask_client(send, "elicitation/create", params), sort_keys=True))


def list_roots(_: dict[str, Any], send: Send) -> dict[str, Any]:
    return text_result(json.dumps(ask_client(send, "roots/list", {}), sort_keys=True))


def find_out(request: dict[str, Any], _: Send) -> dict[str, Any]:
    return text_result(f"{Path.cwd()} key={KEY} {request['params'].get('arguments')}")


def make_big(request: dict[str, Any], _: Send) -> dict[str, Any]:
    return text_result("x" * request["params"]["arguments"]["size"])


def die(*_: object) -> dict[str, Any]:
    os._exit(3)


RESULTS = {
    "odd_texts": text_result("nul \0 line \u2028 end"),
    "surrogate": text_result("half \ud800 end"),
    "structured": text_result("{}", structuredContent={"deep": [1, 2.5, None, {"a": "b"}]}),
    "fail": text_result("it failed with Authorization: Bearer abcdefghijklmnop1234567890", isError=True),
    "binary": {
        "content": [
            {"type": "image", "data": PIXEL, "mimeType": "image/png"},
            {"type": "audio", "data": PIXEL, "mimeType": "audio/wav"},
            {"type": "resource", "resource": {"uri": "file:///a.bin", "blob": PIXEL}},
        ]
    },
}
TOOLS: dict[str, Callable[..., dict[str, Any]]] = {
    "add": add,
    "progress": report_progress,
    "log": log,
    "ask": ask,
    "elicit": elicit,
    "roots": list_roots,
    "whoami": find_out,
    "big": make_big,
    "die": die,
}


def call_tool(request: dict[str, Any], send: Send) -> dict[str, Any]:
    name = request["params"]["name"]
    if name in RESULTS:
        return RESULTS[name]
    return TOOLS[name](request, send)


def answer(request: dict[str, Any], send: Send) -> None:
    """Send the answer to a request, and what comes before it."""
    method = request["method"]
    given: dict[str, Any]
    if method == "initialize":
        version = "1066-10-14" if MODE == "version" else request["params"]["protocolVersion"]
        given = {
            "result": {
                "protocolVersion": version,
                "capabilities": {"tools": {"listChanged": True}, "logging": {}},
                "serverInfo": {"name": "odd", "version": str(os.getpid())},
            }
        }
        if MODE == "notices":
            send({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
    elif method == "ping":
        given = {"result": {}}
    elif method == "tools/list":
        given = {"result": list_tools(request.get("params") or {})}
    elif method == "tools/call" and request["params"]["name"] == "hang":
        return
    elif method == "tools/call":
        try:
            given = {"result": call_tool(request, send)}
        except KeyError as error:
            given = {"error": {"code": -32602, "message": f"Unknown tool: {error}"}}
    else:
        given = {"error": {"code": -32601, "message": "Method not found"}}
    send({"jsonrpc": "2.0", "id": request["id"], **given})
    if MODE == "notices" and method == "tools/list":
        send({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
    if MODE == "dies_between" and method == "tools/call":
        os._exit(4)


def take_reply(message: dict[str, Any]) -> None:
    with ARRIVED:
        REPLIES[message["id"]] = message
        ARRIVED.notify_all()


def serve_stdio() -> None:
    lock = threading.Lock()

    def send(message: dict[str, Any]) -> None:
        with lock:
            print(json.dumps(message), flush=True)

    if MODE == "banner":
        print("Welcome!\n{not json\n[1, 2]\n42\n{}", flush=True)
    print("a line on stderr", file=sys.stderr, flush=True)
    if MODE == "dies_at_once":
        os._exit(5)
    for line in sys.stdin:
        message = json.loads(line)
        if "method" not in message:
            take_reply(message)
        elif "id" in message:
            threading.Thread(target=answer, args=(message, send), daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        return

    def do_GET(self) -> None:
        self.send_response(405)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_DELETE(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.path.endswith("/"):
            self.send_response(307)
            self.send_header("Location", f"{self.path}/")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if "method" not in message or "id" not in message:
            if "method" not in message:
                take_reply(message)
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Mcp-Session-Id", "session-1")
        self.send_header("Connection", "close")
        self.end_headers()

        def send(part: dict[str, Any]) -> None:
            self.wfile.write(f"event: message\ndata: {json.dumps(part)}\n\n".encode())
            self.wfile.flush()

        answer(message, send)
        self.close_connection = True


def serve_http(port_file: str) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Path(port_file).write_text(str(server.server_port), encoding="utf-8")
    print("ready", flush=True)
    server.serve_forever()


MODE = sys.argv[1]
if started := os.environ.get("ODD_STARTED"):
    with Path(started).open("a", encoding="utf-8") as note:
        print(MODE, file=note)
if len(sys.argv) > 2 and sys.argv[2].startswith("--port-file="):
    serve_http(sys.argv[2].partition("=")[2])
serve_stdio()
