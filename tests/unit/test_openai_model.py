from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from support.messages import check_message
from support.openai_sdk import APIS, needs_responses
from support.server import (
    Reply,
    StubServer,
    chat_answer,
    closed_port,
    error_reply,
    json_reply,
    responses_answer,
    wait,
)

from pytest_llmops.errors import ModelError, UsageError
from pytest_llmops.protocols import Completion, Message, Model, RenderedPrompt, ToolCall, Usage
from pytest_llmops.providers.openai import OpenAIEmbedder, OpenAIModel

KEY = "sk-" + "proj-0123456789abcdefWXYZ"


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer() as stub_server:
        yield stub_server


@pytest.fixture
def client(server: StubServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as open_a_i:
        yield open_a_i


@pytest.fixture
def model(client: openai.OpenAI) -> OpenAIModel:
    return OpenAIModel("gpt-4o-mini", client=client)


def failing(model: OpenAIModel, **params: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        model.complete("hi", **params)
    return caught.value


def test_it_is_a_model(model: OpenAIModel) -> None:
    assert isinstance(model, Model)


def test_a_chat(model: OpenAIModel, server: StubServer) -> None:
    completion = model.complete("hi")
    assert completion.latency_s is not None
    assert completion.latency_s > 0
    assert completion == Completion(
        text="echo of hi",
        model="stub-1",
        finish_reason="stop",
        usage=Usage(input_tokens=7, output_tokens=3),
        latency_s=completion.latency_s,
    )
    assert server.seen[0].json == {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}


@needs_responses
def test_responses(client: openai.OpenAI, server: StubServer) -> None:
    completion = OpenAIModel("m", api="responses", client=client).complete([Message("user", "hi")])
    assert (completion.text, completion.finish_reason) == ("echo of hi", "completed")
    assert completion.usage == Usage(input_tokens=7, output_tokens=3, cached_tokens=2, reasoning_tokens=1)
    assert server.seen[0].path == "/v1/responses"


def test_messages_and_prompts(model: OpenAIModel, server: StubServer) -> None:
    messages = (Message("system", "be kind"), Message("user", "hi"))
    model.complete(messages)
    model.complete(RenderedPrompt(messages=messages, params={"temperature": 0.5}))
    expected = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]
    assert [seen.json["messages"] for seen in server.seen] == [expected, expected]
    assert server.seen[1].json["temperature"] == 0.5


def test_parameters_of_call_over_prompt_over_model(client: openai.OpenAI, server: StubServer) -> None:
    model = OpenAIModel("m", client=client, params={"temperature": 0.1, "seed": 1, "top_p": 0.9})
    prompt = RenderedPrompt(messages=(Message("user", "x"),), params={"temperature": 0.2, "seed": 2})
    model.complete(prompt, temperature=0.3)
    body = server.seen[0].json
    assert (body["temperature"], body["seed"], body["top_p"]) == (0.3, 2, 0.9)


@needs_responses
def test_parameters_in_the_words_of_responses(client: openai.OpenAI, server: StubServer) -> None:
    model = OpenAIModel("m", api="responses", client=client)
    schema = {"name": "verdict", "schema": {"type": "object"}, "strict": True}
    form: Any = {"type": "json_schema", "json_schema": schema}
    model.complete("x", max_tokens=5, seed=1, temperature=0, response_format=form)
    model.complete("x", max_completion_tokens=6, response_format={"type": "json_object"})
    first, second = (seen.json for seen in server.seen)
    assert first["max_output_tokens"] == 5
    assert "seed" not in first
    assert first["text"] == {"format": {"type": "json_schema", **schema}}
    assert second["max_output_tokens"] == 6
    assert second["text"] == {"format": {"type": "json_object"}}


@needs_responses
def test_a_refusal(model: OpenAIModel, client: openai.OpenAI, server: StubServer) -> None:
    refused = {"id": "m", "type": "message", "role": "assistant", "status": "completed"}
    part = {"type": "refusal", "refusal": "I will not"}
    server.queue.append(json_reply(chat_answer("", refusal="I will not")))
    server.queue.append(json_reply(responses_answer("", output=[{**refused, "content": [part]}])))
    for openai_model in (model, OpenAIModel("m", api="responses", client=client)):
        completion = openai_model.complete("hi")
        assert (completion.text, completion.refusal) == ("", "I will not")


@needs_responses
def test_tool_calls(model: OpenAIModel, client: openai.OpenAI, server: StubServer) -> None:
    function = {"name": "search", "arguments": '{"q": 1}'}
    custom = {"id": "c2", "type": "custom", "custom": {"name": "x", "input": "y"}}
    calls = [{"id": "c1", "type": "function", "function": function}, custom]
    server.queue.append(json_reply(chat_answer("", tool_calls=calls)))
    item = {"type": "function_call", "id": "f", "call_id": "c1", "status": "completed", **function}
    server.queue.append(json_reply(responses_answer("", output=[item])))
    for openai_model in (model, OpenAIModel("m", api="responses", client=client)):
        assert openai_model.complete("hi").tool_calls == (
            ToolCall(name="search", arguments='{"q": 1}', id="c1"),
        )


@needs_responses
def test_an_incomplete_response_says_why(client: openai.OpenAI, server: StubServer) -> None:
    reason = {"reason": "max_output_tokens"}
    server.queue.append(json_reply(responses_answer("x", status="incomplete", incomplete_details=reason)))
    assert (
        OpenAIModel("m", api="responses", client=client).complete("hi").finish_reason == "max_output_tokens"
    )


@needs_responses
def test_a_response_that_failed_is_an_error(client: openai.OpenAI, server: StubServer) -> None:
    error = {"code": "server_error", "message": "the model\ncrashed"}
    server.queue.append(json_reply(responses_answer("", status="failed", error=error)))
    model_error = failing(OpenAIModel("m", api="responses", client=client))
    assert model_error.kind == "server"
    check_message(model_error)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "request"),
        (401, "auth"),
        (403, "auth"),
        (404, "request"),
        (408, "timeout"),
        (422, "request"),
        (429, "rate_limit"),
        (500, "server"),
        (503, "server"),
    ],
)
def test_every_status_has_a_kind_and_a_next_step(
    model: OpenAIModel, server: StubServer, status: int, kind: str
) -> None:
    server.queue.append(error_reply(status, "what the\nserver says\x1b[2J"))
    model_error = failing(model)
    assert (model_error.kind, model_error.status) == (kind, status)
    check_message(model_error)
    assert r"what the\nserver says\x1b[2J" in str(model_error)


