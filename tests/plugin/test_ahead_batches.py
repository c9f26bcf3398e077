"""--llm-record=batch: the calls of all tests through the vendors' batch APIs, over several runs of the same command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.batch_servers import AnthropicBatchServer, BatchServer, OpenAIBatchServer
from support.project import INI, Project, Result
from support.server import StubServer

from pytest_llmops.harness.ahead import batches

pytestmark = pytest.mark.slow
KEY = "sk-" + "proj-0123456789abcdefWXYZ"
HEAD = """
import json, openai, httpx2, os, pytest, time
pytestmark = pytest.mark.llm_cassette

def connect(**more):  # to load the certificates for each client takes longer than all the rest of a test
    return openai.OpenAI(http_client=openai.DefaultHttpxClient(verify=False), **more)

def ask(text, **more):
    with connect(max_retries=0) as client:
        messages = [{"role": "user", "content": text}]
        return client.chat.completions.create(model="m", messages=messages, **more).choices[0].message.content
"""
SIMPLE = """
@pytest.mark.parametrize("i", range(4))
def test_simple(i): assert ask(f"question {i}") == f"echo of question {i}"
"""
CHAIN = """
@pytest.mark.parametrize("i", range(4))
def test_chain(i):
    first = ask(f"question {i}")
    assert "echo of second" in ask(f"second {i} of {first}")
"""
ENDPOINTS = """
@pytest.mark.parametrize("i", range(2))
def test_endpoints(i):
    with connect(max_retries=0) as client:
        assert client.responses.create(model="m", input=f"question {i}").output_text == f"echo of question {i}"
        assert client.embeddings.create(model="e", input=["a" * i, "b"]).data[0].embedding[0] == i
"""
CLAUDE = """
@pytest.mark.parametrize("i", range(4))
def test_claude(i):
    headers = {"x-api-key": os.environ["ANTHROPIC_API_KEY"], "anthropic-version": "2023-06-01"}
    body = {"model": "c", "max_tokens": 9, "messages": [{"role": "user", "content": f"question {i}"}]}
    with httpx2.Client(verify=False) as client:
        reply = client.post(os.environ["CLAUDE_URL"] + "/v1/messages?beta=true", json=body, headers=headers)
    assert reply.json()["content"][0]["text"] == f"echo of question {i}"
