"""Programs that misbehave cannot break or hold up a test with the fixture `llm_proxy`."""

from __future__ import annotations

import builtins
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from support import server
from support.project import Project

from pytest_llmops.cassettes.http import reverse_proxy

INVALID = """
import os, socket
from urllib.parse import urlsplit

HEAD = b"POST /openai/v1/x HTTP/1.1\\r\\n"
CASES = [
    (b"\\x00\\xff garbage\\r\\n\\r\\n", "expected a request in HTTP/1.1"),
    (b"BREW /openai/v1/x HTTP/1.1\\r\\n\\r\\n", "Unsupported method"),
    (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\\r\\n\\r\\n", "URI Too Long"),
    (b"GET /x HTTP/1.1\\r\\n" + b"a: b\\r\\n" * 200 + b"\\r\\n", "Too many headers"),
    (b"GET /openai/v1/\\xff HTTP/1.1\\r\\n\\r\\n", "expected a path of printable ASCII"),
    (b"CONNECT api.openai.com:443 HTTP/1.1\\r\\n\\r\\n", "got one for HTTP_PROXY or HTTPS_PROXY: unset these"),
    (b"GET http://api.openai.com/v1/models HTTP/1.1\\r\\n\\r\\n", "give the client a base URL, such as http://127.0.0.1:"),
    (HEAD + b"connection: Upgrade\\r\\nupgrade: websocket\\r\\n\\r\\n", "HTTP, not WebSockets: let the client call the model over HTTP"),
    (HEAD + b"content-length: many\\r\\n\\r\\n{}", "content-length: expected a whole number, got 'many'"),
    (HEAD + b"content-length: -5\\r\\n\\r\\n{}", "expected a whole number, got '-5'"),
    (HEAD + b"content-length: 99999999999\\r\\n\\r\\n{}", "at most 536,870,912 bytes"),
    (HEAD + b"content-length: 50\\r\\n\\r\\n{}", "expected a body of 50 bytes, got 2"),
    (HEAD + b"transfer-encoding: gzip, chunked\\r\\n\\r\\n", "transfer-encoding: expected chunked"),
    (HEAD + b"transfer-encoding: chunked\\r\\n\\r\\n2\\r\\n{}\\r\\n", "got the end of the connection after 2 bytes"),
    (HEAD + b"transfer-encoding: chunked\\r\\n\\r\\nzz\\r\\n", "expected a last chunk"),
]

def send(data):
    parts, got = urlsplit(os.environ["OPENAI_BASE_URL"]), b""
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while part := connection.recv(9999):
            got += part
    return got.decode()

def test_a(llm_proxy, capfd):
    for data, message in CASES:
        answer = send(data)
        assert message in answer and '"type": "llm_proxy"' in answer, (data[:100], answer)
    assert "Traceback" not in capfd.readouterr().err
"""
# Sends a valid request that our client would change or refuse if it got it as text, with a body in one long chunk.
UNUSUAL = """
import os, socket
from urllib.parse import urlsplit

def test_a(llm_proxy):
    parts, got = urlsplit(os.environ["OPENAI_BASE_URL"]), b""
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        body = b"%x\\r\\n%b\\r\\n0\\r\\n\\r\\n" % (300_000, b"a" * 300_000)
        connection.sendall(b"POST %b/x HTTP/1.1\\r\\nx-name: caf\\xe9\\r\\n" % parts.path.encode())
        connection.sendall(b"transfer-encoding: chunked\\r\\n\\r\\n" + body)
        while part := connection.recv(9999):
            got += part
    assert b"200 OK" in got
"""
MANY = """
import os, threading, urllib.error, urllib.request

def test_a(llm_proxy):
    start, codes = threading.Barrier(COUNT := 150), []

    def call():
        start.wait()
        try:
            urllib.request.urlopen(llm_proxy.url + "/unknown")
        except (urllib.error.HTTPError, OSError) as error:
            codes.append(getattr(error, "code", str(error)))
            getattr(error, "close", str)()

    threads = [threading.Thread(target=call) for _ in range(COUNT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [404] * COUNT
"""
# The program sends its request byte by byte, and never ends it. It gives up by itself in the end.
SLOW = """
import os, subprocess, sys
PROGRAM = '''
import os, select, socket
from urllib.parse import urlsplit
parts = urlsplit(os.environ["OPENAI_BASE_URL"])
connection = socket.create_connection((parts.hostname, parts.port))
connection.sendall(b"POST /openai/v1/x HTTP/1.1\\\\r\\\\ncontent-length: 9999\\\\r\\\\n\\\\r\\\\n")
print("ready", flush=True)
for _ in range(200):
    try:
        connection.sendall(b"a")
    except OSError:
        break
    if select.select([connection], [], [], 0.05)[0]:
        break
else:
    print("gave up")
'''

def test_a(llm_proxy):
    program = subprocess.Popen([sys.executable, "-I", "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    PROGRAMS.append(program)
    assert program.stdout.readline() == "ready\\n"
"""
# The program is killed after it has forked a process, which keeps the connection open.
FORKED = """
import os, subprocess, sys
PROGRAM = '''
import os, signal, socket
from urllib.parse import urlsplit
parts = urlsplit(os.environ["OPENAI_BASE_URL"])
connection = socket.create_connection((parts.hostname, parts.port))
connection.sendall(b"POST /openai/v1/x HTTP/1.1\\\\r\\\\ncontent-length: 2\\\\r\\\\n\\\\r\\\\n{}")
if SEES_ANSWER:
    connection.recv(1)
if os.fork():
    os.kill(os.getpid(), signal.SIGKILL)
while connection.recv(9999):
    pass
'''

def test_a(llm_proxy):
    program = PROGRAM.replace("SEES_ANSWER", str(SEES_ANSWER))
    done = subprocess.run([sys.executable, "-I", "-c", program], stdout=subprocess.DEVNULL, timeout=20)
    assert done.returncode == -9
    assert ARRIVED.wait(20)
"""
REMOVED = """
import os, subprocess, sys
PROGRAM = '''
import json, os, shutil, urllib.request
shutil.rmtree(os.getcwd())
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
body = json.dumps({"model": "stub-1", "messages": [{"role": "user", "content": "hello"}]}).encode()
with urllib.request.urlopen(urllib.request.Request(url, body, {"content-type": "application/json"})) as response:
    print(json.load(response)["choices"][0]["message"]["content"])
'''

def test_a(llm_proxy, llm_calls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = subprocess.run([sys.executable, "-I", "-c", PROGRAM], capture_output=True, text=True)
    assert done.stdout == "echo of hello\\n", done
    assert not tmp_path.exists()
    assert len(llm_calls) == 1
"""


