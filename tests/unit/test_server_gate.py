"""A model server that answers is asked once in a run, whatever the number of its processes; another before each call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
import pytest
from support.server import StubServer

from pytest_llmops._util.server_probe import PROXY_VARIABLES, ServerReply
from pytest_llmops.cassettes.request_key import Question
from pytest_llmops.cassettes.run_folder import RUN_FOLDER_VARIABLE
from pytest_llmops.harness import server_gate
from pytest_llmops.harness.server_gate import find_server_problem, make_call_check
from pytest_llmops.providers.model_server import ModelServer
from pytest_llmops.settings import Settings


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubServer]:
    monkeypatch.setenv(RUN_FOLDER_VARIABLE, str(tmp_path))
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with StubServer() as stub:
        yield stub


def test_another_process_reads_what_the_first_one_found(server: StubServer) -> None:
    for _ in range(2):
        assert find_server_problem(ModelServer(f"{server.url}/v1")) is None
        server_gate._answered.clear()  # as in another process
    assert len(server.probes) == 1


@pytest.mark.parametrize("error", [OSError("no disk"), filelock.Timeout("x.lock")])
def test_a_process_that_cannot_share_asks_for_itself(
    server: StubServer, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(filelock, "FileLock", refuse)
    for _ in range(2):
        assert find_server_problem(ModelServer(f"{server.url}/v1")) is None
    assert len(server.probes) == 1


def ask(server: StubServer, where: str = "") -> str:
    """Return why a call is not made."""
    why_not_called = make_call_check(Settings(base_url=f"{server.url}/v1", model="anthropic:claude-x"))
    address = where or server.url.removeprefix("http://")
    return why_not_called(Question("POST", "u", b"", "", "k", address=address))


def test_only_calls_to_a_server_of_the_settings_are_checked(server: StubServer) -> None:
    server.close()
    assert "does not answer" in ask(server)
    for other in ("127.0.0.1:", "127.0.0.1:1", "models.example:"):
        assert ask(server, other) == ""


def test_a_server_that_starts_after_a_failed_call_is_called(
    server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StubServer() as late:
        monkeypatch.setattr("pytest_llmops.providers.model_server.request_status", refuse_then_ask())
        assert "does not answer" in ask(late)
        assert ask(late) == ""


def refuse_then_ask() -> Callable[[str], ServerReply]:
    replies = [ServerReply(problem="Connection refused"), ServerReply(200)]
    return lambda _: replies.pop(0)


def test_with_a_proxy_nothing_is_certain(server: StubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.close()
    for name in ("ALL_PROXY", "http_proxy"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "socks5h://127.0.0.1:1")
            assert ask(server) == ""
        server_gate._answered.clear()
        for file in Path(os.environ[RUN_FOLDER_VARIABLE]).iterdir():
            file.unlink()
    assert ask(server) != ""


def test_a_key_that_the_list_of_models_refuses_stops_no_call(
    server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-stale")
    server.probe_status = 401
    assert ask(server) == ""
    assert "authorization" not in server.probes[0].headers
