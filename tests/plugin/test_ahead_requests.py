"""--llm-concurrency with requests, urllib3 and http.client: the cassettes are those of a sequential recording."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import replace
from functools import partial

import pytest
from support.ahead import Recorded, record
from support.project import Project
from support.server import Reply, Seen, StubServer, error_reply, json_reply, stream

HEAD = """
import json, os, sys, subprocess, threading, urllib.request
from concurrent.futures import ThreadPoolExecutor
import pytest, requests, urllib3

pytestmark = pytest.mark.llm_cassette
URL = "http://{host}/v1/chat/completions"

def body(text, **more): return {{"model": "m", "messages": [{{"role": "user", "content": text}}], **more}}

def ask(text, session=requests, **more):
    answer = session.post(URL, json=body(text), timeout=30, **more)
    answer.raise_for_status()
    return answer.json()["choices"][0]["message"]["content"]
"""
MANY = """
@pytest.mark.parametrize("i", range(16))
def test_many(i): assert "echo" in ask(f"many {i}")
"""
TESTS = """
def test_one(): assert "echo" in ask("one")
def test_two(): assert "second of echo of first" in ask(f"second of {ask('first')}")
def test_session():
    with requests.Session() as session: assert "echo" in ask(f"of {ask('kept', session)}", session)
def test_urllib3():
    with urllib3.PoolManager() as pool:
        for preload in (True, False):
            answer = pool.request("POST", URL, json=body(f"pool {preload}"), preload_content=preload)
            assert "echo" in answer.json()["choices"][0]["message"]["content"]
            answer.release_conn()
def test_urllib():
    request = urllib.request.Request(URL, json.dumps(body("urllib")).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer: assert b"echo" in answer.read()
def test_sent_in_pieces():
    sent = json.dumps(body("in pieces")).encode()
    answer = requests.post(URL, data=iter([sent[:9], sent[9:]]), headers={"content-type": "application/json"}, timeout=30)
    assert b"echo" in answer.content
def test_other_methods():
    url = URL + "/x?y=z"
    assert requests.get(url, timeout=30).json()["method"] == "GET"
    assert not requests.head(url, timeout=30).content
    assert requests.delete(url, timeout=30).json()["method"] == "DELETE"
def test_same_twice(): assert ask("same") != ask("same")
def test_thread():
    out = []; thread = threading.Thread(target=lambda: out.append(ask("thread"))); thread.start(); thread.join(); assert out
def test_calls(llm_calls): ask("calls"); assert len(llm_calls) == 1
def test_pool():
    with ThreadPoolExecutor(1) as pool: answers = list(pool.map(ask, [f"pool {n}" for n in range(6)]))
    ask(f"of {answers}")
@pytest.fixture(scope="module")
def topic():
    with requests.Session() as session: yield ask("topic", session), session
@pytest.mark.parametrize("i", range(2))
def test_fixture(i, topic): assert "echo" in ask(f"{i} of {topic[0]}", topic[1])
def test_file(tmp_path):
    path = tmp_path / "body.json"; path.write_text(json.dumps(body("file")))
    with path.open("rb") as file: assert requests.post(URL, data=file, timeout=30).ok
def test_odd_request():
    answer = requests.post(URL + "/%zz", data=b"\\x00\\xff", timeout=30); assert answer.status_code == 200
"""
STREAMS = """
def lines(text, count):
    with requests.post(URL, json=body(text, stream=True), stream=True, timeout=30) as answer:
        received = []
        for line in answer.iter_lines():
            received += [line] * bool(line)
            if len(received) == count: break
    return received
def test_read(): assert lines("read", 99)[-1] == b"data: [DONE]"
def test_first_event(): assert len(lines("left", 1)) == 1
def test_whole(): assert requests.post(URL, json=body("whole", stream=True), timeout=30).text.endswith("[DONE]\\n\\n")
def test_open(): requests.post(URL, json=body("open", stream=True), stream=True, timeout=30)
"""
RETRY = """
def retrying():
    retry = urllib3.Retry(4, status_forcelist=[429, 500], allowed_methods=None, backoff_factor=0)
    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retry))
    return session
@pytest.mark.parametrize("i", range(3))
def test_retry(i):
    with retrying() as session: assert "echo" in ask(f"retry {i}", session)