@pytest.fixture
def programs() -> Iterator[list[subprocess.Popen[str]]]:
    """Return the programs that a test of the project leaves running."""
    running: list[subprocess.Popen[str]] = []
    vars(builtins)["PROGRAMS"] = running
    yield running
    del vars(builtins)["PROGRAMS"]
    for program in running:
        program.kill()
        program.communicate()


def test_what_is_not_a_valid_request_is_refused_in_json_and_not_sent_on(project: Project) -> None:
    project.write(**{"test_a.py": INVALID})
    result = project.record()
    assert result.outcomes == {"passed": 1}, result.text
    assert project.server.count == 0


def test_a_client_that_stalls_in_its_request_is_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reverse_proxy._Handler, "timeout", 0.1)  # 20 s otherwise
    test = """
import http.client, os
from urllib.parse import urlsplit

def test_a(llm_proxy):
    connection = http.client.HTTPConnection(urlsplit(os.environ["OPENAI_BASE_URL"]).netloc)
    connection.request("POST", "/openai/v1/x", b"{", {"content-length": "2"})
    assert b"no byte of its body came for 0.1 s" in connection.getresponse().read()
    connection.close()
"""
    project.write(**{"test_a.py": test})
    result = project.record()
    assert result.outcomes == {"passed": 1}, result.text
    assert project.server.count == 0


def test_unusual_headers_and_long_chunks_are_passed_on_as_they_came(project: Project) -> None:
    project.server.queue.append(server.Reply(b"{}"))
    project.write(**{"test_a.py": UNUSUAL})
    recorded = project.record()
    assert recorded.outcomes == {"passed": 1}, recorded.text
    (request,) = project.server.seen
    assert request.headers["x-name"] == "caf\xe9"
    assert request.body == b"a" * 300_000
    assert project.run(f"--llm-base-url={project.server.url}/v1").outcomes == {"passed": 1}