def test_a_server_that_is_down() -> None:
    url = f"http://127.0.0.1:{closed_port()}/v1"
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
        model_error = failing(OpenAIModel("m", client=client))
    assert (model_error.kind, model_error.status) == ("connection", None)
    check_message(model_error)


def test_a_server_that_takes_too_long(server: StubServer) -> None:
    never = threading.Event()
    server.queue.append(Reply(before=lambda: wait(never)))
    timeout = openai.Timeout(20, read=0.01)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, timeout=timeout) as client:
        model_error = failing(OpenAIModel("m", client=client))
    never.set()
    assert model_error.kind == "timeout"
    check_message(model_error)


@pytest.mark.slow
@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>gateway</html>", "text/html"),
        (b"plain", "text/plain"),
        (b"", "application/json"),
        (b"{broken", "application/json"),
        (b'"text"', "application/json"),
        (b"5", "application/json"),
        (b"null", "application/json"),
        (b"[]", "application/json"),
        (b"{}", "application/json"),
        (b'{"choices": [], "output": null}', "application/json"),
        (b'{"choices": null}', "application/json"),
        (b'{"choices": "abc", "output": "abc"}', "application/json"),
        (b'{"choices": [5], "output": [5]}', "application/json"),
        (b'{"choices": [{}], "output": [{}]}', "application/json"),
        (b'{"choices": [{"message": null}], "output": [{"type": "message"}]}', "application/json"),
        (b'{"choices": [{"message": "x"}], "output": {"a": 1}}', "application/json"),
        (b"\xff\xfe", "application/json"),
        (b"[" * 50_000, "application/json"),
    ],
)
def test_a_reply_that_is_no_answer(
    client: openai.OpenAI, server: StubServer, api: Any, body: bytes, kind: str
) -> None:
    server.queue.append(Reply(body, headers={"content-type": kind}))
    model_error = failing(OpenAIModel("m", api=api, client=client))
    assert model_error.kind == "reply"
    assert str(model_error).isprintable()
    assert len(str(model_error)) < 400


@pytest.mark.parametrize(
    ("api", "kind"), [("chat", "server"), pytest.param("responses", "reply", marks=needs_responses)]
)
def test_an_error_with_the_status_of_an_answer(
    client: openai.OpenAI, server: StubServer, api: Any, kind: str
) -> None:
    server.queue.append(Reply(b'{"error": "overloaded"}', headers={"content-type": "application/json"}))
    model_error = failing(OpenAIModel("m", api=api, client=client))
    assert model_error.kind == kind
    assert str(model_error).isprintable()


@pytest.mark.slow
@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    "body",
    [
        {"detail": f"no such key: {KEY}"},
        {"detail": "x" * 180 + KEY},  # cut within the key
        {"choices": [{"message": KEY}], "output": [{"type": "message", "content": [KEY]}]},
        {"error": {"message": f"bad key {KEY}"}},
        {"error": f"bad key {KEY}"},
        f"bad key {KEY}",
    ],
)
def test_a_reply_that_echoes_the_key_is_reported_without_it(
    client: openai.OpenAI, server: StubServer, api: Any, body: Any
) -> None:
    server.queue.append(json_reply(body))
    message = str(failing(OpenAIModel("m", api=api, client=client)))
    assert KEY[:12] not in message


