"""While recordings are replayed, no event loop and no socket library opens a connection for what is not recorded."""

from __future__ import annotations

from pathlib import Path

from clients.beside import OURS, Runner, Shelf
from support.mcp_client import AGENT, CLIENT, SERVER

from pytest_llmops.results.run import Run

# A documentation address: a connection to it is refused before any packet, or ends in a time-out.
TESTS = """
import asyncio
import socket
from contextlib import suppress

import pytest

HOST = "192.0.2.1"
MODEL_HOST = "api.openai.com"


def on_uvloop(work):
    return pytest.importorskip("uvloop").run(asyncio.wait_for(work, 5))


async def connect(host):
    await asyncio.open_connection(host, 443)


async def look_up(host):
    await asyncio.get_running_loop().getaddrinfo(host, 443)


async def send_datagrams(host):
    await asyncio.get_running_loop().create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=(host, 443))


async def open_websocket(host):
    websockets = pytest.importorskip("websockets")
    async with websockets.connect(f"wss://{host}/v1/realtime", open_timeout=5):
        pass


async def open_aiohttp_websocket(host):
    import aiohttp

    async with aiohttp.ClientSession() as session, session.ws_connect(f"wss://{host}/v1/realtime"):
        pass


async def open_realtime(host):
    import openai

    pytest.importorskip("websockets")
    async with openai.AsyncOpenAI(api_key="x", base_url=f"https://{host}/v1") as client:
        async with client.realtime.connect(model="gpt-realtime"):
            pass


async def connect_anyio(host):
    import anyio

    with anyio.fail_after(5):
        await anyio.connect_tcp(host, 443)


def connect_gevent(host):
    socket = pytest.importorskip("gevent.socket")
    with socket.socket() as sock:
        sock.settimeout(5)
        sock.connect((host, 443))


def connect_gevent_by_name(host):
    pytest.importorskip("gevent.socket").create_connection((host, 443), timeout=5)


def connect_trio(host):
    trio = pytest.importorskip("trio")

    async def work():
        with trio.fail_after(5):
            await trio.open_tcp_stream(host, 443)

    trio.run(work)


def open_websocket_client(host):
    pytest.importorskip("websocket").create_connection(f"wss://{host}/v1/realtime", timeout=5)


def connect_anyio_on(backend, **options):
    return lambda host: pytest.importorskip("anyio").run(connect_anyio, host, backend=backend, backend_options=options)


WAYS = {
    "uvloop connection": lambda host: on_uvloop(connect(host)),
    "uvloop look-up": lambda host: on_uvloop(look_up(host)),
    "uvloop datagrams": lambda host: on_uvloop(send_datagrams(host)),
    "uvloop websockets": lambda host: on_uvloop(open_websocket(host)),
    "uvloop aiohttp": lambda host: on_uvloop(open_aiohttp_websocket(host)),
    "uvloop realtime": lambda host: on_uvloop(open_realtime(host)),
    "asyncio websockets": lambda host: asyncio.run(open_websocket(host)),
    "asyncio realtime": lambda host: asyncio.run(open_realtime(host)),
    "websocket-client": open_websocket_client,
    "trio": connect_trio,
    "anyio trio": connect_anyio_on("trio"),
    "anyio asyncio": connect_anyio_on("asyncio"),
    "anyio uvloop": connect_anyio_on("asyncio", use_uvloop=True),
    "gevent socket": connect_gevent,
    "gevent connection": connect_gevent_by_name,
    "socket": lambda host: socket.create_connection((host, 443), 5),
}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_records_this(way):
    WAYS[way](MODEL_HOST)


@pytest.mark.llm_cassette
@pytest.mark.parametrize("way", WAYS)
def test_recorded(way):
    WAYS[way](HOST)


@pytest.mark.llm_cassette
def test_recorded_gevent_patched():
    pytest.importorskip("gevent.monkey").patch_all()
    import socket

    socket.create_connection((HOST, 443), 5)
"""


def test_no_loop_and_no_socket_library_gets_past_a_replay(runner: Runner, tmp_path: Path) -> None:
    project = Shelf(tmp_path, "http://127.0.0.1:9", runner)
    project.write(**{"test_loops.py": TESTS})
    report = tmp_path / "run-file.json"
    flags = ("-ollm_model=stub-1", f"--llm-report={report}", "-Wignore")
    ran = project.run("test_loops.py", *flags, plugins=(OURS,))
    run = Run.from_json(report.read_text(encoding="utf-8"))
    messages = {record.nodeid: record.message for record in run.records if record.outcome != "skipped"}
    tried = [outcome for outcome in ran.outcomes.values() if outcome != "skipped"]
    assert len(messages) == len(tried) >= 25, ran.text
    for test, message in messages.items():
        first = message.partition("\n")[0]
        is_request = "no recording answers" in first  # aiohttp opens its WebSockets by a request
        assert is_request or "was refused" in first, f"{test}: {message}"


MCP_TESTS = """
import asyncio, json, sys
import pytest

SERVERS = {"orders": {"command": sys.executable, "args": ["server.py"]}}
COMMAND = [sys.executable, "agent.py", "--mcp-config", json.dumps({"mcpServers": SERVERS})]


async def start():
    child = await asyncio.create_subprocess_exec(*COMMAND, stdout=asyncio.subprocess.PIPE)
    return (await child.communicate())[0]


async def start_anyio():
    import anyio

    return (await anyio.run_process(COMMAND)).stdout


WAYS = {
    "asyncio": lambda: asyncio.run(start()),
    "uvloop": lambda: pytest.importorskip("uvloop").run(start()),
    "anyio asyncio": lambda: pytest.importorskip("anyio").run(start_anyio),
    "anyio uvloop": lambda: pytest.importorskip("anyio").run(start_anyio, backend_options={"use_uvloop": True}),
    "anyio trio": lambda: pytest.importorskip("anyio").run(start_anyio, backend="trio"),
}


@pytest.mark.llm_cassette
@pytest.mark.parametrize("way", WAYS)
def test_client(way):
    assert b"{'count': 1}" in WAYS[way]()
"""


def test_mcp_servers_of_a_client_are_recorded_on_every_loop(runner: Runner, tmp_path: Path) -> None:
    project = Shelf(tmp_path, "http://127.0.0.1:9", runner)
    files = {"server.py": SERVER, "client.py": CLIENT, "agent.py": AGENT, "test_mcp.py": MCP_TESTS}
    project.write(**files)
    recorded = project.run("test_mcp.py", "--llm-record=new", plugins=(OURS,))
    assert set(recorded.outcomes.values()) == {"passed"}, recorded.text
    assert len((tmp_path / "starts.txt").read_text().split()) == len(recorded.outcomes) == 5
    (tmp_path / "server.py").unlink()
    replayed = project.run("test_mcp.py", plugins=(OURS,))
    assert replayed.outcomes == recorded.outcomes, replayed.text
