from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from support.messages import check_message
from support.server import (
    Reply,
    StubServer,
    error_reply,
)

from pytest_llmops.errors import CassetteMiss, ModelError, UsageError
from pytest_llmops.providers.openai import OpenAIModel, _shared_client, new_client
from pytest_llmops.redaction.secret_names import PLACEHOLDER_KEY

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


@pytest.fixture
def fresh_clients() -> Iterator[None]:
    _shared_client.cache_clear()
    yield
    _shared_client.cache_clear()


def failing(model: OpenAIModel, **params: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        model.complete("hi", **params)
    return caught.value


def test_no_key(monkeypatch: pytest.MonkeyPatch, fresh_clients: None) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(UsageError, check=check_message):
        new_client("")
    with pytest.raises(UsageError, check=check_message):
        new_client("https://api.example.com/v1")


@pytest.mark.parametrize("given", [True, False])
def test_a_server_on_this_machine_needs_no_key(
    monkeypatch: pytest.MonkeyPatch, fresh_clients: None, given: bool
) -> None:
    url = "http://localhost:1234/v1"
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_BASE_URL", "https://api.example.com" if given else url)
    with new_client(url if given else "") as client:
        assert client.api_key == PLACEHOLDER_KEY
        assert str(client.base_url).startswith(url)


def test_clients_are_shared_by_key_and_address(monkeypatch: pytest.MonkeyPatch, fresh_clients: None) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    first = new_client("http://localhost:1/v1")
    assert new_client("http://localhost:1/v1") is first
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    assert new_client("") is first
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:2/v1")
    assert str(new_client("").base_url) == "http://localhost:2/v1/"


def test_a_key_with_a_line_end_is_stripped(monkeypatch: pytest.MonkeyPatch, fresh_clients: None) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    assert new_client("http://localhost:1/v1").api_key == KEY


@pytest.mark.parametrize("key", ["sk-пароль-пароль", "sk-abc def-secret", "sk-abc\ndef-secret"])
def test_a_key_that_no_header_can_hold(
    monkeypatch: pytest.MonkeyPatch, fresh_clients: None, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UsageError, check=check_message) as caught:
        new_client("http://localhost:1/v1")
    assert "secret" not in str(caught.value)
    assert "пароль" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://a:b/", "http://localhost:99999999/"])
def test_an_address_that_is_none(monkeypatch: pytest.MonkeyPatch, fresh_clients: None, url: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(UsageError, match="expected a URL"):
        new_client(url)


LEAKING: dict[str, Callable[[str], Reply]] = {
    "the whole key": lambda key: error_reply(401, f"Incorrect API key provided: {key}."),
    "its ends": lambda key: error_reply(401, f"Incorrect API key provided: {key[:8]}*********{key[-4:]}."),
    "as text": lambda key: Reply(key.encode(), 500, {"content-type": "text/plain"}),
    "as a reply": lambda key: Reply(f"no {key}".encode(), 200, {"content-type": "application/json"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("key", [KEY, "unusual-key-of-a-local-gateway"])
@pytest.mark.parametrize("how", LEAKING)
def test_nothing_of_a_key_is_in_an_error(server: StubServer, how: str, key: str) -> None:
    server.queue.append(LEAKING[how](key))
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client:
        result = failing(OpenAIModel("m", client=client))
    for part in (key, key[:8] + "*", key[-4:]):
        assert part not in str(result)


@pytest.mark.parametrize(
    ("key", "kind"), [("sk-пароль-пароль", "request"), ("line\nend-secret", "connection")]
)
def test_a_client_with_an_impossible_key(server: StubServer, key: str, kind: str) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client:
        model_error = failing(OpenAIModel("m", client=client))
    assert model_error.kind == kind
    assert "пароль" not in str(model_error)
    assert "secret" not in str(model_error).replace("[secret]", "")


def test_a_miss_is_never_a_model_error(client: openai.OpenAI, model: OpenAIModel) -> None:
    def missing(*_: object, **__: object) -> None:
        msg = "no recording answers"
        raise CassetteMiss(msg)

    with pytest.MonkeyPatch.context() as patched, pytest.raises(CassetteMiss):
        patched.setattr(client._client, "send", missing)
        model.complete("hi")
