"""--llm-concurrency with other options, plugins, clients and faults: the results are those of a sequential recording."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.ahead import HEAD, SIMPLE, Recorded, listing, record
from support.project import Project
from support.server import Reply, Seen, StubServer, chat_answer, error_reply, json_reply, stream, wait

AT_ONCE = """
async def aask(text):
    async with openai.AsyncOpenAI(max_retries=0) as client:
        messages = [{"role": "user", "content": text}]
        return (await client.chat.completions.create(model="m", messages=messages)).choices[0].message.content

async def gathered():
    return [await aask(f"after {answer}") for answer in await asyncio.gather(*(aask(f"gather {n}") for n in range(5)))]
def test_gather(): assert len(asyncio.run(gathered())) == 5
def test_task_group():
    async def run():
        async with asyncio.TaskGroup() as group:
            for n in range(3): group.create_task(aask(f"group {n}"))
    asyncio.run(run())
def test_pool():
    with ThreadPoolExecutor(3) as pool: answers = list(pool.map(ask, [f"pool {n}" for n in range(6)]))
    ask(f"of {answers}")
def test_threads():
    threads = [threading.Thread(target=ask, args=(f"thread {n}",)) for n in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""
FIXTURES = """
import socket

lock, other = threading.Lock(), threading.Lock()
@pytest.fixture(scope="module")
def port():
    with lock, socket.create_server(("127.0.0.1", 0)) as server: yield server.getsockname()[1]
@pytest.fixture(scope="class", params=["x", "y"])
def topic(request, port): return ask(f"topic {request.param}")
@pytest.fixture(scope="class")
def again(topic): return ask(f"again {topic}")
class TestTopics:
    @pytest.mark.parametrize("i", range(2))
    def test_topic(self, i, again, port): assert "echo" in ask(f"{i} {again}")
def test_lock(port):
    with other: ask("locked")
"""
OUTCOMES = """
@pytest.mark.parametrize("i", range(5))
def test_some(i, request):
    print("asks"); warnings.warn(f"own warning {i}"); answer = ask(f"some {i}")
    if i == 3: request.node.add_marker(pytest.mark.xfail(reason="dynamic"))
    assert i not in (1, 3, 4), answer
def test_parts(subtests):
    for number in range(3):
        with subtests.test(n=number): assert number != 1, ask(f"part {number}")
"""


def answer_with(project: Project, make: object) -> None:
    """Let the server answer with what a function returns, if it returns anything."""
    lock = threading.Lock()

    def answer(seen: Seen) -> Reply:
        usual = StubServer.answer(project.server, seen)
        with lock:
            own = make(seen)  # type: ignore[operator]
        return usual if own is None else own

    project.server.answer = answer  # type: ignore[method-assign]


def test_calls_that_a_test_makes_at_once_are_the_same_set(project: Project) -> None:
    project.write(**{"test_a.py": HEAD + AT_ONCE + FIXTURES})
    alone, together = record(project), record(project, "--llm-concurrency=16")
    assert together.result.outcomes == alone.result.outcomes == {"passed": 9}
    assert together.sent == alone.sent
    assert together.cassettes.keys() == alone.cassettes.keys()
    for name, cassette in alone.cassettes.items():
        ours = together.cassettes[name]["interactions"]
        for row in (*ours, *cassette["interactions"]):
            del row["by"]
        assert sorted(map(repr, ours)) == sorted(map(repr, cassette["interactions"]))
    assert "sent one after" not in together.result.text


@pytest.mark.parametrize(
    ("args", "most_unused"),
    [
        (("-x",), 2 * 4),
        (("--maxfail=2", "-v"), 2 * 4),
        (("--durations=0", "-vv", "-W", "error"), 0),
    ],
    ids=["-x", "--maxfail", "--durations"],
)
def test_options_of_pytest_mean_what_they_mean_one_after_another(
    project: Project, args: Sequence[str], most_unused: int
) -> None:
    project.write(**{"test_a.py": HEAD + OUTCOMES, "pytest.ini": "[pytest]\naddopts = -p no:anyio\n"})
    alone = record(project, *args)
    together = record(project, "--llm-concurrency=4", *args, keep_journals=True)
    check_that_both_are_equal(together, alone)
    assert 0 <= together.sent.total() - alone.sent.total() <= most_unused


def check_that_both_are_equal(together: Recorded, alone: Recorded) -> None:
    assert together.result.outcomes == alone.result.outcomes
    assert together.result.exit == alone.result.exit
    assert listing(together.result.text) == listing(alone.result.text)
    assert together.cassettes == alone.cassettes


def test_only_the_tests_that_failed_last_are_asked_ahead(project: Project) -> None:
    project.write(**{"test_a.py": HEAD + OUTCOMES, "pytest.ini": "[pytest]\naddopts = -p no:anyio\n"})
    record(project)
    alone = record(project, "--lf")
    assert alone.sent.total() < 8
    record(project)
    together = record(project, "--llm-concurrency=4", "--lf")
    check_that_both_are_equal(together, alone)
    assert together.sent == alone.sent


def test_a_budget_in_money_holds_over_calls_at_once(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = "\n@pytest.mark.parametrize('i', range(8))\ndef test_many(i):\n    ask(f'many {i}', max_tokens=1250)\n"
    project.write(**{"test_a.py": (HEAD + test).replace('model="m"', 'model="gpt-4.1-mini"')})
    # 1,000 tokens in and out of gpt-4.1-mini at $0.40 and $1.60 a million: $0.002 a call. Its estimate, for 1,250 tokens
    # out, is no less: the number of calls does not depend on how many have ended.
    usage = {"prompt_tokens": 1000, "completion_tokens": 1000, "total_tokens": 2000}
    priced = {**chat_answer("a", model="gpt-4.1-mini"), "usage": usage}
    answer_with(project, lambda _: json_reply(priced))
    real, port = socket.getaddrinfo, project.server.url.rpartition(":")[2]

    def look_up(host: Any, *rest: Any) -> Any:
        return real("127.0.0.1" if host == "api.openai.com" else host, *rest)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-of-tests")
    url = f"--llm-base-url=http://api.openai.com:{port}/v1"
    together = record(project, "--llm-concurrency=8", "--llm-budget=0.007", url)
    assert together.sent.total() == 3
    assert together.result.outcomes == {"passed": 3, "errors": 5}
    assert "$0.007" in together.result.line("BudgetReached")


def test_a_disk_that_fills_up_stops_the_calls(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write(**{"test_a.py": HEAD + SIMPLE})
    real, synced = os.fsync, []

    def fsync(fd: int) -> None:
        synced.append(fd)  # of this process: that of the silent runs counts its own
        if len(synced) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(fd)

    monkeypatch.setattr("tempfile.tempdir", str(project.path))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        together = record(project, "--llm-concurrency=2", keep_journals=True)
    assert "No space left on device" in together.result.text
    assert together.sent.total() <= 4 + 2
    # What was paid is not lost: answers that may not be on the disk lie in the temporary folder too.
    kept = re.match(r"kept: [12] paid answers? in (\S+); mkdir -p (\S+) ", together.result.line("kept: "))
    assert kept is not None
    Path(kept[2]).mkdir(parents=True, exist_ok=True)
    shutil.move(kept[1], kept[2])
    assert project.record("--llm-concurrency=2").outcomes == {"passed": 6}
    assert project.server.count == 12


def test_a_server_that_fails_at_random_costs_no_result(project: Project) -> None:
    many = "\n@pytest.mark.parametrize('i', range(10))\ndef test_many(i):\n    with openai.OpenAI(max_retries=5) as client:\n"
    many += "        client.chat.completions.create(model='m', messages=[{'role': 'user', 'content': f'many {i}'}])\n"
    project.write(**{"test_a.py": HEAD + many})
    dice, faults = random.Random(3), []

    def fail(_: Seen) -> Reply | None:
        rolled = dice.random()
        faults.append(rolled < 0.3)
        if rolled < 0.1:
            return error_reply(429, retry_after="0")
        if rolled < 0.2:
            return error_reply(500, retry_after="0")
        return stream(["a", "b"], cut_after=1) if rolled < 0.3 else None

    answer_with(project, fail)
    together = record(project, "--llm-concurrency=64")
    assert together.result.outcomes == {"passed": 10}
    assert together.sent.total() == 10 + sum(faults)
    assert project.run().outcomes == {"passed": 10}


def test_a_time_out_of_the_client_is_that_of_the_test(project: Project) -> None:
    late = "\ndef test_late():\n    with pytest.raises(openai.APITimeoutError), openai.OpenAI(max_retries=0, timeout=openai.Timeout(30, read=0.3)) as client:\n"
    late += (
        "        client.chat.completions.create(model='m', messages=[{'role': 'user', 'content': 'late'}])\n"
    )
    project.write(**{"test_a.py": HEAD + SIMPLE + late})
    ended = threading.Event()

    def hold(seen: Seen) -> Reply | None:
        return Reply(before=lambda: wait(ended)) if b"late" in seen.body else None

    answer_with(project, hold)
    try:
        alone, together = record(project), record(project, "--llm-concurrency=8")
    finally:
        ended.set()
    assert together.result.outcomes == alone.result.outcomes == {"passed": 7}
    assert together.cassettes == alone.cassettes
    assert "ReadTimeout" in together.result.line("sent one after another: ")
    assert project.run().outcomes == {"passed": 7}


def test_two_runs_at_once_write_one_cassette(project: Project) -> None:
    project.write(**{"test_a.py": HEAD + SIMPLE})
    args = ["--llm-record=new", f"--llm-base-url={project.server.url}/v1", "--llm-concurrency=6"]
    both = threading.Barrier(2)

    def meet(seen: Seen) -> Reply:  # both get the same answers
        first = b'"question 0"' in seen.body
        reply = json_reply(chat_answer("echo"))
        return replace(reply, before=lambda: both.wait(20)) if first else reply

    answer_with(project, meet)
    command = [sys.executable, "-m", "pytest", *args]
    runs = [subprocess.Popen(command, cwd=project.path, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [run.wait(60) for run in runs] == [0, 0]
    assert not list(project.path.rglob(".journal"))
    assert 12 < project.server.count <= 2 * 12  # what one has recorded, the other may replay
    assert project.run().outcomes == {"passed": 6}
    answers = json.loads((project.path / "cassettes/test_a/test_simple/1.json").read_text())["interactions"]
    assert [len(answer["answers"]["0"]) for answer in answers] == [1, 1]
