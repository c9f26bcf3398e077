"""The SDKs of the vendors send the signature of a thought back as they got it, while recording and in a replay without a server."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.matrix import PYTHON, environment, missing
from support.server import Reply, Seen, StubServer, json_reply, stream

SIGNATURE = "EqkECkgIBxABGAIqQHq1oS+sf/EAAAC2xWq81mQz7RtL0pVb3NcYdA/YrAV9kT3hUoJ5gEwZs8Ma2Bi7Cx0Rn4Gf6Lw="

TESTS = """
import os
import pytest

pytestmark = pytest.mark.llm_cassette
STUB = os.environ["STUB"]
QUESTION = {"role": "user", "content": "Weather in Bonn?"}

def test_anthropic():
    import anthropic

    client = anthropic.Anthropic(api_key="any-placeholder", base_url=STUB + "/anthropic", max_retries=0)
    how = {"model": "m", "max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1024}}
    with client.messages.stream(messages=[QUESTION], **how) as events:
        first = events.get_final_message()
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "sun"}]}
    with client.messages.stream(messages=[QUESTION, {"role": "assistant", "content": first.content}, result], **how) as events:
        assert events.get_final_text() == "Sunny"

def test_langchain_anthropic():
    from langchain_anthropic import ChatAnthropic
    from langchain_core.messages import HumanMessage, ToolMessage

    model = ChatAnthropic(model="m", api_key="any-placeholder", base_url=STUB + "/langchain", max_retries=0, max_tokens=2000,
        thinking={"type": "enabled", "budget_tokens": 1024}, streaming=True, output_version="v1")
    first = model.invoke([HumanMessage("Weather in Bonn?")])
    assert first.content_blocks[0]["extras"]["signature"]
    second = model.invoke([HumanMessage("Weather in Bonn?"), first, ToolMessage("sun", tool_call_id="t1")])
    assert second.text == "Sunny"