"""


def write(project: Project, tests: str) -> None:
    project.write(**{"test_a.py": HEAD.format(host=project.server.url.removeprefix("http://")) + tests})


def without_number(recorded: Recorded) -> str:
    """The cassettes without the number that the server gives to an answer, which counts those it has refused too."""
    return re.sub(r" \(\d\)", "", json.dumps(recorded.cassettes))


@pytest.mark.slow
def test_what_is_recorded_is_that_of_a_sequential_recording(project: Project) -> None:
    write(project, TESTS)
    alone = record(project)
    together = record(project, "--llm-concurrency=8")
    assert together.result.outcomes == alone.result.outcomes == {"passed": 15}
    assert "sent one after another" not in together.result.text
    assert together.cassettes == alone.cassettes
    assert together.sent == alone.sent
    assert not any(call.replayed for record in together.result.run.records for call in record.calls)
    count = project.server.count
    assert project.run().outcomes == {"passed": 15}
    assert project.server.count == count


def test_streams_are_recorded_as_far_as_the_test_reads_them(project: Project) -> None:
    write(project, STREAMS)
    alone = record(project)
    together = record(project, "--llm-concurrency=8")
    assert together.result.outcomes == alone.result.outcomes == {"passed": 4}
    assert "sent one after another" not in together.result.text
    assert together.cassettes == alone.cassettes
    assert together.sent == alone.sent


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compressed_answers_are_recorded_as_plain_ones(project: Project, encoding: str) -> None:
    write(project, "def test_packed(): assert 'echo' in ask(f'packed {ask(1)}')\n")
    project.server.encoding = encoding
    alone = record(project)
    together = record(project, "--llm-concurrency=8")
    assert together.result.outcomes == alone.result.outcomes == {"passed": 1}
    assert "sent ahead: 2 calls" in together.result.text
    assert together.cassettes == alone.cassettes


@pytest.mark.slow
def test_a_server_that_refuses_for_the_moment_is_called_again(project: Project) -> None:
    write(project, RETRY)
    seen = []
    for args in ((), ("--llm-concurrency=3",)):
        project.server.queue.extend([error_reply(429, retry_after="0"), error_reply(500), error_reply(429)])
        seen.append(record(project, *args))
    alone, together = seen
    assert together.result.outcomes == alone.result.outcomes == {"passed": 3}
    assert together.sent.total() == alone.sent.total() == 3 + 3
    assert "sent one after" not in together.result.text
    assert without_number(together) == without_number(alone)


@pytest.mark.slow
def test_calls_of_many_tests_are_made_at_once(project: Project) -> None:
    write(project, MANY)
    barrier = threading.Barrier(16)

    def answer(seen: Seen) -> Reply:
        return replace(StubServer.answer(project.server, seen), before=lambda: barrier.wait(20) and None)

    project.server.answer = answer  # type: ignore[method-assign]
    together = record(project, "--llm-concurrency=16")
    assert together.result.outcomes == {"passed": 16}
    assert together.sent.total() == 16
    assert "sent one after another" not in together.result.text


def test_answers_that_are_cut_are_left_to_the_test(project: Project) -> None:
    write(project, "def test_cut(): assert 'echo' in ask('x')\n")
    project.server.queue.append(stream(["a", "b"], cut_after=1))
    together = record(project, "--llm-concurrency=3")
    assert together.result.outcomes == {"passed": 1}
    assert "IncompleteRead" in together.result.line("sent one after another: ")
    assert together.sent.total() == 2
    assert "test_cut" in "".join(together.cassettes)


def test_redirects_are_followed_and_recorded(project: Project) -> None:
    write(project, "def test_moved(): assert 'echo' in ask('moved')\n")
    seen = []
    for args in ((), ("--llm-concurrency=3",)):
        project.server.queue.append(json_reply({}, status=307, location="/v1/chat/completions?moved=1"))
        seen.append(record(project, *args))
    assert seen[0].result.outcomes == seen[1].result.outcomes == {"passed": 1}
    assert "sent ahead: 2 calls" in seen[1].result.text
    assert seen[1].cassettes == seen[0].cassettes


@pytest.mark.slow
def test_a_time_out_is_left_to_the_test(project: Project) -> None:
    test = """
def test_slow():
    with pytest.raises(requests.Timeout): requests.post(URL, json=body("slow"), timeout=(30, 0.2))
"""
    write(project, test)
    seen = []
    for args in ((), ("--llm-concurrency=3",)):
        over = threading.Event()
        project.server.queue.extend([Reply(before=partial(over.wait, 20))] * 2)
        seen.append(record(project, *args))
        over.set()
        project.server.queue.clear()
    assert seen[0].result.outcomes == seen[1].result.outcomes == {"passed": 1}
    assert "Timeout" in seen[1].result.line("sent one after another: ")
    assert seen[1].cassettes == seen[0].cassettes
