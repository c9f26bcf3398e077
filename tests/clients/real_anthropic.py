"""The Anthropic backend through its real SDK, against a loopback server that speaks the Messages API."""

from __future__ import annotations

import inspect
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types.messages import MessageBatchIndividualResponse
from support.batch_servers import AnthropicBatchServer
from support.server import Reply, Seen, StubServer, closed_port, json_reply, wait
from support.tapes import taped

from pytest_llmops import recorder, trace
from pytest_llmops.errors import CassetteMiss, ModelError, UsageError
from pytest_llmops.judges.rubric import quality
from pytest_llmops.protocols import Completion, Message, RenderedPrompt, ToolCall, Usage
from pytest_llmops.providers.anthropic import (
    MAX_TOKENS,
    UNSUPPORTED_PARAMS,
    AnthropicModel,
    _shared_client,
    new_client,
)
from pytest_llmops.redaction.secret_names import PLACEHOLDER_KEY
from pytest_llmops.trace import cost_usd

KEY = "sk-" + "ant-0123456789abcdefWXYZ"
SCORES = {"accuracy": 4, "fluency": 9, "relevance": 8}
USED = {"input_tokens": 5, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 1, "output_tokens": 3}


def make_message(*blocks: object, stop: str = "end_turn", **more: object) -> dict[str, Any]:
    content = [{"type": "text", "text": block} if isinstance(block, str) else block for block in blocks]
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-stub"}
    return {**head, "content": content, "stop_reason": stop, "stop_sequence": None, "usage": USED, **more}


def refusal(status: int, message: str) -> Reply:
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    return json_reply(error, status=status)


