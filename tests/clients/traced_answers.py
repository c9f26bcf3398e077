"""The SDKs of vendors read answers that `encode_answer` wrote; prints what each read as JSON."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anthropic
import boto3
import openai
from anthropic.types import Message, RawMessageStreamEvent
from botocore.config import Config
from google import genai
from google.genai import types
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from pytest_llmops.protocols import ToolCall, Usage
from pytest_llmops.trace.answers import TracedAnswer, encode_answer

ANSWER = TracedAnswer(
    text="Moment, ich schaue nach: „Bestellung“ 订单 B-77, in two places at once.",
    tool_calls=(
        ToolCall(name="get_order", arguments='{"order_id": "B-77", "lines": [1, 2]}', id="call_a"),
        ToolCall(name="get_weather", arguments="{}"),
    ),
    usage=Usage(input_tokens=20, output_tokens=9, cached_tokens=4, cache_write_tokens=0, reasoning_tokens=2),
    model="m-2026",
)
SCHEMA: Any = {"type": "object", "properties": {}}
NAMES = ("get_order", "get_weather")
FUNCTIONS: Any = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in NAMES]
FLAT: Any = [{"type": "function", "name": name, "parameters": SCHEMA, "strict": False} for name in NAMES]
CLAUDE_TOOLS: Any = [{"name": name, "input_schema": SCHEMA} for name in NAMES]
ASKED: Any = [{"role": "user", "content": "Where is it?"}]
KEY = "credential-of-the-client"


class Handler(BaseHTTPRequestHandler):
    """Answers every request with the same answer, in the request's own format."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        encoded = encode_answer(f"http://127.0.0.1{self.path}", request, ANSWER)
        self.send_response(encoded.status)
        for name, value in {**encoded.headers, "content-length": str(len(encoded.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(encoded.body)

    def log_message(self, *_args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def read_chat(completion: ChatCompletion) -> object:
    ChatCompletion.model_validate(completion.model_dump(warnings=False))
    message = completion.choices[0].message
    calls = [[call.function.name, call.function.arguments] for call in message.tool_calls or ()]  # type: ignore[union-attr]
    assert completion.usage
    assert completion.usage.prompt_tokens_details
    tokens = [completion.usage.prompt_tokens, completion.usage.completion_tokens]
    cached = completion.usage.prompt_tokens_details.cached_tokens
    return [message.content, calls, completion.choices[0].finish_reason, tokens, cached]


def chat(client: openai.OpenAI) -> Iterator[object]:
    how: Any = {"model": "m", "messages": ASKED, "tools": FUNCTIONS}
    yield read_chat(client.chat.completions.create(**how))
    options: Any = {"include_usage": True}
    with client.chat.completions.stream(**how, stream_options=options) as stream:
        kinds = {event.type for event in stream}
        yield read_chat(stream.get_final_completion())
    assert {"content.delta", "content.done", "tool_calls.function.arguments.done"} <= kinds
    for chunk in client.chat.completions.create(**how, stream=True):
        ChatCompletionChunk.model_validate(chunk.model_dump(warnings=False))
        assert chunk.choices


def read_response(response: Response) -> object:
    Response.model_validate(response.model_dump(warnings=False))
    calls = [[item.name, item.arguments] for item in response.output if item.type == "function_call"]
    assert response.usage
    tokens = [response.usage.input_tokens, response.usage.output_tokens]
    cached = response.usage.input_tokens_details.cached_tokens
    return [response.output_text, calls, response.status, tokens, cached]


def responses(client: openai.OpenAI) -> Iterator[object]:
    how: Any = {"model": "m", "input": "Where is it?", "tools": FLAT}
    yield read_response(client.responses.create(**how))
    with client.responses.stream(**how) as stream:
        kinds = {event.type for event in stream}
        yield read_response(stream.get_final_response())
    assert {"response.output_text.delta", "response.function_call_arguments.delta"} <= kinds
    adapter: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    for event in client.responses.create(**how, stream=True):
        adapter.validate_python(event.model_dump(warnings=False))


def read_message(message: Message) -> object:
    Message.model_validate(message.model_dump(warnings=False))
    texts = [block.text for block in message.content if block.type == "text"]
    calls = [[block.name, json.dumps(block.input)] for block in message.content if block.type == "tool_use"]
    usage = message.usage
    tokens = [usage.input_tokens, usage.output_tokens]
    return ["".join(texts), calls, message.stop_reason, tokens, usage.cache_read_input_tokens]


def claude(client: anthropic.Anthropic) -> Iterator[object]:
    how: Any = {"model": "m", "max_tokens": 99, "messages": ASKED, "tools": CLAUDE_TOOLS}
    yield read_message(client.messages.create(**how))
    with client.messages.stream(**how) as stream:
        assert "".join(stream.text_stream) == ANSWER.text
        yield read_message(stream.get_final_message())
    adapter: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    for event in client.messages.create(**how, stream=True):
        adapter.validate_python(event.model_dump(warnings=False))


def gemini(client: genai.Client) -> Iterator[object]:
    tools: Any = [{"function_declarations": [{"name": name} for name in NAMES]}]
    off = types.AutomaticFunctionCallingConfig(disable=True)
    config = types.GenerateContentConfig(tools=tools, automatic_function_calling=off)
    how: Any = {"model": "m", "contents": "Where is it?", "config": config}
    whole = client.models.generate_content(**how)
    for chunks in ([whole], list(client.models.generate_content_stream(**how))):
        parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
        text = "".join(part.text or "" for part in parts)
        calls = [
            [part.function_call.name, json.dumps(part.function_call.args)]
            for part in parts
            if part.function_call
        ]
        last = chunks[-1]
        usage = last.usage_metadata
        assert usage
        tokens = [
            usage.prompt_token_count,
            (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0),
        ]
        reason = last.candidates[0].finish_reason.value
        yield [text, calls, reason, tokens, usage.cached_content_token_count]


def converse(client: Any) -> Iterator[object]:
    tools = {"tools": [{"toolSpec": {"name": name, "inputSchema": {"json": SCHEMA}}} for name in NAMES]}
    messages = [{"role": "user", "content": [{"text": "Where is it?"}]}]
    how: Any = {"modelId": "m", "messages": messages, "toolConfig": tools}
    reply = client.converse(**how)
    blocks = reply["output"]["message"]["content"]
    text = "".join(block.get("text", "") for block in blocks)
    uses = [block["toolUse"] for block in blocks if "toolUse" in block]
    calls = [[use["name"], json.dumps(use["input"])] for use in uses]
    usage = reply["usage"]
    tokens = [usage["inputTokens"], usage["outputTokens"]]
    yield [text, calls, reply["stopReason"], tokens, usage["cacheReadInputTokens"]]
    events = list(client.converse_stream(**how)["stream"])
    deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    assert "".join(delta.get("text", "") for delta in deltas) == ANSWER.text


def main() -> None:
    with serving() as url:
        openai_client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
        amazon = boto3.client(
            "bedrock-runtime",
            endpoint_url=url,
            region_name="eu-central-1",
            aws_access_key_id="AKIA" + "STUBSTUBSTUBSTUB",
            aws_secret_access_key="not-sent-" + "x" * 20,
            config=Config(retries={"max_attempts": 0}),
        )
        options = types.HttpOptions(base_url=url)
        read = {
            "chat": list(chat(openai_client)),
            "responses": list(responses(openai_client)),
            "claude": list(claude(anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0))),
            "gemini": list(gemini(genai.Client(api_key=KEY, http_options=options))),
            "converse": list(converse(amazon)),
        }
    print(json.dumps({"answer": asdict(ANSWER), "read": read}))


if __name__ == "__main__":
    main()
