"""Conversations of two turns with a thought, in the wire form of each vendor: the server refuses a signature that is not its own."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
from support.server import Reply, Seen, StubServer, json_reply, stream
from support.tapes import taped

from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.redaction.secret_names import MASK
from pytest_llmops.wire.aws_event_stream import Frame, pack_frames
from pytest_llmops.wire.stream_events import unpack_aws_frames

# In its middle are characters that look like a token of Square, by chance
SIGNATURE = "EqkECkgIBxABGAIqQHq1oS+sf/EAAAC2xWq81mQz7RtL0pVb3NcYdA/YrAV9kT3hUoJ5gEwZs8Ma2Bi7Cx0Rn4Gf6Lq=="
PIECES = (SIGNATURE[:20], SIGNATURE[20:57], SIGNATURE[57:])


class Vendor(NamedTuple):
    """The wire form of a vendor.

    Attributes:
        answer: The first answer: an object, a list of events, or bytes of an AWS event stream.
        member: The name under which the signature is in it.
        message: The message of the second request that holds it.
    """

    answer: Any
    member: str
    message: Callable[[str], Any]


def pack(*events: object) -> bytes:
    return pack_frames([Frame({":event-type": "e"}, json.dumps(event).encode()) for event in events])


def pack_invoke(*events: object) -> bytes:
    return pack(*({"bytes": base64.b64encode(json.dumps(event).encode()).decode()} for event in events))


def make_thinking(signature: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": "hm", "signature": signature}


def make_anthropic_deltas() -> list[Any]:
    deltas = [{"type": "signature_delta", "signature": piece} for piece in PIECES]
    start = {"type": "content_block_start", "index": 0, "content_block": make_thinking("")}
    return [
        start,
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
    ]


def make_tool_turn(thought: Any) -> list[Any]:
    return [thought, {"type": "tool_use", "id": "t1", "name": "look_up", "input": {"city": "Bonn"}}]


def make_converse(signature: str) -> dict[str, Any]:
    return {"reasoningContent": {"reasoningText": {"text": "hm", "signature": signature}}}


def make_openrouter(signature: str) -> dict[str, Any]:
    details = [{"format": "anthropic-claude-v1", "index": 0, "signature": signature, "text": "hm"}]
    return {"role": "assistant", "content": "", "reasoning_details": details}


def make_encrypted(data: str) -> dict[str, Any]:
    return {"role": "assistant", "reasoning_details": [{"type": "reasoning.encrypted", "data": data}]}


def make_gemini(signature: str) -> dict[str, Any]:
    return {"functionCall": {"name": "look_up", "args": {}}, "thoughtSignature": signature}


def make_gemini_for_openai(signature: str) -> dict[str, Any]:
    call = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
    return {**call, "extra_content": {"google": {"thought_signature": signature}}}


def make_reasoning(content: str) -> dict[str, Any]:
    return {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": content}


def make_langchain(signature: str) -> list[Any]:
    return [{"type": "reasoning", "reasoning": "hm", "extras": {"signature": signature}}]


def make_litellm(signature: str) -> dict[str, Any]:
    return {"role": "assistant", "provider_specific_fields": {"thought_signatures": [signature]}}


def make_mistral(signature: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "signature": signature}


def make_databricks(signature: str) -> dict[str, Any]:
    return {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm", "signature": signature}]}


def make_ai_sdk(signature: str) -> dict[str, Any]:
    return {
        "type": "reasoning",
        "text": "hm",
        "providerMetadata": {"anthropic": {"signature": signature}},
    }


VENDORS = {
    "anthropic": Vendor({"content": make_tool_turn(make_thinking(SIGNATURE))}, "signature", lambda text: make_tool_turn(make_thinking(text))),
    "anthropic stream": Vendor(make_anthropic_deltas(), "signature", lambda text: make_tool_turn(make_thinking(text))),
    "anthropic redacted": Vendor(
        {"content": [{"type": "redacted_thinking", "data": SIGNATURE}]}, "data", lambda text: [{"type": "redacted_thinking", "data": text}]
    ),
    "bedrock invoke stream": Vendor(pack_invoke(*make_anthropic_deltas()), "signature", make_thinking),
    "bedrock converse": Vendor({"output": {"message": {"content": [make_converse(SIGNATURE)]}}}, "signature", make_converse),
    "bedrock converse stream": Vendor(
        pack(*({"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": piece}}, "p": "abc"} for piece in PIECES)), "signature", make_converse
    ),
    "bedrock redacted": Vendor(
        {"content": [{"reasoningContent": {"redactedContent": SIGNATURE}}]}, "redactedContent",
        lambda text: {"reasoningContent": {"redactedContent": text}},
    ),
    "gemini": Vendor({"candidates": [{"content": {"parts": [make_gemini(SIGNATURE)]}}]}, "thoughtSignature", make_gemini),
    "gemini stream": Vendor(
        [{"candidates": [{"content": {"parts": [{"text": "a", "thought": True}]}}]}, {"candidates": [{"content": {"parts": [make_gemini(SIGNATURE)]}}]}],
        "thoughtSignature", make_gemini,
    ),
    "gemini for openai": Vendor({"choices": [{"message": {"tool_calls": [make_gemini_for_openai(SIGNATURE)]}}]}, "thought_signature", make_gemini_for_openai),
    "gemini interactions": Vendor(
        {"steps": [{"type": "thought", "signature": SIGNATURE, "summary": []}]}, "signature", lambda text: {"type": "thought", "signature": text}
    ),
    "gemini interactions stream": Vendor(
        [{"event_type": "step.delta", "index": 0, "delta": {"type": "thought_signature", "signature": SIGNATURE}}], "signature",
        lambda text: {"type": "thought", "signature": text},
    ),
    "openrouter": Vendor({"choices": [{"message": make_openrouter(SIGNATURE)}]}, "signature", make_openrouter),
    "openrouter stream": Vendor([{"choices": [{"delta": make_openrouter(piece)}]} for piece in PIECES], "signature", make_openrouter),
    "openrouter encrypted": Vendor({"choices": [{"message": make_encrypted(SIGNATURE)}]}, "data", make_encrypted),
    "openai, xai": Vendor({"output": [make_reasoning(SIGNATURE)]}, "encrypted_content", make_reasoning),
    "openai, xai stream": Vendor(
        [{"type": "response.output_item.done", "output_index": 0, "item": make_reasoning(SIGNATURE)}], "encrypted_content", make_reasoning
    ),
    "langchain": Vendor({"content": make_langchain(SIGNATURE)}, "signature", make_langchain),
    "langchain, bedrock": Vendor(
        {"additional_kwargs": {"reasoning_content": {"text": "hm", "signature": SIGNATURE}}}, "signature",
        lambda text: {"reasoning_content": {"text": "hm", "signature": text}},
    ),
    "litellm": Vendor({"choices": [{"message": make_litellm(SIGNATURE)}]}, "thought_signatures", make_litellm),
    "mistral": Vendor({"choices": [{"message": {"content": [make_mistral(SIGNATURE)]}}]}, "signature", make_mistral),
    "databricks": Vendor({"choices": [{"message": {"content": [make_databricks(SIGNATURE)]}}]}, "signature", make_databricks),
    "ai sdk": Vendor({"content": [make_ai_sdk(SIGNATURE)]}, "signature", make_ai_sdk),
    "json in a text": Vendor({"output": json.dumps({"content": [make_thinking(SIGNATURE)]})}, "signature", lambda text: json.dumps([make_thinking(text)])),
}  # fmt: skip


class Checking(StubServer):
    """Answers the first turn in the form of a vendor; refuses a second one without the signature of the first."""

    vendor: Vendor

    def answer(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        if len(self.seen) == 1:
            if isinstance(self.vendor.answer, bytes):
                return Reply(
                    self.vendor.answer, headers={"content-type": "application/vnd.amazon.eventstream"}
                )
            if isinstance(self.vendor.answer, list):
                return stream(self.vendor.answer)
            return json_reply(self.vendor.answer)
        if SIGNATURE not in seen.body.decode():
            return json_reply({"error": "Invalid signature in thinking block"}, status=400)
        return json_reply({"content": [{"type": "text", "text": "Bonn is sunny"}]})


def read_member(value: Any, name: str) -> str:
    """The texts under a name in an answer, one after the other, as an SDK joins the pieces of a stream."""
    if isinstance(value, dict):
        return "".join(
            "".join(member) if key == name else read_member(member, name) for key, member in value.items()
        )
    if isinstance(value, list):
        return "".join(read_member(item, name) for item in value)
    if isinstance(value, str) and value.startswith(("{", "[")):
        return read_member(json.loads(value), name)
    return ""


def read_answer(body: bytes) -> list[Any]:
    frames = unpack_aws_frames(body)
    if frames:
        payloads = [json.loads(frame.payload) for frame in frames]
        return [json.loads(base64.b64decode(each["bytes"])) if "bytes" in each else each for each in payloads]
    if body.startswith(b"data:"):
        return [json.loads(line.removeprefix(b"data: ")) for line in body.splitlines() if line]
    return [json.loads(body)]


def converse(url: str, vendor: Vendor) -> list[tuple[int, bytes]]:
    """Two turns as a client has them: the second sends the signature of the first one back."""
    with httpx2.Client(base_url=url) as client:
        question = {"role": "user", "content": "weather in Bonn?"}
        first = client.post("/v1/x", json={"messages": [question]})
        message = vendor.message(read_member(read_answer(first.content), vendor.member))
        turn = {"role": "assistant", "content": message}
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "sun"}]}
        second = client.post("/v1/x", json={"messages": [question, turn, result]})
    return [(answer.status_code, answer.content) for answer in (first, second)]


@pytest.mark.slow
@pytest.mark.parametrize("name", VENDORS)
def test_a_thought_is_sent_back_as_it_came(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.json"
    with Checking() as server:
        server.vendor = VENDORS[name]
        with taped(path, "new"):
            recorded = converse(server.url, VENDORS[name])
        url = server.url
    assert [status for status, _ in recorded] == [200, 200]
    with taped(path, "none") as tape:
        assert converse(url, VENDORS[name]) == recorded
    assert tape.report.counts.missed == 0
    data = path.read_bytes()
    assert MASK.encode() not in data
    assert not Redactor().leaks(data)


TEXTS = (
    f"ThinkingBlock(signature='{SIGNATURE}', thinking='hm (so)', type='thinking')",
    f"ThinkingBlock(type='thinking', thinking='hm', signature='{SIGNATURE}')",
    f"Request options: {{'json_data': {{'messages': [{{'type': 'thinking', 'thinking': 'hm', 'signature': '{SIGNATURE}'}}]}}}}",
    f"{{'output': {{'content': [{{'reasoningContent': {{'reasoningText': {{'text': 'hm', 'signature': '{SIGNATURE}'}}}}}}]}}}}",
    f"AIMessage(content=[{{'type': 'reasoning', 'extras': {{'signature': '{SIGNATURE}'}}}}])",
    f"answer: {json.dumps(make_thinking(SIGNATURE))} in 2 s",
    f"Part(thought_signature=b'{SIGNATURE}')",
    f'data: {{"delta":{{"type":"signature_delta","signature":"{SIGNATURE}',
    json.dumps({"text": json.dumps({"text": json.dumps(make_thinking(SIGNATURE))})}),
)  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_a_thought_stays_in_logs_and_reports(text: str) -> None:
    assert Redactor().clean_text(text) == text


def test_a_thought_stays_in_a_report_once_its_answer_was_seen() -> None:
    redactor = Redactor()
    redactor.clean(json.dumps(make_thinking(SIGNATURE)).encode())
    text = f"assert signature == '{SIGNATURE}'"
    assert redactor.clean_text(text) == text


SECRET = "k9Qm2Zx7Rt4Lw8Vb3Nc6Yd1Hs5Jf0Gp"
LONG_SECRET = SECRET + "xT5bW8eR2uK7oM4qL9zC3vN6yA1sD0fGhJ8"
KEY = "ghp_" + "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7cF0iL3oR6"
ORDINARY = (
    {"type": "webhook", "signature": SECRET},
    {"type": "thinking", "thinking": "hm", "webhook": {"signature": SECRET}},
    {"messages": [make_thinking(SIGNATURE)], "signature": SECRET},
    {"thinking": "hm", "signature": SECRET},
    {"text": '"type": "thinking"', "signature": SECRET},
    {"text": "'type': 'thinking'", "signature": SECRET},
    {"extras": {"signature": SECRET}},
    {"type": "reasoning", "client_secret": SECRET},
    {"reasoningText": {"api_key": SECRET}},
    {"url": f"https://a.example/file?type=thinking&signature={SECRET}"},
    {"type": "thinking", "signature": "sk-ant-api03-" + SECRET * 3},
    {"type": "thinking", "signature": SECRET},
    {"type": "function_call", "name": "verify", "signature": LONG_SECRET + SECRET},
    {"type": "function_call", "name": "verify", "arguments": {"signature": LONG_SECRET + SECRET}},
    {"type": "text", "text": "hm", "extras": {"signature": SECRET}},
    {"provider_specific_fields": {"signature": SECRET}},
    {"signatureHash": SECRET},
    {"vault": {"encrypted_content": {"password": SECRET, "client_secret": SECRET[::-1]}}},
    {"thoughtSignatures": {"password": LONG_SECRET + SECRET}},
    {"a": {"thoughtSignature": SECRET}, "db": {"password": SECRET}},
    {"a": {"thoughtSignature": LONG_SECRET}, "db": {"password": LONG_SECRET}},
    [
        {"type": "signature_delta", "signature": SECRET},
        {"type": "signature_delta", "signature": "Zx9Kq27LmPw4Tb81Vn"},
    ],
)


@pytest.mark.slow
@pytest.mark.parametrize("value", ORDINARY)
def test_an_ordinary_secret_under_the_same_name_is_masked(value: Any) -> None:
    for data in (
        json.dumps(value),
        f"data: {json.dumps(value)}\n\n",
        repr(value),
        json.dumps({"a": json.dumps(value)}),
    ):
        assert SECRET not in Redactor().clean_text(data), data


@pytest.mark.parametrize(
    "value", [f"Bearer/{KEY}", f"x+{KEY}", f"key_{KEY}", f"key/{KEY * 3}", "key/AKIA" + "7QZ3MXK2P5RT9LWV"]
)
@pytest.mark.parametrize(
    "make", [make_reasoning, make_gemini, lambda value: {"type": "redacted_thinking", "data": value}]
)
def test_a_key_behind_a_short_word_is_masked(value: str, make: Callable[[str], Any]) -> None:
    data = json.dumps(make(value)).encode()
    redactor = Redactor()
    assert value.encode() not in redactor.clean(data)
    assert redactor.leaks(data)


@pytest.mark.parametrize("name", ["password", "client_secret", "webhook_token"])
@pytest.mark.parametrize(
    "thought", [{"thoughtSignature": LONG_SECRET}, {"content": json.dumps(make_thinking(LONG_SECRET))}]
)
def test_a_secret_wins_over_a_thought_in_an_earlier_body(name: str, thought: dict[str, Any]) -> None:
    redactor = Redactor()
    first = json.dumps(thought).encode()
    redactor.clean(first)
    assert LONG_SECRET.encode() not in redactor.clean(json.dumps({"db": {name: LONG_SECRET}}).encode())
    assert redactor.leaks(first)


def test_a_secret_in_the_base64_of_a_thought_is_masked() -> None:
    text = "the token of the build is " + KEY + ", and it was made yesterday"
    thought = base64.b64encode(text.encode()).decode()
    assert thought not in Redactor().clean_text(json.dumps({"encrypted_content": thought}))


def test_the_hash_of_a_function_stays() -> None:
    text = json.dumps({"signatureHash": "3779bb3e22ca9b1dd5379cda31c2cdce8f3b5d27528c328270e7e196b67cc58a"})
    assert Redactor().clean_text(text) == text


def test_the_start_of_a_thought_stays_in_a_log_once_its_answer_was_seen() -> None:
    redactor = Redactor()
    redactor.clean(json.dumps(make_thinking(SIGNATURE)).encode())
    text = f"signature='{SIGNATURE[:40]}...'"
    assert redactor.clean_text(text) == text


def test_a_known_secret_is_masked_in_a_thought() -> None:
    thought = json.dumps(make_thinking(SIGNATURE.rstrip("=") + SECRET))
    assert Redactor(known={SECRET}).clean_text(thought) == thought.replace(SECRET, MASK)


def test_a_value_is_masked_alike_in_an_answer_and_in_the_next_request() -> None:
    redactor = Redactor()
    answer = json.dumps({"webhook": {"signature": SECRET}})
    request = json.dumps({"messages": [{"content": f"I got {SECRET}"}, make_thinking(SECRET)]})
    assert SECRET not in redactor.clean_text(answer)
    assert SECRET not in redactor.clean_text(request)


def test_an_image_is_not_changed_by_what_looks_like_a_token_by_chance() -> None:
    image = "iVBORw0KGgoAAAANSUhEUgAAAAUAZ7rQ" * 8 + "/EAAACuwM84AM6EgRMAuNixGtyZ7szHqP/AAAAAElFTkSuQmCC"
    text = json.dumps({"image": image})
    assert Redactor().clean_text(text) == text
    token = "EAAACuwM84AM6EgRMAuNixGtyZ7szHqP"
    path = "https://a.example/" + "c108269c-cf1e-4ac6-a7e4-5a456c1fda30/" * 8 + token
    assert token not in Redactor().clean_text(path)