class Claude(StubServer):
    """Gives verdicts in the form it was asked in, and refuses what a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses: Callable[[dict[str, Any]], str] = lambda _request: ""

    def answer(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        if self.queue:
            return self.queue.popleft()
        assert seen.path == "/v1/messages"
        if why := self.refuses(seen.json):
            return refusal(400, why)
        nonce = re.search(r"<data-([0-9a-f]{32})>", seen.body.decode())
        if nonce is None:
            return json_reply(make_message(f"echo of {seen.json['messages'][-1]['content']}"))
        verdict = {"nonce": nonce[1], "reason": "because", "dimensions": SCORES}
        if "tools" in seen.json:
            block = {"type": "tool_use", "id": "t1", "name": "verdict", "input": verdict}
            return json_reply(make_message(block, stop="tool_use"))
        if "output_config" in seen.json:
            return json_reply(make_message(json.dumps(verdict)))
        return json_reply(make_message(f"Score: 7, Nonce: {nonce[1]}, Reason: because"))


@pytest.fixture
def server() -> Iterator[Claude]:
    with Claude() as claude:
        yield claude


@pytest.fixture
def client(server: Claude) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key=KEY, max_retries=0) as anthropic_client:
        yield anthropic_client


@pytest.fixture
def model(client: anthropic.Anthropic) -> AnthropicModel:
    return AnthropicModel("claude-stub", client=client)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    _shared_client.cache_clear()
    yield monkeypatch
    _shared_client.cache_clear()


def failing(model: AnthropicModel, **params: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        model.complete("hi", **params)
    return caught.value


def test_an_answer(model: AnthropicModel, server: Claude) -> None:
    completion = model.complete("hi")
    assert completion.latency_s is not None
    assert completion.latency_s > 0
    assert completion == Completion(
        text="echo of hi",
        model="claude-stub",
        finish_reason="end_turn",
        # Anthropic counts the cache beside the input.
        usage=Usage(input_tokens=8, output_tokens=3, cached_tokens=2, cache_write_tokens=1),
        latency_s=completion.latency_s,
    )
    assert server.seen[0].json == {
        "model": "claude-stub",
        "max_tokens": MAX_TOKENS,
        "messages": [{"role": "user", "content": "hi"}],
    }


def test_system_messages_and_parameters(client: anthropic.Anthropic, server: Claude) -> None:
    model = AnthropicModel("", client=client, params={"max_tokens": 1, "metadata": {"user_id": "u"}})
    messages = (
        Message("system", "be kind"),
        Message("user", "one"),
        Message("assistant", "two"),
        Message("developer", "be brief"),
        Message("user", "three"),
    )
    prompt = RenderedPrompt(messages=messages, params={"max_completion_tokens": 7}, model="of-the-prompt")
    model.complete(prompt, stop="END", output_config={"effort": "low"}, extra_body={"temperature": 0})
    assert server.seen[0].json == {
        "model": "of-the-prompt",
        "max_tokens": 7,
        "metadata": {"user_id": "u"},
        "system": "be kind\n\nbe brief",
        "messages": [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": "three"},
        ],
        "stop_sequences": ["END"],
        "output_config": {"effort": "low"},
        "temperature": 0,
    }


def test_what_is_refused_is_what_the_sdk_lacks() -> None:
    taken = set(inspect.signature(anthropic.resources.Messages.create).parameters)
    assert not UNSUPPORTED_PARAMS & taken
    assert {"system", "output_config", "tools", "tool_choice", "stop_sequences", "extra_body"} <= taken


SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}


def test_a_schema_goes_into_the_output_config(model: AnthropicModel, server: Claude) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}
    model.complete("hi", response_format=form, output_config={"effort": "low"})
    model.complete("hi", response_format={"type": "text"})
    assert server.seen[0].json["output_config"] == {
        "effort": "low",
        "format": {"type": "json_schema", "schema": SCHEMA},
    }
    assert "output_config" not in server.seen[1].json


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        ({"tool_choice": {"type": "any"}}, {"type": "any"}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "look"}}},
            {"type": "tool", "name": "look"},
        ),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"tool_choice": "required", "parallel_tool_calls": False},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        ({}, None),
    ],
)
def test_tools_in_the_words_of_the_api(model: AnthropicModel, server: Claude, given: Any, sent: Any) -> None:
    function = {"name": "look", "description": "looks", "parameters": SCHEMA, "strict": True}
    own = {"name": "own", "input_schema": SCHEMA}
    tools: Any = [{"type": "function", "function": function}, {"type": "function", "name": "bare"}, own]
    block = {"type": "tool_use", "id": "t1", "name": "look", "input": {"city": "Bonn"}}
    server.queue.append(json_reply(make_message("I look.", block, stop="tool_use")))
    completion = model.complete("hi", tools=tools, **given)
    assert (completion.text, completion.finish_reason) == ("I look.", "tool_use")
    assert completion.tool_calls == (ToolCall(name="look", arguments='{"city": "Bonn"}', id="t1"),)
    assert server.seen[0].json["tools"] == [
        {"name": "look", "description": "looks", "strict": True, "input_schema": SCHEMA},
        {"name": "bare", "input_schema": {"type": "object", "properties": {}}},
        own,
    ]
    assert server.seen[0].json.get("tool_choice") == sent


@pytest.mark.parametrize(
    ("details", "why"),
    [
        ({"type": "refusal", "category": "bio", "explanation": "It may harm."}, "It may harm."),
        ({"type": "refusal", "category": "bio", "explanation": None}, "bio"),
        (None, "I would"),
        ("odd", "I would"),
    ],
)
def test_a_refusal_is_no_answer(model: AnthropicModel, server: Claude, details: Any, why: str) -> None:
    server.queue.append(json_reply(make_message("I would", stop="refusal", stop_details=details)))
    completion = model.complete("hi")
    assert (completion.text, completion.refusal, completion.finish_reason) == ("", why, "refusal")


def test_a_refusal_without_a_word(model: AnthropicModel, server: Claude) -> None:
    server.queue.append(json_reply(make_message(stop="refusal")))
    assert model.complete("hi").refusal == "no reason was given"


@pytest.mark.parametrize(
    ("status", "kind", "step"),
    [
        (400, "request", "read the message of the server"),
        (401, "auth", "check the API key"),
        (403, "auth", "check what this API key may do"),
        (404, "request", "read the message of the server"),
        (408, "timeout", "try again later"),
        (413, "request", "read the message of the server"),
        (429, "rate_limit", "slow down"),
        (500, "server", "try again later"),
        (529, "server", "try again later"),
    ],
)
def test_every_status_has_a_kind_and_a_next_step(
    model: AnthropicModel, server: Claude, status: int, kind: str, step: str
) -> None:
    server.queue.append(refusal(status, f"what the\nserver says of {KEY}\x1b[2J"))
    finding = failing(model)
    assert (finding.kind, finding.status) == (kind, status)
    assert str(finding).startswith(f"model 'claude-stub' was refused with status {status}: ")
    assert r"what the\nserver says" in str(finding)
    assert KEY not in str(finding)
    assert str(finding).isprintable()
    assert step in str(finding)


def test_a_server_that_is_down_or_too_slow(server: Claude) -> None:
    with anthropic.Anthropic(
        base_url=f"http://127.0.0.1:{closed_port()}", api_key=KEY, max_retries=0
    ) as client:
        finding = failing(AnthropicModel("m", client=client))
    assert (finding.kind, finding.status) == ("connection", None)
    assert "could not be reached" in str(finding)
    never = threading.Event()
    server.queue.append(Reply(before=lambda: wait(never)))
    timeout = httpx2.Timeout(20, read=0.01)
    with anthropic.Anthropic(base_url=server.url, api_key=KEY, max_retries=0, timeout=timeout) as client:
        finding = failing(AnthropicModel("m", client=client))
    never.set()
    assert finding.kind == "timeout"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>gateway</html>", "text/html"),
        (b"", "application/json"),
        (b"{broken", "application/json"),
        (b'"text"', "application/json"),
        (b"null", "application/json"),
        (b"[]", "application/json"),
        (b"{}", "application/json"),
        (b'{"choices": [{"message": {"content": "hi"}}]}', "application/json"),
        (b'{"content": "text"}', "application/json"),
        (b'{"content": [5]}', "application/json"),
        (b'{"content": [{}]}', "application/json"),
        (b'{"type": "error", "error": {"message": "overloaded"}}', "application/json"),
        (b"\xff\xfe", "application/json"),
        (b"[" * 50_000, "application/json"),
        (KEY.encode(), "text/plain"),
    ],
)
def test_a_reply_that_is_no_answer(model: AnthropicModel, server: Claude, body: bytes, kind: str) -> None:
    server.queue.append(Reply(body, headers={"content-type": kind}))
    finding = failing(model)
    assert finding.kind == "reply"
    assert "does this server speak the Messages API?" in str(finding)
    assert str(finding).isprintable()
    assert len(str(finding)) < 400
    assert KEY not in str(finding)


@pytest.mark.parametrize("place", ["text", "stop_reason", "model", "usage", "stop_details"])
def test_hostile_fields_are_no_other_type(model: AnthropicModel, server: Claude, place: str) -> None:
    wrong: list[Any] = [5, True, [], {}, ["x"], {"a": 1}, None, {"input_tokens": -1}]
    for value in wrong:
        answer = make_message("fine", stop="refusal" if place == "stop_details" else "end_turn")
        where = answer["content"][0] if place == "text" else answer
        server.queue.append(
            json_reply(
                {**answer, "content": [{**where, place: value}]}
                if place == "text"
                else {**answer, place: value}
            )
        )
        completion = model.complete("hi")
        assert all(
            isinstance(text, str)
            for text in (completion.text, completion.model, completion.finish_reason, completion.refusal)
        )
        assert place != "usage" or completion.usage == Usage()


def test_what_the_sdk_does_not_take(model: AnthropicModel, server: Claude) -> None:
    with pytest.raises(UsageError, match=r"the anthropic SDK has no such parameter: .*temprature"):
        model.complete("hi", temprature=0)
    # The SDK refuses long answers without a stream; it is no wrong parameter.
    assert "Streaming is required" in str(failing(model, max_tokens=100_000))
    assert server.count == 0


def test_keys_and_shared_clients(environment: pytest.MonkeyPatch, server: Claude) -> None:
    environment.setenv("ANTHROPIC_BASE_URL", server.url)
    local = new_client("")
    assert (local.api_key, local.auth_token) == (PLACEHOLDER_KEY, None)
    assert AnthropicModel("m").complete("hi").text == "echo of hi"
    environment.setenv("ANTHROPIC_AUTH_TOKEN", f"{KEY}\n")
    token = new_client("")
    assert (token.api_key, token.auth_token) == (None, KEY)
    environment.setenv("ANTHROPIC_API_KEY", KEY)
    both = new_client(server.url)
    assert (both.api_key, both.auth_token) == (KEY, None)
    assert new_client("") is both
    assert str(new_client("https://gateway.example").base_url) == "https://gateway.example"


def test_a_miss_is_never_a_model_error(model: AnthropicModel, client: anthropic.Anthropic) -> None:
    def missing(*_: object, **__: object) -> None:
        msg = "no recording answers"
        raise CassetteMiss(msg)

    with pytest.MonkeyPatch.context() as patched, pytest.raises(CassetteMiss):
        patched.setattr(client._client, "send", missing)
        model.complete("hi")


def test_the_price_is_that_of_the_cache_too(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "claude-sonnet-4-6"
    used = {**USED, "cache_creation": {"ephemeral_1h_input_tokens": 1}}

    def answering(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=make_message("hi", model=name, usage=used), request=request)

    transport = httpx2.Client(transport=httpx2.MockTransport(answering))
    with anthropic.Anthropic(api_key=KEY, http_client=transport) as client:
        completion = AnthropicModel(name, client=client).complete("hi")
    expected = cost_usd(
        name,
        completion.usage,
        api_url="https://api.anthropic.com",
        provider="anthropic",
        extra_counts={"cache_write_1h_tokens": 1},
    )
    assert expected is not None
    assert expected > 0
    assert completion.cost_usd == expected


# ------------------------------------------------------------------- judges


def test_a_judge_pays_nothing_for_what_the_api_lacks(model: AnthropicModel, server: Claude) -> None:
    verdict = quality(model).judge("Paris", question="capital?", reference="Paris")
    assert (verdict.score, verdict.error) == (7.0, "")
    assert dict(verdict.dimensions) == SCORES
    # No temperature, no schema with limits: both were left out before anything was sent.
    assert server.count == 1
    request = server.seen[0].json
    assert sorted(request) == ["max_tokens", "messages", "model", "output_config", "system"]
    assert request["max_tokens"] == 400
    assert [row["role"] for row in request["messages"]] == ["user"]
    assert request["messages"][0]["content"].startswith("<data-")


def test_a_judge_of_a_server_without_schemas_calls_a_tool(model: AnthropicModel, server: Claude) -> None:
    server.refuses = lambda request: "output_config: no such field" if "output_config" in request else ""
    assert quality(model).judge("Paris").score == 7.0
    assert [("tools" in request.json, "output_config" in request.json) for request in server.seen][-1] == (
        True,
        False,
    )
    assert server.seen[-1].json["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}


def test_a_judge_of_a_server_without_either_reads_text(model: AnthropicModel, server: Claude) -> None:
    server.refuses = lambda request: "not here" if {"output_config", "tools"} & request.keys() else ""
    assert quality(model).judge("Paris").score == 7.0
    assert sorted(server.seen[-1].json) == ["max_tokens", "messages", "model", "system"]


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (make_message("{", stop="max_tokens"), "(cut off at the token limit)"),
        (make_message("", stop="refusal"), "the judge refused: no reason was given"),
        (make_message("I cannot say."), "no verdict after 2 tries"),
        (make_message(), "no verdict after 2 tries"),
    ],
)
def test_replies_without_a_verdict_are_unscored(
    model: AnthropicModel, server: Claude, reply: dict[str, Any], why: str
) -> None:
    server.queue += [json_reply(reply)] * 2
    verdict = quality(model).judge("Paris")
    assert verdict.score is None
    assert why in verdict.error
    assert server.count == 2


def test_a_judge_is_recorded_and_replayed_with_the_server_gone(
    tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "judge.json"
    with Claude() as server, taped(path, "new"):
        environment.setenv("ANTHROPIC_BASE_URL", server.url)
        environment.setenv("ANTHROPIC_API_KEY", KEY)
        live = quality(AnthropicModel("claude-stub")).judge("Paris", question="capital?")
        assert server.count == 1
    assert KEY.encode() not in path.read_bytes()
    _shared_client.cache_clear()
    with taped(path, "none"):
        top = recorder.current_recorder()
        assert top is not None
        assert quality(AnthropicModel("claude-stub")).judge("Paris", question="capital?") == live
        calls = list(trace.CallLog(top.exchanges))
    assert [(call.provider, call.endpoint, call.purpose, call.replayed) for call in calls] == [
        ("anthropic-compatible", "messages", "judge", True)
    ]
    assert calls[0].usage.input_tokens == 8


def test_the_batches_of_the_tests_are_those_of_the_sdk() -> None:
    requests: Any = [
        {
            "custom_id": name,
            "params": {"model": "c", "max_tokens": 9, "messages": [{"role": "user", "content": name}]},
        }
        for name in "abcd"
    ]
    with (
        AnthropicBatchServer("half-expired", polls=1) as stub,
        anthropic.Anthropic(base_url=stub.url, api_key="k") as client,
    ):
        stub.status_of = {'"content": "a"': 400}
        batch = client.messages.batches.create(requests=requests)
        assert (
            batch.processing_status
            == client.messages.batches.retrieve(batch.id).processing_status
            == "in_progress"
        )
        assert client.messages.batches.retrieve(batch.id).processing_status == "ended"
        assert [case.id for case in client.messages.batches.list()] == [batch.id]
        with httpx2.Client() as plain:
            lines = plain.get(f"{stub.url}/v1/messages/batches/{batch.id}/results").text.splitlines()
    results = [MessageBatchIndividualResponse.model_validate_json(line).result for line in lines]
    assert [type(result).__name__ for result in results] == [
        f"MessageBatch{kind}Result" for kind in ("Errored", "Expired", "Succeeded", "Expired")
    ]
