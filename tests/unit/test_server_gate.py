"""A model server is asked once in a run, whatever the number of its processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import filelock
import pytest
from support.server import StubServer

from pytest_llmops.cassettes.request_key import Question
from pytest_llmops.cassettes.run_folder import RUN_FOLDER_VARIABLE
from pytest_llmops.harness import server_gate
from pytest_llmops.harness.server_gate import check_server_once, make_call_check
from pytest_llmops.providers.model_server import ModelServer
from pytest_llmops.settings import Settings


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubServer]:
    monkeypatch.setenv(RUN_FOLDER_VARIABLE, str(tmp_path))
    with StubServer() as stub:
        yield stub


def test_another_process_reads_what_the_first_one_found(server: StubServer) -> None:
    first = check_server_once(ModelServer(f"{server.url}/v1"))
    server_gate._known.clear()  # as in another process
    assert check_server_once(ModelServer(f"{server.url}/v1")) == first
    assert len(server.probes) == 1


@pytest.mark.parametrize("error", [OSError("no disk"), filelock.Timeout("x.lock")])
def test_a_process_that_cannot_share_asks_for_itself(
    server: StubServer, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(filelock, "FileLock", refuse)
    for _ in range(2):
        assert check_server_once(ModelServer(f"{server.url}/v1")).status == "ok"
    assert len(server.probes) == 1


def test_only_calls_to_a_server_of_the_settings_are_checked(server: StubServer) -> None:
    address = server.url.removeprefix("http://")
    server.close()
    why_not_called = make_call_check(Settings(base_url=f"{server.url}/v1", model="anthropic:claude-x"))

    def ask(where: str) -> str:
        return why_not_called(Question("POST", "u", b"", "", "k", address=where))

    assert "does not answer" in ask(address)
    for other in ("127.0.0.1:", "127.0.0.1:1", "models.example:", ""):
        assert ask(other) == ""