def test_many_requests_at_once_are_all_answered(project: Project) -> None:
    project.write(**{"test_a.py": MANY})
    result = project.run()
    assert result.outcomes == {"passed": 1}, result.text


def test_a_program_that_is_still_sending_does_not_hold_up_the_end_of_the_test(
    project: Project, programs: list[subprocess.Popen[str]]
) -> None:
    project.write(**{"test_a.py": SLOW})
    result = project.record()
    assert result.outcomes == {"passed": 1}, result.text
    assert programs[0].communicate(timeout=20)[0] == ""
    assert project.server.count == 0


@pytest.mark.parametrize("sees_answer", [False, True])
def test_a_forked_process_that_keeps_its_connection_does_not_hold_up_the_end_of_the_test(
    project: Project, monkeypatch: pytest.MonkeyPatch, *, sees_answer: bool
) -> None:
    """The server is held until the run is over; the test ends when the request has arrived there, however long that takes."""
    monkeypatch.setattr(reverse_proxy, "END_S", 0.2)
    over = threading.Event()
    arrived = threading.Event()
    monkeypatch.setattr(builtins, "ARRIVED", arrived, raising=False)

    def hold(number: int = 0) -> None:
        arrived.set()
        if number == int(sees_answer):
            server.wait(over)

    headers = {"content-type": "text/event-stream"}
    chunks = [b"data: 0\n\n", b"data: 1\n\n"]
    held = server.Reply(chunks=chunks, headers=headers, before_chunk=hold)
    project.server.queue.append(held if sees_answer else server.Reply(b"{}", before=hold))
    project.write(**{"test_a.py": f"SEES_ANSWER = {sees_answer}\n{FORKED}"})
    recorded = project.record()
    over.set()
    assert recorded.outcomes == {"passed": 1}, recorded.text
    assert (
        "llm_proxy cut off 1 answer that a program was still receiving 0.2 s after the test" in recorded.text
    )
    assert "1 call was recorded as TimeoutError" in recorded.text
    monkeypatch.setattr(reverse_proxy, "END_S", 30.0)  # the answer ends by itself
    replayed = project.run(f"--llm-base-url={project.server.url}/v1")
    assert replayed.outcomes == {"passed": 1}, replayed.text
    assert "cut off" not in replayed.text


def test_a_connection_without_a_handler_does_not_hold_up_the_end_of_the_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The handler is set up while the end of the test waits: it must not wait for bytes until its time limit."""
    accepted = threading.Event()
    ending = threading.Event()
    logged: list[object] = []
    set_up = reverse_proxy._Handler.setup

    def set_up_late(handler: reverse_proxy._Handler) -> None:
        accepted.set()
        server.wait(ending)
        set_up(handler)

    class Changed(threading.Condition):
        def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
            ending.set()
            return super().wait_for(predicate, timeout)

    monkeypatch.setattr(reverse_proxy._Handler, "setup", set_up_late)
    monkeypatch.setattr(reverse_proxy._Handler, "timeout", 2)
    monkeypatch.setattr(reverse_proxy._Handler, "log_message", lambda *message: logged.append(message))
    tape: Any = SimpleNamespace(config=SimpleNamespace(proxy_ports=set(), rules=SimpleNamespace(clients=())))
    with reverse_proxy.open_proxy(tape, {}) as proxy:
        proxy.server.changed = Changed()
        connection = socket.create_connection(("127.0.0.1", proxy.server.server_port))
        server.wait(accepted)
    connection.close()
    assert logged == []  # a time limit that is over is logged


def test_an_interrupted_end_of_the_test_leaves_no_socket_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(proxy_server: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reverse_proxy._Server, "end_requests", interrupt)
    tape: Any = SimpleNamespace(config=SimpleNamespace(proxy_ports=set(), rules=SimpleNamespace(clients=())))
    with pytest.raises(KeyboardInterrupt), reverse_proxy.open_proxy(tape, {}) as proxy:
        pass
    assert proxy.server.fileno() == -1
    assert proxy.client.is_closed


def test_a_program_may_remove_its_working_folder(project: Project, workers: int) -> None:
    project.write(**{"test_a.py": REMOVED})
    recorded = project.record(workers=workers)
    assert recorded.outcomes == {"passed": 1}, recorded.text
    replayed = project.run(f"--llm-base-url={project.server.url}/v1", workers=workers)
    assert replayed.outcomes == {"passed": 1}, replayed.text
    assert project.server.count == 1