def test_vectors_echo_no_key_either(client: openai.OpenAI, server: StubServer) -> None:
    for body in (
        {"detail": f"bad key {KEY}"},
        {"data": [{"index": 0, "embedding": [f"bad key {KEY}"]}]},
    ):
        server.queue.append(json_reply(body))
    # What the SDK says of a reply without vectors differs between its versions.
    with pytest.raises(ModelError, match="the reply is not an answer") as embedded:
        OpenAIEmbedder(client=client).embed(["text"])
    with pytest.raises(ModelError) as broken:
        OpenAIEmbedder(client=client).embed(["text"])
    assert KEY[:12] not in f"{embedded.value} {broken.value}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"message": "No endpoints found\nfor m", "code": 404}, "request", 404),
        ({"message": "slow down", "code": 429}, "rate_limit", 429),
        ({"message": "overloaded", "code": "overloaded_error"}, "server", None),
        ("overloaded", "server", None),
    ],
)
def test_an_error_with_status_200_is_reported_by_its_message(
    model: OpenAIModel, server: StubServer, error: Any, kind: str, status: int | None
) -> None:
    bare: dict[str, Any] = {}
    empty: dict[str, Any] = {"choices": []}
    for more in (bare, empty):
        server.queue.append(json_reply({"error": error, **more}))
        model_error = failing(model)
        assert (model_error.kind, model_error.status) == (kind, status)
        message = error["message"] if isinstance(error, dict) else error
        assert message.encode("unicode_escape").decode() in str(model_error)
        check_message(model_error)
    server.queue.append(json_reply({"error": error}))
    with pytest.raises(ModelError, check=check_message):
        OpenAIEmbedder(client=model.client).embed(["text"])


WRONG: list[Any] = [5, True, [], {}, ["x"], {"a": 1}, "text", None]


@pytest.mark.slow
@pytest.mark.parametrize("place", ["content", "refusal", "tool_calls", "finish_reason", "model", "usage"])
def test_hostile_fields_are_an_answer_or_an_error_never_another_type(
    model: OpenAIModel, server: StubServer, place: str
) -> None:
    for wrong in WRONG:
        answer = chat_answer("fine")
        where = {"finish_reason": answer["choices"][0], "model": answer, "usage": answer}
        where.get(place, answer["choices"][0]["message"])[place] = wrong
        server.queue.append(json_reply(answer))
        try:
            completion = model.complete("hi")
        except ModelError as error:
            assert error.kind == "reply"  # noqa: PT017
        else:
            for text in (completion.text, completion.model, completion.finish_reason, completion.refusal):
                assert isinstance(text, str)
            assert all(isinstance(call, ToolCall) for call in completion.tool_calls)


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [5, "x", None, [], {"prompt_tokens": "7", "completion_tokens": -1}])
def test_hostile_usage_counts_nothing(model: OpenAIModel, server: StubServer, wrong: Any) -> None:
    server.queue.append(json_reply({**chat_answer("fine"), "usage": wrong}))
    assert model.complete("hi").usage == Usage()


def test_a_parameter_the_sdk_does_not_know(model: OpenAIModel, server: StubServer) -> None:
    with pytest.raises(UsageError, check=check_message):
        model.complete("hi", temprature=0)
    assert server.count == 0


def test_a_value_that_no_json_can_hold_is_no_unknown_parameter(
    model: OpenAIModel, server: StubServer
) -> None:
    with pytest.raises(UsageError, check=check_message):
        model.complete("hi", logit_bias={"when": object()})  # type: ignore[dict-item]
    assert server.count == 0


def test_a_stream_is_not_for_complete(model: OpenAIModel, server: StubServer) -> None:
    prompt = RenderedPrompt(messages=(Message("user", "x"),), params={"stream": True})
    with pytest.raises(UsageError, check=check_message):
        model.complete("hi", stream=True)
    with pytest.raises(UsageError, check=check_message):
        model.complete(prompt)
    assert server.count == 0


@pytest.mark.parametrize(
    "purpose",
    [
        "app",
        "judge",
    ],
)
def test_no_model_is_named(purpose: str) -> None:
    with pytest.raises(UsageError) as caught:
        OpenAIModel("", purpose=purpose).complete("hi")
    check_message(caught.value)


def test_the_prompt_may_name_the_model(client: openai.OpenAI, server: StubServer) -> None:
    prompt = RenderedPrompt(messages=(Message("user", "x"),), model="of-the-prompt")
    OpenAIModel("", client=client).complete(prompt)
    assert server.seen[0].json["model"] == "of-the-prompt"