"""


def use(project: Project, server: BatchServer) -> Project:
    project.server = server
    project.write(**{"pytest.ini": INI, "test_a.py": HEAD + SIMPLE})
    return project


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MIN_REQUESTS", 2)


@pytest.fixture
def server() -> Iterator[OpenAIBatchServer]:
    with OpenAIBatchServer(polls=0) as open_a_i_batch_server:
        yield open_a_i_batch_server


@pytest.fixture
def batch(project: Project, server: OpenAIBatchServer, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return use(project, server)


@pytest.fixture
def claude(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[AnthropicBatchServer]:
    with AnthropicBatchServer(polls=0) as anthropic_batch_server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        monkeypatch.setenv("CLAUDE_URL", anthropic_batch_server.url)
        use(project, anthropic_batch_server).write(**{"test_a.py": HEAD + CLAUDE})
        yield anthropic_batch_server


def run(project: Project, status: int, *args: str, **how: Any) -> Result:
    """Run the command once more."""
    result = project.record("--llm-record=batch", *args, **how)
    assert result.exit == status, result.text
    return result


def states(project: Project) -> list[Path]:
    return sorted((project.path / "cassettes" / ".batches").glob("*.json"))


def cassettes(project: Project) -> dict[str, Any]:
    result = {name: json.loads(data) for name, data in project.cassettes().items() if ".batches" not in name}
    return {name: without_marks(data) for name, data in result.items()}


def without_marks(value: Any) -> Any:
    """A cassette without times and the mark of the price."""
    if isinstance(value, dict):
        marks = {"latency_s", "ttft_s", "started_s"} | ({"batch"} if "status" in value else set())
        return {name: without_marks(item) for name, item in value.items() if name not in marks}
    return [without_marks(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("tests", "count"), [(CHAIN, 4), (ENDPOINTS, 2)], ids=["chain", "endpoints"])
def test_batches_record_what_live_calls_record(
    batch: Project, server: OpenAIBatchServer, tests: str, count: int
) -> None:
    batch.write(**{"test_a.py": HEAD + tests})
    assert batch.record().outcomes == {"passed": count}
    alone = cassettes(batch)
    shutil.rmtree(batch.path / "cassettes")
    asked = len(server.live)
    for number in range(2):
        result = run(batch, 75)
        assert (result.outcomes, len(result.run.records)) == ({}, 0)
        assert f"batch_{number + 1}" in result.line("submitted")
        assert (f"call {number + 1} in a row" in result.line("submitted")) == (number > 0)
        assert f"{count} deselected" in result.text
    last = run(batch, 0)
    assert last.outcomes == {"passed": count}
    assert not any(call.replayed for record in last.run.records for call in record.calls)
    assert cassettes(batch) == alone
    assert len(server.live) == asked
    assert not states(batch)
    assert not list(batch.path.rglob(".journal"))
    # The same command has nothing left to do, and a replay is marked as what was paid.
    assert run(batch, 0).outcomes == batch.run().outcomes == {"passed": count}


def test_an_open_batch_is_waited_for(batch: Project, server: OpenAIBatchServer) -> None:
    server.polls = 1
    batch.write(**{"test_a.py": HEAD + SIMPLE + "def test_else(): assert False\n"})
    assert run(batch, 75).outcomes == {"failed": 1}
    check_that_no_secret_is_written(batch, server)
    waiting = run(batch, 75)
    assert "4 requests wait for batch_1" in waiting.line("expires")
    assert waiting.outcomes == {"failed": 1}
    assert run(batch, 1).outcomes == {"passed": 4, "failed": 1}
    assert len(server.batches) == 1
    assert not states(batch)


def check_that_no_secret_is_written(batch: Project, server: OpenAIBatchServer) -> None:
    assert server.seen[-1].headers["authorization"] == f"Bearer {KEY}"
    (state,) = states(batch)
    wire = json.loads(state.read_bytes())
    assert (wire["status"], wire["id"], wire["endpoint"]) == ("submitted", "batch_1", "/chat/completions")
    for path in batch.path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()


def test_a_batch_that_is_refused_leaves_no_state(batch: Project, server: OpenAIBatchServer) -> None:
    server.faults = {"refused"}
    assert "billing hard limit" in run(batch, 4).line("were refused")
    assert not states(batch)
    assert run(batch, 0, "--llm-concurrency=4").outcomes == {"passed": 4}
    assert len(server.live) == 4


def test_a_bad_request_is_an_answer_and_a_busy_server_is_not(
    batch: Project, server: OpenAIBatchServer
) -> None:
    test = """
@pytest.mark.parametrize("i", range(4))
def test_status(i):
    if i == 1:
        with pytest.raises(openai.BadRequestError): ask(f"question {i}")
    else: assert ask(f"question {i}")
"""
    batch.write(**{"test_a.py": HEAD + test})
    server.status_of = {"question 1": 400, "question 2": 429}
    run(batch, 75)
    assert run(batch, 0).outcomes == {"passed": 4}
    assert [body["messages"][0]["content"] for body in server.live] == ["question 2"]
    assert batch.run().outcomes == {"passed": 4}


def test_streams_and_requests_that_never_settle_are_in_no_batch(
    batch: Project, server: OpenAIBatchServer
) -> None:
    more = """
def ask_stream(text):
    with connect() as client:
        return list(client.chat.completions.create(model="m", stream=True, messages=[{"role": "user", "content": text}]))
def test_stream(): assert [event for event in ask_stream("s")]
def test_clock(): assert ask(f"it is {time.time_ns()}")
"""
    batch.write(**{"test_a.py": HEAD + SIMPLE + more})
    result = run(batch, 75)
    assert result.outcomes == {"passed": 2}
    assert "differ" in result.line("test_a.py::test_clock: ")
    assert ([len(requests) for requests in server.batches.values()], len(server.live)) == ([4], 2)
    assert run(batch, 0, "-k", "not clock").outcomes == {"passed": 5}
    assert len(server.live) == 2


def test_the_budget_holds_what_a_run_submits(batch: Project, server: OpenAIBatchServer) -> None:
    assert run(batch, 75, "--llm-max-calls=2").outcomes == {"errors": 2}
    assert run(batch, 75, "--llm-max-calls=2").outcomes == {"passed": 2}
    assert run(batch, 0, "--llm-max-calls=0").outcomes == {"passed": 4}
    assert ([len(requests) for requests in server.batches.values()], server.live) == ([2, 2], [])


def test_what_a_test_has_not_used_is_kept(batch: Project, server: OpenAIBatchServer) -> None:
    test = """
