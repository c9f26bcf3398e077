"""What of the Anthropic backend needs no SDK; the rest is in tests/clients, where the SDK is."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops import recorder, registry
from pytest_llmops.errors import MissingExtra, ModelError, UsageError
from pytest_llmops.protocols import Message, Model, RenderedPrompt
from pytest_llmops.providers import anthropic
from pytest_llmops.providers.anthropic import AnthropicModel
from pytest_llmops.providers.openai import OpenAIModel
from pytest_llmops.providers.selection import app_model, create_model, judge_model
from pytest_llmops.settings import Settings

URL = "http://127.0.0.1:9"
"""Nobody listens there: whoever asked would fail otherwise."""


def refused(**params: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        AnthropicModel("claude-stub", URL).complete("hi", **params)
    assert caught.value.kind == "request"
    assert caught.value.status is None
    return caught.value


def test_it_is_a_model() -> None:
    assert isinstance(AnthropicModel("claude-stub"), Model)


def test_what_the_api_lacks_is_refused_by_name_before_anything_is_sent() -> None:
    check_message(refused(max_tokens=9, temperature=0, seed=1))
    assert "`top_logprobs`" in str(refused(top_logprobs=20))


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"type": "json_object"}, "has no `response_format` json_object"),
        ({"type": "json_schema"}, "has no `response_format` json_schema; give a json_schema with its schema"),
        ("yaml", "has no `response_format` yaml"),
    ],
)
def test_a_form_that_the_api_does_not_have(form: Any, message: str) -> None:
    assert message in str(refused(response_format=form))


def test_a_schema_with_limits_is_refused_and_names_of_fields_are_none() -> None:
    def form(schema: Any) -> Any:
        return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}

    limited = {"type": "string", "maxLength": 3}
    for schema in (
        limited,
        {"type": "object", "properties": {"a": limited}},
        {"type": "array", "items": {"anyOf": [{"type": "null"}, limited]}},
        {"$defs": {"one": limited}, "$ref": "#/$defs/one"},
        {"type": "object", "additionalProperties": limited},
        {"type": "object", "patternProperties": {"^x": limited}},
        {"type": "object", "propertyNames": limited},
        {"type": "array", "prefixItems": [limited]},
        {"if": {"type": "string"}, "then": limited},
        {"not": limited},
    ):
        assert "does not support `maxLength` in a schema" in str(refused(response_format=form(schema)))
    assert "`minItems`" in str(refused(response_format=form({"type": "array", "minItems": 2})))
    # Then it is the missing package that ends it: the schema was taken.
    taken = {"type": "object", "properties": {"maxLength": {"type": "array", "minItems": 1}}}
    with pytest.MonkeyPatch.context() as patched, pytest.raises(MissingExtra):
        patched.setitem(sys.modules, "anthropic", None)
        AnthropicModel("m", "http://127.0.0.1:19").complete("hi", response_format=form(taken))


def sent(monkeypatch: pytest.MonkeyPatch, **params: Any) -> dict[str, Any]:
    """What the SDK would be given."""
    result: list[dict[str, Any]] = []

    class Took(Exception):
        pass

    def take(_client: Any, _model: str, request: dict[str, Any]) -> None:
        result.append(request)
        raise Took

    monkeypatch.setattr(anthropic, "_send_request", take)
    with pytest.raises(Took):
        AnthropicModel("m", client=object()).complete("hi", **params)
    return {name: value for name, value in result[0].items() if name not in ("messages", "max_tokens")}


def test_what_is_none_is_not_sent_and_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = dict.fromkeys(
        ("stop", "seed", "temperature", "response_format", "tools", "tool_choice", "max_tokens")
    )
    assert sent(monkeypatch, **nothing) == {}


def test_one_call_of_a_tool_at_most_is_a_matter_of_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sent(monkeypatch, parallel_tool_calls=False) == {}
    assert sent(monkeypatch, tool_choice="auto", tools=[]) == sent(monkeypatch, tool_choice="none") == {}
    assert sent(monkeypatch, tool_choice="required") == {"tool_choice": {"type": "any"}}  # the API says no
    tools = [{"name": "look", "input_schema": {"type": "object"}}]
    assert sent(monkeypatch, parallel_tool_calls=False, tools=tools) == {
        "tools": tools, "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}
    }  # fmt: skip


def test_a_message_of_a_tool_has_no_place() -> None:
    with pytest.raises(ModelError, check=check_message):
        AnthropicModel("m", URL).complete([Message("user", "hi"), Message("tool", "42")])


def test_a_stream_is_not_for_complete() -> None:
    with pytest.raises(UsageError, check=check_message):
        AnthropicModel("m", URL).complete(RenderedPrompt(messages=(), params={"stream": True}))


def test_the_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anthropic", None)
    with pytest.raises(MissingExtra) as caught:
        AnthropicModel("m", "http://127.0.0.1:29").complete("hi")
    assert "pip install 'pytest-llmops[anthropic]'" in str(caught.value)


@pytest.mark.parametrize("name", ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"])
def test_keys_and_addresses_that_nothing_can_be_sent_with(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for variable in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(UsageError, check=check_message):
        AnthropicModel("m").complete("hi")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://gateway.example")
    with pytest.raises(UsageError, check=check_message):
        AnthropicModel("m").complete("hi")
    with pytest.raises(UsageError, match="expected a URL"):
        AnthropicModel("m", "http://a:b/").complete("hi")
    monkeypatch.setenv(name, "sk ant-secret")
    with pytest.raises(UsageError, check=check_message) as caught:
        AnthropicModel("m").complete("hi")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("purpose", ["app", "judge"])
def test_no_model_is_named(purpose: str) -> None:
    with pytest.raises(UsageError, check=check_message):
        AnthropicModel("", purpose=purpose).complete("hi")


def test_models_by_the_settings() -> None:
    settings = Settings(model="a", judge_model="j", base_url="http://localhost:1", api="responses")
    top = recorder.Recorder(settings=settings)
    recorder.push_recorder(top)
    try:
        app, judge = app_model(), judge_model()
        top.settings = Settings(model="a")
        fallback = judge_model()
        top.settings = Settings(
            model="anthropic:claude-a", judge_model="anthropic: claude-j", base_url="http://localhost:1/v1"
        )
        claudes = registry.load_builtin("model", "app"), registry.load_builtin("model", "judge")
    finally:
        recorder.pop_recorder(top)
    assert isinstance(app, OpenAIModel)
    assert isinstance(judge, OpenAIModel)
    assert isinstance(fallback, OpenAIModel)
    assert (app.model, app.purpose, app.api, app.base_url) == ("a", "app", "responses", "http://localhost:1")
    assert (judge.model, judge.purpose) == ("j", "judge")
    assert fallback.model == "a"
    # The server of --llm-base-url is OpenAI-compatible and not asked.
    assert [(type(claude), claude.model, claude.purpose, claude.base_url) for claude in claudes] == [
        (AnthropicModel, "claude-a", "app", ""),
        (AnthropicModel, "claude-j", "judge", ""),
    ]


@pytest.mark.parametrize("name", ["llama3:8b", "ft:gpt-4o:org::id", "anthropic/claude-x", "Anthropic:x", ""])
def test_other_colons_are_part_of_a_name(name: str) -> None:
    model = create_model(name, "judge")
    assert isinstance(model, OpenAIModel)
    assert (model.model, model.purpose) == (name, "judge")


def test_a_prefix_alone_names_no_model() -> None:
    with pytest.raises(UsageError, check=check_message):
        create_model("anthropic: ", "app")
