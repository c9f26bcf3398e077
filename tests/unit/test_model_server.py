"""The one cheap request to a model server, and what its answer says."""

from __future__ import annotations

import socket
import ssl
import urllib.error
from collections.abc import Iterator

import pytest
from support.messages import check_message
from support.server import StubServer, closed_port

from pytest_llmops._util.server_probe import ServerReply, request_status
from pytest_llmops.providers.model_server import ModelServer, check_key, check_server, find_servers
from pytest_llmops.redaction.secret_names import PLACEHOLDER_KEY

KEY = "sk-proj-" + "a1B2c3D4" * 4


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer() as stub:
        yield stub


def test_one_request_with_the_key_and_no_body_is_read(
    server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    check = check_server(ModelServer(f"{server.url}/v1/"))
    assert (check.name, check.status) == ("server", "ok")
    assert check.sentence == f"{server.url}/v1 answers (status 200)"
    (probe,) = server.probes
    assert (probe.method, probe.path, probe.body) == ("GET", "/v1/models", b"")
    assert probe.headers["authorization"] == f"Bearer {KEY}"
    assert server.count == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "result"), [(404, "ok"), (403, "ok"), (500, "ok"), (307, "ok"), (401, "missing")]
)
def test_any_reply_is_an_answer_but_a_refused_key(
    server: StubServer, monkeypatch: pytest.MonkeyPatch, status: int, result: str
) -> None:
    server.probe_status = status
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    check = check_server(ModelServer(f"{server.url}/v1"))
    assert check.status == result
    assert KEY not in f"{check}"
    assert len(server.probes) == 1
    monkeypatch.setenv("OPENAI_API_KEY", PLACEHOLDER_KEY)  # no key of the user's
    assert check_server(ModelServer(f"{server.url}/v1")).status == "ok"
    assert "authorization" not in server.probes[1].headers


def test_a_server_that_is_down_is_missing_with_what_to_do() -> None:
    check = check_server(ModelServer(f"http://user:{KEY}@127.0.0.1:{closed_port()}/v1?key={KEY}"))
    assert check.status == "missing"
    assert KEY not in f"{check}"
    check_message(f"{check.sentence}; {check.step}")


def test_what_answers_in_another_way_is_no_problem_of_the_set_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        assert request_status(url, timeout_s=0.01) == ServerReply()  # connected, and slow
        check = ModelServer(url.replace("http:", "https:"))
        assert request_status(check.models_url, timeout_s=0.01).status is None
    assert check_server(check).status == "missing"


@pytest.mark.parametrize(
    ("reason", "problem"),
    [
        (TimeoutError(), ""),
        (TimeoutError("_ssl.c:1011: The handshake operation timed out"), ""),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        ("unknown url type: x", ""),
        (ssl.SSLCertVerificationError(), ""),
    ],
)
def test_only_an_address_where_nobody_listens_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, reason: str | BaseException, problem: str
) -> None:
    class Opener:
        def open(self, *_: object, **__: object) -> None:
            raise urllib.error.URLError(reason)

    monkeypatch.setattr("urllib.request.build_opener", lambda *_: Opener())
    assert request_status("https://models.example/v1") == ServerReply(problem=problem)
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert request_status("https://models.example/v1") == ServerReply()


def test_a_long_address_is_asked_as_it_is(server: StubServer) -> None:
    path = "/v1" + "/tenant" * 40
    check = check_server(ModelServer(server.url + path))
    assert check.status == "ok"
    assert server.probes[0].path == path + "/models"


def test_an_address_that_is_none_is_said() -> None:
    for address in ("http://127.0.0.1:many/v1", "http://[::1/v1"):
        for check in (check_server(ModelServer(address)), check_key(ModelServer(address))):
            assert check.status == "missing"
    assert "address of a server" in request_status("http://127.0.0.1:many/").problem
    assert "cannot be read" in ModelServer("http://[::1/v1").shown_address
    assert not ModelServer("http://127.0.0.1:many/v1").is_at("127.0.0.1", None)


def test_anthropic_has_its_own_server_and_keys(server: StubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"ANTHROPIC_BASE_URL": server.url}
    local, anthropic = find_servers(["gpt-5", "anthropic:claude-x"], "http://localhost:1/v1", environ)
    assert (local.address, anthropic.address) == ("http://localhost:1/v1", server.url)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", KEY)
    assert check_server(anthropic).status == "ok"
    assert server.probes[0].path == "/v1/models"
    assert server.probes[0].headers["authorization"] == f"Bearer {KEY}"
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    assert check_server(anthropic).status == "ok"
    assert server.probes[1].headers["x-api-key"] == KEY
    (away,) = find_servers(["anthropic:claude-x"], "", {})
    assert "ANTHROPIC_API_KEY is set" in check_key(away).sentence
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN")
    check_message(check_key(away).sentence + "; " + check_key(away).step)


def test_a_key_that_no_header_can_hold_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "two words")
    check = check_key(ModelServer("https://models.example/v1"))
    assert check.status == "missing"
    assert "two words" not in f"{check}"
