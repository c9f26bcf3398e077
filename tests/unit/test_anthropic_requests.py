"""Requests of the Anthropic backend and what it reads of replies, with a client that answers as the SDK's; see tests/clients for the SDK."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from support.messages import check_message
from support.stand_in_modules import use_module

from pytest_llmops import recorder
from pytest_llmops.errors import MissingExtra, ModelError, UsageError
from pytest_llmops.protocols import Media, Message
from pytest_llmops.providers import anthropic
from pytest_llmops.providers.anthropic import (
    AnthropicModel,
    _convert_messages,
    _convert_params,
    _convert_response_format,
    _convert_tool,
    _convert_tool_choice,
    _find_unsupported_keywords,
    _is_answer,
    new_client,
)
from pytest_llmops.redaction.secret_names import PLACEHOLDER_KEY

USAGE = {"input_tokens": 1000, "output_tokens": 100}
REPLY: dict[str, Any] = {
    "type": "message",
    "model": "claude-stub",
    "content": [
        {"type": "text", "text": "Thirty days."},
        {"type": "tool_use", "id": "t1", "name": "look", "input": {"page": 1}},
    ],
    "stop_reason": "tool_use",
    "usage": USAGE,
}


class Client:
    """As a client of the SDK: answers every request with the same reply."""

    api_key = "sk-ant-own"

    def __init__(self, reply: Any = REPLY, **extensions: Any) -> None:
        content = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        request = httpx.Request("POST", "https://api.anthropic.com/v1/messages")
        response = httpx.Response(200, content=content, request=request, extensions=extensions)
        self.requests: list[dict[str, Any]] = []
        self.purposes: list[str] = []
        self.messages = SimpleNamespace(with_raw_response=SimpleNamespace(create=self.create))
        self.raw = SimpleNamespace(http_response=response)

    def create(self, **request: Any) -> Any:
        self.requests.append(request)
        self.purposes.append(recorder.current_purpose())
        return self.raw


@pytest.fixture(autouse=True)
def sdk(monkeypatch: pytest.MonkeyPatch) -> Any:
    base = type("AnthropicError", (Exception,), {})
    error = type("APIError", (base,), {})
    connection = type("APIConnectionError", (error,), {})
    anthropic._shared_client.cache_clear()
    yield use_module(
        monkeypatch,
        "anthropic",
        AnthropicError=base,
        APIError=error,
        APIConnectionError=connection,
        APITimeoutError=type("APITimeoutError", (connection,), {}),
        APIStatusError=type("APIStatusError", (error,), {}),
        Timeout=type("Timeout", (), {}),
        Anthropic=lambda **options: ("client", options),
    )
    anthropic._shared_client.cache_clear()


def test_a_call_is_sent_once_and_its_answer_is_read() -> None:
    client = Client(llmops={"latency_s": 1.5})
    model = AnthropicModel("claude-stub", params={"max_tokens": 7, "stop": "a"}, client=client)
    completion = model.complete("How long?", stop="b", metadata={"user_id": "u"})
    assert client.requests == [
        {
            "model": "claude-stub",
            "messages": [{"role": "user", "content": "How long?"}],
            "max_tokens": 7,
            "stop_sequences": ["b"],
            "metadata": {"user_id": "u"},
        }
    ]
    assert client.purposes == ["app"]
    assert (completion.text, completion.model, completion.finish_reason) == (
        "Thirty days.",
        "claude-stub",
        "tool_use",
    )
    assert (completion.usage.input_tokens, completion.usage.output_tokens) == (1000, 100)
    (call,) = completion.tool_calls
    assert (call.name, call.arguments) == ("look", '{"page": 1}')
    assert (completion.latency_s, completion.cost_usd, completion.refusal) == (1.5, None, "")


def test_the_cost_of_a_call_is_that_of_a_batch_if_it_was_one() -> None:
    reply = {**REPLY, "model": "claude-sonnet-4-5-20250929"}
    costs = []
    for extensions in ({}, {"llmops": {"is_batched": True, "latency_s": None}}):
        completion = AnthropicModel("m", client=Client(reply, **extensions)).complete("hi")
        costs.append(completion.cost_usd)
    assert costs == [pytest.approx(0.0045), pytest.approx(0.00225)]
    assert completion.latency_s is None


def test_a_judge_calls_one_tool_at_most_unless_it_says_otherwise() -> None:
    tools: Any = [{"type": "function", "function": {"name": "look"}}]
    sent = [{"name": "look", "input_schema": {"type": "object", "properties": {}}}]
    client = Client()
    judge = AnthropicModel("m", purpose="judge", client=client)
    judge.complete("hi", tools=tools)
    judge.complete("hi", tools=tools, parallel_tool_calls=True)
    judge.complete("hi")
    app = AnthropicModel("m", client=client)
    app.complete("hi", tools=tools)
    with recorder.set_purpose("judge"):
        app.complete("hi", tools=tools)
    single = {"type": "auto", "disable_parallel_tool_use": True}
    chosen = [(request.get("tools"), request.get("tool_choice")) for request in client.requests]
    assert chosen == [(sent, single), (sent, None), (None, None), (sent, None), (sent, single)]
    assert client.purposes == ["judge", "judge", "judge", "app", "judge"]


def refusal(**details: Any) -> tuple[str, str, tuple[Any, ...]]:
    reply = {**REPLY, "stop_reason": "refusal", **details}
    completion = AnthropicModel("m", client=Client(reply)).complete("hi")
    return completion.refusal, completion.text, completion.tool_calls


def test_the_text_before_a_refusal_is_not_an_answer() -> None:
    details = {"explanation": "It is unsafe.", "category": "cyber"}
    assert refusal(stop_details=details) == ("It is unsafe.", "", ())
    assert refusal(stop_details={"category": "cyber"}) == ("cyber", "", ())
    assert refusal(stop_details=None) == ("Thirty days.", "", ())
    reason, text, calls = refusal(content=[])
    assert (text, calls) == ("", ())
    check_message(reason)


@pytest.mark.parametrize(
    "reply",
    [b"<html>sk-ant-own</html>", b"[" * 100_000, [], {}, {"content": "text"}, {"content": [{"text": "a"}]}],
    ids=["html", "deep", "list", "empty", "text", "untyped"],
)
def test_a_reply_that_is_not_an_answer_is_an_error(reply: Any) -> None:
    with pytest.raises(ModelError) as caught:
        AnthropicModel("m", client=Client(reply)).complete("hi")
    assert caught.value.kind == "reply"
    assert "sk-ant-own" not in str(caught.value)
    check_message(caught.value)


def test_an_answer_is_a_list_of_typed_blocks() -> None:
    assert _is_answer(REPLY)
    assert _is_answer({"content": []})
    assert not _is_answer({"content": [{"type": "text"}, "text"]})


def test_a_client_has_the_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(base_url: str = "") -> Any:
        return new_client(base_url)[1]

    local = "http://127.0.0.1:9"
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    assert made(local) == {"api_key": PLACEHOLDER_KEY, "auth_token": None, "base_url": local}
    for server in ("", "https://proxy.example.com"):
        with pytest.raises(UsageError, check=check_message):
            made(server)
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "token")
    assert made() == {"api_key": None, "auth_token": "token", "base_url": None}
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key")
    assert made() == {"api_key": "key", "auth_token": None, "base_url": None}
    monkeypatch.setenv("ANTHROPIC_BASE_URL", local)
    assert made() == {"api_key": "key", "auth_token": None, "base_url": local}
    assert made("https://other.example.com")["base_url"] == "https://other.example.com"
    assert new_client(local) is new_client("")


def test_a_model_without_a_client_makes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    asked = []

    def make(address: str) -> Client:
        asked.append(address)
        return client

    monkeypatch.setattr(anthropic, "new_client", make)
    assert AnthropicModel("m", "http://127.0.0.1:9").complete("hi").text == "Thirty days."
    assert asked == ["http://127.0.0.1:9"]


def test_a_package_that_misses_one_of_its_own_is_not_called_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "anthropic.py").write_text("import no_such_package_of_anybody\n")
    monkeypatch.delitem(sys.modules, "anthropic")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, check=check_message) as caught:
        anthropic._import_sdk()
    assert not isinstance(caught.value, MissingExtra)


def test_system_messages_are_joined_and_images_follow_the_text() -> None:
    photo = Media(kind="image", type="png", data="aaaa", size=3)
    linked = Media(kind="image", url="https://example.com/a.png")
    sound = Media(kind="audio", type="wav", data="bbbb", size=3)
    conversation = [
        Message("system", "Be kind."),
        Message("user", "What is it?", media=(photo, sound, linked)),
        Message("developer", "Be short."),
        Message("assistant", "A cat."),
    ]
    blocks = [
        {"type": "text", "text": "What is it?"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aaaa"}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
    ]
    assert _convert_messages("m", conversation) == {
        "system": "Be kind.\n\nBe short.",
        "messages": [{"role": "user", "content": blocks}, {"role": "assistant", "content": "A cat."}],
    }
    assert _convert_messages("m", conversation[3:]) == {
        "messages": [{"role": "assistant", "content": "A cat."}]
    }


def test_parameters_get_the_names_of_the_messages_api() -> None:
    tool: Any = {"name": "look", "input_schema": {}}
    wanted: dict[str, Any] = {
        "max_completion_tokens": 5,
        "stop": ["a", "b"],
        "timeout": 3,
        "seed": None,
        "stream": False,
        "tools": [tool],
        "tool_choice": "auto",
        "response_format": "text",
    }
    assert _convert_params("m", wanted) == {
        "max_tokens": 5,
        "stop_sequences": ["a", "b"],
        "timeout": 3,
        "tools": [tool],
        "tool_choice": {"type": "auto"},
    }
    assert _convert_params("m", {}) == {"max_tokens": 4096}
    assert _convert_params("m", {"tool_choice": "none", "tools": []}) == {"max_tokens": 4096}
    required = {"max_tokens": 4096, "tool_choice": {"type": "any"}}
    assert _convert_params("m", {"tool_choice": "required", "parallel_tool_calls": False}) == required


def test_a_schema_becomes_the_output_config() -> None:
    schema = {"type": "object"}
    given: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    made = {"format": {"type": "json_schema", "schema": schema}}
    assert _convert_response_format("m", given, None) == {"output_config": made}
    extended = _convert_response_format("m", given, {"effort": "low", "format": "other"})
    assert extended == {"output_config": {"effort": "low", **made}}
    assert _convert_response_format("m", {"type": "text"}, None) == {}
    for wrong in ({"type": "json_object", "json_schema": {"schema": schema}}, {"type": "json_schema"}, {}):
        with pytest.raises(ModelError, check=check_message):
            _convert_response_format("m", wrong, None)
    config = {"max_tokens": 4096, "output_config": {"effort": "low", **made}}
    assert _convert_params("m", {"response_format": given, "output_config": {"effort": "low"}}) == config


def test_keywords_that_the_api_does_not_accept_are_found_in_schemas_only() -> None:
    schema = {
        "minItems": 2,
        "const": {"minimum": 1},
        "properties": {"minimum": {"minimum": 1}, "b": True},
        "allOf": [{"minItems": 1, "items": {"maxItems": 3}}, {"minItems": 0}],
        "definitions": ["maxLength"],
        "not": {"uniqueItems": True},
    }
    assert list(_find_unsupported_keywords(schema)) == ["minItems", "minimum", "maxItems", "uniqueItems"]
    assert list(_find_unsupported_keywords("minimum")) == []


def test_a_function_becomes_a_tool() -> None:
    function = {"name": "look", "description": "Looks.", "strict": True, "parameters": {"type": "object"}}
    tool = {"name": "look", "description": "Looks.", "strict": True, "input_schema": {"type": "object"}}
    assert _convert_tool({"type": "function", "function": function}) == tool
    assert _convert_tool({"type": "function", **function}) == tool
    bare = {"name": "look", "input_schema": {"type": "object", "properties": {}}}
    assert _convert_tool({"type": "function", "name": "look", "description": None}) == bare
    for own in ({"type": "web_search_20250305", "name": "web_search"}, "look"):
        assert _convert_tool(own) is own


@pytest.mark.parametrize(
    ("given", "parallel", "choice"),
    [
        (None, None, {}),
        (None, True, {}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", None, {"type": "any"}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
        ("none", False, {"type": "none"}),
        ({"type": "function", "function": {"name": "look"}}, None, {"type": "tool", "name": "look"}),
        ({"type": "function", "name": "look"}, None, {"type": "tool", "name": "look"}),
        ({"type": "tool", "name": "look"}, True, {"type": "tool", "name": "look"}),
    ],
)
def test_a_choice_of_tools(given: Any, parallel: Any, choice: dict[str, Any]) -> None:
    assert _convert_tool_choice(given, parallel=parallel) == choice
