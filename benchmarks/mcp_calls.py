"""Calls of MCP tools with the official SDK: a replayed one beside a server in memory that answers at once, a recorded one beside a live one.

Runs in the environment of the clients, where the SDK is. ``python -m benchmarks.mcp_calls``
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CLIENTS = ROOT / ".venv" / "clients" / "bin" / "python"
SERVER = ROOT / "tests" / "clients" / "mcp_odd" / "server.py"
ROUNDS = 5
CALLS = 200
LIMIT_MS = 0.5  # how much longer than the framework a replayed call may take


def lines() -> Iterator[str]:
    """Measure in the environment of the clients."""
    if not CLIENTS.exists():
        yield f"{'mcp':<10}left out: the environment of the clients is not there"
        return
    done = subprocess.run(
        [str(CLIENTS), "-m", "benchmarks.mcp_calls"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    yield from done.stdout.splitlines()


@asynccontextmanager
async def open_in_memory() -> AsyncIterator[Any]:
    """Connect a client to a server in the same process, which answers at once."""
    import anyio
    from mcp import ClientSession

    from pytest_llmops.cassettes.mcp.patches import _make_message
    from pytest_llmops.cassettes.mcp.streamable_http import read_message

    to_client, reader = anyio.create_memory_object_stream[Any](0)
    writer, from_client = anyio.create_memory_object_stream[Any](0)

    async def serve() -> None:
        async for item in from_client:
            message = read_message(item)
            if "id" in message:
                await to_client.send(
                    _make_message({"jsonrpc": "2.0", "id": message["id"], "result": _answer(message)})
                )

    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        async with ClientSession(reader, writer) as session:
            await session.initialize()
            yield session
        group.cancel_scope.cancel()


def _answer(message: dict[str, Any]) -> dict[str, Any]:
    if message["method"] == "initialize":
        return {
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "memory", "version": "1"},
        }
    if message["method"] == "tools/list":
        return {"tools": [{"name": "add", "inputSchema": {"type": "object"}}]}
    return {"content": [{"type": "text", "text": "1"}]}


@asynccontextmanager
async def open_process() -> AsyncIterator[Any]:
    """Connect a client to a server that is started; with a tape in use, as it says."""
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    parameters = StdioServerParameters(command=sys.executable, args=[str(SERVER), "plain"])
    async with stdio_client(parameters) as streams, ClientSession(*streams) as session:
        await session.initialize()
        yield session


async def measure(opened: Any) -> float:
    """Return how many milliseconds a call takes."""
    async with opened as session:
        await session.list_tools()
        began = time.perf_counter()
        for number in range(CALLS):
            await session.call_tool("add", {"x": number})
        return (time.perf_counter() - began) / CALLS * 1000


@contextmanager
def use_tape(path: Path, mode: Any) -> Iterator[None]:
    """Use a cassette, with the patches of a test."""
    from pytest_llmops.cassettes import install_patches
    from pytest_llmops.cassettes.active_tape import push_tape, remove_tape
    from pytest_llmops.cassettes.tape import Tape
    from pytest_llmops.cassettes.tape_config import TapeConfig

    install_patches()
    tape = Tape(path, mode, TapeConfig())
    push_tape(tape)
    try:
        yield
    finally:
        remove_tape(tape)
        tape.close()


def main() -> None:
    times: dict[str, list[float]] = {"memory": [], "replayed": [], "live": [], "recorded": []}
    with tempfile.TemporaryDirectory() as name:
        for number in range(ROUNDS):
            path = Path(name) / f"{number}.json"
            times["live"].append(asyncio.run(measure(open_process())))
            with use_tape(path, "all"):
                times["recorded"].append(asyncio.run(measure(open_process())))
            times["memory"].append(asyncio.run(measure(open_in_memory())))
            with use_tape(path, "none"):
                times["replayed"].append(asyncio.run(measure(open_process())))
    best = {kind: min(values) for kind, values in times.items()}
    over = best["replayed"] - best["memory"]
    verdict = "ok" if over <= LIMIT_MS else "MISSED"
    print(
        f"{'mcp':<10}a replayed call {best['replayed']:.2f} ms, a server in memory {best['memory']:.2f} ms: "
        f"{over:+.2f} ms, limit {LIMIT_MS} ms {verdict}"
    )
    print(
        f"{'mcp':<10}a recorded call {best['recorded']:.2f} ms, live {best['live']:.2f} ms: "
        f"{best['recorded'] - best['live']:+.2f} ms"
    )


if __name__ == "__main__":
    main()
