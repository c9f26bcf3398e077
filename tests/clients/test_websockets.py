"""WebSockets of real clients against a scripted server on this machine: recorded, and replayed with the server gone."""

from __future__ import annotations

import json
import os
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.matrix import PYTHON, ROOT, environment, missing

TIMEOUT_S = 300
INI = """
[pytest]
addopts = -p no:cacheprovider --strict-markers --strict-config --tb=short
filterwarnings = error
"""
HEAD = """
import asyncio, base64, json, os, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
import openai, pytest, websockets
from websockets.sync.client import connect
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus

PORT = os.environ["PORT"]
SECURE_PORT = os.environ["SECURE_PORT"]
REPLAY = bool(os.environ.get("REPLAY"))
URL = f"ws://127.0.0.1:{PORT}"
KEY = "sk-header-credential-9876543210"
pytestmark = pytest.mark.llm_cassette

def say(ws, **event):
    ws.send(json.dumps(event))

def ask(ws, text, model="gpt-5"):
    say(ws, type="response.create", model=model, input=text)
    while True:
        event = json.loads(ws.recv())
        if event["type"] == "error":
            return event["error"]["message"]
        if event["type"] == "response.completed":
            return event["response"]["output"][0]["content"][0]["text"]

def hear(ws):
    while True:
        event = json.loads(ws.recv())
        if event["type"] == "response.done":
            return event["response"]["output"][0]["content"][0]["transcript"]

def client(kind):
    return kind(api_key=KEY, base_url=f"http://127.0.0.1:{PORT}/v1")
"""
SAME = """
def test_realtime(llm_calls):
    with client(openai.OpenAI) as api, api.realtime.connect(model="gpt-realtime") as session:
        assert session.recv().type == "session.created"
        texts = []
        for text in ("one", "two"):
            part = {"type": "input_text", "text": text}
            session.conversation.item.create(item={"type": "message", "role": "user", "content": [part]})
            session.response.create()
            for event in session:
                if event.type == "response.done":
                    texts.append(event.response.output[0].content[0].transcript)
                    break
    first, second = llm_calls
    assert [first.output, second.output] == texts
    assert (first.model, first.endpoint, first.usage.input_tokens) == ("gpt-realtime", "realtime", 5)
    assert [message.content for message in first.messages] == ["one"]
    assert [message.content for message in second.messages] == ["one", texts[0], "two"]
    assert first.replayed is REPLAY

def test_realtime_async():
    async def run():
        async with client(openai.AsyncOpenAI) as api, api.realtime.connect(model="gpt-realtime") as session:
            assert (await session.recv()).type == "session.created"
            await session.response.create()
            async for event in session:
                if event.type == "response.done":
                    return event.response.output[0].content[0].transcript
    assert asyncio.run(run()).startswith("Hello")

def test_responses(llm_calls):
    with client(openai.OpenAI) as api, api.responses.connect() as session:
        session.response.create(model="gpt-5", input="hi")
        for event in session:
            if event.type == "response.completed":
                break
    call, = llm_calls
    assert call.output == event.response.output_text
    assert (call.model, call.endpoint, call.usage.output_tokens) == ("gpt-5", "responses", 2)
    assert call.latency_s >= call.ttft_s >= 0 and call.started_s >= 0

def test_responses_async():
    async def run():
        async with client(openai.AsyncOpenAI) as api, api.responses.connect() as session:
            await session.response.create(model="gpt-5", input="hi")
            async for event in session:
                if event.type == "response.completed":
                    return event.response.output_text
    assert asyncio.run(run()).startswith("Hi")

def test_error_event(llm_calls):
    with connect(URL + "/v1/responses") as ws:
        assert ask(ws, "hi", model="gone") == "no such model"
        assert ask(ws, "hi").startswith("Hi")
    failed, good = llm_calls
    assert (failed.status, failed.output, good.status) == (404, "no such model", 200)

def test_secrets():
    with connect(f"{URL}/v1/responses?api_key=sk-query-credential-1234567890", additional_headers={"Authorization": f"Bearer {KEY}"}) as ws:
        assert ask(ws, f"my key is {KEY}").startswith("Hi")

def test_texts_and_bytes():
    with connect(URL) as ws:
        for data in (b"abc", bytes(range(256)), b""):
            ws.send(data)
            assert ws.recv() == data[::-1]
        for text in ("plain", "\\U0001F642 \\x00 \\u2028", '"quoted"'):
            say(ws, type="echo", text=text)
            assert json.loads(ws.recv()) == {"echo": text}

def test_fragments():
    with connect(URL) as ws:
        ws.send([b"ab", b"cd", b"ef"])
        assert ws.recv() == b"fedcba"

def test_ping():
    with connect(URL) as ws:
        assert ws.ping().wait(30)
        ws.send(b"abc")
        assert ws.recv() == b"cba"

def test_subprotocol():
    with connect(URL, subprotocols=["other", "realtime"]) as ws:
        assert ws.subprotocol == "realtime"

def test_time_limit_of_recv():
    with connect(URL) as ws:
        with pytest.raises(TimeoutError):
            ws.recv(timeout=0.02)
        ws.send(b"abc")
        assert ws.recv() == b"cba"

def test_uvloop():
    uvloop = pytest.importorskip("uvloop")
    async def run():
        async with websockets.connect(URL) as ws:
            await ws.send(b"abc")
            assert await ws.recv() == b"cba"
            await ws.send(json.dumps({"type": "close", "code": 4001, "reason": "bye"}))
            with pytest.raises(ConnectionClosedError):
                await ws.recv()
    uvloop.run(run())

def test_tls():
    import ssl
    context = ssl.create_default_context()
    async def run(path):
        async with websockets.connect(f"wss://localhost:{SECURE_PORT}{path}", ssl=context) as ws:
            await ws.send(b"abc")
            return await ws.recv()
    assert asyncio.run(run("/async")) == b"cba"
    # The client for threads reads and writes at once, which Python's ssl does not allow: on a busy machine it may hang.
    if not REPLAY:
        assert asyncio.run(run("/threads")) == b"cba"
        return
    with connect(f"wss://localhost:{SECURE_PORT}/threads", ssl=context, server_hostname="localhost") as ws:
        ws.send(b"abc")
        assert ws.recv() == b"cba"

def test_cancelled_recv():
    async def run():
        async with websockets.connect(URL) as ws:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ws.recv(), 0.02)
            await ws.send(b"abc")
            return await ws.recv()
    assert asyncio.run(run()) == b"cba"

@pytest.mark.parametrize("code, reason", [(4001, "bye"), (1011, ""), (1013, "\\u00fcber")])
def test_closed_by_the_server(code, reason):
    with connect(URL) as ws:
        say(ws, type="close", code=code, reason=reason)
        with pytest.raises(ConnectionClosedError) as caught:
            ws.recv()
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (code, reason)
    assert caught.value.rcvd_then_sent

def test_closed_well():
    with connect(URL) as ws:
        say(ws, type="close", code=1000, reason="")
        assert list(ws) == []
        with pytest.raises(ConnectionClosedOK):
            ws.recv()

def test_cut_by_the_server():
    async def run():
        async with websockets.connect(URL) as ws:
            await ws.send(b"abc")
            assert await ws.recv() == b"cba"
            await ws.send(json.dumps({"type": "cut"}))
            await ws.recv()
    with pytest.raises(ConnectionClosedError) as caught:
        asyncio.run(run())
    assert caught.value.rcvd is None

def test_refused():
    with pytest.raises(InvalidStatus) as caught:
        connect(URL + "/missing")
    assert caught.value.response.status_code == 404
    assert b"model_not_found" in caught.value.response.body
    async def run():
        await websockets.connect(URL + "/missing/async")
    with pytest.raises(InvalidStatus) as caught:
        asyncio.run(run())
    assert caught.value.response.status_code == 404

def test_time_limit_of_the_handshake():
    with pytest.raises(TimeoutError):
        connect(URL + "/never", open_timeout=0.3)
    async def run():
        await websockets.connect(URL + "/never/async", open_timeout=0.3)
    with pytest.raises(TimeoutError):
        asyncio.run(run())

def test_sound_cut_elsewhere():
    sound = bytes(range(256)) * 20
    step = 77 if REPLAY else 1000
    with connect(URL + "/realtime") as ws:
        ws.recv()
        for start in range(0, len(sound), step):
            piece = base64.b64encode(sound[start : start + step]).decode()
            say(ws, type="input_audio_buffer.append", event_id=os.urandom(4).hex(), audio=piece)
        say(ws, type="response.create", event_id=os.urandom(4).hex())
        assert hear(ws).startswith("Hello")

def test_sent_earlier():
    with connect(URL) as ws:
        ws.send(b"abc")
        if REPLAY:
            ws.send(b"def")
        assert ws.recv() == b"cba"
        if not REPLAY:
            ws.send(b"def")
        assert ws.recv() == b"fed"

def test_two_at_once_in_the_order_of_opening():
    with connect(URL) as first:
        with connect(URL) as second:
            second.send(b"second")
            assert second.recv() == b"dnoces"
        first.send(b"first")
        assert first.recv() == b"tsrif"

def test_gather():
    async def one(number):
        async with websockets.connect(f"{URL}/{number}") as ws:
            await ws.send(str(number).encode())
            return await ws.recv()
    async def run():
        return await asyncio.gather(*map(one, range(5)))
    assert asyncio.run(run()) == [str(number).encode() for number in range(5)]

def test_pool():
    def one(number):
        with connect(f"{URL}/{number}") as ws:
            ws.send(str(number).encode())
            return ws.recv()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(4))) == [b"0", b"1", b"2", b"3"]

def test_neither_side_reads_at_first():
    with connect(URL, max_size=None) as ws:
        say(ws, type="flood", count=40, size=200_000)
        for _ in range(10):
            ws.send(b"y" * 200_000)
        assert {len(ws.recv()) for _ in range(50)} == {200_000}

@pytest.mark.llm_trials(3)
def test_trials(llm_calls):
    with connect(URL + "/v1/responses") as ws:
        text = ask(ws, "one")
    assert [call.output for call in llm_calls] == [text]

def test_block():
    from pytest_llmops import use_cassette
    with use_cassette("block"), connect(URL + "/v1/responses") as ws:
        assert ask(ws, "one").startswith("Hi")

def test_left_early():
    with connect(URL + "/v1/responses") as ws:
        say(ws, type="response.create", model="gpt-5", input="hi")
        assert json.loads(ws.recv())["type"] == "response.created"

def test_never_closed():
    ws = connect(URL)
    OPEN.append(ws)
    ws.send(b"abc")
    assert ws.recv() == b"cba"

def test_closed_by_a_later_test():
    OPEN.pop().close()

OPEN = []
CHILD = '''
import sys
from websockets.sync.client import connect
with connect(sys.argv[1]) as ws:
    ws.send('{"type": "response.create", "model": "gpt-5", "input": "hi"}')
    while "response.completed" not in (text := ws.recv()):
        pass
print("completed")
'''

def test_child_process(llm_calls):
    done = subprocess.run([sys.executable, "-c", CHILD, URL + "/v1/responses"], capture_output=True, text=True, timeout=100)
    assert done.stdout == "completed\\n", done.stderr
    assert [call.model for call in llm_calls] == ["gpt-5"]

@pytest.fixture(scope="module")
def session():
    with connect(URL + "/fixture") as ws:
        ws.send(b"set up")
        assert ws.recv() == b"pu tes"
        yield ws

@pytest.mark.parametrize("text", [b"one", b"two"])
def test_older_connection(session, text):
    session.send(text)
    assert session.recv() == text[::-1]
"""
DIFFERENT = """
def test_text():
    with connect(URL + "/realtime") as ws:
        ws.recv()
        say(ws, type="response.create", response={"instructions": "be rude" if REPLAY else "be nice"})
        hear(ws)

def test_bytes():
    with connect(URL) as ws:
        ws.send(b"abd" if REPLAY else b"abc")
        ws.recv()

def test_sound():
    sound = bytearray(1024)
    sound[500] = REPLAY
    with connect(URL + "/realtime") as ws:
        ws.recv()
        say(ws, type="input_audio_buffer.append", audio=base64.b64encode(sound).decode())
        say(ws, type="response.create")
        hear(ws)

def test_shorter_sound():
    with connect(URL + "/realtime") as ws:
        ws.recv()
        say(ws, type="input_audio_buffer.append", audio=base64.b64encode(bytes(100 if REPLAY else 200)).decode())
        say(ws, type="response.create")
        hear(ws)

def test_one_more():
    with connect(URL) as ws:
        for _ in range(2 if REPLAY else 1):
            ws.send(b"abc")
            ws.recv()

def test_caught_by_the_application():
    with connect(URL) as ws:
        ws.send(b"abd" if REPLAY else b"abc")
        try:
            ws.recv()
        except ConnectionClosedError:
            pass

def test_one_connection_more():
    for _ in range(2 if REPLAY else 1):
        with connect(URL) as ws:
            ws.send(b"abc")
            ws.recv()

def test_other_address():
    with connect(URL + ("/other" if REPLAY else "/one")) as ws:
        ws.send(b"abc")
        ws.recv()

def test_reads_on(monkeypatch):
    from pytest_llmops.cassettes.websocket import recorded_server
    monkeypatch.setattr(recorded_server, "PATIENCE_S", 1.5)
    with connect(URL) as ws:
        ws.send(b"abc")
        ws.recv()
        if REPLAY:
            ws.recv()

def test_waits_for_an_answer_before_it_asks(monkeypatch):
    from pytest_llmops.cassettes.websocket import recorded_server
    monkeypatch.setattr(recorded_server, "PATIENCE_S", 1.5)
    with connect(URL) as ws:
        if not REPLAY:
            say(ws, type="echo", text="hi")
        ws.recv()

def test_not_recorded():
    if REPLAY:
        connect(URL)

@pytest.fixture(scope="module")
def session():
    with connect(URL + "/fixture") as ws:
        yield ws

def test_older_connection(session):
    session.send(b"abd" if REPLAY else b"abc")
    session.recv()
"""
# What the report of each of these tests has to say
MISSES = {
    "test_text": (
        "message 1 over the WebSocket",
        "- response.instructions: be nice",
        "+ response.instructions: be rude",
    ),
    "test_bytes": (
        "message 1 over the WebSocket",
        "- binary message of 3 bytes",
        "+ binary message of 3 bytes",
    ),
    "test_sound": ("message 1 over the WebSocket", "the sound differs from byte 501 on"),
    "test_shorter_sound": ("message 1 over the WebSocket", "the sound ended after 100 of 200 recorded bytes"),
    "test_one_more": ("message 2 over the WebSocket", "the recorded client sent 1 messages and no more"),
    "test_caught_by_the_application": ("message 1 over the WebSocket", "- binary message of 3 bytes"),
    "test_one_connection_more": ("was sent 2 times, recorded 1",),
    "test_other_address": ("no recording answers WEBSOCKET ws://127.0.0.1:", "/other"),
    "test_reads_on": ("for more than was recorded", "the recorded client closed the connection here"),
    "test_waits_for_an_answer_before_it_asks": ("the client sent nothing over the WebSocket", "- text: hi"),
    "test_not_recorded": ("no recording answers WEBSOCKET", "--llm-record=new"),
    "test_older_connection": ("message 1 over the WebSocket", "fixture.session.json"),
}
FRAMEWORKS = """
def test_agents_over_a_socket(llm_calls):
    from agents import Agent, OpenAIProvider, RunConfig, Runner, set_tracing_disabled
    set_tracing_disabled(True)
    async def run():
        api = client(openai.AsyncOpenAI)
        provider = OpenAIProvider(openai_client=api, use_responses=True, use_responses_websocket=True)
        config = RunConfig(model_provider=provider)
        agent = Agent(name="a", model="gpt-5")
        results = [await Runner.run(agent, text, run_config=config) for text in ("hi", "hi again")]
        await provider.aclose()
        await api.close()
        return [result.final_output for result in results]
    assert asyncio.run(run()) == [call.output for call in llm_calls]
    assert len(llm_calls) == 2

def test_realtime_agent(llm_calls):
    from agents.realtime import RealtimeAgent, RealtimeRunner
    async def run():
        settings = {"model_settings": {"model_name": "gpt-realtime"}}
        runner = RealtimeRunner(RealtimeAgent(name="a", instructions="be short"), config=settings)
        address = f"{URL}/v1/realtime?model=gpt-realtime"
        session = await runner.run(model_config={"api_key": KEY, "url": address})
        async with session:
            await session.send_message("Hello!")
            async for event in session:
                if event.type == "raw_model_event" and event.data.type == "turn_ended":
                    return
    asyncio.run(run())
    assert [call.output[:5] for call in llm_calls] == ["Hello"]

def test_gemini_live():
    from google import genai
    async def run():
        api = genai.Client(api_key=KEY, http_options={"base_url": f"https://127.0.0.1:{SECURE_PORT}"})
        async with api.aio.live.connect(model="gemini-live", config={"response_modalities": ["TEXT"]}) as session:
            await session.send_client_content(turns={"role": "user", "parts": [{"text": "hi"}]}, turn_complete=True)
            return [message.text async for message in session.receive()]
    assert asyncio.run(run()) == ["Hi from Gemini"]
"""