def test_bedrock():
    import boto3

    client = boto3.client("bedrock-runtime", endpoint_url=STUB + "/bedrock", region_name="eu-central-1",
        aws_access_key_id="AKIA" + "STUBSTUBSTUBSTUB", aws_secret_access_key="not-sent-" + "x" * 20)
    question = {"role": "user", "content": [{"text": "Weather in Bonn?"}]}
    tools = {"tools": [{"toolSpec": {"name": "look_up", "inputSchema": {"json": {"type": "object"}}}}]}
    first = client.converse(modelId="m", messages=[question], toolConfig=tools)["output"]["message"]
    result = {"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "content": [{"text": "sun"}]}}]}
    second = client.converse(modelId="m", messages=[question, first, result], toolConfig=tools)
    assert second["output"]["message"]["content"] == [{"text": "Sunny"}]

def test_gemini():
    from google import genai
    from google.genai import types

    client = genai.Client(api_key="any-placeholder", http_options=types.HttpOptions(base_url=STUB + "/gemini"))
    question = types.Content(role="user", parts=[types.Part.from_text(text="Weather in Bonn?")])
    first = client.models.generate_content(model="m", contents=[question]).candidates[0].content
    result = types.Content(role="user", parts=[types.Part.from_function_response(name="look_up", response={"weather": "sun"})])
    assert client.models.generate_content(model="m", contents=[question, first, result]).text == "Sunny"

def test_openai_responses():
    import openai

    client = openai.OpenAI(api_key="any-placeholder", base_url=STUB + "/openai", max_retries=0)
    how = {"model": "m", "store": False, "include": ["reasoning.encrypted_content"]}
    first = client.responses.create(input=[QUESTION], **how)
    result = {"type": "function_call_output", "call_id": "t1", "output": "sun"}
    items = [item.model_dump(exclude_none=True) for item in first.output]
    assert client.responses.create(input=[QUESTION, *items, result], **how).output_text == "Sunny"

def test_openrouter():
    import openai

    client = openai.OpenAI(api_key="any-placeholder", base_url=STUB + "/openrouter", max_retries=0)
    first = client.chat.completions.create(model="m", messages=[QUESTION]).choices[0].message
    result = {"role": "tool", "tool_call_id": "t1", "content": "sun"}
    messages = [QUESTION, first.model_dump(exclude_none=True), result]
    assert client.chat.completions.create(model="m", messages=messages).choices[0].message.content == "Sunny"
"""


def make_anthropic_events(*blocks: tuple[dict[str, Any], list[dict[str, Any]]]) -> Reply:
    """A stream of content blocks, each with its deltas."""
    message = {"id": "m1", "type": "message", "role": "assistant", "model": "m", "content": []}
    usage = {"input_tokens": 1, "output_tokens": 1}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {**message, "usage": usage}}]
    for index, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage})
    events.append({"type": "message_stop"})
    return stream(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


def make_chat(message: dict[str, Any]) -> Reply:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    return json_reply(
        {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    )


def make_response(*items: dict[str, Any]) -> Reply:
    more = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    return json_reply(
        {"id": "r1", "object": "response", "created_at": 1, "model": "m", "output": items, **more}
    )


def make_gemini(*parts: dict[str, Any]) -> Reply:
    return json_reply(
        {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]}
    )


def make_converse(*content: dict[str, Any]) -> Reply:
    return json_reply(
        {
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": "end_turn",
            "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
            "metrics": {"latencyMs": 1},
        }
    )


THINKING = ({"type": "thinking", "thinking": "", "signature": ""}, [
    {"type": "thinking_delta", "thinking": "hm"},
    {"type": "signature_delta", "signature": SIGNATURE},
])  # fmt: skip
TOOL_USE = ({"type": "tool_use", "id": "t1", "name": "look_up", "input": {}}, [{"type": "input_json_delta", "partial_json": '{"city": "Bonn"}'}])  # fmt: skip
SUNNY = ({"type": "text", "text": ""}, [{"type": "text_delta", "text": "Sunny"}])
CALL = {"type": "function_call", "call_id": "t1", "name": "look_up", "arguments": "{}", "id": "fc1"}
REASONING = {"type": "reasoning", "id": "rs1", "summary": [], "encrypted_content": SIGNATURE}
TEXT = {"type": "message", "id": "m1", "role": "assistant", "status": "completed"}
TOOL_CALL = {"id": "t1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
DETAIL = {"type": "reasoning.text", "text": "hm", "signature": SIGNATURE, "index": 0}
REASONING_TEXT = {"reasoningContent": {"reasoningText": {"text": "hm", "signature": SIGNATURE}}}
TURNS = {
    "anthropic": (make_anthropic_events(THINKING, TOOL_USE), make_anthropic_events(SUNNY)),
    "langchain": (make_anthropic_events(THINKING, TOOL_USE), make_anthropic_events(SUNNY)),
    "bedrock": (make_converse(REASONING_TEXT, {"toolUse": {"toolUseId": "t1", "name": "look_up", "input": {}}}), make_converse({"text": "Sunny"})),
    "gemini": (make_gemini({"functionCall": {"name": "look_up", "args": {}}, "thoughtSignature": SIGNATURE}), make_gemini({"text": "Sunny"})),
    "openai": (make_response(REASONING, CALL), make_response({**TEXT, "content": [{"type": "output_text", "text": "Sunny", "annotations": []}]})),
    "openrouter": (make_chat({"content": None, "tool_calls": [TOOL_CALL], "reasoning_details": [DETAIL]}), make_chat({"content": "Sunny"})),
}  # fmt: skip


class Checking(StubServer):
    """Speaks the wire forms of the vendors; refuses a second turn without the signature of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: Counter[str] = Counter()

    def answer(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        vendor = seen.path.split("/")[1]
        self.turns[vendor] += 1
        if self.turns[vendor] == 1:
            return TURNS[vendor][0]
        sent = (
            seen.body.decode().replace("-", "+").replace("_", "/")
        )  # Gemini's SDK may use the other alphabet
        if SIGNATURE.rstrip("=") not in sent:
            return json_reply({"error": {"message": "Invalid signature"}}, status=400)
        return TURNS[vendor][1]


def run_tests(folder: Path, url: str, mode: str) -> str:
    done = subprocess.run(
        [str(PYTHON), "-m", "pytest", "-p", "pytest_llmops.plugin", f"--llm-record={mode}", "-q", "test_thoughts.py"],
        cwd=folder,
        env={**environment(folder), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "STUB": url},
        capture_output=True,
        timeout=120,
        check=False,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def test_sdks_send_a_thought_back_as_it_came(tmp_path: Path) -> None:
    reason = missing()
    if reason and os.environ.get("LLMOPS_REQUIRE_CLIENTS"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    (tmp_path / "test_thoughts.py").write_text(TESTS, encoding="utf-8")
    with Checking() as server:
        run_tests(tmp_path, server.url, "new")
        assert server.turns == dict.fromkeys(TURNS, 2)
        url = server.url
    assert "6 passed" in run_tests(tmp_path, url, "none")
    cassettes = list((tmp_path / "cassettes").rglob("*.json"))
    assert len(cassettes) == len(TURNS)
    assert not [path for path in cassettes if "[secret]" in path.read_text(encoding="utf-8")]
