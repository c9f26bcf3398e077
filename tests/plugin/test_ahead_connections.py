"""--llm-concurrency with the connections of requests: TLS, client certificates, proxies and tunnels are its client's."""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.ahead import record
from support.project import Project
from support.server import StubServer, error_reply
from support.tls import server_context

pytestmark = pytest.mark.slow
TESTS = """
import pytest, requests, shutil

pytestmark = pytest.mark.llm_cassette
{more}
@pytest.mark.parametrize("i", range(4))
def test_it(i{fixture}):
    with requests.Session() as session:
        for text in (f"first {{i}}", f"second {{i}}"):
            body = {{"model": "m", "messages": [{{"role": "user", "content": text}}]}}
            answer = session.post("{url}/v1/chat/completions", json=body, timeout=30, {how})
            assert "echo" in answer.json()["choices"][0]["message"]["content"]
"""
OWN_COPY = """
@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.pem"; shutil.copy({path!r}, path); yield str(path); path.unlink()
"""


@contextmanager
def secure(context: ssl.SSLContext) -> Iterator[StubServer]:
    server = StubServer()
    server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
    with server:
        yield server


def let_tunnel(server: StubServer, context: ssl.SSLContext) -> list[str]:
    """Let a server be a proxy that tunnels, and the server behind it too; return where the tunnels lead."""
    places = []

    def connect(handler: Any) -> None:
        places.append(handler.path)
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        handler.close_connection = False
        with (
            context.wrap_socket(handler.connection, server_side=True) as inside,
            inside.makefile("rb") as handler.rfile,
            inside.makefile("wb") as handler.wfile,
        ):
            while not handler.close_connection:
                handler.handle_one_request()

    server._server.RequestHandlerClass.do_CONNECT = connect  # type: ignore[attr-defined]
    return places


def write(project: Project, url: str, how: str, more: str = "", fixture: str = "") -> None:
    project.write(**{"test_a.py": TESTS.format(url=url, how=how, more=more, fixture=fixture)})


@pytest.mark.parametrize("asks_client", [False, True], ids=["server", "client too"])
def test_certificates_are_checked_as_by_the_client(project: Project, *, asks_client: bool) -> None:
    path = project.path / "tls.pem"
    with secure(server_context(path, ask_client=asks_client)) as server:
        url = server.url.replace("http:", "https:")
        write(project, url, f"verify={str(path)!r}" + f", cert={str(path)!r}" * asks_client)
        alone = record(project)
        sent = Counter(seen.body for seen in server.seen)
        server.seen.clear()
        server._bodies.clear()
        together = record(project, "--llm-concurrency=8")
    assert together.result.outcomes == alone.result.outcomes == {"passed": 4}
    assert "sent one after another" not in together.result.text
    assert together.cassettes == alone.cassettes
    assert Counter(seen.body for seen in server.seen) == sent


def test_a_client_certificate_that_is_gone_is_left_to_the_test(project: Project) -> None:
    path = project.path / "tls.pem"
    with secure(server_context(path, ask_client=True)) as server:
        url = server.url.replace("http:", "https:")
        more = OWN_COPY.format(path=str(path))
        write(project, url, f"verify={str(path)!r}, cert=own", more, ", own")
        together = record(project, "--llm-concurrency=8")
    assert together.result.outcomes == {"passed": 4}
    assert "Error" in together.result.line("sent one after another: ")
    assert server.count == 8


def test_a_server_that_is_not_trusted_gets_no_request(project: Project) -> None:
    with secure(server_context(project.path / "tls.pem")) as server:
        write(project, server.url.replace("http:", "https:"), "")
        together = record(project, "--llm-concurrency=8")
    assert together.result.outcomes == {"failed": 4}
    assert server.count == 0


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_is_called_as_by_the_client_also_again(project: Project, scheme: str) -> None:
    path, server = project.path / "tls.pem", project.server
    places = let_tunnel(server, server_context(path))
    how = f"verify={str(path)!r}, proxies={{'{scheme}': '{server.url}'}}"
    write(project, f"{scheme}://vendor.invalid", how)
    alone = record(project)
    server.queue.append(error_reply(429, retry_after="0"))
    together = record(project, "--llm-concurrency=8")
    assert together.result.outcomes == alone.result.outcomes == {"passed": 4}
    assert "sent one after another" not in together.result.text
    assert together.cassettes.keys() == alone.cassettes.keys()
    assert together.sent.total() == 8 + 1
    assert set(places) == ({"vendor.invalid:443"} if scheme == "https" else set())
    assert {seen.path for seen in server.seen} == {
        "http://vendor.invalid/v1/chat/completions" if scheme == "http" else "/v1/chat/completions"
    }