@pytest.mark.parametrize("i", range(4))
def test_shared(request, i):
    is_reported = not request.config.pluginmanager.has_plugin("llmops_silent_runs")
    assert i < 3 or not is_reported or not os.path.exists("broken")
    assert ask(f"question {i}")
"""
    head = HEAD.replace("pytest.mark.llm_cassette", 'pytest.mark.llm_cassette("shared.json")')
    batch.write(**{"test_a.py": head + test, "broken": ""})
    run(batch, 75)
    assert "2 answers" in run(batch, 0, "-k", "0 or 1").line("is kept")
    assert run(batch, 1).outcomes == {"passed": 3, "failed": 1}
    (batch.path / "broken").unlink()
    assert run(batch, 0).outcomes == {"passed": 4}
    assert (len(server.batches), server.live, states(batch)) == (1, [], [])


def test_fixtures_and_trials_wait_too(
    batch: Project, server: OpenAIBatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MIN_REQUESTS", 1)
    test = """
@pytest.fixture(scope="module")
def corpus(): return [ask("corpus a"), ask("corpus b")]
@pytest.mark.parametrize("i", range(2))
def test_corpus(corpus, i): assert corpus
@pytest.mark.llm_trials(2)
def test_trials(): assert ask("trial")
"""
    batch.write(**{"test_a.py": HEAD + test, "pytest.ini": INI})
    run(batch, 75)
    run(batch, 75)
    assert run(batch, 0).outcomes == {"passed": 3}
    assert [len(requests) for requests in server.batches.values()] == [3, 1]
    assert (server.live, states(batch)) == ([], [])


@pytest.mark.parametrize(
    ("args", "about"),
    [
        (("-n2",), "-n"),
        (("--pdb",), "--pdb"),
    ],
)
def test_options_that_do_not_go_with_it(batch: Project, args: tuple[str, ...], about: str) -> None:
    result = batch.bare("--llm-record=batch", *args)
    assert result.exit == 4
    assert about in result.line("--llm-record=batch: expected")


def test_claude(project: Project, claude: AnthropicBatchServer) -> None:
    assert project.record().outcomes == {"passed": 4}
    alone = cassettes(project)
    shutil.rmtree(project.path / "cassettes")
    claude.polls = 1
    run(project, 75)
    run(project, 75)
    assert run(project, 0).outcomes == {"passed": 4}
    assert cassettes(project) == alone
    assert (len(claude.batches), len(claude.live), states(project)) == (1, 4, [])
    assert {seen.path.partition("?")[2] for seen in claude.seen} == {"beta=true"}
    assert claude.seen[-1].headers["x-api-key"] == KEY
    assert claude.seen[-1].headers["anthropic-version"] == "2023-06-01"
    assert project.run().outcomes == {"passed": 4}


KILLED = """
def test_z(request):
    if not request.config.pluginmanager.has_plugin("llmops_silent_runs"): os.kill(os.getpid(), 9)
"""


def test_a_run_that_is_killed_while_it_reports_collects_again(
    batch: Project, server: OpenAIBatchServer
) -> None:
    run(batch, 75)
    batch.write(**{"test_a.py": HEAD + SIMPLE.replace("    ", "") + KILLED})
    args = ["--llm-record=new", f"--llm-base-url={server.url}/v1", "--llm-record=batch", "-p", "no:anyio"]
    assert batch.pytester.runpytest_subprocess(*args).ret == -9
    batch.write(**{"test_a.py": HEAD + SIMPLE})
    assert run(batch, 0).outcomes == {"passed": 4}
    assert (len(server.batches), server.live, states(batch)) == (1, [], [])


def test_a_stub_is_not_asked_for_batches_without_the_option(project: Project) -> None:
    project.write(**{"test_a.py": HEAD + SIMPLE})
    assert isinstance(project.server, StubServer)
    assert project.record("--llm-concurrency=4").outcomes == {"passed": 4}
    assert {seen.path for seen in project.server.seen} == {"/v1/chat/completions"}
    assert not (project.path / "cassettes" / ".batches").exists()