@dataclass(frozen=True)
class Ran:
    """What a run of pytest gave: the outcome of each test with the text of its report, and the output."""

    outcomes: dict[str, str]
    reports: dict[str, str]
    text: str

    @property
    def failed(self) -> dict[str, str]:
        return {name: outcome for name, outcome in self.outcomes.items() if outcome != "passed"}


@dataclass(frozen=True)
class Sockets:
    """A project in a folder with a server of WebSockets."""

    folder: Path
    port: int
    secure_port: int
    server: subprocess.Popen[str]

    def write(self, tests: str, ini: str = INI, name: str = "test_a") -> None:
        (self.folder / "pytest.ini").write_text(ini, encoding="utf-8")
        (self.folder / f"{name}.py").write_text(f"{HEAD}\n{tests}", encoding="utf-8")

    def run(self, *args: str, replay: bool = False, **more: str) -> Ran:
        report = self.folder / "report.xml"
        variables = {
            **environment(self.folder),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PORT": str(self.port),
            "SECURE_PORT": str(self.secure_port),
            "SSL_CERT_FILE": str(self.folder / "server.pem"),
            **more,
        }
        if "LLMOPS_CACHE" in os.environ:
            variables["LLMOPS_CACHE"] = os.environ["LLMOPS_CACHE"]
        if replay:
            variables["REPLAY"] = "1"
        plugins = ["-p", "pytest_llmops.plugin", "-p", "xdist.plugin"]
        done = subprocess.run(
            [str(PYTHON), "-m", "pytest", *plugins, f"--junitxml={report}", *args],
            cwd=self.folder,
            env=variables,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        text = f"{done.stdout}\n{done.stderr}"
        assert report.exists(), text
        cases = list(ET.parse(report).getroot().iter("testcase"))
        report.unlink()
        outcomes = {
            str(case.get("name")): next(
                (child.tag for child in case if child.tag in ("failure", "error")), "passed"
            )
            for case in cases
        }
        reports = {str(case.get("name")): "".join(case.itertext()) for case in cases}
        return Ran(outcomes, reports, text)

    def record(self, mode: str = "new", *args: str) -> Ran:
        return self.run(f"--llm-record={mode}", *args)

    def stop(self) -> None:
        """End the server; it has no port any more."""
        self.server.communicate(timeout=60)

    def opened(self) -> list[str]:
        """The paths of the connections that the server has seen."""
        return (self.folder / "opened.txt").read_text(encoding="utf-8").split()

    def cassette(self, name: str) -> Any:
        return json.loads((self.folder / f"cassettes/test_a/{name}.json").read_text(encoding="utf-8"))


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[Sockets]:
    reason = missing()
    if reason and os.environ.get("LLMOPS_REQUIRE_CLIENTS"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    process = subprocess.Popen(
        [str(PYTHON), "-m", "clients.websocket_server"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    port, secure_port = map(int, process.stdout.readline().split())
    yield Sockets(tmp_path, port, secure_port, process)
    if process.returncode is None:
        process.communicate(timeout=60)


def messages_of(cassette: Any) -> list[dict[str, Any]]:
    body = cassette["interactions"][0]["answers"]["0"][0]["body"]["json"]
    messages: list[dict[str, Any]] = body["messages"]
    return messages


def read_example() -> tuple[str, str]:
    """The section of the page, and the code in it."""
    page = (ROOT / "docs" / "explanation" / "recording.md").read_text(encoding="utf-8")
    section = page.partition("\n## WebSockets\n")[2].partition("\n## ")[0]
    return section, section.partition("```python\n")[2].partition("```")[0]


def test_what_was_recorded_is_replayed_without_a_server(sockets: Sockets) -> None:
    section, code = read_example()
    sockets.write(SAME)
    sockets.write(FRAMEWORKS, name="test_frameworks")
    (sockets.folder / "test_voice.py").write_text(code, encoding="utf-8")
    address = f"http://127.0.0.1:{sockets.port}/v1"
    recorded = sockets.run("--llm-record=new", OPENAI_BASE_URL=address, OPENAI_API_KEY="k")
    assert not recorded.failed, recorded.text
    sockets.stop()
    replayed = sockets.run(replay=True, OPENAI_BASE_URL=address, OPENAI_API_KEY="k")
    assert not replayed.failed, replayed.text
    assert replayed.outcomes.keys() == recorded.outcomes.keys()
    # Tests that share a connection have to run in their order.
    replayed = sockets.run("test_a.py", "-n", "2", "-k", "not older_connection", replay=True)
    assert not replayed.failed, replayed.text
    files = "".join(path.read_text(encoding="utf-8") for path in sockets.folder.glob("cassettes/**/*.json"))
    assert "credential" not in files
    secrets = sockets.cassette("test_secrets")["interactions"][0]
    assert secrets["request"]["method"] == "WEBSOCKET"
    assert secrets["request"]["url"] == "ws://loopback/v1/responses?api_key=%5Bsecret%5D"
    texts = messages_of(sockets.cassette("test_texts_and_bytes"))
    assert set(texts[0]["client"]) == {"sha256", "size"}
    assert texts[1]["server"] == {"base64": "Y2Jh"}
    assert texts[6]["client"] == {"json": {"type": "echo", "text": "plain"}}
    sound = messages_of(sockets.cassette("test_sound_cut_elsewhere"))
    assert [next(iter(message)) for message in sound[:3]] == [
        "server",
        "client",
        "client",
    ]  # the pieces are joined
    changed = code.replace('["text"]', '["audio"]')
    assert changed != code
    (sockets.folder / "test_voice.py").write_text(changed, encoding="utf-8")
    missed = sockets.run("test_voice.py", OPENAI_BASE_URL=address, OPENAI_API_KEY="k").reports["test_greets"]
    shown = section.partition("\nmessage 2 over")[2].partition("\n```")[0]
    *lines, command = shown.splitlines()[1:]
    for line in lines:
        assert line.strip() in missed, line
    # The command names the server of the recordings too.
    assert {part for part in command.split() if part not in missed} == set()


BROKEN = """
def test_id():
    with connect(URL) as ws:
        say(ws, type="echo", text="hi", trace={"id": os.urandom(4).hex()})
        assert json.loads(ws.recv()) == {"echo": "hi"}

def test_normalizer_fails():
    with connect(URL) as ws:
        say(ws, type="echo", text="city")
        ws.recv()
"""
NORMALIZER = """
import os

def fail(text):
    if "city" in text and os.environ.get("REPLAY"):
        raise KeyError("city")
    return text

def pytest_llmops_request_normalizers(config):
    return {"fail": fail}
"""
DAMAGED = """
def {}():
    with connect(URL) as ws:
        ws.send(b"abc")
        ws.recv()
"""
DAMAGES = {
    "test_end": ('"by": "client"', '"by": "nobody"', "the end of a recorded WebSocket"),
    "test_messages": ('"messages": [', '"others": [', "a list of messages"),
    "test_binary": ('"base64": "Y2Jh"', '"base64": "%"', "message 2 of a recorded WebSocket"),
}
BREAKS = {
    "test_id": ("message 1 over the WebSocket", "+ trace.id"),
    "test_normalizer_fails": ("KeyError: 'city' (while a message over a WebSocket was compared)",),
    **{name: (text,) for name, (_, _, text) in DAMAGES.items()},
}


def test_what_differs_fails_the_test_and_is_shown(sockets: Sockets) -> None:
    sockets.write(DIFFERENT + BROKEN + "".join(map(DAMAGED.format, DAMAGES)))
    (sockets.folder / "conftest.py").write_text(NORMALIZER, encoding="utf-8")
    recorded = sockets.record()
    assert not recorded.failed, recorded.text
    sockets.stop()
    for name, (old, new, _) in DAMAGES.items():
        path = sockets.folder / f"cassettes/test_a/{name}.json"
        whole = path.read_text(encoding="utf-8")
        assert old in whole
        path.write_text(whole.replace(old, new), encoding="utf-8")
    replayed = sockets.run(replay=True)
    expected = MISSES | BREAKS
    assert replayed.failed.keys() == expected.keys(), replayed.text
    for name, texts in expected.items():
        for text in texts:
            # Reports with the same beginning are shown once.
            assert text in replayed.reports[name] + replayed.text, name
        assert name in BREAKS or "llm-record" in replayed.reports[name], name
    (sockets.folder / "pytest.ini").write_text(f"{INI}\nllm_match_ignore = trace.id\n", encoding="utf-8")
    ignored = sockets.run("test_a.py::test_id")
    assert ignored.outcomes == {"test_id": "passed"}, ignored.text


ONE = """
def test_one():
    with connect(URL + "/v1/responses") as ws:
        assert ask(ws, "one").startswith("Hi")
        assert ask(ws, "two").startswith("Hi")
"""


RESTORED = """
from pathlib import Path
from websockets.asyncio.client import connect as open_in_task
from websockets.sync.client import connect

def pytest_sessionfinish():
    functions = (connect, open_in_task.create_connection)
    Path("restored.txt").write_text(" ".join(Path(one.__code__.co_filename).parent.name for one in functions))
"""


def test_modes_and_that_each_response_counts_as_a_call(sockets: Sockets) -> None:
    sockets.write(ONE)
    (sockets.folder / "conftest.py").write_text(RESTORED, encoding="utf-8")
    refused = sockets.record("live", "--llm-max-calls=2")
    assert "2 of 2 live calls of this run are made" in refused.reports["test_one"]
    live = sockets.record("live", "--llm-max-calls=3")
    assert not live.failed, live.text
    assert not (sockets.folder / "cassettes").exists()
    assert not sockets.record().failed
    first = sockets.cassette("test_one")
    assert not sockets.record().failed  # replayed
    assert sockets.cassette("test_one") == first
    assert len(sockets.opened()) == 3
    assert (sockets.folder / "restored.txt").read_text(encoding="utf-8") == "sync asyncio"
    compared = sockets.record("verify")
    assert "drift, text" in compared.text
    assert sockets.cassette("test_one") == first
    assert not sockets.record("all").failed
    second = sockets.cassette("test_one")
    assert second != first
    assert len(second["interactions"]) == len(second["interactions"][0]["answers"]["0"]) == 1
    assert len(sockets.opened()) == 5


def test_an_allowed_host_is_neither_recorded_nor_blocked(sockets: Sockets) -> None:
    sockets.write(ONE, f"{INI}\nllm_allow_hosts = 127.0.0.1:{sockets.port}\n")
    assert not sockets.run().failed
    assert not sockets.record().failed
    assert len(sockets.opened()) == 2
    assert not (sockets.folder / "cassettes").exists()


OTHERS = """
def test_aiohttp():
    import aiohttp
    async def run():
        async with aiohttp.ClientSession() as api, api.ws_connect(f"http://127.0.0.1:{PORT}/x") as ws:
            await ws.send_bytes(b"abc")
            return await ws.receive_bytes()
    assert asyncio.run(run()) == b"cba"

@pytest.mark.filterwarnings("ignore:websockets")
def test_legacy():
    from websockets.legacy.client import connect, unix_connect
    async def run():
        async with connect(URL) as ws:
            await ws.send(b"abc")
            return await ws.recv()
    async def run_local():
        await unix_connect("missing.socket")
    with pytest.raises(FileNotFoundError):
        asyncio.run(run_local())
    assert asyncio.run(run()) == b"cba"

def test_websocket_client():
    import websocket
    ws = websocket.create_connection(URL)
    ws.send_binary(b"abc")
    assert ws.recv() == b"cba"
    ws.close()
"""
NOT_RECORDED = """
def test_no_server():
    with pytest.raises(OSError):
        connect("ws://127.0.0.1:9/x", open_timeout=20)

def test_unauthorized():
    with pytest.raises(InvalidStatus) as caught:
        connect(URL + "/unauthorized")
    assert caught.value.response.status_code == 401

def test_too_big():
    with connect(URL + "/big", max_size=100) as ws:
        ws.send(bytes(200))
        with pytest.raises(ConnectionClosedError):
            ws.recv()

@pytest.mark.llm_fault("rate_limit")
def test_fault():
    with pytest.raises(InvalidStatus):
        connect(URL + "/unauthorized")
"""


def test_what_is_not_recorded_is_noted_and_refused_in_a_replay(sockets: Sockets) -> None:
    sockets.write(OTHERS)
    sockets.write(NOT_RECORDED, name="test_b")
    recorded = sockets.record("new", "-v")
    assert recorded.failed.keys() == {"test_fault"}, recorded.text
    assert "a response over a WebSocket gets no fault" in recorded.reports["test_fault"]
    assert (
        "the client could not read what came over a WebSocket to ws://loopback/big (PayloadTooBig:"
        in recorded.text
    )
    assert "1 call was not recorded: a WebSocket to ws://loopback/x was not opened" in recorded.text
    assert "an answer with status 401 was not recorded" in recorded.text
    assert not list(sockets.folder.glob("cassettes/**/*.json"))
    before = sorted(sockets.opened())
    replayed = sockets.run("test_a.py")
    names = {
        "test_aiohttp": "aiohttp",
        "test_legacy": "its old client websockets.legacy",
        "test_websocket_client": "websocket-client",
    }
    assert replayed.failed.keys() == names.keys(), replayed.text
    for test, name in names.items():
        assert f"only WebSockets of the package websockets are, not WebSockets of {name}" in recorded.text
        text = f"recorded, not WebSockets of {name}; use it, or let them through"
        # Reports with the same beginning are shown once.
        assert text in replayed.reports[test] + replayed.text
    assert sorted(sockets.opened()) == before
