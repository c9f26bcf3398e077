"""The scripted model of `benchmarks.incident_runs`, on this machine: it decides from the messages, as a model does."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from benchmarks.incident_runs import MODEL, SCENARIOS, Stage, Turn, fill
from pytest_llmops.protocols import Message, ToolCall, Usage
from pytest_llmops.recorder import Exchange
from pytest_llmops.trace import read_call
from pytest_llmops.trace.answers import TracedAnswer, encode_answer

PREFIXES = {"chat": "call_", "responses": "call_", "claude": "toolu_"}


def choose_turn(messages: tuple[Message, ...]) -> tuple[Turn, str, str]:
    """The answer to these messages, and the scenario and way of the run."""
    questions = [message for message in messages if message.role == "user"]
    results = [message for message in messages if message.role == "tool"]
    order, _, _ = questions[0].content.partition(": ")
    scenario, _, way = order.partition("/")
    done = len(results) + len(questions) - 1
    for turn in find_stage(SCENARIOS[scenario], questions[0].content, order).turns:
        if done <= 0:
            calls = tuple((name, fill(arguments, order)) for name, arguments in turn.calls)
            return Turn(fill(turn.text, order), calls, turn.thinking), scenario, way
        done -= len(turn.calls) or 1
    raise ValueError(f"{order}: no answer to {len(questions)} questions and {len(results)} results")


def find_stage(stages: tuple[Stage, ...], question: str, order: str) -> Stage:
    return next(stage for stage in stages if fill(stage.questions[0], order) == question)


def answer_request(path: str, request: dict[str, Any]) -> tuple[dict[str, str], bytes]:
    """The headers and the body of the model's answer."""
    url = f"http://127.0.0.1{path}"
    exchange = Exchange(
        method="POST",
        url=url,
        request=request,
        status=None,
        content_type="",
        body=b"",
        latency_s=None,
        ttft_s=None,
        replayed=False,
        purpose="app",
    )
    asked = read_call(exchange).messages
    turn, _, way = choose_turn(asked)
    prefix = PREFIXES[way.removesuffix("_stream")]
    calls = tuple(
        ToolCall(
            name=name,
            arguments=json.dumps(arguments, ensure_ascii=False),
            id=f"{prefix}{len(asked)}x{number}",
        )
        for number, (name, arguments) in enumerate(turn.calls)
    )
    usage = Usage(input_tokens=10 * len(asked), output_tokens=len(turn.text) + 5 * len(calls))
    answer = TracedAnswer(text=turn.text, tool_calls=calls, usage=usage, model=f"{MODEL}-2026-05-01")
    encoded = encode_answer(url, request, answer)
    body = encoded.body
    if turn.thinking and not request.get("stream"):
        body = add_thinking(json.loads(body), turn.thinking)
    return dict(encoded.headers), body


def add_thinking(reply: dict[str, Any], thinking: str) -> bytes:
    """The reply with a thought before the answer, as Claude and Responses give it; the agents send it back."""
    if reply.get("type") == "message":
        block = {"type": "thinking", "thinking": thinking, "signature": "c2lnbmVk"}
        reply["content"].insert(0, block)
    if reply.get("object") == "response":
        summary = [{"type": "summary_text", "text": thinking}]
        item = {"type": "reasoning", "id": f"rs_{reply['id']}", "summary": summary}
        reply["output"].insert(0, item)
    return json.dumps(reply, ensure_ascii=False).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers, body = answer_request(self.path, request)
        self.send_response(200)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name of the standard library
        """Say nothing."""


class ModelServer(ThreadingHTTPServer):
    """The model behind an address of this machine."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
